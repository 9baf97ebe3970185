/* geohash.c: see geohash.h. */
#include "engine/cmd/geohash.h"

#include <math.h>
#include <string.h>

#define EARTH_RADIUS_M 6372797.560856
#define MERCATOR_MAX_M 20037726.37
#define RADIAN         (M_PI / 180.0)

struct span_deg {
    double min, max;
};
static const struct span_deg lon_range = {-GEO_LON_MAX, GEO_LON_MAX};
static const struct span_deg lat_range = {-GEO_LAT_MAX, GEO_LAT_MAX};

struct area {
    struct span_deg lon, lat;
};

static inline double rad(double deg)
{
    return deg * RADIAN;
}
static inline double deg(double rad)
{
    return rad / RADIAN;
}

bool geo_point_ok(struct geo_point p)
{
    return p.lon >= -GEO_LON_MAX && p.lon <= GEO_LON_MAX && p.lat >= -GEO_LAT_MAX &&
           p.lat <= GEO_LAT_MAX;
}

/* ---- bits ---- */

/* Bit i goes to bit 2i. */
static uint64_t spread(uint32_t v)
{
    uint64_t x = v;
    x = (x | x << 16) & 0x0000ffff0000ffff;
    x = (x | x << 8) & 0x00ff00ff00ff00ff;
    x = (x | x << 4) & 0x0f0f0f0f0f0f0f0f;
    x = (x | x << 2) & 0x3333333333333333;
    return (x | x << 1) & 0x5555555555555555;
}

/* Bit 2i comes to bit i. */
static uint32_t gather(uint64_t x)
{
    x &= 0x5555555555555555;
    x = (x | x >> 1) & 0x3333333333333333;
    x = (x | x >> 2) & 0x0f0f0f0f0f0f0f0f;
    x = (x | x >> 4) & 0x00ff00ff00ff00ff;
    x = (x | x >> 8) & 0x0000ffff0000ffff;
    return (uint32_t)(x | x >> 16);
}

static uint64_t encode(struct span_deg lon, struct span_deg lat, struct geo_point p, uint32_t step)
{
    double y = (p.lat - lat.min) / (lat.max - lat.min) * (double)(1ull << step);
    double x = (p.lon - lon.min) / (lon.max - lon.min) * (double)(1ull << step);
    return spread((uint32_t)y) | spread((uint32_t)x) << 1;
}

static struct span_deg decode_axis(struct span_deg range, uint32_t i, uint32_t step)
{
    double scale = range.max - range.min, parts = (double)(1ull << step);
    return (struct span_deg){range.min + ((double)i / parts) * scale,
                             range.min + ((double)(i + 1) / parts) * scale};
}

static struct area decode(struct geo_cell c)
{
    return (struct area){decode_axis(lon_range, gather(c.bits >> 1), c.step),
                         decode_axis(lat_range, gather(c.bits), c.step)};
}

static double middle(struct span_deg s, double most)
{
    double v = (s.min + s.max) / 2;
    return v > most ? most : v < -most ? -most : v;
}

uint64_t geo_encode(struct geo_point p)
{
    return encode(lon_range, lat_range, p, GEO_STEPS);
}

/* As the conversion of a double to 64 bits does on x86-64, for scores that no place has. */
static uint64_t score_bits(double score)
{
    const double half = 9223372036854775808.0;
    if (score >= half) {
        score -= half;
        return score < half ? (uint64_t)score ^ 1ull << 63 : 0;
    }
    return score >= -half ? (uint64_t)(int64_t)score : 1ull << 63;
}

struct geo_point geo_decode(double score)
{
    struct area a = decode((struct geo_cell){score_bits(score), GEO_STEPS});
    return (struct geo_point){middle(a.lon, GEO_LON_MAX), middle(a.lat, GEO_LAT_MAX)};
}

int64_t geo_score_int(double score)
{
    const double half = 9223372036854775808.0;
    return score >= -half && score < half ? (int64_t)score : INT64_MIN;
}

void geo_text(double score, char to[GEO_TEXT_CHARS])
{
    static const char alphabet[] = "0123456789bcdefghjkmnpqrstuvwxyz";
    static const struct span_deg all_lat = {-90, 90};
    uint64_t bits = encode(lon_range, all_lat, geo_decode(score), GEO_STEPS);
    for (int i = 0; i < GEO_TEXT_CHARS - 1; i++)
        to[i] = alphabet[bits >> (52 - 5 * (i + 1)) & 31];
    to[GEO_TEXT_CHARS - 1] = alphabet[0]; /* 52 bits are ten characters and a bit */
}

/* ---- distances ---- */

static double lat_distance(double a, double b)
{
    return EARTH_RADIUS_M * fabs(rad(b) - rad(a));
}

double geo_distance(struct geo_point a, struct geo_point b)
{
    double lat_a = rad(a.lat), lat_b = rad(b.lat);
    double u = sin((lat_b - lat_a) / 2), v = sin((rad(b.lon) - rad(a.lon)) / 2);
    return 2.0 * EARTH_RADIUS_M * asin(sqrt(u * u + cos(lat_a) * cos(lat_b) * v * v));
}

