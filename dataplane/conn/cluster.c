/* core-addressed: a client of port + 1 + i sees worker i as a node of a cluster, which owns the slots of its shard.
 *
 * What its keys lie elsewhere for is answered with MOVED, keys of several slots with CROSSSLOT; commands over the whole keyspace mean the
 * node's shard. The connection may have come to any worker: the mail rings carry what is not its own. Clients of the main port are none of
 * this file's business. Thread: the client's home worker. */
#include <stdio.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/crc.h"
#include "engine/cmd/command_table.h"

void cluster_accept(struct worker *w, struct conn *c)
{
    uint32_t n = (uint32_t)c->ses.port[SESSION_LOCAL] - w->cfg.net.listen_port - 1u;
    if (n >= w->cfg.net.listen_more)
        return;
    c->ses.node = (uint8_t)(n + 1);
    c->ses.mode |= SESSION_NODE;
    c->at_node = n == w->id;
}

static bool only_database_0(const struct staged *s)
{
    const struct cmd_desc *d = s->desc;
    return d == &cmd_table[CMD_swapdb] || d == &cmd_table[CMD_move] ||
           (d == &cmd_table[CMD_select] && !span_eq(s->argv[1], SPAN("0")));
}

static bool one_slot(const struct staged *s, const uint32_t *pos, int n, uint32_t *ret)
{
    *ret = key_slot(s->argv[pos[0]].p, s->argv[pos[0]].n);
    for (int i = 1; i < n; i++)
        if (key_slot(s->argv[pos[i]].p, s->argv[pos[i]].n) != *ret)
            return false;
    return true;
}

bool cluster_refuses(struct worker *w, struct staged *s, char text[CLUSTER_TEXT_BYTES])
{
    struct conn *c = s->conn;
    uint32_t few[64], *pos = few, slot;
    if (only_database_0(s)) {
        char name[16];
        size_t n = 0;
        for (; s->desc->name[n] && n < sizeof(name) - 1; n++)
            name[n] = (char)(s->desc->name[n] - ('a' - 'A'));
        name[n] = 0;
        snprintf(text, CLUSTER_TEXT_BYTES, "ERR %s is not allowed in cluster mode", name);
        return true;
    }
    int n = cmd_keys(s->desc, s->argv, s->argc, NULL, 0);
    if (n <= 0)
        return false;
    if (n > 64 && !(pos = malloc((size_t)n * sizeof(*pos)))) {
        snprintf(text, CLUSTER_TEXT_BYTES, "OOM out of memory");
        return true;
    }
    cmd_keys(s->desc, s->argv, s->argc, pos, (uint32_t)n);
    bool one = one_slot(s, pos, n, &slot);
    if (pos != few)
        free(pos);
    if (!one) {
        snprintf(text, CLUSTER_TEXT_BYTES, "CROSSSLOT Keys in request don't hash to the same slot");
        return true;
    }
    uint32_t owner = shard_of_slot(slot, w->count);
    if (owner + 1u == c->ses.node)
        return false;
    char ip[IP_TEXT_BYTES];
    ip_format(ip, c->ses.ip[SESSION_LOCAL]);
    snprintf(text, CLUSTER_TEXT_BYTES, "MOVED %u %s:%u", slot, ip,
             w->cfg.net.listen_port + 1u + owner);
    STAT_INC(w->stats->cluster_moved);
    return true;
}
