/* gates - what a table must reach before it takes the place of the old one.
 *
 *   coverage      rows / planned keys >= coverage
 *   exact match   mean over rows of the share of drawn candidates that are names (fc_table_stats) >= exact_match; not
 *                 asked where there is no taxonomy
 *   recall        of the test transitions whose key the table has, the share whose next name is among the first
 *                 recall_at kept ones >= recall; asked where a file of them is given
 *   drift         Kolmogorov-Smirnov distance of the scores at rank 1 from those of the old table <= drift;
 *                 asked where there is one that was scored in the same mode
 *
 * All are looked at, and each says what it found; the first that fails is the error's sentence, with by how much.
 */
#ifndef FC_APP_BULK_GATES_H
#define FC_APP_BULK_GATES_H

#include "engine/app/args.h"
#include "engine/table.h"

typedef struct {
    float coverage, exact_match, recall, drift;
    int recall_at;           /* 0: all that are kept */
    const char *transitions; /* a file of lines.h, or NULL */
} gates;

void gates_init(gates *g);                       /* 1, 0.9, 0.015 at 1, 0.2 */
void gates_args(gates *g, arg *args, size_t *n); /* rows of a command's table */

/* Whether bounds are shares and the file can be read: what would else be found out when all rows are there. */
fc_status gates_prepare(const gates *g);

typedef struct {
    const char *name; /* "exact match" */
    double found, bound;
    bool asked, held;
    char note[96]; /* why it is not asked, or what is to be known; "" */
} gate_result;
enum { GATES = 4 };

/* old: the table that is replaced, or NULL. Into out [GATES]; FC_ERR_UNSUPPORTED where one does not hold. */
fc_status gates_check(const gates *g, fc_table *t, fc_table *old, gate_result *out);
/* As lines for a person. */
fc_status gates_print(const gate_result *r, fc_str *out);

/* Gates, then publication as `path`; out [GATES]. */
fc_status gates_publish(const gates *g, fc_table *work, const char *path, gate_result *out);

#endif
