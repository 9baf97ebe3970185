/* keeper: see keeper.h. Ten times a second: settings that have moved go from the link's config page into the maps of the XDP program, its
 * counters from there into the page of worker 0 (fields xdp_* have no other writer).
 *
 * The maps belong to this process and not to control: their life is the program's, the descriptors are here, what was set goes on when control
 * dies, and control needs no right to use bpf(). Workers make no system calls, so it is a thread of its own; it sleeps nearly always. */
#include "dataplane/keeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/bpf/steer.h"
#include "engine/base/ip.h"

#define PERIOD_NS 100000000

struct keeper {
    struct link *link;
    struct port *port;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;        /* under the lock */
    uint64_t version; /* of the config page: what the maps hold */
};

static void filter_of(const struct engine_config *c, struct port_filter *f)
{
    *f = (struct port_filter){.syn_per_s = c->net_syn_limit};
    for (uint32_t i = 0; i < c->net_allow_count; i++) {
        struct port_prefix *p = &f->allow[f->allow_count++];
        ip_store(p->addr, ip_from_v4(c->net_allow[i].addr & c->net_allow[i].mask));
        p->bits = (uint8_t)(96 + __builtin_popcount(c->net_allow[i].mask));
    }
    for (uint32_t i = 0; i < c->net_allow6_count; i++) {
        struct port_prefix *p = &f->allow[f->allow_count++];
        ip_store(p->addr, c->net_allow6[i].addr);
        p->bits = (uint8_t)c->net_allow6[i].bits;
    }
}

/* A page that is being written, or a map that is out of memory, is tried again in the next round. */
static int copy_filter(struct keeper *k)
{
    struct engine_config c;
    struct port_filter f;
    uint64_t version;

    if (link_config_version(k->link) == k->version || !link_config_read(k->link, &c, &version))
        return 0;
    filter_of(&c, &f);
    int r = port_filter(k->port, &f);
    if (r == 0)
        k->version = version;
    return r;
}

static void copy_counts(struct keeper *k)
{
    struct stats_worker *s = link_stats(k->link, 0);
    struct steer_counts c;

    if (port_steer_counts(k->port, &c) < 0)
        return;
    STAT_SET(s->xdp_taken, c.taken);
    STAT_SET(s->xdp_passed, c.passed);
    STAT_SET(s->xdp_malformed, c.malformed);
    STAT_SET(s->xdp_fragments, c.fragments);
    STAT_SET(s->xdp_extensions, c.extensions);
    STAT_SET(s->xdp_no_socket, c.no_socket);
    STAT_SET(s->xdp_drop_allow, c.drop_allow);
    STAT_SET(s->xdp_drop_syn_limit, c.drop_syn_limit);
}

static void *keep(void *arg)
{
    struct keeper *k = arg;
    struct timespec until;

    pthread_mutex_lock(&k->lock);
    clock_gettime(CLOCK_MONOTONIC, &until);
    while (!k->stop) {
        pthread_mutex_unlock(&k->lock);
        copy_filter(k);
        copy_counts(k);
        pthread_mutex_lock(&k->lock);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += PERIOD_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        while (!k->stop && pthread_cond_timedwait(&k->wake, &k->lock, &until) == 0) {
        }
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

static int keeper_init(struct keeper *k)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int r = pthread_cond_init(&k->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return -r;
}

int keeper_start(struct keeper **ret, struct link *link, struct port *port, char *err,
                 size_t err_len)
{
    *ret = NULL;
    if (!port_steers(port))
        return 0;
    struct keeper *k = calloc(1, sizeof(*k));
    int r = k ? keeper_init(k) : -ENOMEM;
    if (r < 0)
        goto fail;
    k->link = link;
    k->port = port;
    r = copy_filter(k);
    if (r == 0)
        r = port_thread(&k->thread, "keeper", keep, k);
    if (r == 0) {
        *ret = k;
        return 0;
    }
fail:
    free(k);
    snprintf(err, err_len, "the XDP program's settings could not be made: %s", strerror(-r));
    return r;
}

void keeper_stop(struct keeper *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    copy_counts(k);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k);
}
