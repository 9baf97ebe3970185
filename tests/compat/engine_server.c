/* The engine alone behind a unix socket: parser, commands and keyspace, with the model router of tests/unit/cmd/harness.c in the place
 * of the dataplane. It lets compat.py compare the engine with redis-server without DPDK, privileges or a network.
 *
 *     engine_server SOCKET SHARDS       one thread, a poll loop; ends when its standard input is closed
 *
 * It is a test's tool: it trusts its machine to have memory. The two CONFIG SET directives that the cases change are served here, as
 * CONFIG is the control process's. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "engine/resp/parse.h"
#include "tests/unit/cmd/harness.h"

#define CLIENTS_MAX 64
#define IN_BYTES    65536

struct client {
    int fd;              /* -1: free */
    bool ended, closing; /* the peer sends no more; close once the output has left */
    struct session session;
    struct resp_parser parser;
    uint8_t *out;
    size_t out_len, out_at, out_cap;
};

struct server {
    struct harness h;
    struct client clients[CLIENTS_MAX];
    uint64_t next_id;
    int listen_fd;
};

static void client_write(struct client *c, struct span s)
{
    if (c->out_at == c->out_len)
        c->out_at = c->out_len = 0;
    if (c->out_len + s.n > c->out_cap) {
        c->out_cap = (c->out_len + s.n) * 2;
        c->out = realloc(c->out, c->out_cap);
        CHECK(c->out);
    }
    if (s.n)
        memcpy(c->out + c->out_len, s.p, s.n);
    c->out_len += s.n;
}

static void client_close(struct server *s, struct client *c)
{
    close(c->fd);
    pubsub_leave(&s->h.pubsub, &c->session);
    tracking_free(&s->h.tracking, &c->session);
    session_fini(&c->session);
    resp_parser_fini(&c->parser);
    free(c->out);
    *c = (struct client){.fd = -1};
}

static void client_accept(struct server *s)
{
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct client *c = s->clients;
    while (c < s->clients + CLIENTS_MAX && c->fd >= 0)
        c++;
    if (c == s->clients + CLIENTS_MAX) {
        close(fd);
        return;
    }
    *c = (struct client){.fd = fd};
    session_init(&c->session, ++s->next_id, SESSION_DOOR_UNIX, s->h.now_us / 1000);
    c->session.authenticated = true;
    resp_parser_init(&c->parser, &s->h.shards[0].mem);
}

static uint32_t policy_of(struct span name)
{
    static const char *const names[] = {
        [POLICY_NOEVICTION] = "noeviction",           [POLICY_ALLKEYS_LRU] = "allkeys-lru",
        [POLICY_ALLKEYS_LFU] = "allkeys-lfu",         [POLICY_ALLKEYS_RANDOM] = "allkeys-random",
        [POLICY_VOLATILE_LRU] = "volatile-lru",       [POLICY_VOLATILE_LFU] = "volatile-lfu",
        [POLICY_VOLATILE_RANDOM] = "volatile-random", [POLICY_VOLATILE_TTL] = "volatile-ttl",
        [POLICY_ALLKEYS_S3FIFO] = "allkeys-s3fifo"};
    for (uint32_t i = 0; i < ARRAY_LEN(names); i++)
        if (span_is(name, names[i]))
            return i;
    return POLICY_NOEVICTION;
}

static struct span config_set(struct server *s, const struct resp_cmd *cmd)
{
    uint64_t v;
    if (cmd->argc < 4)
        return SPAN("-ERR wrong number of arguments for 'config|set' command\r\n");
    if (cmd->argc % 2)
        return SPAN("-ERR syntax error\r\n");
    if (cmd->argc == 4 && span_is(cmd->argv[2], "proto-max-bulk-len") &&
        num_parse_u64(cmd->argv[3], &v))
        s->h.config.proto_max_bulk_bytes = v;
    else if (cmd->argc == 4 && span_is(cmd->argv[2], "maxmemory-policy"))
        s->h.config.maxmemory_policy = policy_of(cmd->argv[3]);
    else if (cmd->argc == 4 && span_is(cmd->argv[2], "maxmemory") &&
             num_parse_u64(cmd->argv[3], &v))
        s->h.config.maxmemory_bytes = v;
    else if (cmd->argc == 4 && span_is(cmd->argv[2], "list-compress-depth") &&
             num_parse_u64(cmd->argv[3], &v))
        s->h.config.list_compress_depth = v;
    else if (cmd->argc == 4 && span_is(cmd->argv[2], "rdbcompression"))
        s->h.config.rdbcompression = span_is(cmd->argv[3], "yes");
    else if (cmd->argc == 4 && span_is(cmd->argv[2], "list-max-listpack-size") &&
             num_parse_i64(cmd->argv[3], &s->h.config.list_max_listpack_size))
        return SPAN("+OK\r\n");
    else
        return SPAN("-ERR not served by this server\r\n");
    return SPAN("+OK\r\n");
}

