/* config: the table of directives and the life of struct config. See config.h; the rows are in config.def.
 * The table is data: every view (parser, GET, SET, REWRITE, sample, docs) walks config_rows. */
#include "control/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/config/config_internal.h"
#include "engine/base/assert.h"

/* Names in the order that Redis lists them in its error texts. */
static const char *const enum_policy[] = {
    "volatile-lru", "volatile-lfu",   "volatile-random", "volatile-ttl",   "allkeys-lru",
    "allkeys-lfu",  "allkeys-random", "noeviction",      "allkeys-s3fifo", NULL};
static const uint8_t enum_policy_numbers[] = {
    POLICY_VOLATILE_LRU,   POLICY_VOLATILE_LFU, POLICY_VOLATILE_RANDOM,
    POLICY_VOLATILE_TTL,   POLICY_ALLKEYS_LRU,  POLICY_ALLKEYS_LFU,
    POLICY_ALLKEYS_RANDOM, POLICY_NOEVICTION,   POLICY_ALLKEYS_S3FIFO};
static const char *const enum_debug[] = {"no", "yes", "local", NULL};
static const uint8_t enum_debug_numbers[] = {DEBUG_CMD_NO, DEBUG_CMD_YES, DEBUG_CMD_LOCAL};
static const char *const enum_idle[] = {"spin", "adaptive", "sleep", NULL};
static const uint8_t enum_idle_numbers[] = {IDLE_SPIN, IDLE_ADAPTIVE, IDLE_SLEEP};
static const char *const enum_auto[] = {"auto", "yes", "no", NULL};
static const uint8_t enum_auto_numbers[] = {CONFIG_AUTO, CONFIG_AUTO_YES, CONFIG_AUTO_NO};
static const char *const enum_share[] = {"none", "kernel", NULL};
static const uint8_t enum_share_numbers[] = {CONFIG_SHARE_NONE, CONFIG_SHARE_KERNEL};
static const char *const enum_congestion[] = {"cubic", "newreno", "dctcp", NULL};
static const uint8_t enum_congestion_numbers[] = {CONFIG_CC_CUBIC, CONFIG_CC_NEWRENO,
                                                  CONFIG_CC_DCTCP};
static const char *const enum_trace[] = {"errors", "yes", "no", NULL};
static const uint8_t enum_trace_numbers[] = {CONFIG_TRACE_ERRORS, CONFIG_TRACE_YES,
                                             CONFIG_TRACE_NO};
static const char *const enum_appendfsync[] = {"always", "everysec", "no", NULL};
static const uint8_t enum_appendfsync_numbers[] = {CONFIG_FSYNC_ALWAYS, CONFIG_FSYNC_EVERYSEC,
                                                   CONFIG_FSYNC_NO};
static const char *const enum_loglevel[] = {"debug", "verbose", "notice", "warning", NULL};
static const uint8_t enum_loglevel_numbers[] = {LOGLEVEL_DEBUG, LOGLEVEL_VERBOSE, LOGLEVEL_NOTICE,
                                                LOGLEVEL_WARNING};

#define PLACE(f) offsetof(struct config, f), sizeof(((struct config *)0)->f)
#define ROW(...) {__VA_ARGS__},
#define GROUP(title) \
    ROW({NULL, CONFIG_FOREIGN, 0, title, "", ""}, 0, 0, 0, 0, NULL, NULL, NULL, NULL)
#define BOOL(name, field, def, flags, help) \
    ROW({name, CONFIG_BOOL, flags, NULL, def, help}, PLACE(field), 0, 1, NULL, NULL, NULL, NULL)
#define INT(name, field, lo, hi, def, flags, help) \
    ROW({name, CONFIG_INT, flags, NULL, def, help}, PLACE(field), lo, hi, NULL, NULL, NULL, NULL)
#define MEM(name, field, lo, hi, def, flags, help) \
    ROW({name, CONFIG_MEM, flags, NULL, def, help}, PLACE(field), lo, hi, NULL, NULL, NULL, NULL)
#define ENUM(name, field, values, def, check, flags, help)                                         \
    ROW({name, CONFIG_ENUM, flags, NULL, def, help}, PLACE(field), 0, 0, values, values##_numbers, \
        check, NULL)
