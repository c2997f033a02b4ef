'use strict';
/* The page asks /v1/completions for a stream with events, and draws what comes. Whatever a model or the server says is
 * put in as text: the policy that the page is served with forbids the browser to read any as HTML. */

const DRAWN_MAX = 256; // candidates that are drawn as a tree
const PROMPT_MAX = 80; // characters of a prompt's end that stand for it
const SVG = 'http://www.w3.org/2000/svg';
const OF_RECORD = ['kept-section', 'confidence-section', 'saved-section'];
const SWEEP = [1, 2, 4, 8, 16, 32, 64];
const $ = (id) => document.getElementById(id);

let stopper = null; // of the run under way: an AbortController
let drawing = 0; // a timer: the tree is drawn at most every 80 ms
const runs = []; // {n, page, server, sweep}: milliseconds, of one run or of the row of them

// ---- elements ----

function fill(e, attributes, kids) {
  for (const [name, value] of Object.entries(attributes || {})) e.setAttribute(name, value);
  e.append(...kids);
  return e;
}

const make = (tag, attributes, ...kids) => fill(document.createElement(tag), attributes, kids);
const mark = (tag, attributes, ...kids) => fill(document.createElementNS(SVG, tag), attributes, kids);
const row = (...cells) => make('tr', null, ...cells.map((c) => (c instanceof Node ? c : make('td', null, String(c)))));
const say = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };

function real(v, digits = 4) {
  if (v === null || v === undefined) return '\u2013';
  if (v <= -9999) return '\u2212\u221e';
  return v.toFixed(digits).replace('-', '\u2212');
}

const visible = (text) => text.replace(/\n/g, '\u21b5').replace(/\t/g, '\u21e5');

// ---- what is asked ----

class Refused extends Error {
  constructor(message, param, status) {
    super(message);
    this.param = param;
    this.status = status;
  }
}

const fields = { best_of: 'n', n: 'keep', temperature: 'temperature', max_tokens: 'max_tokens', seed: 'seed' };

function numberOf(param) {
  const e = $(fields[param]);
  const value = Number(e.value);
  if (e.validity.badInput || Math.abs(value) > Number.MAX_SAFE_INTEGER)
    throw new Refused(`${e.labels[0].textContent}: a number is expected`, param);
  return e.value === '' ? undefined : value;
}

function bodyOf() {
  const history = [$('interest1').value.trim(), $('interest2').value.trim()].filter((text) => text);
  const body = { stream: true, forkcast: { events: true, all: true } };
  if ($('prompt').value !== '') body.prompt = $('prompt').value;
  if (history.length) body.forkcast.history = history;
  if ($('model').value) body.model = $('model').value;
  for (const param of Object.keys(fields)) body[param] = numberOf(param);
  return body;
}

function headers() {
  const key = $('key').value;
  if (/[^\x21-\x7e]/.test(key)) throw new Refused('API key: it is visible ASCII alone', null, 401);
  return { 'Content-Type': 'application/json', ...(key ? { 'X-Api-Key': key } : {}) };
}

async function refusal(response) {
  const wait = response.headers.get('retry-after');
  let e = {};
  try {
    e = (await response.json()).error || {};
  } catch {
    // no JSON: a proxy's own page
  }
  const message = e.message || `The server answered ${response.status}.`;
  return new Refused(wait ? `${message}; try again in ${wait} s` : message, e.param, response.status);
}

async function request(path, options) {
  const said = { cache: 'no-store', headers: headers(), ...options };
  try {
    return await fetch(path, said);
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Refused('The server does not answer.');
  }
}

// ---- the stream ----

async function* dataOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split('\n\n');
      rest = blocks.pop();
      for (const b of blocks) if (b.startsWith('data: ')) yield b.slice(6); // others are comments
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function take(run, ev) {
  if (!run.paths.has(ev.candidate)) run.paths.set(ev.candidate, []);
  if (ev.type === 'token') {
    run.paths.get(ev.candidate).push({ id: ev.token, text: ev.text });
  } else if (ev.type === 'candidate') {
    run.ended.set(ev.candidate, ev.text);
  } else if (ev.type === 'score') {
    run.scores.set(ev.candidate, ev.score);
  }
}

