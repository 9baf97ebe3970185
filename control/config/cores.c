/* cores: see cores.h. */
#include "control/config/cores.h"

#include <ctype.h>
#include <stdbool.h>

static bool take_number(struct span *rest, unsigned *ret)
{
    size_t n = 0;
    *ret = 0;
    for (; n < rest->n && isdigit(rest->p[n]); n++)
        *ret = *ret < CPU_SETSIZE ? *ret * 10 + (unsigned)(rest->p[n] - '0') : CPU_SETSIZE;
    *rest = span_of(rest->p + n, rest->n - n);
    return n > 0;
}

/* What follows the mark c; *ret stays where the mark does not stand there. */
static bool take_after(struct span *rest, char c, unsigned *ret)
{
    if (rest->n == 0 || *rest->p != (uint8_t)c)
        return true;
    *rest = span_of(rest->p + 1, rest->n - 1);
    return take_number(rest, ret);
}

struct span cores_parse(struct span text, cpu_set_t *ret)
{
    struct span rest = text, good = text;
    unsigned first, last, step;
    CPU_ZERO(ret);
    while (take_number(&rest, &first)) {
        last = first;
        step = 1;
        if (!take_after(&rest, '-', &last) || !take_after(&rest, ':', &step) || last < first ||
            step == 0)
            break;
        for (unsigned i = first; i <= last && i < CPU_SETSIZE; i += step)
            CPU_SET(i, ret);
        good = rest;
        if (rest.n == 0 || *rest.p != ',')
            break;
        rest = span_of(rest.p + 1, rest.n - 1);
    }
    return good;
}
