/* client.c: see client.h. */
#include "control/tools/client.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_BYTES  65536
#define PIPE_BYTES  (1u << 20) /* commands gathered before they are written */
#define AHEAD_MAX   20000      /* commands whose replies have not come */
#define REPLY_DEPTH 8

static bool fail(struct client *c, const char *what)
{
    snprintf(c->err, sizeof c->err, "%s", what);
    return false;
}

/* ---- connecting ---- */

static int connect_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path)
        return -ENAMETOOLONG;
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    int rc = -errno;
    if (fd >= 0)
        close(fd);
    return rc;
}

static int connect_tcp(struct client *c, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int rc = getaddrinfo(host, port, &hints, &list), fd = -1, one = 1, error = ECONNREFUSED;
    if (rc) {
        fail(c, gai_strerror(rc));
        return -EINVAL;
    }
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0)
            continue;
        error = errno;
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0)
        return -error;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    return fd;
}

bool client_open(struct client *c, const struct client_where *w)
{
    const char *pass = w->pass ? w->pass : getenv("REDISCLI_AUTH");
    const char *argv[3] = {"AUTH"};
    struct span reply;
    int argc = 1;
    *c = (struct client){.fd = -1};
    c->fd = w->socket ? connect_unix(w->socket)
                      : connect_tcp(c, w->host ? w->host : "127.0.0.1", w->port ? w->port : "6379");
    if (c->fd < 0) {
        if (!c->err[0])
            fail(c, strerror(-c->fd));
        c->fd = -1;
        return false;
    }
    if (w->user)
        argv[argc++] = w->user;
    if (pass)
        argv[argc++] = pass;
    if (!pass || client_ask(c, &reply, argc, argv))
        return true;
    char why[sizeof c->err];
    snprintf(why, sizeof why, "%s", c->err);
    client_close(c);
    return fail(c, why);
}

void client_close(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    free(c->in);
    free(c->out);
    c->fd = -1;
    c->in = c->out = NULL;
    c->in_at = c->in_n = c->in_cap = c->out_n = c->out_cap = 0;
}

/* ---- bytes ---- */

static bool reserve(uint8_t **p, size_t *cap, size_t need)
{
    if (need <= *cap)
        return true;
    size_t grown = need * 3 / 2;
    uint8_t *q = realloc(*p, grown);
    if (!q)
        return false;
    *p = q;
    *cap = grown;
    return true;
}

int client_fill(struct client *c, int timeout_ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (c->in_at) {
        memmove(c->in, c->in + c->in_at, c->in_n - c->in_at);
        c->in_n -= c->in_at;
        c->in_at = 0;
    }
    if (!reserve(&c->in, &c->in_cap, c->in_n + READ_BYTES)) {
        fail(c, "no memory");
        return -1;
    }
    int n = poll(&p, 1, timeout_ms);
    if (n == 0 || (n < 0 && errno == EINTR))
        return 0;
    ssize_t got = n < 0 ? -1 : recv(c->fd, c->in + c->in_n, c->in_cap - c->in_n, 0);
    if (got <= 0) {
        fail(c, got ? strerror(errno) : "the server closed the connection");
        return -1;
    }
    c->in_n += (size_t)got;
    return 1;
}

