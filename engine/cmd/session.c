/* session: what a connection is to the commands. The thread of its home worker. */
#include "engine/cmd/session.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void session_init(struct session *s, uint64_t id, enum session_source source, int64_t now_ms)
{
    *s = (struct session){
        .id = id,
        .resp = 2,
        .source = (uint8_t)source,
        .reply_mode = SESSION_REPLY_ON,
        .created_ms = now_ms,
        .last_ms = now_ms,
    };
}

const char *session_end_text(const struct session *s, enum session_end end,
                             char to[SESSION_END_BYTES])
{
    static_assert(SESSION_END_BYTES >= IP_ENDPOINT_BYTES, "holds an endpoint");
    if (s->source == SESSION_NETWORK)
        ip_format_endpoint(to, s->ip[end], s->port[end]);
    else
        snprintf(to, SESSION_END_BYTES, "%s", s->end_text[end] ? s->end_text[end] : "");
    return to;
}

bool session_set_ends(struct session *s, const char *peer, const char *local)
{
    char *p = strndup(peer, SESSION_END_BYTES - 1), *l = strndup(local, SESSION_END_BYTES - 1);
    if (!p || !l) {
        free(p);
        free(l);
        return false;
    }
    free(s->end_text[SESSION_PEER]);
    free(s->end_text[SESSION_LOCAL]);
    s->end_text[SESSION_PEER] = p;
    s->end_text[SESSION_LOCAL] = l;
    return true;
}

void session_fini(struct session *s)
{
    if (s->source != SESSION_NETWORK) {
        free(s->end_text[SESSION_PEER]);
        free(s->end_text[SESSION_LOCAL]);
        s->end_text[SESSION_PEER] = s->end_text[SESSION_LOCAL] = NULL;
    }
    free(s->name);
    free(s->lib_name);
    free(s->lib_ver);
    s->name = s->lib_name = s->lib_ver = NULL;
}

void session_reset(struct session *s, bool authenticated)
{
    free(s->name);
    s->name = NULL;
    s->db = 0;
    s->resp = 2;
    if (s->reply_mode !=
        SESSION_REPLY_SKIP) /* the reply to RESET itself is still the one to skip */
        s->reply_mode = SESSION_REPLY_ON;
    s->authenticated = authenticated;
    s->mode &= (uint8_t) ~(SESSION_MONITOR | SESSION_DURABLE);
    s->durability = DURABILITY_DEFAULT;
    s->no_touch = false;
}

bool session_set_text(char **field, struct span text)
{
    char *copy = NULL;
    if (text.n) {
        copy = malloc(text.n + 1);
        if (!copy)
            return false;
        memcpy(copy, text.p, text.n);
        copy[text.n] = 0;
    }
    free(*field);
    *field = copy;
    return true;
}
