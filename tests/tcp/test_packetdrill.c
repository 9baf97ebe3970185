/* Drives libbarewire_packetdrill.so as the tool packetdrill does: dlopen, the table of calls, packets and virtual time from one thread,
 * blocking calls from another. Argument: the shared object. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/tcp/packetdrill/interface.h"
#include "tests/unit/net/check.h"

#define FIN  1
#define SYN  2
#define RST  4
#define ACK  16

#define US   0xc0a80001u /* 192.168.0.1:8080 */
#define PEER 0xc0000201u /* 192.0.2.1:50000 */

static struct packetdrill_interface itf;
#define U itf.userdata

struct packet {
    uint32_t seq, ack, len;
    uint16_t sport, dport;
    uint8_t flags, data[2048];
    long long at_us;
};

static uint32_t sum16(const uint8_t *p, size_t n, uint32_t sum)
{
    for (size_t i = 0; i < n; i++)
        sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    return sum;
}
static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}
static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static void finish(uint8_t *at, uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(at, ~sum);
}

static void send_segment(uint16_t peer_port, uint16_t port, uint8_t flags, uint32_t seq,
                         uint32_t ack, const void *data, uint32_t len)
{
    uint8_t p[2048] = {0x45, 0}, *th = p + 20;
    put16(p + 2, 40 + len);
    p[8] = 64;
    p[9] = 6;
    put32(p + 12, PEER);
    put32(p + 16, US);
    finish(p + 10, sum16(p, 20, 0));
    put16(th, peer_port);
    put16(th + 2, port);
    put32(th + 4, seq);
    put32(th + 8, ack);
    th[12] = 5 << 4;
    th[13] = flags;
    put16(th + 14, 65535);
    memcpy(th + 20, data ? data : "", len);
    finish(th + 16, sum16(th, 20 + len, sum16(p + 12, 8, 6 + 20 + len)));
    assert_int_equal(itf.netdev_send(U, p, 40 + len), 0);
}

/* Polls as the tool does: until there is one. */
static void receive(struct packet *k)
{
    uint8_t p[4096];
    size_t n;
    for (int tries = 0;; tries++) {
        n = sizeof(p);
        assert_true(tries < 100000);
        if (itf.netdev_receive(U, p, &n, &k->at_us) == 0)
            break;
        assert_int_equal(n, 0);
    }
    const uint8_t *th = p + 20;
    uint32_t off = th[12] >> 4;
    assert_int_equal(p[0], 0x45);
    assert_int_equal(get32(p + 12), US);
    k->sport = (uint16_t)(th[0] << 8 | th[1]);
    k->dport = (uint16_t)(th[2] << 8 | th[3]);
    k->seq = get32(th + 4);
    k->ack = get32(th + 8);
    k->flags = th[13];
    k->len = (uint32_t)n - 20 - off * 4;
    memcpy(k->data, th + off * 4, k->len);
}

static struct sockaddr_in address(uint32_t ip, uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip)};
}

static long long now_us(void)
{
    struct timeval tv;
    assert_int_equal(itf.gettimeofday(U, &tv, NULL), 0);
    return tv.tv_sec * 1000000ll + tv.tv_usec;
}

