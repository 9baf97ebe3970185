/* barewire-relay: joins two interfaces and passes Ethernet frames both ways, impaired by seed. The bad wire of the end-to-end tests, as
 * the kernel of the test machines has no netem. No DPDK: AF_PACKET sockets, one thread, ppoll.
 *
 *   A --recvmmsg--> impair (a2b) --sendmmsg--> B
 *   A <--sendmmsg-- impair (b2a) <--recvmmsg-- B
 *
 * The peers of A and B must have tx, tso, gso and gro off (scripts/lab does it): a frame whose checksum is left to a device, or larger
 * than FRAME_MAX_BYTES, is counted and dropped. 802.1Q tags that the kernel took off a frame are not put back. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/relay/impair.h"

#define BURST        64
#define SOCKET_BYTES (32 << 20)
#define RETRY_NS     200000 /* after a send that the device refused */

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

struct end {
    const char *name;
    int fd, index;
    uint64_t kernel_dropped, outgoing, oversize, partial_checksum;
};

struct direction {
    const char *name;
    struct end *from, *to;
    struct impair impair;
    uint64_t retry_ns, refused;
};

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
    (void)sig;
    stop = 1;
}

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static const char usage_text[] =
    "usage: barewire-relay --a IFACE --b IFACE [--seed N] [--both LIST] [--a2b LIST] [--b2a LIST]\n"
    "\n"
    "Passes frames between two interfaces until SIGTERM or SIGINT, then prints its counters.\n"
    "LIST: words with commas between, later ones win:\n"
    "  loss=PCT          frames lost\n"
    "  dup=PCT           frames sent twice\n"
    "  corrupt=PCT       IPv4 and IPv6 frames with one bit flipped, anywhere behind the Ethernet "
    "header\n"
    "  relabel=PCT       IPv6 frames with another flow label, which no checksum covers and by "
    "which "
    "ports spread flows over queues\n"
    "  reorder=PCT[:K]   frames held back until K others passed (3)\n"
    "  hold=MS           or until this time (5)\n"
    "  delay=MS          each frame later by this\n"
    "  jitter=MS         and by up to this more; frames keep their order\n"
    "  rate=MBIT         megabits per second\n"
    "  queue=FRAMES      frames that wait for rate and delay, more are dropped (16384)\n";

static int fail(const char *what, const char *name)
{
    fprintf(stderr, "barewire-relay: %s %s: %s\n", what, name, strerror(errno));
    return -1;
}

/* Its peer may be any station: promiscuous. */
static int end_open(struct end *e)
{
    int one = 1, size = SOCKET_BYTES;
    e->index = (int)if_nametoindex(e->name);
    if (!e->index)
        return fail("interface", e->name);
    e->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (e->fd < 0)
        return fail("packet socket for", e->name);
    struct packet_mreq promisc = {.mr_ifindex = e->index, .mr_type = PACKET_MR_PROMISC};
    struct sockaddr_ll at = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = e->index};
    /* Kernels before 4.20 refuse this one; receive() looks at the packet type then. */
    (void)setsockopt(e->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
    if (setsockopt(e->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) ||
        setsockopt(e->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) ||
        setsockopt(e->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promisc, sizeof promisc) ||
        setsockopt(e->fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one) ||
        bind(e->fd, (struct sockaddr *)&at, sizeof at))
        return fail("socket options of", e->name);
    return 0;
}

static bool partial_checksum(struct msghdr *h)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
        if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA) {
            struct tpacket_auxdata aux;
            memcpy(&aux, CMSG_DATA(c), sizeof aux);
            return aux.tp_status & TP_STATUS_CSUMNOTREADY;
        }
    return false;
}

static void receive(struct direction *d, uint64_t now_ns)
{
    static uint8_t frames[BURST][FRAME_MAX_BYTES];
    static uint8_t control[BURST][CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    struct mmsghdr msgs[BURST];
    struct iovec iov[BURST];
    struct sockaddr_ll from[BURST];
    struct end *e = d->from;
    for (int i = 0; i < BURST; i++) {
        iov[i] = (struct iovec){frames[i], FRAME_MAX_BYTES};
        msgs[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                          .msg_namelen = sizeof from[i],
                                          .msg_iov = &iov[i],
                                          .msg_iovlen = 1,
                                          .msg_control = control[i],
                                          .msg_controllen = sizeof control[i]};
    }
    int n = recvmmsg(e->fd, msgs, BURST, MSG_TRUNC, NULL);
    for (int i = 0; i < n; i++) {
        if (from[i].sll_pkttype == PACKET_OUTGOING)
            e->outgoing++;
        else if (msgs[i].msg_len > FRAME_MAX_BYTES)
            e->oversize++;
        else if (partial_checksum(&msgs[i].msg_hdr))
            e->partial_checksum++;
        else
            impair_input(&d->impair, frames[i], msgs[i].msg_len, now_ns);
    }
}

static void send_due(struct direction *d, uint64_t now_ns)
{
    struct impair_frame *f;
    if (now_ns < d->retry_ns)
        return;
    while ((f = impair_due(&d->impair, now_ns))) {
        if (send(d->to->fd, f->bytes, f->len, 0) < 0) {
            if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR) {
                d->retry_ns = now_ns + RETRY_NS;
                return;
            }
            d->refused++; /* too long for the device, or the device is down */
            impair_sent(&d->impair, false);
            continue;
        }
        impair_sent(&d->impair, true);
    }
}

