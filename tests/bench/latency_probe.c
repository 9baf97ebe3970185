/* latency_probe: one client, one GET at a time, every round trip timed: redis-benchmark's histogram is 8 us wide at these values.
 *
 *   latency_probe ADDRESS REQUESTS KEYS      prints {"p50_us": ..., "p90_us": ..., "p99_us": ..., "mean_us": ...}
 *
 * Kernel sockets, blocking, TCP_NODELAY, keys of redis-benchmark's form drawn at random. Port 6379. scripts/bench runs it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(6379)};
    if (argc != 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
        fail("ADDRESS REQUESTS KEYS");
    size_t n = strtoul(argv[2], NULL, 10), warm = n / 20 + 1;
    unsigned long keys = strtoul(argv[3], NULL, 10);
    double *us = n && keys ? malloc(n * sizeof(*us)) : NULL, sum = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (!us || fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        fail("no connection");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    srandom(1);
    for (size_t i = 0; i < warm; i++)
        round_trip(fd, (unsigned long)random() % keys);
    for (size_t i = 0; i < n; i++)
        sum += us[i] = round_trip(fd, (unsigned long)random() % keys);
    qsort(us, n, sizeof(*us), by_value);
    printf("{\"p50_us\": %.2f, \"p90_us\": %.2f, \"p99_us\": %.2f, \"mean_us\": %.2f}\n", us[n / 2],
           us[n * 9 / 10], us[n * 99 / 100], sum / (double)n);
    free(us);
    close(fd);
    return 0;
}
