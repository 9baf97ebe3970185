/* Messages in the link's rings. All integers little-endian (one machine). A receiver checks every length before use; a message that
 * lies is dropped and counted (link_bad_messages).
 *
 * Door: the control process carries bytes between its unix/TCP sockets and a worker, which treats them as one more client connection.
 * Flow control by credit: at most LINK_DOOR_WINDOW bytes of a door connection are on their way to the worker; DOOR_ACK gives them back.
 *
 * Admin: a command routed to control (INFO, CONFIG, SHUTDOWN ...). The worker sends argv, control answers with RESP bytes in one or more
 * records; the client's later commands wait for it.
 *
 * Neighbours: with net-share kernel Linux does ARP and NDP; a worker asks for a neighbour, control answers as soon as Linux knows, and tells every
 * worker what changes. */
#pragma once

#include <stdint.h>

#define LINK_DOOR_WINDOW (256 * 1024)

enum link_msg {
    /* control -> worker */
    MSG_DOOR_OPEN = 1, /* struct msg_door_open */
    MSG_DOOR_DATA = 2, /* struct msg_door, bytes */
    MSG_DOOR_CLOSE =
        3, /* struct msg_door: the client is gone, or asked to close after what was sent */
    MSG_ADMIN_REPLY = 4, /* struct msg_admin_reply, RESP bytes */
    MSG_SHUTDOWN = 5,    /* the dataplane stops cleanly */
    MSG_NEIGH = 6,       /* struct msg_neigh: net-share kernel, what Linux knows of a neighbour */
    /* worker -> control */
    MSG_DOOR_REPLY = 16,  /* struct msg_door, bytes */
    MSG_DOOR_CLOSED = 17, /* struct msg_door: the worker has ended it; all replies came before */
    MSG_DOOR_ACK = 18,    /* struct msg_door_ack */
    MSG_ADMIN_REQUEST =
        19,             /* struct msg_admin_request, then argc times { u32 len, bytes } unaligned */
    MSG_NEIGH_ASK = 20, /* struct msg_neigh, its address: MSG_NEIGH is wanted */
};

struct msg_door_open {
    uint64_t
        door; /* chosen by control, unique; upper half: link_control_generation of the control that chose it */
    uint32_t source; /* enum session_source */
    uint32_t pad;
    char peer[64], local[64]; /* NUL-terminated */
};
struct msg_door {
    uint64_t door;
};
struct msg_door_ack {
    uint64_t door;
    uint32_t bytes, pad;
};
struct msg_admin_request {
    uint64_t request; /* unique per worker */
    uint64_t client;  /* CLIENT ID */
    uint32_t db;
    uint8_t resp, source, pad[2];
    uint32_t argc, pad2;
    char peer[64];
};
struct msg_admin_reply {
    uint64_t request;
    uint32_t flags; /* MSG_ADMIN_LAST: the reply is complete with this record */
    uint32_t pad;
};
#define MSG_ADMIN_LAST 1u
struct msg_neigh {
    uint8_t addr[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t mac[6];
    uint8_t known; /* 0: it does not answer */
    uint8_t pad;
};
