/* drawing - groups in branches: they draw, split where members disagree, part where a replay holds several, and
 * finish. */
#include "engine/base/sort.h"
#include "engine/sched.h"

#include <math.h>
#include <string.h>

/* ---- where a branch stops ---- */

static int length_of(const fc_job *j, int group) { return j->n_prompt + j->paths[group].n; }

/* Positions that all groups of the list share; behind them one draws, or they part. */
static int common_length(const fc_job *j, int group) {
    const fc_path *first = &j->paths[group];
    int n = first->n;
    for (int g = j->group_next[group]; g >= 0; g = j->group_next[g]) {
        const fc_path *p = &j->paths[g];
        int k = 0;
        while (k < n && k < p->n && p->ids[k] == first->ids[k]) k++;
        n = k;
    }
    return j->n_prompt + n;
}

bool fc_drawing_wants(const fc_branch *b) {
    for (int g = b->group; g >= 0; g = b->job->group_next[g])
        if (length_of(b->job, g) == b->target) return true;
    return false;
}

/* ---- one drawn token ---- */

/* Appends an id to the path and says whether that ends it. */
static fc_status append(fc_sched *s, fc_job *j, int path, int32_t id, float logprob, bool *over) {
    fc_path *p = &j->paths[path];
    bool ends = j->constraint != FC_CONSTRAINT_MASK && fc_job_is_end(j, id), stopped;
    if (j->constraint == FC_CONSTRAINT_MASK) {
        p->node = fc_trie_step(j->trie, p->node, id);
        FC_ASSERT(p->node >= 0);
        ends = j->trie->n_children[p->node] == 0;
    }
    p->ids[p->n] = id;
    p->logprobs[p->n] = logprob;
    p->n++;
    *over = true;
    if (ends) {
        fc_path_send(s, j, path, true); /* with the text that was held back as a possible stop string */
        fc_path_finish(s, j, path, FC_FINISH_STOP, true);
        return FC_OK;
    }
    FC_TRY(fc_path_grow(s, j, path, id, &stopped));
    if (stopped) {
        fc_path_send(s, j, path, true);
        fc_path_finish(s, j, path, FC_FINISH_STOP, false);
        return FC_OK;
    }
    *over = p->n == j->max_tokens;
    fc_path_send(s, j, path, *over);
    if (*over) fc_path_finish(s, j, path, FC_FINISH_LENGTH, false);
    return FC_OK;
}

static bool forbidden(const fc_job *j, int32_t id) {
    for (size_t i = 0; i < j->sampling.n_bias; i++)
        if (j->sampling.bias_ids[i] == id && j->sampling.bias_values[i] == -INFINITY) return true;
    return false;
}

/* Ids that the mask leaves no choice about, with log-prob 0: up to where the names branch, or to an end. Not where
 * something is to be said of each of them that only its row knows. A forbidden one is left to its row, which refuses
 * it. */
static fc_status append_forced(fc_sched *s, fc_job *j, int path, bool *over) {
    const fc_trie *t = j->trie;
    if (j->constraint != FC_CONSTRAINT_MASK || fc_sched_off(s, FC_OFF_FORCED) || j->full_logprob ||
        j->sampling.top_logprobs || j->sampling.n_logprob_ids)
        return FC_OK;
    while (!*over && t->n_children[j->paths[path].node] == 1) {
        int32_t id = t->token[t->first_child[j->paths[path].node]];
        if (forbidden(j, id) || fc_ban_forbids(&j->ban, j->paths[path].ids, j->paths[path].n, id)) break;
        FC_TRY(append(s, j, path, id, 0.0f, over));
    }
    return FC_OK;
}

/* Member i of the row goes on in `path` with what it drew. */
static fc_status extend(fc_sched *s, fc_flight *f, fc_job *j, int path, int i, const fc_sampler_row *r, bool *over) {
    const fc_sampler *sm = &f->sampler;
    fc_path *p = &j->paths[path];
    float logprob = sm->logprob[r->member + i];
    int top = j->sampling.top_logprobs;
    if (top) {
        size_t at = (size_t)p->n * (size_t)top, from = (size_t)r->top * (size_t)sm->top_n;
        memcpy(p->top_ids + at, sm->top_ids + from, (size_t)top * sizeof *p->top_ids);
        memcpy(p->top_logprobs + at, sm->top_logprobs + from, (size_t)top * sizeof *p->top_logprobs);
    }
    if (j->sampling.n_logprob_ids)
        memcpy(p->id_logprobs + (size_t)p->n * j->sampling.n_logprob_ids, sm->asked_lp + r->asked,
               j->sampling.n_logprob_ids * sizeof *p->id_logprobs);
    if (r->full >= 0) {
        double mass = sm->lse_list[r->list] - sm->lse_full[r->full];
        p->mass += mass;
        p->full += (double)logprob + mass;
    }
    FC_TRY(append(s, j, path, sm->token[r->member + i], logprob, over));
    return append_forced(s, j, path, over);
}

