/* remote - the target that is a server with OpenAI's API: forkcast's own, or another engine's, by n and, where another
 * server ranks, by a rerank behind it. */
#ifndef FC_APP_BENCH_REMOTE_H
#define FC_APP_BENCH_REMOTE_H

#include "engine/app/bench/remote_json.h"

typedef struct {
    const char *url, *score_url, *score_model; /* score_url NULL: nobody ranks */
    const char *key;                           /* NULL: no bearer token */
    remote_form form;                          /* prompts may be drawn, so they are not const here */
    bench_prompts *prompts;
} bench_remote_options;

fc_status bench_remote_open(const bench_remote_options *o, bench_target **out);

#endif