bool client_send(struct client *c, struct span s)
{
    while (s.n) {
        ssize_t n = send(c->fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(c, strerror(errno));
        s = span_of(s.p + n, s.n - (size_t)n);
    }
    return true;
}

/* ---- replies ---- */

/* The length of the reply at p, 0: it is not whole, SIZE_MAX: it is none. */
static size_t reply_bytes(const uint8_t *p, size_t n, int depth)
{
    const uint8_t *end = n ? memchr(p, '\n', n) : NULL;
    if (!end)
        return 0;
    size_t line = (size_t)(end - p) + 1;
    if (line < 3 || depth > REPLY_DEPTH)
        return SIZE_MAX;
    long long k = strtoll((const char *)p + 1, NULL, 10);
    switch (*p) {
    case '+':
    case '-':
    case ':': return line;
    case '$':
        if (k < 0)
            return line;
        return (unsigned long long)k + 2 > n - line ? 0 : line + (size_t)k + 2;
    case '*':
        for (; k > 0; k--) {
            size_t one = reply_bytes(p + line, n - line, depth + 1);
            if (one == 0 || one == SIZE_MAX)
                return one;
            line += one;
        }
        return line;
    default: return SIZE_MAX;
    }
}

/* The next reply, whole; it is used up. False: c->err. */
static bool next_reply(struct client *c, struct span *ret)
{
    for (;;) {
        size_t n = reply_bytes(c->in + c->in_at, c->in_n - c->in_at, 0);
        if (n == SIZE_MAX)
            return fail(c, "the server answered with something that is no reply");
        if (n) {
            *ret = span_of(c->in + c->in_at, n);
            c->in_at += n;
            return true;
        }
        if (client_fill(c, -1) < 0)
            return false;
    }
}

/* The plain words of a reply, written over it in place: they are shorter. */
static size_t flatten(uint8_t *to, const uint8_t *p, size_t n, bool element)
{
    size_t line = (size_t)((const uint8_t *)memchr(p, '\n', n) - p) + 1, out = 0;
    long long k = strtoll((const char *)p + 1, NULL, 10);
    if (*p == '*') {
        for (; k > 0; k--) {
            size_t one = reply_bytes(p + line, n - line, 1);
            out += flatten(to + out, p + line, one, true);
            line += one;
        }
        return out;
    }
    if (*p == '$') {
        out = k > 0 ? (size_t)k : 0;
        memmove(to, p + line, out);
    } else {
        out = line - 3;
        memmove(to, p + 1, out);
    }
    if (element)
        to[out++] = '\n';
    return out;
}

static bool put_words(struct client *c, const struct span *argv, uint32_t argc)
{
    size_t need = 32;
    for (uint32_t i = 0; i < argc; i++)
        need += argv[i].n + 32;
    if (!reserve(&c->out, &c->out_cap, c->out_n + need))
        return fail(c, "no memory");
    c->out_n += (size_t)sprintf((char *)c->out + c->out_n, "*%u\r\n", argc);
    for (uint32_t i = 0; i < argc; i++) {
        c->out_n += (size_t)sprintf((char *)c->out + c->out_n, "$%zu\r\n", argv[i].n);
        memcpy(c->out + c->out_n, argv[i].p, argv[i].n);
        c->out_n += argv[i].n;
        memcpy(c->out + c->out_n, "\r\n", 2);
        c->out_n += 2;
    }
    return true;
}

bool client_ask(struct client *c, struct span *ret, int argc, const char *const *argv)
{
    struct span words[8];
    for (int i = 0; i < argc; i++)
        words[i] = span_str(argv[i]);
    if (!client_pipe_drain(c, true) || !put_words(c, words, (uint32_t)argc))
        return false;
    size_t n = c->out_n;
    c->out_n = 0;
    if (!client_send(c, span_of(c->out, n)) || !next_reply(c, ret))
        return false;
    if (*ret->p == '-') {
        snprintf(c->err, sizeof c->err, "%.*s", (int)(ret->n - 3), (const char *)ret->p + 1);
        return false;
    }
    ret->n = flatten((uint8_t *)(uintptr_t)ret->p, ret->p, ret->n, false);
    return true;
}

bool client_info(struct span info, const char *name, char *to, size_t n)
{
    size_t k = strlen(name);
    for (size_t at = 0; at < info.n;) {
        const uint8_t *p = info.p + at, *end = memchr(p, '\n', info.n - at);
        size_t line = end ? (size_t)(end - p) : info.n - at;
        if (line > k && !memcmp(p, name, k) && p[k] == ':') {
            size_t value = line - k - 1 - (p[line - 1] == '\r');
            snprintf(to, n, "%.*s", (int)value, (const char *)p + k + 1);
            return true;
        }
        at += line + 1;
    }
    return false;
}

/* ---- the pipe ---- */

static void count(struct client *c, struct span reply)
{
    c->answered++;
    if (*reply.p != '-')
        return;
    if (c->errors < sizeof c->first_errors / sizeof c->first_errors[0])
        snprintf(c->first_errors[c->errors], sizeof c->first_errors[0], "%.*s", (int)(reply.n - 3),
                 (const char *)reply.p + 1);
    c->errors++;
}

/* Replies that are whole in `in`. */
static bool take_replies(struct client *c)
{
    while (c->answered < c->asked) {
        size_t n = reply_bytes(c->in + c->in_at, c->in_n - c->in_at, 0);
        if (n == SIZE_MAX)
            return fail(c, "the server answered with something that is no reply");
        if (!n)
            return true;
        count(c, span_of(c->in + c->in_at, n));
        c->in_at += n;
    }
    return true;
}

/* Writes all of `out`; the server's replies are read meanwhile, else both might wait for each other. */
static bool write_out(struct client *c)
{
    size_t at = 0;
    while (at < c->out_n) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN | POLLOUT};
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return fail(c, strerror(errno));
        if ((p.revents & (POLLIN | POLLHUP | POLLERR)) &&
            (client_fill(c, 0) < 0 || !take_replies(c)))
            return false;
        if (!(p.revents & POLLOUT))
            continue;
        ssize_t n = send(c->fd, c->out + at, c->out_n - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return fail(c, strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    c->out_n = 0;
    return true;
}

bool client_pipe_drain(struct client *c, bool all)
{
    if (!write_out(c) || !take_replies(c))
        return false;
    while (all && c->answered < c->asked)
        if (client_fill(c, -1) < 0 || !take_replies(c))
            return false;
    return true;
}

static bool piped(struct client *c)
{
    c->asked++;
    if (c->out_n >= PIPE_BYTES && !client_pipe_drain(c, false))
        return false;
    while (c->asked - c->answered > AHEAD_MAX)
        if (!write_out(c) || client_fill(c, -1) < 0 || !take_replies(c))
            return false;
    return true;
}

bool client_pipe(struct client *c, const struct span *argv, uint32_t argc)
{
    return put_words(c, argv, argc) && piped(c);
}

bool client_pipe_raw(struct client *c, struct span request)
{
    if (!reserve(&c->out, &c->out_cap, c->out_n + request.n))
        return fail(c, "no memory");
    memcpy(c->out + c->out_n, request.p, request.n);
    c->out_n += request.n;
    return piped(c);
}
