/* cases - which rows of two results are of one case, and in what else the two differ. */
#ifndef FC_APP_BENCH_CASES_H
#define FC_APP_BENCH_CASES_H

#include "engine/base/json.h"
#include "engine/base/str.h"

/* What is the same in all rows of A and in all of B, but not in both, tells no cases apart: a row of B is found by what
 * is left. Without one such thing a row is found by its whole case and its subject's name. */
typedef struct {
    const fc_json *rows[2]; /* of A and B */
    const char **aside;     /* [n_aside] keys of cases that are left out; owned, not what they point to */
    size_t n_aside, cap_aside;
    bool any_subject; /* names of subjects are left out too */
    fc_str unlike;    /* "threads: 1 and 7; P: 24 and 48": conditions that differ, and what is left out */
} bench_cases;

/* Of two results, which stay open. Zeroed before; bench_cases_fini after an error, too. */
fc_status bench_cases_find(const fc_json *a, const fc_json *b, bench_cases *out);
void bench_cases_fini(bench_cases *c);

/* The row of A (0) or B (1) that is of the same case as one of the other; NULL: none. */
const fc_json *bench_cases_row(const bench_cases *c, int in, const fc_json *like);
size_t bench_cases_common(const bench_cases *c); /* rows of A that B has */
/* "n 4, concurrency 1, forkcast": what cases are told apart by. */
fc_status bench_cases_name(const bench_cases *c, const fc_json *row, fc_str *out);

#endif
