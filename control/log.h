/* log: one line an event: pid, UTC time, level, text. To standard output, or to `logfile`.
 * Thread: the control process's main thread (each line is one write, so a second thread would not tear it). */
#pragma once

#include <stdarg.h>

#include "control/config/config.h"

/* `path` "" : standard output. 0 or -errno; the old target stands on failure. */
int log_open(const char *path);
void log_set_level(enum config_loglevel level);
/* The descriptor lines go to; a child's standard error is put there too. */
int log_fd(void);
void log_line(enum config_loglevel level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* `text` may have several lines; each becomes a line of the log. */
void log_text(enum config_loglevel level, const char *text);

#define log_notice(...)  log_line(LOGLEVEL_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOGLEVEL_WARNING, __VA_ARGS__)
#define log_verbose(...) log_line(LOGLEVEL_VERBOSE, __VA_ARGS__)
