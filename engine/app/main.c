/* forkcast - the program: one binary, a subcommand each. */
#include "engine/app/commands.h"
#include "engine/app/textio.h"
#include "engine/forkcast.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} commands[] = {
    {"bestof", cmd_bestof, "sample n candidates for one prompt, score them, print the best k"},
    {"run", cmd_run, "complete one prompt, streamed to the terminal"},
    {"score", cmd_score, "score given candidates for one prompt in one pass"},
    {"serve", cmd_serve, "answer over HTTP, as OpenAI and vLLM do"},
    {"bulk", cmd_bulk, "best-of-n for every history of a taxonomy, or a list of prompts, into a table"},
    {"table", cmd_table, "look into tables, compare, merge and publish them"},
    {"bench", cmd_bench, "latency, quality and cost against n, of this engine or a server"},
    {"tokenize", cmd_tokenize, "text to token ids, and back"},
    {"inspect", cmd_inspect, "what a model file holds and how much memory it takes"},
    {"convert", cmd_convert, "safetensors or GGUF to GGUF in another type"},
    {"tiny", cmd_tiny, "make a seeded random model of any family and size"},
    {"doctor", cmd_doctor, "what this machine has, which backend is used and why"},
    {"options", cmd_options, "what can be set, by flags, recipes and requests"},
};

static void usage(FILE *out) {
    fprintf(
        out,
        "forkcast %s: a novelty model proposes n candidates, an alignment model scores them, the best k come back.\n\n"
        "usage: forkcast COMMAND [options]      forkcast COMMAND --help says more\n\n",
        fc_version());
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].about);
    fprintf(out, "\nexit codes: 0 done, 1 failed, 2 wrong arguments\n");
}

/* What printf still holds: a help text that could not be written is a failure too. */
static int flushed(int code) {
    fc_status st = code == 0 ? text_write("", 0) : FC_OK;
    if (st == FC_OK) return code;
    if (st != FC_ERR_CANCELLED) fprintf(stderr, "forkcast: %s\n", fc_last_error());
    return 1;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, not a death, */
    signal(SIGXFSZ, SIG_IGN); /* and so is a file that may not grow */
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return flushed(0);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("forkcast %s\n", fc_version());
        return flushed(0);
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return flushed(commands[i].run(argc - 1, argv + 1));
    fprintf(stderr, "forkcast: unknown command \"%s\"; forkcast --help lists them\n", argv[1]);
    return 2;
}