/* The answer covers the record's candidates alone. Where no tokens have come a text stands for all of them. */
function settle(run, record) {
  const pathOf = (c) => (run.paths.get(c.index) || []).length ? run.paths.get(c.index) : [{ id: c.text, text: c.text }];
  run.record = record;
  run.paths = new Map(record.all_candidates.map((c) => [c.index, pathOf(c)]));
  for (const c of record.all_candidates) {
    run.ended.set(c.index, c.text);
    if (c.score !== null) run.scores.set(c.index, c.score);
  }
}

async function ask(body, run) {
  const began = performance.now();
  const options = { method: 'POST', body: JSON.stringify(body), signal: stopper.signal };
  const response = await request('v1/completions', options);
  if (!response.ok) throw await refusal(response);
  for await (const data of dataOf(response)) {
    if (data === '[DONE]') {
      run.ms = performance.now() - began;
      return;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(chunk.error.message, chunk.error.param, chunk.error.code);
    if (chunk.event) take(run, chunk.event);
    if (chunk.best_of) settle(run, chunk.best_of);
    drawing = drawing || setTimeout(draw, 80, run);
  }
  throw new Refused('The stream ended before the answer was whole.');
}

// ---- the tree ----

const newNode = (text) => ({ text, kids: new Map(), of: [], ends: [] });

/* A trie of what the candidates drew. */
function grow(run) {
  const root = newNode('');
  for (const [c, path] of [...run.paths].slice(0, DRAWN_MAX)) {
    let node = root;
    root.of.push(c);
    for (const { id, text } of path) {
      if (!node.kids.has(id)) node.kids.set(id, newNode(text));
      node = node.kids.get(id);
      node.of.push(c);
    }
    node.ends.push(c);
  }
  return root;
}

/* Down to where candidates part or end, as one line. */
function lineOf(node) {
  let text = node.text;
  while (node.kids.size === 1 && !node.ends.length) {
    [node] = node.kids.values();
    text += node.text;
  }
  return { node, text };
}

/* Who has drawn just this: score and rank, or that they go on. */
function putEnd(line, run, ranks, ends) {
  const [first] = ends;
  const rank = ends.map((c) => ranks.get(c)).find((r) => r);
  const scored = run.scores.has(first), words = run.ended.has(first) ? 'ended' : '\u2026';
  line.append(make('span', { class: 'score' }, scored ? `score ${real(run.scores.get(first), 3)}` : words));
  line.dataset.candidates = ends.join(' ');
  if (!rank) return;
  line.classList.add('best');
  line.append(make('span', { class: 'rank' }, `kept, rank ${rank}`));
}

/* One line of the drawing, and what hangs on it. */
function item(run, ranks, node, many, text) {
  const line = make('div', { class: 'node' }, make('span', { class: 'many' }, `\u00d7${many}`), text);
  const li = make('li', null, line);
  li.style.setProperty('--many', `${1 + Math.log2(many)}px`);
  if (node.of.some((c) => ranks.has(c))) li.classList.add('best');
  if (node.ends.length) putEnd(line, run, ranks, node.ends);
  if (node.kids.size) li.append(make('ul', null, ...[...node.kids.values()].map((k) => branch(run, ranks, k))));
  return li;
}

function branch(run, ranks, top) {
  const { node, text } = lineOf(top);
  const shown = visible(text) || (node.kids.size ? '\u2026' : '(end)');
  return item(run, ranks, node, node.of.length, make('span', { class: 'text' }, shown));
}

function drawTree(run) {
  const root = grow(run);
  const ranks = new Map((run.record ? run.record.candidates : []).map((c) => [c.index, c.rank]));
  const n = run.record ? run.record.confidence.n_used : Math.max(run.n, run.paths.size);
  const asked = [...(run.record ? run.record.prompt : run.asked)];
  const tail = (asked.length > PROMPT_MAX ? '\u2026' : '') + visible(asked.slice(-PROMPT_MAX).join(''));
  const prompt = make('span', { class: 'text prompt' }, tail);
  $('tree').replaceChildren(item(run, ranks, root, n, prompt));
  $('tree-section').hidden = false;
}

// ---- the record ----

function drawRecord(run) {
  const { candidates, confidence: c, accounting: a } = run.record;
  const parts = [['prompt', a.rows_flat_prefill, a.rows_prefill], ['candidates', a.rows_flat_decode, a.rows_decode],
                 ['scores', a.rows_flat_score, a.rows_score]];
  const here = a.rows_prefill + a.rows_decode + a.rows_score + a.rows_replayed;
  const apart = a.rows_flat_prefill + a.rows_flat_decode + a.rows_flat_score;
  const known = [a.rows_reused && `${a.rows_reused} tokens were in the prefix cache`,
                 a.scores_cached && `${a.scores_cached} scores in the score cache`].filter((text) => text);
  if (a.rows_replayed) parts.push(['replayed', 0, a.rows_replayed]);
  $('kept').replaceChildren(...candidates.map((k) => row(k.rank, real(k.score), real(k.logprob), k.votes, k.text)));
  $('confidence').replaceChildren(...[
    ['log-prob of the best', real(c.logprob)], ['entropy, nats', real(c.entropy)],
    ['vote share', `${real(100 * c.vote_share, 1)} %`], ['distinct', c.distinct], ['margin', real(c.margin)],
    ['valid mass', real(c.valid_mass)], ['n used', c.n_used],
  ].map(([name, value]) => make('div', null, make('dt', null, name), make('dd', null, String(value)))));
  say('saved', `${apart - here} of ${apart} tokens (${real(apart ? 100 * (apart - here) / apart : 0, 1)} %)` +
      (known.length ? `; ${known.join(', ')}.` : '.'));
  $('rows').replaceChildren(...parts.map(([name, flat, rows]) => row(make('th', { scope: 'row' }, name), flat, rows)));
  for (const id of OF_RECORD) $(id).hidden = false;
}

function draw(run) {
  clearTimeout(drawing);
  drawing = 0;
  drawTree(run);
  if (run.record) drawRecord(run);
  say('progress', run.record ? '' : `${run.ended.size} of ${run.n} ended, ${run.scores.size} scored`);
}

// ---- latency ----

function drawPlot() {
  const w = 340, h = 200, left = 44, right = 12, top = 14, bottom = 32;
  const high = Math.max(...runs.map((r) => r.page)) * 1.1;
  const wide = Math.max(...runs.map((r) => Math.log2(r.n)), 3);
  const x = (n) => left + Math.log2(n) / wide * (w - left - right);
  const y = (ms) => h - bottom - Math.min(ms / high, 1) * (h - top - bottom);
  const sweep = runs.filter((r) => r.sweep);
  const out = [mark('path', { class: 'axis', fill: 'none', d: `M${left},${top}V${h - bottom}H${w - right}` }),
               mark('text', { x: 2, y: 9 }, 'ms'), mark('text', { x: w - right - 4, y: h - 4 }, 'n')];
  for (let k = 0; k <= wide; k++)
    out.push(mark('text', { x: x(2 ** k), y: h - bottom + 14, 'text-anchor': 'middle' }, String(2 ** k)));
  for (const part of [0, 0.5, 1]) {
    const ms = high / 1.1 * part;
    out.push(mark('text', { x: left - 5, y: y(ms) + 3, 'text-anchor': 'end' }, ms.toFixed(ms < 10 ? 1 : 0)));
  }
  if (sweep.length > 1) {
    const one = sweep[0].page / sweep[0].n;
    const end = Math.min(sweep.at(-1).n, high / one); // where it leaves the plot
    const points = Array.from({ length: 33 }, (_, i) => end ** (i / 32));
    out.push(mark('polyline', { class: 'separate', points: points.map((n) => `${x(n)},${y(n * one)}`).join(' ') }),
             mark('polyline', { class: 'measured', points: sweep.map((r) => `${x(r.n)},${y(r.page)}`).join(' ') }));
  }
  for (const r of runs)
    out.push(mark('circle', { class: r.sweep ? 'dot' : 'single', cx: x(r.n), cy: y(r.page), r: 3.5 }));
  $('plot').replaceChildren(...out);
  say('plot-text', runs.map((r) => `n = ${r.n}: ${r.page.toFixed(0)} ms`).join('; ') +
      (sweep.length > 1 ? '. Dashed: n times the time of n = 1.' : '.'));
  const cells = (r) => [r.n, r.page.toFixed(1), r.server.toFixed(1), r.sweep ? 'empty' : 'as they were'];
  $('runs').replaceChildren(...runs.map((r) => row(...cells(r))));
  $('plot-section').hidden = false;
}

function note(run, sweep) {
  runs.push({ n: run.record.n, page: run.ms, server: run.record.timings_ms.total, sweep });
  drawPlot();
}

// ---- what the buttons do ----

function begin(body) {
  const history = body.forkcast.history || [];
  const asked = [body.prompt, history.join(', ')].filter((text) => text).join('\n');
  for (const id of OF_RECORD) $(id).hidden = true;
  return { n: body.best_of || 1, asked, paths: new Map(), ended: new Map(), scores: new Map() };
}

async function one(body, kind) {
  const run = begin(body);
  draw(run);
  await ask(body, run);
  draw(run);
  if (kind !== 'warm') note(run, kind === 'sweep');
  return run.record;
}

async function runOnce() {
  say('status', 'Running.');
  const { candidates, confidence: c } = await one(bodyOf());
  const best = candidates[0];
  say('status', `Done: ${c.n_used} candidates, ${c.distinct} distinct, ${candidates.length} kept.` +
      (best ? ` The best: \u201c${best.text.trim()}\u201d, score ${real(best.score, 3)}.` : ''));
}

/* Each run has caches of its own, so that none finds what another has computed. The first one only warms up. */
async function runSweep() {
  const body = bodyOf();
  runs.splice(0, runs.length, ...runs.filter((r) => !r.sweep));
  for (const [i, n] of [1, ...SWEEP].entries()) {
    say('status', `Running n = ${n}.`);
    const keep = body.n === undefined ? undefined : Math.min(body.n, n);
    const salt = `page-${performance.timeOrigin}-${performance.now()}`;
    await one({ ...body, best_of: n, n: keep, cache_salt: salt }, i ? 'sweep' : 'warm');
  }
  say('status', `Done: latency for n = ${SWEEP.join(', ')}.`);
}

function showError(e) {
  const interests = !$('prompt').value && ($('interest1').value || $('interest2').value);
  const id = { ...fields, model: 'model', prompt: interests ? 'interest1' : 'prompt', forkcast: 'interest1' }[e.param];
  say('error', e.message);
  if (e.status === 401) $('key-field').hidden = false;
  const field = e.status === 401 ? $('key') : id && $(id);
  if (!field) return;
  field.setAttribute('aria-invalid', 'true');
  field.focus();
}

async function guarded(work) {
  if (stopper) return;
  stopper = new AbortController();
  say('error', '');
  for (const e of document.querySelectorAll('[aria-invalid]')) e.removeAttribute('aria-invalid');
  for (const id of ['run', 'sweep']) $(id).setAttribute('aria-disabled', 'true');
  $('stop').removeAttribute('aria-disabled');
  try {
    await work();
  } catch (e) {
    clearTimeout(drawing);
    drawing = 0;
    say('progress', '');
    say('status', e.name === 'AbortError' ? 'Stopped.' : '');
    if (e.name !== 'AbortError') showError(e);
  }
  stopper = null;
  for (const id of ['run', 'sweep']) $(id).removeAttribute('aria-disabled');
  $('stop').setAttribute('aria-disabled', 'true');
}

/* Which models there are, and whether a key is asked for. */
async function describe() {
  const response = await request('v1/models');
  if (response.status === 503) setTimeout(() => describe().catch(showError), 2000);
  if (response.status === 401) $('key-field').hidden = false;
  else if (!response.ok) throw await refusal(response);
  if (!response.ok) return;
  const { data } = await response.json();
  say('error', '');
  say('about', `${data[0].id}: n candidates of one prompt, scored, and the best of them kept`);
  $('model').replaceChildren(...data.map((m) => make('option', { value: m.id }, m.id)));
  $('model-field').hidden = data.length < 2;
}

$('ask').addEventListener('submit', (e) => {
  e.preventDefault();
  guarded(runOnce);
});
$('sweep').addEventListener('click', () => guarded(runSweep));
$('stop').addEventListener('click', () => stopper && stopper.abort());
$('key').addEventListener('change', () => describe().catch(showError));
$('prompt').addEventListener('keydown', (e) => {
  if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) $('ask').requestSubmit();
});
$('main').hidden = false;
describe().catch(showError);
