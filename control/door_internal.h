/* Shared by door.c (clients) and door_listen.c (listeners). */
#pragma once

#include <assert.h>

#include "control/door.h"
#include "engine/base/assert.h"
#include "engine/base/list.h"
#include "engine/cmd/session.h"

#define DOOR_SLOTS   LIMIT_DOOR_CLIENTS
#define DOOR_NO_SLOT UINT32_MAX
#define DOOR_BACKLOG 511

union door_handle {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_pipe_t pipe;
    uv_tcp_t tcp;
};

struct door_conn {
    union door_handle h; /* first; data: the conn */
    struct door *door;
    struct list node; /* door.conns */
    struct list wait; /* door.waiting: something is due and the ring had no room */
    uint64_t id;      /* control generation << 32 | serial * DOOR_SLOTS + slot */
    uint32_t worker, slot, source;
    uint64_t in_flight; /* bytes sent to the worker and not acknowledged */
    uint64_t out_bytes; /* replies that wait for the socket */
    uint8_t *reserved;  /* between on_alloc and on_read */
    bool open_due, close_due, reading, eof;
    bool refused; /* no dataplane, or too many: gets an error to its first request and is closed */
    bool too_many, answered;
    bool worker_done, socket_closed;
    char peer[64], local[64];
};

struct door {
    uv_loop_t *loop;
    struct bridge *bridge;
    uv_pipe_t unix_listener;
    uv_tcp_t tcp_listener;
    union door_handle away; /* the connection that is being turned away */
    bool has_unix, has_tcp, turning_away, unix_waits, tcp_waits, up;
    const char *why;
    char *path;
    int port;
    uint32_t generation; /* of control */
    uint32_t serial, next_slot, next_worker, clients;
    uint64_t out_bytes, output_limit;
    struct list conns, waiting;
    struct door_conn *slots[DOOR_SLOTS];
    char waste[4096]; /* input of clients that are being refused */
};

void door_conn_push(struct door_conn *c);
void door_conn_write(struct door_conn *c, const uint8_t *p, size_t n);
void door_conn_close(struct door_conn *c);
void door_conn_drop(struct door_conn *c); /* socket and worker side */
void door_refuse_now(struct door_conn *c);