#define STR(name, field, def, check, flags, help) \
    ROW({name, CONFIG_STR, flags, NULL, def, help}, PLACE(field), 0, 0, NULL, NULL, check, NULL)
#define SPECIAL(name, ops, def, flags, help) \
    ROW({name, CONFIG_SPECIAL, flags, NULL, def, help}, 0, 0, 0, 0, NULL, NULL, NULL, &ops)
#define FOREIGN(name, value, flags, why)                                                      \
    ROW({name, CONFIG_FOREIGN, (flags) | CF_UNSUPPORTED, NULL, value, why}, 0, 0, 0, 0, NULL, \
        NULL, NULL, NULL)

const struct config_row config_rows[] = {
#include "control/config/config.def"
};
const uint32_t config_rows_count = ARRAY_LEN(config_rows);

uint32_t config_count(void)
{
    return config_rows_count;
}

const struct config_item *config_item(uint32_t i)
{
    return i < config_rows_count ? &config_rows[i].item : NULL;
}

uint32_t config_find(struct span name)
{
    for (uint32_t i = 0; i < config_rows_count; i++) {
        const char *n = config_rows[i].item.name;
        if (n && span_is(name, n))
            return i;
    }
    return UINT32_MAX;
}

static char **string_at(const struct config *c, const struct config_row *r)
{
    return (char **)((char *)(uintptr_t)c + r->offset);
}

/* Gives `to` strings of its own, equal to those of `from`; every other field is plain. */
bool config_copy(struct config *to, const struct config *from)
{
    bool ok = true;
    *to = *from;
    to->warnings = NULL;
    to->warnings_count = 0;
    to->file = strdup(from->file);
    ok = to->file != NULL;
    for (uint32_t i = 0; i < config_rows_count; i++) {
        const struct config_row *r = &config_rows[i];
        if (r->item.name && r->item.kind == CONFIG_STR) {
            char *s = strdup(*string_at(from, r));
            *string_at(to, r) = s;
            ok = ok && s;
        }
    }
    if (!ok)
        config_fini(to);
    return ok;
}

void config_fini(struct config *c)
{
    for (uint32_t i = 0; i < config_rows_count; i++) {
        const struct config_row *r = &config_rows[i];
        if (r->item.name && r->item.kind == CONFIG_STR)
            free(*string_at(c, r));
    }
    for (uint32_t i = 0; i < c->warnings_count; i++)
        free(c->warnings[i]);
    free(c->warnings);
    free(c->file);
}

static bool set_default(struct config *c, const struct config_row *r)
{
    char why[CONFIG_WHY_BYTES];
    struct config_words w = {0};
    struct span one = span_str(r->item.default_text);
    bool ok;

    if (!(r->item.flags & CF_MULTI))
        return config_row_set(c, r, &one, 1, why);
    ok = config_split(one, &w) && config_row_set(c, r, w.v, w.n, why);
    config_words_free(&w);
    return ok;
}

struct config *config_new(void)
{
    struct config *c = calloc(1, sizeof(*c));
    bool ok = c && (c->file = strdup(""));
    if (c)
        engine_config_defaults(&c->engine);
    for (uint32_t i = 0; ok && i < config_rows_count; i++) {
        const struct config_row *r = &config_rows[i];
        if (r->item.name && !(r->item.flags & CF_UNSUPPORTED))
            ok = set_default(c, r);
    }
    if (ok)
        return c;
    config_free(c);
    return NULL;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    config_fini(c);
    free(c);
}

/* One warning a directive, however often it stands in the file. */
bool config_warn(struct config *c, const char *name, const char *help)
{
    size_t n = strlen(name);
    for (uint32_t i = 0; i < c->warnings_count; i++)
        if (strncmp(c->warnings[i], name, n) == 0 && c->warnings[i][n] == ':')
            return true;
    if (c->warnings_count == CONFIG_WARNINGS)
        return true;
    if (!c->warnings)
        c->warnings = calloc(CONFIG_WARNINGS, sizeof(*c->warnings));
    char *text = NULL;
    if (!c->warnings || asprintf(&text, "%s: accepted, without effect (%s)", name, help) < 0)
        return false;
    c->warnings[c->warnings_count++] = text;
    return true;
}
