/* latency_probe: one client, one GET at a time, every round trip timed: redis-benchmark's histogram is 8 us wide at these values.
 *
 *   latency_probe ADDRESS REQUESTS KEYS      prints {"p50_us": ..., "p90_us": ..., "p99_us": ..., "p999_us": ..., "mean_us": ...}
 *   latency_probe ADDRESS REQUESTS KEYS spin the same by a client that looks for its answer again and again and never sleeps; and what the machine took
 *                                            from it: round trips in which two looks were LOST_US apart and more, of all and of the slowest
 *                                            hundredth, and their p99 without these
 *   latency_probe ADDRESS REQUESTS blpop     from one client's LPUSH to the return of another's BLPOP that waits on the key
 *   latency_probe ADDRESS serve              the least that can answer: reads, and writes 71 octets back for each read, one client after the other
 *
 * Kernel sockets, TCP_NODELAY, keys of redis-benchmark's form drawn at random. Port 6379. scripts/bench and tests/bench/tail.py run it. */
#include <arpa/inet.h>
#include <errno.h>
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
#define LOST_US     5  /* a look at a socket without anything takes less than one */

static bool spinning;
static double lost_us; /* by the longest time between two looks of the round trip */

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

/* recv(), or looks until there is something. */
static ssize_t take(int fd, char *to, size_t cap)
{
    if (!spinning)
        return recv(fd, to, cap, 0);
    for (double before = now_us();;) {
        ssize_t n = recv(fd, to, cap, MSG_DONTWAIT);
        double now = now_us();
        if (now - before > lost_us)
            lost_us = now - before;
        if (n >= 0 || errno != EAGAIN)
            return n;
        before = now;
    }
}

static double round_trip(int fd, unsigned long key)
{
    char request[64], reply[256];
    int len = snprintf(request, sizeof(request), "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012lu\r\n", key);
    double start = now_us();
    lost_us = 0;
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len)
        fail("send");
    for (size_t got = 0; got < REPLY_BYTES;) {
        ssize_t n = take(fd, reply + got, sizeof(reply) - got);
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

static void serve(const char *address)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(6379)};
    int door = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    char request[256], reply[REPLY_BYTES];
    memset(reply, 'v', sizeof(reply));
    memcpy(reply, "$64\r\n", 5);
    memcpy(reply + REPLY_BYTES - 2, "\r\n", 2);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
        fail("no IPv4 address");
    if (door < 0 || bind(door, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(door, 1) < 0)
        fail("no address to listen at");
    for (;;) {
        int fd = accept(door, NULL, NULL);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        while (recv(fd, request, sizeof(request), 0) > 0)
            if (send(fd, reply, sizeof(reply), MSG_NOSIGNAL) != sizeof(reply))
                break;
        close(fd);
    }
}

/* Round trips in their order of length; `lost`: those in which the client itself was kept from looking. */
struct trip {
    double us;
    bool lost;
};

static int by_length(const void *a, const void *b)
{
    return by_value(&((const struct trip *)a)->us, &((const struct trip *)b)->us);
}

static void print_trips(struct trip *t, size_t n, double sum)
{
    qsort(t, n, sizeof(*t), by_length);
    printf("{\"p50_us\": %.2f, \"p90_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"mean_us\": "
           "%.2f",
           t[n / 2].us, t[n * 9 / 10].us, t[n * 99 / 100].us, t[n * 999 / 1000].us,
           sum / (double)n);
    if (spinning) {
        size_t lost = 0, of_slowest = 0, left = 0;
        for (size_t i = 0; i < n; i++) {
            lost += t[i].lost;
            of_slowest += t[i].lost && i >= n * 99 / 100;
        }
        for (size_t i = 0; i < n; i++) /* the others keep their order */
            if (!t[i].lost)
                t[left++] = t[i];
        printf(", \"lost\": %.4f, \"lost_of_slowest\": %.3f, \"p99_kept_us\": %.2f, "
               "\"p999_kept_us\": %.2f",
               (double)lost / (double)n, (double)of_slowest / (double)(n - n * 99 / 100),
               left ? t[left * 99 / 100].us : 0, left ? t[left * 999 / 1000].us : 0);
    }
    printf("}\n");
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[2], "serve") == 0)
        serve(argv[1]);
    spinning = argc == 5 && strcmp(argv[4], "spin") == 0;
    if (argc != 4 && !spinning)
        fail("ADDRESS REQUESTS KEYS [spin] | ADDRESS REQUESTS blpop | ADDRESS serve");
    bool blpop = strcmp(argv[3], "blpop") == 0;
    size_t n = strtoul(argv[2], NULL, 10), warm = n / 20 + 1;
    unsigned long keys = blpop ? 1 : strtoul(argv[3], NULL, 10);
    struct trip *trips = n && keys ? malloc(n * sizeof(*trips)) : NULL;
    double sum = 0;
    if (!trips)
        fail("REQUESTS and KEYS are numbers");
    int fd = connected(argv[1]), other = blpop ? connected(argv[1]) : -1;
    srandom(1);
    for (size_t i = 0; i < warm + n; i++) {
        double took = blpop ? hand_over(fd, other) : round_trip(fd, (unsigned long)random() % keys);
        if (i < warm)
            continue;
        sum += took;
        trips[i - warm] = (struct trip){.us = took, .lost = lost_us >= LOST_US};
    }
    print_trips(trips, n, sum);
    free(trips);
    close(fd);
    if (other >= 0)
        close(other);
    return 0;
}
