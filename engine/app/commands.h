/* commands - the subcommands of the program. Each takes its own argc and argv (argv[0] is its name) and returns the
 * exit code: 0 done, 1 failed, 2 wrong arguments. */
#ifndef FC_APP_COMMANDS_H
#define FC_APP_COMMANDS_H

int cmd_bestof(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_convert(int argc, char **argv);
int cmd_tiny(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_options(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_bulk(int argc, char **argv);
int cmd_table(int argc, char **argv);
int cmd_bench(int argc, char **argv);

#endif
