/* session: what a connection is to the commands. The thread of its home worker. */
#include "engine/cmd/session.h"

#include <stdlib.h>

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

void session_fini(struct session *s)
{
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
