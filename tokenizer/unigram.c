/* The unigram model: the path of pieces with the largest sum of scores (Viterbi). Equal pieces in another order give
 * another sum by rounding, so the arithmetic is part of the rule: double in `tokenizers`, float in SentencePiece. */
#include "tokenizer/parts.h"
#include "tokenizer/text.h"

fc_status fc_unigram_prepare(fc_tok *t) {
    for (size_t i = 0; i < t->vocab.size; i++) {
        const fc_vocab_entry *e = &t->vocab.entries[i];
        if (!e->model || e->size == 0) continue;
        if (e->size > FC_TOK_LONGEST_LATTICE)
            return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: piece %zu has %u bytes; the limit of a unigram model is %d",
                           t->name, i, e->size, FC_TOK_LONGEST_LATTICE);
        FC_TRY(fc_prefixes_add(&t->lattice, e->text, e->size, (int32_t)i));
    }
    return FC_OK;
}

/* A better way to reach node `to`, or the first. */
static void reach(fc_lattice_node *nodes, size_t from, size_t to, double score, int32_t id) {
    fc_lattice_node *n = &nodes[to];
    if (n->from >= 0 && score <= n->score) return;
    n->score = score;
    n->from = (int32_t)from;
    n->id = id;
}

static double sum(const fc_tok *t, double path, double score) {
    double s = path + score;
    return t->float_sums ? (double)(float)s : s;
}

static void walk(const fc_tok *t, fc_lattice_node *nodes, const char *word, size_t size) {
    for (size_t i = 0; i <= size; i++) nodes[i] = (fc_lattice_node){.from = -1, .to = -1, .id = -1};
    for (size_t i = 0, step; i < size; i += step) {
        uint32_t cp, node = 0;
        int32_t id;
        step = fc_text_next(word + i, &cp);
        for (size_t k = i; k < size && fc_prefixes_step(&t->lattice, &node, (unsigned char)word[k], &id); k++) {
            if (id >= 0) reach(nodes, i, k + 1, sum(t, nodes[i].score, t->vocab.entries[id].score), id);
        }
        /* where the character is a piece of its own this is worse: unk_score is below every piece's */
        reach(nodes, i, i + step, sum(t, nodes[i].score, t->unk_score), t->unk_model);
    }
    for (size_t i = size; i > 0; i = (size_t)nodes[i].from) nodes[nodes[i].from].to = (int32_t)i;
}

static fc_status put_unknown(fc_run *r, const char *text, size_t size) {
    const fc_tok *t = r->t;
    int32_t id = size <= FC_TOK_LONGEST_LATTICE ? fc_vocab_find_model(&t->vocab, text, size) : -1;
    size_t k = 0;
    if (id >= 0) return fc_run_put(r, id);
    while (t->byte_fallback && k < size && t->byte_ids[(unsigned char)text[k]] >= 0) k++;
    if (k < size) return fc_run_put(r, t->unk_model);
    for (k = 0; k < size; k++) FC_TRY(fc_run_put(r, t->byte_ids[(unsigned char)text[k]]));
    return FC_OK;
}

fc_status fc_unigram_word(fc_run *r, const char *word, size_t size) {
    void *p = r->nodes;
    fc_lattice_node *nodes;
    FC_TRY(fc_grow(&p, &r->cap_nodes, size + 1, sizeof *r->nodes, "lattice"));
    nodes = r->nodes = p;
    walk(r->t, nodes, word, size);
    for (size_t i = 0; i < size;) {
        size_t end = (size_t)nodes[i].to;
        if (nodes[end].id != r->t->unk_model) {
            FC_TRY(fc_run_put(r, nodes[end].id));
        } else { /* a run of unknown characters is one */
            while (end < size && nodes[nodes[end].to].id == r->t->unk_model) end = (size_t)nodes[end].to;
            FC_TRY(put_unknown(r, word + i, end - i));
        }
        i = end;
    }
    return FC_OK;
}
