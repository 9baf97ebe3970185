/* geohash: places on the earth as numbers of 52 bits, and the cells in which a search looks.
 *
 *   score of a member:  | lon 25 | lat 25 | ... | lon 0 | lat 0 |     longitude and latitude in 2^26 parts of their ranges, interleaved
 *
 * Near places share upper bits, so a cell of the grid at `step` bits for each axis is one range of scores. Latitudes end at 85.05 degrees, where
 * the map of Mercator becomes a square. Distances are great circles on a sphere (haversine). Constants and the order of evaluation are
 * those that give Redis's results to the last bit. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define GEO_STEPS   26
#define GEO_LON_MAX 180.0
#define GEO_LAT_MAX 85.05112878

struct geo_point {
    double lon, lat;
};

/* A cell; step 0: none. */
struct geo_cell {
    uint64_t bits;
    uint32_t step;
};

/* What is searched: a circle or (box) a rectangle, around a point. In units of `conversion` meters. */
struct geo_shape {
    struct geo_point center;
    double conversion;
    bool box;
    double radius, width, height;
};

/* The cells that cover a shape, in the order in which they are searched: its own, then N, S, E, W, NE, NW, SE, SW. */
#define GEO_CELLS 9
struct geo_cover {
    struct geo_cell cell[GEO_CELLS];
};

bool geo_point_ok(struct geo_point p);
uint64_t geo_encode(struct geo_point p);
/* Any score: what was not made by geo_encode gives some point. */
struct geo_point geo_decode(double score);
/* The score as an integer. */
int64_t geo_score_int(double score);
/* Eleven characters of the usual geohash alphabet. */
#define GEO_TEXT_CHARS 11
void geo_text(double score, char to[GEO_TEXT_CHARS]);

double geo_distance(struct geo_point a, struct geo_point b); /* meters */
/* *ret: meters from the center. */
bool geo_within(const struct geo_shape *s, struct geo_point p, double *ret);

void geo_cover(const struct geo_shape *s, struct geo_cover *ret);
/* Scores of the cell: from *min on, below *max. */
void geo_cell_range(struct geo_cell c, double *min, double *max);
