/* progress.c: see progress.h. */
#include "control/store/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control/log.h"

#define TELL_MS   5000
#define BAR_CELLS 40

void progress_begin(struct progress *p, int64_t now_ms)
{
    *p =
        (struct progress){.bar = isatty(STDERR_FILENO) != 0, .start_ms = now_ms, .told_ms = now_ms};
}

static unsigned percent(const struct load_progress *now)
{
    return (unsigned)(100 * now->bytes / now->bytes_total);
}

static void draw(const struct load_progress *now, const char *end)
{
    char bar[BAR_CELLS + 1], keys[32] = "";
    unsigned done = percent(now) * BAR_CELLS / 100;
    memset(bar, '.', BAR_CELLS);
    memset(bar, '#', done < BAR_CELLS ? done : BAR_CELLS);
    bar[BAR_CELLS] = 0;
    if (now->keys) /* a log tells none */
        snprintf(keys, sizeof(keys), "%llu keys ", (unsigned long long)now->keys);
    dprintf(STDERR_FILENO, "\rloading [%s] %3u %%  %s%s", bar, percent(now), keys, end);
}

void progress_show(struct progress *p, const struct load_progress *now, int64_t now_ms)
{
    if (!now->bytes_total)
        return;
    if (p->bar) {
        draw(now, "");
        p->shown = true;
    }
    if (now_ms - p->told_ms >= TELL_MS) {
        p->told_ms = now_ms;
        log_notice("Loading: %u %%, %llu keys", percent(now), (unsigned long long)now->keys);
    }
}

void progress_end(struct progress *p, const struct load_progress *now)
{
    struct load_progress whole = {now->bytes_total, now->bytes_total, now->keys, 0};
    if (p->shown)
        draw(&whole, "\n");
    p->shown = false;
}
