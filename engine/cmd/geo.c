/* geo.c: places in sorted sets: GEOADD, GEOPOS, GEODIST, GEOHASH.
 *
 * Where in the flow: cmd_call -> here -> zset_add.c, zset_value.c. A place is a member whose score is geo_encode of its coordinates. Searches:
 * geo_search.c. Thread: the lease holder's. */
#include "engine/cmd/geo.h"

#include <stdio.h>

#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/zset_add.h"

bool geo_arg_point(struct cmd *c, uint32_t i, struct geo_point *ret)
{
    if (!zval_arg_score(c, i, &ret->lon) || !zval_arg_score(c, i + 1, &ret->lat))
        return false;
    if (geo_point_ok(*ret))
        return true;
    reply_errorf(c->out, "ERR invalid longitude,latitude pair %f,%f", ret->lon, ret->lat);
    return false;
}

bool geo_arg_unit(struct cmd *c, uint32_t i, double *ret)
{
    struct span unit = c->argv[i];
    if (span_is(unit, "m"))
        *ret = 1;
    else if (span_is(unit, "km"))
        *ret = 1000;
    else if (span_is(unit, "ft"))
        *ret = 0.3048;
    else if (span_is(unit, "mi"))
        *ret = 1609.34;
    else
        return reply_error(c->out, "ERR unsupported unit provided. please use M, KM, FT, MI"),
               false;
    return true;
}

void geo_reply_distance(struct reply *out, double distance)
{
    char text[400]; /* the largest double has 309 digits in front of the point */
    reply_bulk(out, span_of(text, (size_t)snprintf(text, sizeof(text), "%.4f", distance)));
}

/* As Redis writes a long double for people: seventeen digits behind the point, without the zeros at their end. */
static void reply_coordinate(struct reply *out, double v)
{
    char text[NUM_LONG_DOUBLE_CHARS];
    size_t n = num_format_long_double(text, (long double)v);
    if (out->resp == 2) {
        reply_bulk(out, span_of(text, n));
        return;
    }
    reply_raw(out, ",", 1);
    reply_raw(out, text, n);
    reply_raw(out, "\r\n", 2);
}

void geo_reply_point(struct reply *out, struct geo_point p)
{
    reply_array(out, 2);
    reply_coordinate(out, p.lon);
    reply_coordinate(out, p.lat);
}

/* ---- GEOADD ---- */

struct geoadd {
    struct zset_add add;
    uint32_t first;
};

static struct span geoadd_pair(struct cmd *c, struct zset_add *a, uint32_t i, double *ret)
{
    uint32_t at = ((struct geoadd *)a)->first + 3 * i;
    struct geo_point p = {0, 0};
    geo_arg_point(c, at, &p);
    *ret = (double)geo_encode(p);
    return c->argv[at + 2];
}

void cmd_geoadd(struct cmd *c)
{
    struct geoadd g = {.add = {.pair = geoadd_pair}, .first = 2};
    for (; g.first < c->argc; g.first++) {
        if (span_is(c->argv[g.first], "nx"))
            g.add.nx = true;
        else if (span_is(c->argv[g.first], "xx"))
            g.add.xx = true;
        else if (span_is(c->argv[g.first], "ch"))
            g.add.ch = true;
        else
            break;
    }
    uint32_t left = c->argc - g.first;
    if (left % 3 || left == 0 || (g.add.nx && g.add.xx)) {
        cmd_reply_syntax(c);
        return;
    }
    for (uint32_t i = g.first; i < c->argc; i += 3) {
        struct geo_point p;
        if (!geo_arg_point(c, i, &p))
            return;
    }
    zset_add_pairs(c, &g.add, left / 3);
}

/* ---- facts ---- */

void cmd_geopos(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    if (!zval_read(c, &k, &v))
        return;
    reply_array(c->out, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        double score;
        if (zval_score(&v, c->argv[i], &score))
            geo_reply_point(c->out, geo_decode(score));
        else
            reply_null_array(c->out);
    }
}

void cmd_geohash(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    if (!zval_read(c, &k, &v))
        return;
    reply_array(c->out, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        double score;
        char text[GEO_TEXT_CHARS];
        if (zval_score(&v, c->argv[i], &score)) {
            geo_text(score, text);
            reply_bulk(c->out, span_of(text, sizeof(text)));
        } else {
            reply_null(c->out);
        }
    }
}

void cmd_geodist(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    double unit = 1, a, b;
    if (c->argc > 5) {
        cmd_reply_syntax(c);
        return;
    }
    if ((c->argc == 5 && !geo_arg_unit(c, 4, &unit)) || !zval_read(c, &k, &v))
        return;
    if (zval_score(&v, c->argv[2], &a) && zval_score(&v, c->argv[3], &b))
        geo_reply_distance(c->out, geo_distance(geo_decode(a), geo_decode(b)) / unit);
    else
        reply_null(c->out);
}
