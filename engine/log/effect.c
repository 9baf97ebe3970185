/* Effects as bytes. See effect.h. */
#include "engine/log/effect.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/num.h"

#define KEEP_BYTES  (256 * 1024) /* of the buffer, between two uses */
#define FIRST_BYTES 4096

static const char multi_text[] = "*1\r\n$5\r\nMULTI\r\n";
static const char exec_text[] = "*1\r\n$4\r\nEXEC\r\n";

void effects_init(struct effects *f)
{
    *f = (struct effects){.first_db = EFFECTS_NO_DB, .db = EFFECTS_NO_DB};
}

void effects_fini(struct effects *f)
{
    free(f->p);
    effects_init(f);
}

void effects_reset(struct effects *f)
{
    if (f->cap > KEEP_BYTES) {
        free(f->p);
        f->p = NULL;
        f->cap = 0;
    }
    f->len = 0;
    f->commands = 0;
    f->first_db = f->db = EFFECTS_NO_DB;
}

/* The effect has happened: there is no way back from here, so memory must be had. */
static uint8_t *room(struct effects *f, size_t n)
{
    if (unlikely_(f->cap - f->len < n)) {
        size_t cap = f->cap ? f->cap * 2 : FIRST_BYTES;
        while (cap - f->len < n)
            cap *= 2;
        uint8_t *p = realloc(f->p, cap);
        CHECK(p);
        f->p = p;
        f->cap = cap;
    }
    return f->p + f->len;
}

static void put(struct effects *f, const void *p, size_t n)
{
    memcpy(room(f, n), p, n);
    f->len += n;
}

static uint8_t *put_head(uint8_t *to, char letter, size_t n)
{
    *to++ = (uint8_t)letter;
    to += num_format_u64((char *)to, n);
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static void put_request(struct effects *f, const struct span *argv, uint32_t argc)
{
    size_t bytes = 32;
    for (uint32_t i = 0; i < argc; i++)
        bytes += argv[i].n + 32;
    uint8_t *to = put_head(room(f, bytes), '*', argc);
    for (uint32_t i = 0; i < argc; i++) {
        to = put_head(to, '$', argv[i].n);
        if (argv[i].n)
            memcpy(to, argv[i].p, argv[i].n);
        to += argv[i].n;
        *to++ = '\r';
        *to++ = '\n';
    }
    f->len = (size_t)(to - f->p);
    f->commands++;
}

static void select_db(struct effects *f, uint32_t db)
{
    if (likely_(f->db == db))
        return;
    if (f->db == EFFECTS_NO_DB) {
        f->first_db = db;
    } else {
        char number[NUM_I64_CHARS];
        size_t n = num_format_u64(number, db);
        put_request(f, (struct span[]){SPAN("SELECT"), span_of(number, n)}, 2);
    }
    f->db = db;
}

void effects_append(struct effects *f, uint32_t db, const struct span *argv, uint32_t argc)
{
    select_db(f, db);
    if (unlikely_(f->multi == EFFECTS_MULTI_ASKED)) {
        put(f, multi_text, sizeof(multi_text) - 1);
        f->multi = EFFECTS_MULTI_OPEN;
    }
    put_request(f, argv, argc);
}

void effects_gone(struct effects *f, uint32_t db, struct span key, bool unlink)
{
    effects_append(f, db, (struct span[]){unlink ? SPAN("UNLINK") : SPAN("DEL"), key}, 2);
}

void effects_field_gone(struct effects *f, uint32_t db, struct span key, struct span field)
{
    effects_append(f, db, (struct span[]){SPAN("HDEL"), key, field}, 3);
}

void effects_say(struct effects *f, uint32_t db, const struct span *argv, uint32_t argc)
{
    if (f->said++ == 0) {
        select_db(f, db);
        f->said_at = f->len;
    }
    effects_append(f, db, argv, argc);
}

void effects_command_end(struct effects *f, uint32_t db, const struct span *argv, uint32_t argc)
{
    if (f->said > 1 && f->multi == EFFECTS_SINGLE) {
        size_t n = sizeof(multi_text) - 1;
        room(f, n);
        memmove(f->p + f->said_at + n, f->p + f->said_at, f->len - f->said_at);
        memcpy(f->p + f->said_at, multi_text, n);
        f->len += n;
        put(f, exec_text, sizeof(exec_text) - 1);
    } else if (f->changed && !f->said) {
        effects_append(f, db, argv, argc);
    }
    f->changed = false;
    f->said = 0;
}

void effects_multi_begin(struct effects *f)
{
    f->multi = EFFECTS_MULTI_ASKED;
}

void effects_multi_end(struct effects *f)
{
    if (f->multi == EFFECTS_MULTI_OPEN)
        put(f, exec_text, sizeof(exec_text) - 1);
    f->multi = EFFECTS_SINGLE;
}