bool geo_within(const struct geo_shape *s, struct geo_point p, double *ret)
{
    if (!s->box) {
        *ret = geo_distance(s->center, p);
        return !(*ret > s->radius * s->conversion);
    }
    struct geo_point level = {s->center.lon, p.lat};
    if (lat_distance(p.lat, s->center.lat) > s->height * s->conversion / 2 ||
        geo_distance(p, level) > s->width * s->conversion / 2)
        return false;
    *ret = geo_distance(s->center, p);
    return true;
}

/* ---- cells ---- */

/* The shape's box in degrees. The circle of latitude nearer to the pole decides how wide it is. */
static struct area bounding_box(const struct geo_shape *s)
{
    double height = s->conversion * (s->box ? s->height / 2 : s->radius);
    double width = s->conversion * (s->box ? s->width / 2 : s->radius);
    double lon = s->center.lon, lat = s->center.lat;
    double lat_delta = deg(height / EARTH_RADIUS_M);
    double top = deg(width / EARTH_RADIUS_M / cos(rad(lat + lat_delta)));
    double bottom = deg(width / EARTH_RADIUS_M / cos(rad(lat - lat_delta)));
    double lon_delta = lat < 0 ? bottom : top;
    return (struct area){{lon - lon_delta, lon + lon_delta}, {lat - lat_delta, lat + lat_delta}};
}

/* So fine a grid that nine cells still cover the radius. */
static uint32_t steps_of_radius(double radius_m, double lat)
{
    int step = 1;
    if (radius_m == 0)
        return GEO_STEPS;
    while (radius_m < MERCATOR_MAX_M) {
        radius_m *= 2;
        step++;
    }
    step -= 2;
    if (lat > 66 || lat < -66) /* cells are narrower towards the poles */
        step -= lat > 80 || lat < -80 ? 2 : 1;
    return step < 1 ? 1 : step > GEO_STEPS ? GEO_STEPS : (uint32_t)step;
}

/* So many cells further on one axis, around the earth. */
static uint32_t step_axis(uint32_t i, int by, uint32_t step)
{
    return by ? (i + (uint32_t)by) & (uint32_t)((1ull << step) - 1) : i;
}

/* The cell so many cells to the east and to the north. A point on the upper edge of an axis lies in a cell beyond the last one; only a
 * step on that axis leads back from there. */
static struct geo_cell neighbour(struct geo_cell c, int east, int north)
{
    uint32_t lon = step_axis(gather(c.bits >> 1), east, c.step);
    uint32_t lat = step_axis(gather(c.bits), north, c.step);
    return (struct geo_cell){spread(lat) | spread(lon) << 1, c.step};
}

static const int8_t directions[GEO_CELLS][2] = {/* east, north */
                                                {0, 0}, {0, 1},  {0, -1}, {1, 0},  {-1, 0},
                                                {1, 1}, {-1, 1}, {1, -1}, {-1, -1}};

static void cover_at(const struct geo_shape *s, uint32_t step, struct geo_cover *ret)
{
    struct geo_cell own = {encode(lon_range, lat_range, s->center, step), step};
    ret->cell[0] = own;
    for (int i = 1; i < GEO_CELLS; i++)
        ret->cell[i] = neighbour(own, directions[i][0], directions[i][1]);
}

/* Do the nine cells reach as far as the box? */
static bool covers(const struct geo_cover *c, const struct area *box)
{
    return !(
        decode(c->cell[1]).lat.max < box->lat.max || decode(c->cell[2]).lat.min > box->lat.min ||
        decode(c->cell[3]).lon.max < box->lon.max || decode(c->cell[4]).lon.min > box->lon.min);
}

void geo_cover(const struct geo_shape *s, struct geo_cover *ret)
{
    struct area box = bounding_box(s);
    double radius = s->box
                        ? sqrt((s->width / 2) * (s->width / 2) + (s->height / 2) * (s->height / 2))
                        : s->radius;
    uint32_t step = steps_of_radius(radius * s->conversion, s->center.lat);
    cover_at(s, step, ret);
    if (step > 1 && !covers(ret, &box))
        cover_at(s, --step, ret);
    if (step < 2)
        return;
    /* Sides on which the own cell reaches beyond the box need no neighbours. */
    struct area own = decode(ret->cell[0]);
    for (int i = 1; i < GEO_CELLS; i++) {
        int east = directions[i][0], north = directions[i][1];
        if ((north < 0 && own.lat.min < box.lat.min) || (north > 0 && own.lat.max > box.lat.max) ||
            (east < 0 && own.lon.min < box.lon.min) || (east > 0 && own.lon.max > box.lon.max))
            ret->cell[i] = (struct geo_cell){0, 0};
    }
}

void geo_cell_range(struct geo_cell c, double *min, double *max)
{
    uint32_t shift = 2 * (GEO_STEPS - c.step);
    *min = (double)(c.bits << shift);
    *max = (double)((c.bits + 1) << shift);
}
