/* latency_probe: one client, one GET at a time, every round trip timed: redis-benchmark's histogram is 8 us wide at these values.
 *
 *   latency_probe ADDRESS REQUESTS KEYS      prints {"p50_us": ..., "p90_us": ..., "p99_us": ..., "mean_us": ...}
 *   latency_probe ADDRESS REQUESTS blpop     from one client's LPUSH to the return of another's BLPOP that waits on the key
 *
 * Kernel sockets, blocking, TCP_NODELAY, keys of redis-benchmark's form drawn at random. Port 6379. scripts/bench runs it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REPLY_BYTES 71 /* of a 64-byte value */

static void fail(const char *text)
{
    fprintf(stderr, "latency_probe: %s\n", text);
    exit(1);
}

static double now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double round_trip(int fd, unsigned long key)
{
    char request[64], reply[256];
    int len = snprintf(request, sizeof(request), "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012lu\r\n", key);
    double start = now_us();
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len)
        fail("send");
    for (size_t got = 0; got < REPLY_BYTES;) {
        ssize_t n = recv(fd, reply + got, sizeof(reply) - got, 0);
        if (n <= 0)
            fail("the connection ended");
        if (got == 0 && reply[0] != '$')
            fail("not a value");
        got += (size_t)n;
        if (got >= 5 && memcmp(reply, "$64\r\n", 5) != 0)
            fail("not a value of 64 bytes");
    }
    return now_us() - start;
}

static void ask(int fd, const char *request)
{
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
        fail("send");
}

static void await(int fd, const char *reply)
{
    char got[256];
    for (size_t n = 0, whole = strlen(reply); n < whole;) {
        ssize_t part = recv(fd, got + n, sizeof(got) - n, 0);
        if (part <= 0)
            fail("the connection ended");
        n += (size_t)part;
        if (n > whole || memcmp(got, reply, n) != 0)
            fail("not the reply to be expected");
    }
}

/* The PINGs are answered behind the BLPOP, so that it waits when LPUSH arrives: on one worker always, on several but for a rare race, which only
 * makes the time longer. */
static double hand_over(int pops, int pushes)
{
    ask(pops, "*3\r\n$5\r\nBLPOP\r\n$13\r\nhandover:list\r\n$1\r\n0\r\n");
    for (int i = 0; i < 2; i++) {
        ask(pushes, "*1\r\n$4\r\nPING\r\n");
        await(pushes, "+PONG\r\n");
    }
    double start = now_us();
    ask(pushes, "*3\r\n$5\r\nLPUSH\r\n$13\r\nhandover:list\r\n$4\r\nitem\r\n");
    await(pops, "*2\r\n$13\r\nhandover:list\r\n$4\r\nitem\r\n");
    double took = now_us() - start;
    await(pushes, ":1\r\n");
    return took;
}

static int connected(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(6379)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
        fail("no IPv4 address");
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        fail("no connection");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        fail("ADDRESS REQUESTS KEYS|blpop");
    bool blpop = strcmp(argv[3], "blpop") == 0;
    size_t n = strtoul(argv[2], NULL, 10), warm = n / 20 + 1;
    unsigned long keys = blpop ? 1 : strtoul(argv[3], NULL, 10);
    double *us = n && keys ? malloc(n * sizeof(*us)) : NULL, sum = 0;
    if (!us)
        fail("REQUESTS and KEYS are numbers");
    int fd = connected(argv[1]), other = blpop ? connected(argv[1]) : -1;
    srandom(1);
    for (size_t i = 0; i < warm + n; i++) {
        double took = blpop ? hand_over(fd, other) : round_trip(fd, (unsigned long)random() % keys);
        if (i >= warm)
            sum += us[i - warm] = took;
    }
    qsort(us, n, sizeof(*us), by_value);
    printf("{\"p50_us\": %.2f, \"p90_us\": %.2f, \"p99_us\": %.2f, \"mean_us\": %.2f}\n", us[n / 2],
           us[n * 9 / 10], us[n * 99 / 100], sum / (double)n);
    free(us);
    close(fd);
    if (other >= 0)
        close(other);
    return 0;
}
