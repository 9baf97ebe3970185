/* client: a client of a RESP server, for tools: connects, asks, waits. Blocking; nothing here is fast but the pipe, which writes while it reads.
 * Thread: the tool's only one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct client {
    int fd;
    uint8_t *in; /* what was read and not used: [in_at, in_n) */
    size_t in_at, in_n, in_cap;
    uint8_t *out; /* commands that wait */
    size_t out_n, out_cap;
    uint64_t asked, answered; /* of the pipe */
    uint64_t errors;          /* replies that were errors */
    char first_errors[5][200];
    char err[300]; /* why the connection failed */
};

/* How to reach a server: -s SOCKET, or -h HOST -p PORT; --user, -a (or REDISCLI_AUTH). */
struct client_where {
    const char *socket, *host, *port, *user, *pass;
};

/* False: c->err. */
bool client_open(struct client *c, const struct client_where *w);
void client_close(struct client *c);

/* One command, its reply as text: of a bulk or simple string its bytes, of an integer its digits, of an array the elements, each ended by \n; borrowed until the
 * next call. False: c->err: the connection failed, or the server answered with an error (which is c->err then). */
bool client_ask(struct client *c, struct span *ret, int argc, const char *const *argv);
/* "name:value" of the text of INFO. False: it is not there. */
bool client_info(struct span info, const char *name, char *to, size_t n);

/* ---- pipe: commands whose replies are only counted ---- */

/* False: c->err. It may write and read. */
bool client_pipe(struct client *c, const struct span *argv, uint32_t argc);
bool client_pipe_raw(struct client *c, struct span request);
/* Takes what replies are there; `all`: waits for all of them. */
bool client_pipe_drain(struct client *c, bool all);

/* ---- bytes, of a server that streams ---- */

/* At least one byte more in `in`, waiting `timeout_ms` (-1: for ever). 1; 0: nothing came; -1: c->err. */
int client_fill(struct client *c, int timeout_ms);
bool client_send(struct client *c, struct span s);
