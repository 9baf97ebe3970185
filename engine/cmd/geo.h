/* geo: what geo.c and geo_search.c share: arguments and replies about places. */
#pragma once

#include "engine/cmd/geohash.h"
#include "engine/cmd/zset_value.h"

/* Longitude and latitude, arguments i and i + 1. False: the error was written. */
bool geo_arg_point(struct cmd *c, uint32_t i, struct geo_point *ret);
/* Meters of a unit. False: the error was written. */
bool geo_arg_unit(struct cmd *c, uint32_t i, double *ret);
void geo_reply_distance(struct reply *out, double distance);
void geo_reply_point(struct reply *out, struct geo_point p);

/* ---- geo_sort.c ---- */

struct geo_found {
    double distance; /* from the center, in meters */
    double score;
    struct geo_point point;
    struct span member; /* p NULL: the number */
    int64_t number;
};

/* Sorts v by distance so far that its first `wanted` are right. Which of several equally far ones comes first is part of Redis's replies:
 * the order is kept when all are wanted, and otherwise is what its quicksort makes of it. */
void geo_sort(struct geo_found *v, size_t n, size_t wanted, bool down);
