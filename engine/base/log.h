/* log - lines for a person on stderr; quiet unless asked. */
#ifndef FC_BASE_LOG_H
#define FC_BASE_LOG_H

typedef enum { FC_LOG_ERROR = 0, FC_LOG_WARN, FC_LOG_INFO, FC_LOG_DEBUG } fc_log_level;

void fc_log_set(fc_log_level most); /* default FC_LOG_WARN */
void fc_log(fc_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
