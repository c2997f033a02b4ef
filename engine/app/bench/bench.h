/* bench - the subcommands of `forkcast bench`. argv[0] is the subcommand's name; each returns the exit code. */
#ifndef FC_APP_BENCH_BENCH_H
#define FC_APP_BENCH_BENCH_H

int bench_latency(int argc, char **argv);
int bench_frontier(int argc, char **argv);
int bench_capacity(int argc, char **argv);
int bench_compare(int argc, char **argv); /* 3: B is worse, 4: some could not be judged */
int bench_model(int argc, char **argv);

#endif