static int listener(uint16_t port)
{
    int fd = itf.socket(U, AF_INET, SOCK_STREAM, IPPROTO_TCP), one = 1;
    struct sockaddr_in a = address(US, port);
    assert_true(fd >= 0);
    assert_int_equal(itf.setsockopt(U, fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    assert_int_equal(itf.bind(U, fd, (void *)&a, sizeof(a)), 0);
    assert_int_equal(itf.listen(U, fd, 5), 0);
    return fd;
}

/* A blocking accept and read, as the tool's second thread makes them. */
struct blocking {
    int listen_fd, fd;
    struct sockaddr_in peer;
    char buf[64];
    ssize_t n;
};

static void *accept_and_read(void *arg)
{
    struct blocking *b = arg;
    socklen_t len = sizeof(b->peer);
    b->fd = itf.accept(U, b->listen_fd, (void *)&b->peer, &len);
    b->n = itf.read(U, b->fd, b->buf, sizeof(b->buf));
    return NULL;
}

static void test_passive_open_data_close(void **state)
{
    (void)state;
    struct packet k;
    struct blocking b = {.listen_fd = listener(8080)};
    pthread_t t;
    char buf[8192];
    assert_int_equal(pthread_create(&t, NULL, accept_and_read, &b), 0);
    send_segment(50000, 8080, SYN, 1000, 0, NULL, 0);
    receive(&k);
    assert_int_equal(k.flags, SYN | ACK);
    assert_int_equal(k.ack, 1001);
    uint32_t iss = k.seq;
    send_segment(50000, 8080, ACK, 1001, iss + 1, NULL, 0);
    send_segment(50000, 8080, ACK, 1001, iss + 1, "hello", 5);
    pthread_join(t, NULL);
    assert_int_equal(b.n, 5);
    assert_memory_equal(b.buf, "hello", 5);
    assert_int_equal(ntohl(b.peer.sin_addr.s_addr), PEER);
    assert_int_equal(ntohs(b.peer.sin_port), 50000);
    assert_int_equal(fcntl(b.fd, F_GETFD) & ~FD_CLOEXEC, 0); /* a real descriptor */

    memset(buf, 'x', sizeof(buf));
    assert_int_equal(itf.write(U, b.fd, buf, 3000), 3000);
    uint32_t next = iss + 1;
    while (next != iss + 1 + 3000) {
        receive(&k);
        assert_int_equal(k.seq, next);
        assert_int_equal(k.ack, 1006);
        if (!k.len)
            fail_msg("bare: flags %02x seq %u ack %u next %u at %lld", k.flags, k.seq, k.ack, next,
                     k.at_us);
        next += k.len;
    }
    send_segment(50000, 8080, ACK, 1006, next, NULL, 0);

    /* The peer closes; the reader sees the end, we close. */
    send_segment(50000, 8080, FIN | ACK, 1006, next, NULL, 0);
    receive(&k);
    assert_int_equal(k.flags, ACK);
    assert_int_equal(k.ack, 1007);
    assert_int_equal(itf.read(U, b.fd, buf, sizeof(buf)), 0);
    assert_int_equal(itf.close(U, b.fd), 0);
    receive(&k);
    assert_int_equal(k.flags, FIN | ACK);
    assert_int_equal(k.seq, next);
    send_segment(50000, 8080, ACK, 1007, next + 1, NULL, 0);
    assert_int_equal(itf.close(U, b.listen_fd), 0);
    assert_int_equal(itf.read(U, b.fd, buf, 1), -1);
    assert_int_equal(errno, EBADF);
}

/* The tool waits for the retransmission: the clock goes to the timer; packets carry the time they left. */
static void test_retransmission_and_a_pause(void **state)
{
    (void)state;
    struct packet k;
    int lfd = listener(8081);
    send_segment(50001, 8081, SYN, 7000, 0, NULL, 0);
    receive(&k);
    uint32_t iss = k.seq;
    long long start = now_us();
    assert_int_equal(itf.usleep(U, 10000), 0);
    assert_int_equal(now_us() - start, 10000);
    send_segment(50001, 8081, ACK, 7001, iss + 1, NULL, 0);
    int fd = itf.accept(U, lfd, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(itf.fcntl(U, fd, F_SETFL, O_NONBLOCK), 0);
    char buf[16];
    assert_int_equal(itf.read(U, fd, buf, sizeof(buf)), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(itf.write(U, fd, "again", 5), 5);
    receive(&k);
    long long first = k.at_us;
    receive(&k);
    assert_int_equal(k.seq, iss + 1);
    assert_int_equal(k.len, 5);
    assert_true(k.at_us - first >= 30000 && k.at_us - first < 32000); /* RTO of an RTT of 10 ms */
    send_segment(50001, 8081, ACK, 7001, iss + 6, NULL, 0);
    start = now_us();
    assert_int_equal(itf.usleep(U, 250000000u), 0); /* below the keepalive's five minutes */
    assert_int_equal(now_us() - start, 250000000);
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    assert_int_equal(itf.poll(U, &p, 1, 0), 1);
    assert_int_equal(p.revents, POLLOUT);
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(itf.getsockopt(U, fd, IPPROTO_TCP, 2 /* TCP_MAXSEG */, &value, &len), 0);
    assert_int_equal(value, 536);
    assert_int_equal(itf.getsockopt(U, fd, IPPROTO_TCP, 9999, &value, &len), -1);
    assert_int_equal(errno, ENOPROTOOPT);
    /* RST: the reader is told. */
    send_segment(50001, 8081, RST, 7001, 0, NULL, 0);
    assert_int_equal(itf.read(U, fd, buf, sizeof(buf)), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(itf.close(U, fd), 0);
    assert_int_equal(itf.close(U, lfd), 0);
}

static void *connect_out(void *arg)
{
    int fd = *(int *)arg;
    struct sockaddr_in a = address(PEER, 80);
    return (void *)(intptr_t)itf.connect(U, fd, (void *)&a, sizeof(a));
}

static void test_active_open_and_abort(void **state)
{
    (void)state;
    struct packet k;
    void *rc;
    pthread_t t;
    int fd = itf.socket(U, AF_INET, SOCK_STREAM, IPPROTO_TCP);
    assert_int_equal(pthread_create(&t, NULL, connect_out, &fd), 0);
    receive(&k);
    assert_int_equal(k.flags & ~0xc0, SYN); /* it asks for ECN */
    assert_int_equal(k.dport, 80);
    send_segment(80, k.sport, SYN | ACK, 300, k.seq + 1, NULL, 0);
    pthread_join(t, &rc);
    assert_int_equal((intptr_t)rc, 0);
    uint16_t port = k.sport;
    receive(&k);
    assert_int_equal(k.flags, ACK);
    assert_int_equal(k.ack, 301);
    struct linger l = {1, 0};
    assert_int_equal(itf.setsockopt(U, fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
    struct iovec v[2] = {{"ab", 2}, {"cd", 2}};
    assert_int_equal(itf.writev(U, fd, v, 2), 4);
    receive(&k);
    assert_memory_equal(k.data, k.len == 4 ? "abcd" : "ab", k.len);
    if (k.len < 4)
        receive(&k);
    assert_int_equal(itf.shutdown(U, fd, SHUT_WR), -1); /* we do not close by halves */
    assert_int_equal(errno, EOPNOTSUPP);
    assert_int_equal(itf.close(U, fd), 0);
    receive(&k);
    assert_int_equal(k.flags & RST, RST);
    assert_int_equal(k.sport, port);
}

static void test_nonsense_is_refused(void **state)
{
    (void)state;
    uint8_t junk[2100] = {0x45};
    assert_int_equal(itf.netdev_send(U, junk, 10), -1);
    assert_int_equal(itf.netdev_send(U, junk, sizeof(junk)), -1);
    assert_int_equal(itf.socket(U, AF_UNIX, SOCK_STREAM, 0), -1);
    assert_int_equal(itf.socket(U, AF_INET, SOCK_DGRAM, 0), -1);
    assert_int_equal(itf.close(U, 12345), -1);
    assert_null(itf.epoll_create);
    assert_null(itf.splice);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passive_open_data_close),
        cmocka_unit_test(test_retransmission_and_a_pause),
        cmocka_unit_test(test_active_open_and_abort),
        cmocka_unit_test(test_nonsense_is_refused),
    };
    void *so = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!so) {
        fprintf(stderr, "%s\n", argc > 1 ? dlerror() : "no shared object given");
        return 1;
    }
    void (*init)(const char *, struct packetdrill_interface *);
    *(void **)&init = dlsym(so, "packetdrill_interface_init");
    if (!init)
        return 1;
    init("local_ip=192.168.0.1", &itf);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    itf.free(U);
    return rc;
}
