/* set: CONFIG SET, several values at once, all or none. The change is made on a copy, which takes the place of the original at the end;
 * errors in the order and words of Redis: first the names, then the values. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/config/config_internal.h"

static int refuse(char *err, size_t len, struct span name, const char *why)
{
    if (name.n > 256)
        name.n = 256;
    if (why)
        snprintf(err, len, "ERR CONFIG SET failed (possibly related to argument '%.*s') - %s",
                 (int)name.n, (const char *)name.p, why);
    else
        snprintf(err, len, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                 (int)name.n, (const char *)name.p);
    return -EINVAL;
}

/* Names only: known, changeable, not twice. rows[i] is filled for each pair. */
static int check_names(const struct span *pairs, uint32_t count, const struct config_row **rows,
                       char *err, size_t len)
{
    for (uint32_t i = 0; i < count / 2; i++) {
        struct span name = pairs[i * 2];
        uint32_t k = config_find(name);
        if (k == UINT32_MAX || (config_rows[k].item.flags & CF_DIRECTIVE))
            return refuse(err, len, name, NULL);
        const struct config_row *r = &config_rows[k];
        if (r->item.flags & CF_IMMUTABLE)
            return refuse(err, len, name, "can't set immutable config");
        if (r->item.flags & CF_PROTECTED)
            return refuse(err, len, name, "can't set protected config");
        for (uint32_t j = 0; j < i; j++)
            if (rows[j] == r)
                return refuse(err, len, name, "duplicate parameter");
        rows[i] = r;
    }
    return 0;
}

/* The words of a multi-argument value: every blank separates, as Redis splits it here (not as in a file). */
static bool set_list(struct config *c, const struct config_row *r, struct span v, char *why)
{
    struct span *words = malloc((v.n + 1) * sizeof(*words));
    uint32_t n = 0;
    if (!words) {
        snprintf(why, CONFIG_WHY_BYTES, "out of memory");
        return false;
    }
    for (size_t at = 0; v.n && at <= v.n;) {
        const uint8_t *blank = memchr(v.p + at, ' ', v.n - at);
        size_t end = blank ? (size_t)(blank - v.p) : v.n;
        words[n++] = span_of(v.p + at, end - at);
        at = end + 1;
    }
    bool ok = config_row_set(c, r, words, n, why);
    free(words);
    return ok;
}

int config_set(struct config *c, const struct span *pairs, uint32_t count, char *err,
               size_t err_len)
{
    const struct config_row **rows = calloc(count / 2 + 1, sizeof(*rows));
    struct config copy;
    char why[CONFIG_WHY_BYTES];

    if (!rows || !config_copy(&copy, c)) {
        free(rows);
        snprintf(err, err_len, "ERR out of memory");
        return -ENOMEM;
    }
    int ret = check_names(pairs, count, rows, err, err_len);
    for (uint32_t i = 0; !ret && i < count / 2; i++) {
        const struct config_row *r = rows[i];
        struct span v = pairs[i * 2 + 1];
        bool list = (r->item.flags & CF_MULTI) && r->item.kind != CONFIG_FOREIGN;
        if (!(list ? set_list(&copy, r, v, why) : config_row_set(&copy, r, &v, 1, why)))
            ret = refuse(err, err_len, pairs[i * 2], why);
    }
    free(rows);
    if (ret) {
        config_fini(&copy);
        return ret;
    }
    copy.warnings = c->warnings; /* they tell about the file: they stay with the original */
    copy.warnings_count = c->warnings_count;
    c->warnings = NULL;
    c->warnings_count = 0;
    config_fini(c);
    *c = copy;
    return 0;
}
