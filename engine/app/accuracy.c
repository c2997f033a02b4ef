#include "engine/app/accuracy.h"

#include "engine/app/request_args.h"
#include "engine/base/mem.h"
#include "engine/forkcast.h"

#include <math.h>
#include <string.h>

enum { PIECE = 1500 /* bytes; less where a context has not as many positions */ };

static const char builtin[] =
    "The harbour was quiet when the ferry came in. Two boys carried crates of oranges up the steps, and an old woman "
    "counted them aloud, as she had done every morning since the war. Nobody hurried. The captain folded his paper, "
    "looked at the sky over the hills and said that it would rain before noon.\n\n"
    "To find the median of a list of numbers, sort them and take the one in the middle. If the list has an even number "
    "of elements, take the mean of the two middle ones. Unlike the mean, the median does not change much when one "
    "value "
    "is very large: of 1, 2, 3, 4 and 1000 the median is 3 and the mean is 202.\n\n"
    "Q: Which planet of the solar system has the shortest year?\n"
    "A: Mercury. It goes around the Sun once in about 88 days.\n"
    "Q: Why does ice float on water?\n"
    "A: Because water expands when it freezes, so ice is less dense than the water around it.\n\n"
    "def largest(values):\n    best = values[0]\n    for v in values[1:]:\n        if v > best:\n            best = v\n"
    "    return best\n\n"
    "Dear Ms. Keller, thank you for your order of 12 March. The lamp that you asked for is out of stock until the end "
    "of "
    "the month. We can send you the same model in brass today, or refund the price of 49.90. Please let us know which "
    "you prefer. With kind regards, the customer service team.";

/* Log-probs of all pieces by one model, and their ids. */
typedef struct {
    float *logprobs; /* [n] */
    int32_t *ids;    /* [n] */
    size_t n, cap_logprobs, cap_ids;
} reading;

static void reading_fini(reading *r) {
    fc_free(r->logprobs);
    fc_free(r->ids);
}

static fc_status keep(reading *r, const fc_result *result) {
    void *p = r->logprobs, *q = r->ids;
    size_t n = result->prompt_tokens;
    FC_TRY(fc_grow(&p, &r->cap_logprobs, r->n + n, sizeof *r->logprobs, "log-probs"));
    r->logprobs = p;
    FC_TRY(fc_grow(&q, &r->cap_ids, r->n + n, sizeof *r->ids, "ids"));
    r->ids = q;
    for (size_t i = 0; i < n; i++) {
        r->logprobs[r->n] = result->prompt_logprobs[i];
        r->ids[r->n++] = result->prompt_ids[i];
    }
    return FC_OK;
}

static fc_status read_piece(fc_engine *e, const char *text, size_t size, reading *r) {
    const fc_piece piece = {.text = text, .size = size};
    fc_event done = {0};
    fc_request q;
    fc_status st;
    fc_request_init(&q);
    q.prompt = (fc_prompt){.pieces = &piece, .n_pieces = 1};
    q.prompt_logprobs = true;
    q.sampling.max_tokens = 0;
    st = request_wait(e, &q, NULL, NULL, &done);
    if (!st) st = keep(r, done.result);
    fc_event_fini(&done);
    return st;
}

/* Bytes of the next piece: all, or up to and with the last blank of `most`, or these where there is none. */
static size_t piece_of(const char *text, size_t size, size_t most) {
    size_t n = most;
    if (size <= most) return size;
    while (n && text[n - 1] != ' ' && text[n - 1] != '\n') n--;
    return n ? n : most;
}

static fc_status read_all(const char *model, const char *text, size_t size, reading *r) {
    const fc_engine_options o = {.novelty = model, .kv_type = "f32", .max_requests = 1};
    fc_engine_info info;
    fc_engine *e;
    size_t most = PIECE;
    fc_status st = FC_OK;
    FC_TRY(fc_engine_open(&o, &e));
    fc_engine_describe(e, &info);
    if (info.novelty.ctx / 2 < PIECE) most = (size_t)info.novelty.ctx / 2; /* an id is a byte at least, but for BOS */
    most = most ? most : 1;
    for (size_t n; size && !st; text += n, size -= n) {
        n = piece_of(text, size, most);
        st = read_piece(e, text, n, r);
    }
    fc_engine_close(e);
    return st;
}

fc_status accuracy_compare(const char *before, const char *after, const char *text, size_t size, accuracy *out) {
    reading a = {.n = 0}, b = {.n = 0};
    accuracy sum = {.tokens = 0};
    fc_status st;
    if (!text) text = builtin, size = sizeof builtin - 1;
    FC_TRY_GOTO(st, read_all(before, text, size, &a), out);
    FC_TRY_GOTO(st, read_all(after, text, size, &b), out);
    if (a.n != b.n || (a.n && memcmp(a.ids, b.ids, a.n * sizeof *a.ids) != 0)) {
        st = FC_FAIL(FC_ERR_ARG, "%s and %s make different ids of one text: %zu and %zu", before, after, a.n, b.n);
        goto out;
    }
    for (size_t i = 0; i < a.n; i++) {
        double x = (double)a.logprobs[i], y = (double)b.logprobs[i];
        if (isnan(x)) continue; /* the first of a piece */
        sum.tokens++;
        sum.mean += fabs(x - y);
        sum.most = fmax(sum.most, fabs(x - y));
        sum.before += x;
        sum.after += y;
    }
    if (sum.tokens == 0) {
        st = FC_FAIL(FC_ERR_ARG, "the text that is to be checked has no two ids in a row");
        goto out;
    }
    sum.mean /= (double)sum.tokens;
    sum.before /= (double)sum.tokens;
    sum.after /= (double)sum.tokens;
    *out = sum;
out:
    reading_fini(&b);
    reading_fini(&a);
    return st;
}