/* ---- begin and idle ---- */

static fc_status open_branch(fc_sched *s, fc_job *j, int group) {
    fc_branch b = {
        .job = j, .kind = FC_BRANCH_DRAW, .role = FC_NOVELTY, .group = group, .target = common_length(j, group)};
    FC_TRY(fc_kv_table_open(s->lane[FC_NOVELTY]->kv, &b.table));
    FC_TRY(fc_cache_take(s, fc_branch_put(s, &b)));
    fc_sched_count_pages(s, j, fc_sched_list(s, FC_NOVELTY));
    return FC_OK;
}

/* Names that begin alike begin without a draw; a single name ends without one, and so does who wants no token. */
static fc_status force_first(fc_sched *s, fc_job *j) {
    for (int *place = &j->idle; *place >= 0;) {
        bool over = j->sampling.max_tokens == 0;
        if (over) fc_path_finish(s, j, *place, FC_FINISH_LENGTH, false);
        else if (j->paths[*place].n == 0) FC_TRY(append_forced(s, j, *place, &over));
        if (over) *place = j->group_next[*place];
        else place = &j->group_next[*place];
    }
    return FC_OK;
}

static int last_of(const fc_job *j, int group) {
    while (j->group_next[group] >= 0) group = j->group_next[group];
    return group;
}

fc_status fc_drawing_begin(fc_sched *s, fc_job *j) {
    int group;
    FC_TRY(force_first(s, j));
    group = j->idle;
    if (group < 0) /* no branch feeds the prompt */
        return fc_echo_pending(&j->echo) && j->stem[FC_NOVELTY].table < 0 ? fc_stem_begin(s, j, FC_NOVELTY) : FC_OK;
    if (!fc_sched_off(s, FC_OFF_FORK)) {
        FC_TRY(open_branch(s, j, group));
        j->idle = -1;
        return FC_OK;
    }
    while (j->idle >= 0) { /* each alone: nothing to fork */
        group = j->idle;
        j->idle = j->group_next[group];
        j->group_next[group] = -1;
        FC_TRY(open_branch(s, j, group));
    }
    return FC_OK;
}

void fc_drawing_idle(fc_sched *s, fc_job *j) {
    int list = fc_sched_list(s, FC_NOVELTY);
    for (int at = j->branches[list]; at >= 0; at = s->branches[list][at].next) {
        const fc_branch *b = &s->branches[list][at];
        int last = b->group;
        if (b->kind != FC_BRANCH_DRAW) continue;
        for (int g = b->group; g >= 0; g = j->group_next[g]) {
            if (b->len > j->paths[g].replay_to) j->paths[g].replay_to = b->len;
            last = g;
        }
        j->group_next[last] = j->idle;
        j->idle = b->group;
    }
}

/* ---- commit ---- */

/* What becomes of a branch at its target: the first list of groups that goes on keeps its table, the others fork it. */
typedef struct {
    fc_sched *s;
    fc_branch *b;
    fc_branch old;
    bool kept;
} parting;

static fc_status go_on(parting *p, int group) {
    fc_branch b = p->old;
    b.group = group;
    b.target = common_length(b.job, group);
    if (!p->kept) {
        p->b->group = b.group;
        p->b->target = b.target;
        p->kept = true;
        return FC_OK;
    }
    FC_TRY(fc_kv_fork(p->s->lane[FC_NOVELTY]->kv, p->old.table, &b.table));
    fc_branch_put(p->s, &b);
    p->s->stats.splits++;
    return FC_OK;
}

/* Members of a group rise. */
static void join(fc_job *j, int *head, int *last, int member) {
    int *place = *last < member ? &j->members[*last] : head;
    while (*place >= 0 && *place < member) place = &j->members[*place];
    j->members[member] = *place;
    *place = member;
    if (*last < member) *last = member;
}

/* Members that drew the same id become a group, headed by the smallest. They may come from several groups: after a
 * preemption candidates that are drawn again stand beside others with the same ids. who[i] becomes the head of the
 * group that member i of the row begins, or -1; every head gets its own history. Not coalesced, each member is a
 * group. */
static fc_status regroup(fc_sched *s, fc_job *j, const fc_sampler_row *r, const int32_t *token, int32_t *who) {
    int n = 0, before = 0;
    for (int g = r->group; g >= 0; g = j->group_next[g]) {
        if (j->paths[g].n != r->length) continue;
        for (int m = g; m >= 0; m = j->members[m]) who[n++] = m;
        before++;
    }
    FC_ASSERT(n == r->n_members);
    if (fc_sched_off(s, FC_OFF_COALESCE)) return FC_OK; /* groups of one from the start */
    j->n_open -= before;
    for (int i = 0; i < n; i++) {
        int head = who[i], last = who[i];
        if (head < 0) continue;
        j->members[head] = -1;
        for (int k = i + 1; k < n; k++) {
            if (who[k] < 0 || token[k] != token[i]) continue;
            join(j, &head, &last, who[k]);
            who[k] = -1;
        }
        who[i] = head;
        j->n_open++;
        /* before anybody appends: the first group's path is what all share */
        FC_TRY(fc_path_copy(j, &j->paths[r->group], &j->paths[head]));
    }
    return FC_OK;
}

