/* prompts - what requests of a benchmark ask: made of random ids, each of the same length, or the lines of a file.
 *
 * Prompt i of a seed is the same in every run. Ids are drawn among those that stand for text: no special tokens.
 */
#ifndef FC_APP_BENCH_PROMPTS_H
#define FC_APP_BENCH_PROMPTS_H

#include "engine/app/request_args.h"

/* A line of a prompts file; with tabs in it, where the recipe takes a history, that of its names. */
typedef struct {
    const char *text; /* NUL behind */
    const char *const *history;
    size_t n_history;
} bench_line;

/* Zeroed, then bench_prompts_open. */
typedef struct {
    int tokens; /* ids of a prompt; 0: lines */
    uint64_t seed;
    fc_tokenizer *tokenizer; /* NULL with lines */
    bool histories;          /* lines are histories */
    char *file;
    uint64_t hash; /* of the file */
    bench_line *lines;
    size_t n_lines, cap_lines;
    const char **names; /* of all histories, in a row */
    size_t n_names, cap_names;
    int32_t *ids; /* [tokens] of the last prompt asked for */
} bench_prompts;

/* model: whose ids they are, where tokens > 0. path: of lines, where it is 0. */
fc_status bench_prompts_open(const char *path, const char *model, int tokens, uint64_t seed, bool histories,
                             bench_prompts *out);
void bench_prompts_close(bench_prompts *p); /* zeroed and half-built are fine */

/* p->ids become those of prompt i. */
fc_status bench_prompts_draw(bench_prompts *p, int i);
/* Prompt i is line i, counted around. */
const bench_line *bench_prompts_line(const bench_prompts *p, int i);

#endif
