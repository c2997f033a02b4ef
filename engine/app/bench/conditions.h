/* conditions - what the report says of how it was measured: the command, the machine, and settings, which two results
 * must share to be compared. Files are named without their folders, and told apart by a hash of what they hold. */
#ifndef FC_APP_BENCH_CONDITIONS_H
#define FC_APP_BENCH_CONDITIONS_H

#include "engine/app/bench/setup.h"

/* `forkcast bench` and its arguments, as a shell takes them. */
fc_status conditions_command(int argc, char **argv, fc_str *out);
/* The target is open. Measures the machine's limits where these are asked for. */
fc_status conditions_put(setup *s);

#endif
