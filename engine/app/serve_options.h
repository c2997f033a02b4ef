/* serve_options - the server's own table of options (serve/table.c), for the command that lists tables. */
#ifndef FC_APP_SERVE_OPTIONS_H
#define FC_APP_SERVE_OPTIONS_H

#include "engine/forkcast.h"

size_t serve_option_count(void); /* those of the server alone: the engine's, fc_option_at, are its options too */
const fc_option *serve_option_at(size_t i);

#endif