static uint64_t next_ns(const struct direction *d)
{
    uint64_t t = impair_next_ns(&d->impair);
    return t < d->retry_ns ? d->retry_ns : t;
}

static void run(struct direction dirs[2], const sigset_t *unblocked)
{
    struct pollfd fds[2] = {{dirs[0].from->fd, POLLIN, 0}, {dirs[1].from->fd, POLLIN, 0}};
    while (!stop) {
        uint64_t now = clock_ns(), next = next_ns(&dirs[0]), other = next_ns(&dirs[1]);
        next = other < next ? other : next;
        uint64_t wait = next <= now ? 0 : next - now;
        struct timespec t = {(time_t)(wait / 1000000000), (long)(wait % 1000000000)};
        if (ppoll(fds, 2, next == UINT64_MAX ? NULL : &t, unblocked) < 0)
            continue;
        now = clock_ns();
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents)
                receive(&dirs[i], now);
            send_due(&dirs[i], now);
        }
    }
}

static void print_counters(struct direction *d)
{
    const struct impair_counters *c = &d->impair.counters;
    struct tpacket_stats st = {0};
    socklen_t len = sizeof st;
    if (!getsockopt(d->from->fd, SOL_PACKET, PACKET_STATISTICS, &st, &len))
        d->from->kernel_dropped += st.tp_drops;
    printf(
        "%s in=%llu out=%llu lost=%llu corrupted=%llu duplicated=%llu reordered=%llu "
        "relabelled=%llu "
        "queue_dropped=%llu kernel_dropped=%llu oversize=%llu partial_checksum=%llu refused=%llu\n",
        d->name, (unsigned long long)c->in, (unsigned long long)c->out, (unsigned long long)c->lost,
        (unsigned long long)c->corrupted, (unsigned long long)c->duplicated,
        (unsigned long long)c->reordered, (unsigned long long)c->relabelled,
        (unsigned long long)c->queue_dropped, (unsigned long long)d->from->kernel_dropped,
        (unsigned long long)d->from->oversize, (unsigned long long)d->from->partial_checksum,
        (unsigned long long)d->refused);
}

static bool parse(int argc, char **argv, struct end *a, struct end *b, uint64_t *seed,
                  struct impair_options o[2])
{
    const char *bad;
    char *end;
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!value) {
            fprintf(stderr, "barewire-relay: %s has no value\n", name);
            return false;
        }
        if (!strcmp(name, "--a"))
            a->name = value;
        else if (!strcmp(name, "--b"))
            b->name = value;
        else if (!strcmp(name, "--seed")) {
            *seed = strtoull(value, &end, 10);
            if (end == value || *end) {
                fprintf(stderr, "barewire-relay: --seed '%s' is no number\n", value);
                return false;
            }
        } else if (!strcmp(name, "--both") || !strcmp(name, "--a2b") || !strcmp(name, "--b2a")) {
            for (int k = 0; k < 2; k++)
                if ((name[2] != (k ? 'a' : 'b') || !strcmp(name, "--both")) &&
                    !impair_parse(&o[k], value, &bad)) {
                    fprintf(stderr, "barewire-relay: %s: '%s' is not understood\n", name, bad);
                    return false;
                }
        } else {
            fprintf(stderr, "barewire-relay: unknown option '%s'\n", name);
            return false;
        }
    }
    if (!a->name || !b->name)
        fprintf(stderr, "barewire-relay: --a and --b name two interfaces\n");
    return a->name && b->name;
}

int main(int argc, char **argv)
{
    struct end a = {.fd = -1}, b = {.fd = -1};
    struct direction dirs[2] = {{.name = "a2b", .from = &a, .to = &b},
                                {.name = "b2a", .from = &b, .to = &a}};
    struct impair_options options[2];
    struct sigaction act = {.sa_handler = on_signal};
    sigset_t blocked, before;
    uint64_t seed = 1;
    if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        fputs(usage_text, stdout);
        return 0;
    }
    impair_defaults(&options[0]);
    impair_defaults(&options[1]);
    if (!parse(argc, argv, &a, &b, &seed, options)) {
        fputs(usage_text, stderr);
        return 2;
    }
    /* A signal arrives inside ppoll only: none is missed between the look at `stop` and the wait. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    if (end_open(&a) || end_open(&b))
        return 1;
    for (unsigned i = 0; i < 2; i++)
        if (impair_init(&dirs[i].impair, &options[i], seed * 2 + i)) {
            fputs("barewire-relay: out of memory\n", stderr);
            return 1;
        }
    puts("ready");
    fflush(stdout);
    run(dirs, &before);
    for (int i = 0; i < 2; i++) {
        print_counters(&dirs[i]);
        impair_free(&dirs[i].impair);
    }
    close(a.fd);
    close(b.fd);
    return 0;
}
