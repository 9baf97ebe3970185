/* geo_sort.c: found places in order of their distance.
 *
 * All of them: a stable sort. The first few: the quicksort of Bentley and McIlroy ("Engineering a sort function", 1993), which goes down only
 * into those parts that hold wanted places. It is not stable; Redis uses it, so that the same steps give the same order of equals. Where
 * chosen input would make it slow it gives up for the stable one. Pure functions. */
#include <stdlib.h>

#include "engine/cmd/geo.h"

#define DEPTH_MAX 64

struct part {
    struct geo_found *wanted_end; /* places from the first up to here are wanted */
    bool down;
};

static int compare(const struct geo_found *a, const struct geo_found *b, bool down)
{
    int c = (a->distance > b->distance) - (a->distance < b->distance);
    return down ? -c : c;
}
static int compare_up(const void *a, const void *b)
{
    return compare(a, b, false);
}
static int compare_down(const void *a, const void *b)
{
    return compare(a, b, true);
}

static void swap(struct geo_found *a, struct geo_found *b)
{
    struct geo_found t = *a;
    *a = *b;
    *b = t;
}

static void swap_many(struct geo_found *a, struct geo_found *b, size_t n)
{
    while (n--)
        swap(a++, b++);
}

static struct geo_found *median(struct geo_found *a, struct geo_found *b, struct geo_found *c,
                                bool down)
{
    if (compare(a, b, down) < 0)
        return compare(b, c, down) < 0 ? b : compare(a, c, down) < 0 ? c : a;
    return compare(b, c, down) > 0 ? b : compare(a, c, down) < 0 ? a : c;
}

static struct geo_found *pivot(struct geo_found *v, size_t n, bool down)
{
    struct geo_found *low = v, *mid = v + n / 2, *high = v + (n - 1);
    if (n == 7)
        return mid;
    if (n > 40) {
        size_t d = n / 8;
        low = median(low, low + d, low + 2 * d, down);
        mid = median(mid - d, mid, mid + d, down);
        high = median(high - 2 * d, high - d, high, down);
    }
    return median(low, mid, high, down);
}

static void insertion_sort(struct geo_found *v, size_t n, bool down)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && compare(v + j - 1, v + j, down) > 0; j--)
            swap(v + j, v + j - 1);
}

/* | equal | less | ... | greater | equal | and then the equal ones into the middle. *ret_less, *ret_greater: how many of each. */
static void partition(struct geo_found *v, size_t n, bool down, size_t *ret_less,
                      size_t *ret_greater)
{
    struct geo_found *a = v + 1, *b = a, *c = v + (n - 1), *d = c, *end = v + n;
    int r;
    swap(v, pivot(v, n, down));
    for (;;) {
        for (; b <= c && (r = compare(b, v, down)) <= 0; b++)
            if (r == 0)
                swap(a++, b);
        for (; b <= c && (r = compare(c, v, down)) >= 0; c--)
            if (r == 0)
                swap(c, d--);
        if (b > c)
            break;
        swap(b++, c--);
    }
    size_t less = (size_t)(b - a), greater = (size_t)(d - c);
    size_t front = (size_t)(a - v), back = (size_t)(end - d - 1);
    size_t k = front < less ? front : less;
    swap_many(v, b - k, k);
    k = greater < back ? greater : back;
    swap_many(b, end - k, k);
    *ret_less = less;
    *ret_greater = greater;
}

static void sort_part(const struct part *p, struct geo_found *v, size_t n, uint32_t depth)
{
    size_t less, greater;
    while (v < p->wanted_end) {
        if (n < 7) {
            insertion_sort(v, n, p->down);
            return;
        }
        if (depth++ == DEPTH_MAX) {
            qsort(v, n, sizeof(*v), p->down ? compare_down : compare_up);
            return;
        }
        partition(v, n, p->down, &less, &greater);
        if (less > 1)
            sort_part(p, v, less, depth);
        if (greater <= 1)
            return;
        v += n - greater;
        n = greater;
    }
}

void geo_sort(struct geo_found *v, size_t n, size_t wanted, bool down)
{
    struct part p = {v + wanted, down};
    if (wanted < n)
        sort_part(&p, v, n, 0);
    else
        qsort(v, n, sizeof(*v), down ? compare_down : compare_up);
}
