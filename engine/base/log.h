/* log - warnings and errors that have no caller to go to, as lines for a person on stderr. */
#ifndef FC_BASE_LOG_H
#define FC_BASE_LOG_H

typedef enum { FC_LOG_ERROR = 0, FC_LOG_WARN } fc_log_level;

void fc_log(fc_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