/* Groups of a replay whose ids go on behind the target, apart from those that drew there: one list for each next id. */
static fc_status part_groups(parting *p, int rest) {
    fc_job *j = p->old.job;
    while (rest >= 0) {
        int list = rest, last = rest, others = -1, others_last = -1, at = p->old.target - j->n_prompt;
        int32_t id = j->paths[rest].ids[at];
        for (int g = j->group_next[rest], next; g >= 0; g = next) {
            next = j->group_next[g];
            if (j->paths[g].ids[at] == id) {
                j->group_next[last] = g;
                last = g;
            } else {
                if (others < 0) others = g;
                else j->group_next[others_last] = g;
                others_last = g;
            }
        }
        j->group_next[last] = -1;
        if (others_last >= 0) j->group_next[others_last] = -1;
        FC_TRY(go_on(p, list));
        rest = others;
    }
    return FC_OK;
}

/* Members of all groups of the list as one group, in rising order; they have drawn nothing. Returns its head. */
static int join_groups(fc_sched *s, fc_job *j, int list) {
    int n = 0;
    for (int g = list; g >= 0; g = j->group_next[g]) {
        for (int m = g; m >= 0; m = j->members[m]) s->who[n++] = m;
        j->n_open -= g != list;
    }
    fc_sort_ids(s->who, n);
    for (int i = 0; i < n; i++) j->members[s->who[i]] = i + 1 < n ? s->who[i + 1] : -1;
    j->group_next[s->who[0]] = -1;
    return s->who[0];
}

/* Groups that begin behind the prompt again: its last id is computed anew, for all of them. */
static fc_status begin_behind(fc_sched *s, fc_job *j, int group) {
    fc_branch b = {.job = j,
                   .kind = FC_BRANCH_DRAW,
                   .role = FC_NOVELTY,
                   .group = group,
                   .target = common_length(j, group),
                   .len = j->n_prompt - 1};
    FC_TRY(fc_kv_fork_at(s->lane[FC_NOVELTY]->kv, j->stem[FC_NOVELTY].table, b.len, &b.table));
    fc_branch_put(s, &b);
    return FC_OK;
}

static bool stem_stays(const fc_sched *s, const fc_job *j) {
    return !fc_sched_off(s, FC_OFF_FORK) && (j->constraint == FC_CONSTRAINT_REJECT || j->n_max > j->wave);
}

fc_status fc_drawing_wave(fc_sched *s, fc_job *j) {
    int group;
    fc_job_next_wave(j);
    if (j->stem[FC_NOVELTY].table < 0) return fc_drawing_begin(s, j);
    FC_TRY(force_first(s, j));
    group = j->idle;
    j->idle = -1;
    return group < 0 ? FC_OK : begin_behind(s, j, group);
}

fc_status fc_drawing_commit(fc_sched *s, fc_flight *f, fc_branch *b) {
    parting p = {.s = s, .b = b, .old = *b};
    fc_job *j = b->job;
    const fc_sampler_row *r = b->draw >= 0 ? &f->sampler.rows[b->draw] : NULL;
    int rest = -1, rest_last = -1, n = 0;
    if (r) {
        if (stem_stays(s, j) && j->stem[FC_NOVELTY].table < 0)
            FC_TRY(fc_kv_fork_at(s->lane[FC_NOVELTY]->kv, b->table, j->n_prompt, &j->stem[FC_NOVELTY].table));
        FC_TRY(regroup(s, j, r, f->sampler.token + r->member, s->who));
        n = r->n_members;
    }
    for (int g = b->group, next; g >= 0; g = next) { /* those that did not draw */
        next = j->group_next[g];
        if (r && j->paths[g].n == r->length) continue;
        j->group_next[g] = -1;
        if (rest < 0) rest = g;
        else j->group_next[rest_last] = g;
        rest_last = g;
    }
    for (int i = 0; i < n; i++) {
        int path = s->who[i];
        bool over;
        if (path < 0) continue;
        j->group_next[path] = -1;
        FC_TRY(extend(s, f, j, path, i, r, &over));
        if (!over) FC_TRY(go_on(&p, path));
    }
    FC_TRY(part_groups(&p, rest));
    if (!p.kept) fc_branch_drop(s, b);
    return FC_OK;
}

fc_status fc_drawing_again(fc_sched *s, fc_job *j) {
    int group;
    if (j->redraw < 0 || j->failed) return FC_OK;
    group = fc_sched_off(s, FC_OFF_COALESCE) ? j->redraw : join_groups(s, j, j->redraw);
    j->redraw = -1;
    if (j->stem[FC_NOVELTY].table >= 0) return begin_behind(s, j, group);
    j->group_next[last_of(j, group)] = j->idle;
    j->idle = group;
    return fc_drawing_begin(s, j);
}
