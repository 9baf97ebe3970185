/* ahead: see ahead.h. A look at each shard every REST_NS, and every BUSY_NS while they grow and CALM looks longer: 500 MB/s of new entries need
 * a page each 4 ms. */
#include "dataplane/ahead.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "dataplane/port/port.h"
#include "engine/base/mem_ahead.h"

#define REST_NS 20000000
#define BUSY_NS 1000000
#define CALM    100

struct ahead {
    pthread_t thread;
    bool stop; /* writer: the main thread; relaxed: the next look sees it */
};

static void *look(void *arg)
{
    struct ahead *a = arg;
    unsigned calm = CALM;
    while (!__atomic_load_n(&a->stop, __ATOMIC_RELAXED)) {
        calm = mem_ahead_run() ? 0 : calm < CALM ? calm + 1 : CALM;
        struct timespec wait = {.tv_nsec = calm < CALM ? BUSY_NS : REST_NS};
        nanosleep(&wait, NULL);
    }
    return NULL;
}

void ahead_start(struct ahead **ret)
{
    struct ahead *a = calloc(1, sizeof(*a));
    if (a && port_thread(&a->thread, "ahead", look, a) < 0) {
        free(a);
        a = NULL;
    }
    if (a)
        mem_ahead_enable();
    *ret = a;
}

void ahead_stop(struct ahead *a)
{
    if (!a)
        return;
    __atomic_store_n(&a->stop, true, __ATOMIC_RELAXED);
    pthread_join(a->thread, NULL);
    free(a);
}
