/* pattern - Python regular expressions against the names of modules, as adapter files use them.
 *
 * Written over POSIX extended expressions. Understood besides what both have: (?:...), lazy quantifiers (whether
 * something matches does not depend on them), \d \w \b and escaped signs. At most 256 bytes and three counts up to 16,
 * so that no expression takes long; anything else is FC_ERR_UNSUPPORTED with the expression.
 */
#ifndef FC_WEIGHTS_PATTERN_H
#define FC_WEIGHTS_PATTERN_H

#include "engine/base/status.h"

#include <regex.h>
#include <stdbool.h>

typedef struct {
    regex_t re;
} fc_pattern;

/* tail: the whole name, or its end behind a point, as PEFT's rank_pattern; else the whole name. path: for errors. */
fc_status fc_pattern_open(const char *path, const char *python, bool tail, fc_pattern *out);
void fc_pattern_fini(fc_pattern *p);
bool fc_pattern_matches(const fc_pattern *p, const char *name);

#endif
