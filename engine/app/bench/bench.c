/* bench - what a request costs and gives, by n: measured, compared, and held against what one needs. */
#include "engine/app/bench/bench.h"

#include "engine/app/commands.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} parts[] = {
    {"latency", bench_latency, "latency, work and quality of a request against n, closed or open loop"},
    {"frontier", bench_frontier, "n against quality against cost, and which n to run"},
    {"capacity", bench_capacity, "the highest rate of requests that keeps a given p99"},
    {"compare", bench_compare, "two results, with confidence intervals"},
    {"model", bench_model, "what a machine, such as a GPU that is not here, should need: predicted, not measured"},
};

static void usage(FILE *out) {
    fprintf(out, "Measures best-of-n in this process, or of any server with OpenAI's API.\n\n"
                 "usage: forkcast bench PART [options]      forkcast bench PART --help says more\n\n");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        fprintf(out, "  %-10s %s\n", parts[i].name, parts[i].about);
}

int cmd_bench(int argc, char **argv) {
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(argv[1], parts[i].name) == 0) return parts[i].run(argc - 1, argv + 1);
    fprintf(stderr, "forkcast bench: unknown part \"%.80s\"; it is latency, frontier, capacity, compare or model\n",
            argv[1]);
    return 2;
}
