/* latency - bench latency: what a request takes, and what of it where, against n. */
#include "engine/app/bench/bench.h"
#include "engine/app/bench/measure.h"

static fc_status job(setup *s, int argc, char **argv) {
    if (s->rate_text && s->concurrency > 1)
        return FC_FAIL(FC_ERR_ARG, "--concurrency: an open loop sends at its rate, however many are under way");
    FC_TRY(setup_open(s, argc, argv));
    if (s->n_rates) FC_TRY(measure_open(s));
    else FC_TRY(measure_closed(s));
    FC_TRY(measure_regret(s));
    progress_end(&s->line);
    return report_write(&s->report, s->out);
}

int bench_latency(int argc, char **argv) {
    setup s;
    bool help;
    int rest;
    size_t n = 0;
    arg args[ARGS_MAX];
    command c = {
        .name = "bench latency",
        .usage = "bench latency --novelty MODEL --alignment MODEL|none -n 1,4,16,64 --prompt-tokens P --max-tokens G "
                 "[options]",
        .about =
            "Measures requests for n candidates, for each n: latency and its parts, work done and memory, quality and\n"
            "regret, against n separate requests and against the machine's limits. Closed loop, so many requests at "
            "once;\nor open loop, arrivals at a given rate, where latency counts from the moment at which a request "
            "was due.",
        .args = args,
    };
    fc_status st;
    setup_init(&s, "latency", 10);
    args[n++] = arg_of(ARG_HEADING, "Loop:", NULL, NULL, NULL);
    args[n++] = arg_int("concurrency", &s.concurrency, 1, 1024, "C", "closed loop: requests at once; default 1");
    args[n++] = arg_of(ARG_TEXT, "rate", &s.rate_text, "R,R,...",
                       "open loop: requests a second, 0.001 to 1000000, at moments of a Poisson process");
    args[n++] = arg_of(ARG_FLAG, "no-separate", &s.no_separate, NULL,
                       "without the n separate requests that each request is held against");
    args[n++] = arg_of(ARG_FLAG, "no-regret", &s.no_regret, NULL,
                       "without scoring every name of a taxonomy, as one request at a time has it");
    setup_args(&s, args, &n);
    c.n_args = n;
    st = args_parse(&c, argc, argv, &rest, &help);
    progress_begin(&s.line);
    if (!st && !help) st = job(&s, argc, argv);
    progress_end(&s.line);
    setup_fini(&s);
    return args_exit("bench latency", st);
}