/* As the dataplane's conn layer treats CLIENT REPLY: the command after SKIP is silent, and so is everything after OFF. */
static void client_run(struct server *s, struct client *c, const struct resp_cmd *cmd)
{
    bool silent = c->session.reply_mode == SESSION_REPLY_SKIP;
    if (silent)
        c->session.reply_mode = SESSION_REPLY_ON;
    struct span reply;
    s->h.session = &c->session;
    if (cmd->argc > 1 && span_is(cmd->argv[0], "config") && span_is(cmd->argv[1], "set"))
        reply = config_set(s, cmd);
    else
        reply = harness_runv(&s->h, cmd->argv, cmd->argc);
    if (c->session.reply_mode == SESSION_REPLY_SKIP_NEXT)
        c->session.reply_mode = SESSION_REPLY_SKIP;
    else if (!silent && c->session.reply_mode == SESSION_REPLY_ON)
        client_write(c, reply);
    c->closing = c->session.close_after_reply || c->session.close_asap;
}

static void client_read(struct server *s, struct client *c)
{
    static uint8_t in[IN_BYTES];
    static struct span arena[LIMIT_BATCH_ARGS];
    ssize_t n = read(c->fd, in, sizeof(in));
    if (n <= 0) {
        c->ended = n == 0 || errno != EAGAIN;
        return;
    }
    struct resp_limits limits = {.max_bulk_bytes = s->h.config.proto_max_bulk_bytes,
                                 .max_query_bytes = s->h.config.client_query_buffer_bytes,
                                 .authenticated = true};
    const uint8_t *cur = in, *end = in + n;
    while (!c->closing) {
        struct resp_cmd cmd;
        enum resp_status status =
            resp_parse(&c->parser, &limits, &cur, end, arena, LIMIT_BATCH_ARGS, &cmd);
        if (status == RESP_BAD && c->parser.over_limit) {
            c->closing = true;
        } else if (status == RESP_BAD) {
            client_write(c, SPAN("-ERR "));
            client_write(c, span_str(c->parser.error));
            client_write(c, SPAN("\r\n"));
            c->closing = true;
        } else if (status != RESP_DONE) {
            return;
        } else if (cmd.argc) {
            client_run(s, c, &cmd);
            resp_parser_trim(&c->parser);
        }
    }
}

static void client_flush(struct client *c)
{
    ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
    if (n > 0)
        c->out_at += (size_t)n;
    else if (n < 0 && errno != EAGAIN)
        c->ended = c->closing = true, c->out_at = c->out_len;
}

static void server_turn(struct server *s)
{
    struct pollfd p[CLIENTS_MAX + 2] = {{.fd = 0, .events = POLLIN},
                                        {.fd = s->listen_fd, .events = POLLIN}};
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];
        bool more = c->out_len > c->out_at;
        p[i + 2] = (struct pollfd){
            .fd = c->fd,
            .events = (short)((c->ended || c->closing ? 0 : POLLIN) | (more ? POLLOUT : 0))};
    }
    poll(p, CLIENTS_MAX + 2, 100);
    struct timeval now;
    gettimeofday(&now, NULL);
    harness_advance_ms(&s->h, now.tv_sec * 1000 + now.tv_usec / 1000 - s->h.now_us / 1000);
    for (uint32_t i = 0; i < s->h.count; i++)
        shard_tick(&s->h.shards[i], 100);
    if (p[1].revents)
        client_accept(s);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];
        if (c->fd < 0 || p[i + 2].fd != c->fd)
            continue;
        if (!c->ended && !c->closing && p[i + 2].revents & (POLLIN | POLLHUP | POLLERR))
            client_read(s, c);
        if (c->out_len > c->out_at)
            client_flush(c);
        if ((c->ended || c->closing) && c->out_len == c->out_at)
            client_close(s, c);
    }
    if (p[0].revents & (POLLIN | POLLHUP) && read(0, &(char){0}, 1) <= 0)
        s->listen_fd = -1;
}

int main(int argc, char **argv)
{
    static struct server s;
    int shards = argc == 3 ? atoi(argv[2]) : 0;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (shards < 1 || shards > HARNESS_SHARDS || strlen(argv[1]) >= sizeof(a.sun_path)) {
        fprintf(stderr, "usage: engine_server SOCKET SHARDS (1 to %d)\n", HARNESS_SHARDS);
        return 2;
    }
    harness_init(&s.h, (uint32_t)shards);
    s.h.config.enable_debug_command = DEBUG_CMD_YES;
    s.next_id = 1; /* the harness's own client */
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        s.clients[i].fd = -1;
    strcpy(a.sun_path, argv[1]);
    int fd = s.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 64)) {
        perror(argv[1]);
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    while (s.listen_fd >= 0)
        server_turn(&s);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (s.clients[i].fd >= 0)
            client_close(&s, &s.clients[i]);
    close(fd);
    unlink(argv[1]);
    s.h.session = &s.h.sessions[0];
    harness_run(&s.h, "FLUSHALL SYNC");
    harness_fini(&s.h); /* a sanitized build finds what leaked */
    return 0;
}
