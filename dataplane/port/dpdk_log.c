/* DPDK's log goes into a few lines of memory: a dataplane's stderr may be a closed pipe, and a user wants DPDK's reason inside our message.
 * Threads: any that DPDK logs from; a mutex guards the lines (no worker logs in its loop). */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include <rte_log.h>

#include "dataplane/port/port_internal.h"

#define LOG_LINES      3
#define LOG_LINE_BYTES 160

static struct {
    pthread_mutex_t lock;
    FILE *stream;
    char line[LOG_LINES][LOG_LINE_BYTES]; /* the newest is line[(count - 1) % LOG_LINES] */
    unsigned count;
    char joined[LOG_LINES * (LOG_LINE_BYTES + 2)];
} dpdk_log = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Only errors are kept: rte_log_cur_msg_loglevel tells the level of the message being written. */
static ssize_t log_write(void *cookie, const char *buf, size_t size)
{
    size_t n = size < LOG_LINE_BYTES - 1 ? size : LOG_LINE_BYTES - 1;

    if (rte_log_cur_msg_loglevel() > (int)RTE_LOG_ERR)
        return (ssize_t)size;
    pthread_mutex_lock(&dpdk_log.lock);
    char *to = dpdk_log.line[dpdk_log.count++ % LOG_LINES];
    memcpy(to, buf, n);
    while (n && (to[n - 1] == '\n' || to[n - 1] == ' '))
        n--;
    to[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)to[i] < ' ')
            to[i] = ' ';
    pthread_mutex_unlock(&dpdk_log.lock);
    return (ssize_t)size;
}

int port_log_open(void)
{
    dpdk_log.stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = log_write});
    if (!dpdk_log.stream)
        return -1;
    setvbuf(dpdk_log.stream, NULL, _IOLBF, BUFSIZ);
    dpdk_log.count = 0;
    return rte_openlog_stream(dpdk_log.stream);
}

void port_log_close(void)
{
    rte_openlog_stream(NULL);
    if (dpdk_log.stream)
        fclose(dpdk_log.stream);
    dpdk_log.stream = NULL;
}

const char *port_log_last(void)
{
    size_t n = 0;

    pthread_mutex_lock(&dpdk_log.lock);
    dpdk_log.joined[0] = '\0';
    unsigned first = dpdk_log.count > LOG_LINES ? dpdk_log.count - LOG_LINES : 0;
    for (unsigned i = first; i < dpdk_log.count; i++)
        n += (size_t)snprintf(dpdk_log.joined + n, sizeof(dpdk_log.joined) - n, "%s%s",
                              i > first ? "; " : "", dpdk_log.line[i % LOG_LINES]);
    pthread_mutex_unlock(&dpdk_log.lock);
    return dpdk_log.joined;
}
