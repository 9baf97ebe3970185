/* log: see log.h. Lines are written with one write(2) each; a log that cannot be written never stops the server. */
#include "control/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int fd = STDOUT_FILENO;
static enum config_loglevel least = LOGLEVEL_NOTICE;

int log_open(const char *path)
{
    if (!*path)
        return 0;
    int n = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (n < 0)
        return -errno;
    if (fd != STDOUT_FILENO)
        close(fd);
    fd = n;
    return 0;
}

void log_set_level(enum config_loglevel level)
{
    least = level;
}

int log_fd(void)
{
    return fd;
}

void log_line(enum config_loglevel level, const char *fmt, ...)
{
    static const char *const names[] = {"debug", "verbose", "notice", "warning"};
    char line[2048];
    struct timespec ts;
    struct tm tm;
    va_list ap;

    if (level < least)
        return;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    int n = snprintf(line, sizeof line, "%d ", (int)getpid());
    n += (int)strftime(line + n, sizeof line - (size_t)n, "%Y-%m-%dT%H:%M:%S", &tm);
    n += snprintf(line + n, sizeof line - (size_t)n, ".%03ldZ %s ", ts.tv_nsec / 1000000,
                  names[level]);
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    va_end(ap);
    size_t len = strnlen(line, sizeof line - 2);
    for (size_t i = (size_t)n; m > 0 && i < len; i++)
        if ((unsigned char)line[i] < ' ')
            line[i] = ' '; /* texts of others may come with line ends */
    line[len] = '\n';
    if (write(fd, line, len + 1) < 0)
        return;
}

void log_text(enum config_loglevel level, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        if (n)
            log_line(level, "%.*s", (int)n, text);
        text += n + (text[n] == '\n');
    }
}
