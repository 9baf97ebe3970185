/* barewire-control: the ordinary process beside the dataplane. It reads the configuration, makes the link, opens the door, starts
 * or adopts the dataplane and answers what workers route to it. One thread with a libuv loop, and the bridge's bell thread.
 *
 * Init in order, undo in reverse: log, pidfile, link, bridge, admin, requests, door, neighbours, supervise, signals; then the loop runs until a
 * signal or SHUTDOWN stops the dataplane, and everything is given back. kill -9 of this process leaves the dataplane
 * serving; the next start finds it by the link. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>
#include <uv.h>

#include "control/admin/admin.h"
#include "control/bridge.h"
#include "control/config/config.h"
#include "control/config/cores.h"
#include "control/door.h"
#include "control/log.h"
#include "control/memory.h"
#include "control/neighbours.h"
#include "control/requests.h"
#include "control/store/store.h"
#include "control/supervise.h"

#define SAMPLE_MS 100

struct control {
    struct config *config;
    struct link *link;
    uv_loop_t loop;
    struct bridge bridge;
    struct admin *admin;
    struct requests *requests;
    struct store *store;
    struct door *door;
    struct neighbours *neighbours; /* NULL: the dataplane's stack does ARP itself */
    struct supervise *supervise;
    uv_timer_t sample;
    uv_signal_t sigint, sigterm;
    char dir[PATH_MAX], executable[PATH_MAX];
    char door_why[200];
    cpu_set_t first_cores, cores; /* those we were started on, and server_cpulist's or the same */
    bool stopping, end_forced;
    bool shutdown_asked; /* by a client, who hears of it when it fails */
    uint32_t shutdown_worker;
    uint64_t shutdown_request;
    int exit_code;
};

static int64_t now_ms(void)
{
    struct timeval tv;
    gettimeofday(&tv, NULL);
    return tv.tv_sec * 1000LL + tv.tv_usec / 1000;
}

/* ---- bridge ---- */

static void on_message(void *ctx, uint32_t worker, uint32_t type, struct span payload)
{
    struct control *c = ctx;
    if (type == MSG_ADMIN_REQUEST)
        requests_message(c->requests, worker, payload);
    else if (type == MSG_LOAD_STATE)
        store_message(c->store, worker, type, payload);
    else if (type == MSG_NEIGH_ASK && c->neighbours)
        neighbours_message(c->neighbours, worker, payload);
    else if (type == MSG_NEIGH_ASK)
        bridge_bad(&c->bridge, worker, type, "net-share is not kernel");
    else if (!store_door_message(c->store, worker, type, payload))
        door_message(c->door, worker, type, payload);
}

static void on_room(void *ctx, uint32_t worker)
{
    struct control *c = ctx;
    requests_room(c->requests, worker);
    store_room(c->store, worker);
    door_room(c->door, worker);
    if (c->neighbours)
        neighbours_room(c->neighbours, worker);
}

static void on_damaged(void *ctx, uint32_t worker)
{
    struct control *c = ctx;
    door_damaged(c->door, worker);
}

static void on_renewed(void *ctx)
{
    struct control *c = ctx;
    requests_drop_all(c->requests);
    door_drop_all(c->door);
}

static const struct bridge_ops bridge_ops = {on_message, on_room, on_damaged, on_renewed};

/* ---- stopping ---- */

static void stop_now(struct control *c)
{
    c->stopping = true;
    door_set_up(c->door, false, "the server is stopping");
    supervise_stop(c->supervise);
}

/* The last snapshot first, if there is to be one. A second call does not wait for it. */
static void stop(struct control *c, const char *why, enum store_end how)
{
    if (c->stopping) {
        stop_now(c);
        return;
    }
    log_notice("%s: stopping", why);
    c->stopping = true;
    store_shutdown(c->store, how, now_ms());
}

static void on_shutdown_ready(void *ctx, bool may_end)
{
    struct control *c = ctx;
    if (may_end || c->end_forced) {
        stop_now(c);
        return;
    }
    c->stopping = false;
    if (c->shutdown_asked)
        requests_answer(c->requests, c->shutdown_worker, c->shutdown_request,
                        "-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
    c->shutdown_asked = false;
}

static void on_signal(uv_signal_t *h, int sig)
{
    stop(h->data, sig == SIGINT ? "SIGINT" : "SIGTERM", STORE_END_DEFAULT);
}

static bool on_shutdown(void *ctx, uint32_t worker, const struct msg_admin_request *req,
                        enum store_end how, bool force)
{
    struct control *c = ctx;
    char why[128];
    c->shutdown_asked = true;
    c->shutdown_worker = worker;
    c->shutdown_request = req->request;
    c->end_forced = force;
    snprintf(why, sizeof why, "SHUTDOWN from %s", req->peer);
    stop(c, why, how);
    return true;
}

static bool on_store_command(void *ctx, uint32_t worker, const struct msg_admin_request *req,
                             struct span *argv)
{
    struct control *c = ctx;
    return store_command(c->store, worker, req, argv, now_ms());
}

static const struct requests_ops requests_ops = {on_shutdown, on_store_command};

/* ---- the store ---- */

static void on_load_failed(void *ctx)
{
    struct control *c = ctx;
    c->exit_code = 1;
    stop_now(c);
}

/* Reads go on, writes wait for the next control, which may do better. */
static void on_adopt_failed(void *ctx)
{
    struct control *c = ctx;
    log_warning("Control ends; the dataplane serves on with its data");
    c->exit_code = 1;
    uv_stop(&c->loop);
}

static void on_store_reply(void *ctx, uint32_t worker, uint64_t request, const char *text)
{
    struct control *c = ctx;
    requests_answer(c->requests, worker, request, text);
}

static void on_store_hold(void *ctx, uint32_t worker, uint64_t request)
{
    struct control *c = ctx;
    requests_hold(c->requests, worker, request);
}

static void on_store_publish(void *ctx)
{
    struct control *c = ctx;
    link_config_publish(c->link, &c->config->engine);
}

static void on_store_info(void *ctx, struct store_info *ret, int64_t at_ms)
{
    struct control *c = ctx;
    store_info(c->store, ret, at_ms);
}

static void on_store_renew(void *ctx)
{
    struct control *c = ctx;
    supervise_renew(c->supervise);
}

static const struct store_ops store_ops = {on_store_renew,   on_load_failed, on_adopt_failed,
                                           on_store_reply,   on_store_hold,  on_store_publish,
                                           on_shutdown_ready};

/* ---- the dataplane comes and goes ---- */

static void banner(struct control *c)
{
    const struct config *cfg = c->config;
    char text[4096];
    link_dp_banner(c->link, text, sizeof text);
    log_notice("Barewire %s is ready: instance %s, %u worker%s", BAREWIRE_VERSION,
               cfg->dataplane.instance, link_workers(c->link),
               link_workers(c->link) == 1 ? "" : "s");
    log_text(LOGLEVEL_NOTICE, text);
    if (*cfg->dataplane.net_port)
        log_notice("Network: %s port %u on %s", cfg->dataplane.net_address, cfg->dataplane.port,
                   cfg->dataplane.net_port);
    else
        log_notice("Network: none (net-port is not set); clients come in through the door");
    if (*cfg->control.unixsocket)
        log_notice("Door: redis-cli -s %s", cfg->control.unixsocket);
    if (door_tcp_port(c->door))
        log_notice("Door: redis-cli -p %d (127.0.0.1 only)", door_tcp_port(c->door));
    if (link_workers(c->link) != cfg->dataplane.workers)
        log_warning(
            "The running dataplane has %u workers, `workers %u` counts when both are started anew",
            link_workers(c->link), cfg->dataplane.workers);
}

static void on_up(void *ctx, bool adopted)
{
    struct control *c = ctx;
    if (link_refresh(c->link))
        on_renewed(c);
    if (c->neighbours)
        neighbours_up(c->neighbours);
    banner(c);
    if (adopted)
        log_notice("The dataplane kept running without control: its data is still there");
    door_set_up(c->door, true, "");
    store_up(c->store, adopted, now_ms());
}

static void on_down(void *ctx, const char *why)
{
    struct control *c = ctx;
    snprintf(c->door_why, sizeof c->door_why, "it died (%s) and is started again", why);
    store_down(c->store);
    door_set_up(c->door, false, c->door_why);
    door_drop_all(c->door);
    requests_drop_all(c->requests);
}

static void on_failed(void *ctx, const char *why)
{
    struct control *c = ctx;
    log_warning("The dataplane did not come up: %s. What it said stands above", why);
    c->exit_code = 1;
    uv_stop(&c->loop);
}

static void on_stopped(void *ctx)
{
    struct control *c = ctx;
    uv_stop(&c->loop);
}

static bool on_ready(void *ctx)
{
    struct control *c = ctx;
    return store_ready(c->store);
}

/* The dataplane is placed by eal-args, out of the cores that we were started on. */
static void on_spawning(void *ctx, bool begins)
{
    struct control *c = ctx;
    if (sched_setaffinity(0, sizeof c->cores, begins ? &c->first_cores : &c->cores))
        log_warning("Cannot go to the cores of %s: %s", begins ? "the dataplane" : "server_cpulist",
                    strerror(errno));
}

static const struct supervise_ops supervise_ops = {on_up,      on_down,  on_failed,
                                                   on_stopped, on_ready, on_spawning};

/* ---- small things ---- */

static void on_sample(uv_timer_t *t)
{
    struct control *c = t->data;
    admin_tick(c->admin, now_ms());
    const char *failed = admin_offload_failed(c->admin);
    if (failed) /* workers write no log */
        log_warning("The port's %s does not do what it promises: software does it from now on "
                    "(INFO dataplane: net_offload, offload_lost, offload_wrong)",
                    failed);
    store_tick(c->store, now_ms());
}

static void on_config_changed(void *ctx, struct config *cfg)
{
    struct control *c = ctx;
    store_config_changed(c->store);
    log_set_level((enum config_loglevel)cfg->control.loglevel);
}

/* Each door client is a descriptor. */
static void raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

/* Before there is a second thread: all inherit it. */
static int take_cores(struct control *c)
{
    const char *list = c->config->control.server_cpulist;
    sched_getaffinity(0, sizeof c->first_cores, &c->first_cores);
    c->cores = c->first_cores;
    if (!*list)
        return 0;
    cores_parse(span_of(list, strlen(list)), &c->cores);
    if (!sched_setaffinity(0, sizeof c->cores, &c->cores))
        return 0;
    log_warning("server_cpulist %s: %s: none of these cores is ours", list, strerror(errno));
    return -EINVAL;
}

static void write_pidfile(const char *path)
{
    FILE *f = *path ? fopen(path, "we") : NULL;
    if (f) {
        fprintf(f, "%d\n", (int)getpid());
        fclose(f);
    } else if (*path) {
        log_warning("pidfile %s: %s", path, strerror(errno));
    }
}

static int find_myself(struct control *c)
{
    ssize_t n = readlink("/proc/self/exe", c->executable, sizeof c->executable - 1);
    if (n < 0)
        return -errno;
    c->executable[n] = 0;
    memcpy(c->dir, c->executable, (size_t)n + 1);
    char *slash = strrchr(c->dir, '/');
    if (slash)
        *slash = 0;
    return 0;
}

static int read_config(struct control *c, int argc, char **argv)
{
    char err[CONFIG_ERROR_BYTES] = "";
    c->config = config_new();
    if (!c->config || config_load_args(c->config, argc, argv, err, sizeof err)) {
        fprintf(stderr, "%s\n", c->config ? err : "no memory");
        return -EINVAL;
    }
    log_set_level((enum config_loglevel)c->config->control.loglevel);
    int rc = log_open(c->config->control.logfile);
    if (rc) {
        fprintf(stderr, "logfile %s: %s\n", c->config->control.logfile, strerror(-rc));
        return rc;
    }
    for (uint32_t i = 0; i < c->config->warnings_count; i++)
        log_warning("%s", c->config->warnings[i]);
    return 0;
}

static int open_link(struct control *c)
{
    char err[512];
    bool fresh;
    int rc;
    do { /* again: a dataplane has died in between */
        rc = store_before_link(c->config);
        if (rc)
            return rc;
        rc = link_open_control(&c->link, c->config->dataplane.instance,
                               c->config->dataplane.workers, &fresh, err, sizeof err);
    } while (rc == -EAGAIN);
    if (rc) {
        log_warning("Cannot open the link: %s", err);
        return rc;
    }
    store_first_config(c->config, c->link);
    link_config_publish(c->link, &c->config->engine);
    return 0;
}

static int open_door(struct control *c)
{
    char err[512];
    const struct config_control *cc = &c->config->control;
    struct door_config dc = {
        .unixsocket = cc->unixsocket,
        .unixsocketperm = cc->unixsocketperm,
        .tcp_port = cc->door_port ? (int)cc->door_port : -1,
    };
    int rc = door_open(&c->door, &c->loop, &c->bridge, &dc, err, sizeof err);
    if (rc)
        log_warning("Cannot open the door: %s", err);
    return rc;
}

static int open_neighbours(struct control *c)
{
    char err[256];
    const struct config_dataplane *d = &c->config->dataplane;
    if (d->net_share != CONFIG_SHARE_KERNEL)
        return 0;
    c->neighbours = neighbours_new(&c->loop, &c->bridge, d->net_port, err, sizeof err);
    if (!c->neighbours)
        log_warning("net-share kernel: %s", err);
    return c->neighbours ? 0 : -EINVAL;
}

static int open_supervise(struct control *c)
{
    char err[512];
    c->supervise = supervise_new(&c->loop, &c->bridge, &c->config->dataplane, c->dir,
                                 &supervise_ops, c, err, sizeof err);
    if (!c->supervise)
        log_warning("Cannot start the dataplane: %s", err);
    return c->supervise ? 0 : -ENOENT;
}

static void start_timers_and_signals(struct control *c)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    uv_signal_init(&c->loop, &c->sigint);
    uv_signal_init(&c->loop, &c->sigterm);
    uv_timer_init(&c->loop, &c->sample);
    c->sigint.data = c->sigterm.data = c->sample.data = c;
    uv_signal_start(&c->sigint, on_signal, SIGINT);
    uv_signal_start(&c->sigterm, on_signal, SIGTERM);
    uv_timer_start(&c->sample, on_sample, SAMPLE_MS, SAMPLE_MS);
}

static void stop_timers_and_signals(struct control *c)
{
    uv_close((uv_handle_t *)&c->sample, NULL);
    uv_close((uv_handle_t *)&c->sigterm, NULL);
    uv_close((uv_handle_t *)&c->sigint, NULL);
}

static struct admin *open_admin(struct control *c)
{
    struct admin_env env = {
        .config = c->config,
        .link = c->link,
        .executable = c->executable,
        .version = BAREWIRE_VERSION,
        .start_ms = now_ms(),
        .config_changed = on_config_changed,
        .ctx = c,
        .store = on_store_info,
    };
    return admin_new(&env, env.start_ms);
}

static bool there_is(const void *p, const char *what)
{
    if (!p)
        log_warning("Cannot start: no memory for %s", what);
    return p;
}

/* From the link to the loop and back. The exit code. */
static int serve(struct control *c)
{
    int code = 1, unsaved = 0;
    if (open_link(c))
        return 1;
    int rc = uv_loop_init(&c->loop);
    if (rc) {
        log_warning("Cannot start the event loop: %s", uv_strerror(rc));
        goto undo_link;
    }
    if (bridge_open(&c->bridge, &c->loop, c->link, &bridge_ops, c)) {
        log_warning("Cannot start the bridge");
        goto undo_loop;
    }
    if (!there_is(c->admin = open_admin(c), "statistics"))
        goto undo_bridge;
    c->requests = requests_new(&c->bridge, c->admin, &requests_ops, c);
    if (!there_is(c->requests, "requests"))
        goto undo_admin;
    c->store = store_open(&c->loop, &c->bridge, c->config, &store_ops, c, now_ms());
    if (!there_is(c->store, "the store"))
        goto undo_requests;
    if (store_begin(c->store))
        goto undo_store;
    if (open_door(c))
        goto undo_store;
    if (open_neighbours(c))
        goto undo_door;
    if (open_supervise(c))
        goto undo_neighbours;
    start_timers_and_signals(c);
    supervise_start(c->supervise);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    code = c->exit_code;

    stop_timers_and_signals(c);
    supervise_close(c->supervise);
undo_neighbours:
    neighbours_close(c->neighbours);
undo_door:
    door_close(c->door);
undo_store:
    unsaved = store_close(c->store);
undo_requests:
undo_admin:
undo_bridge:
    bridge_close(&c->bridge);
    uv_run(&c->loop, UV_RUN_DEFAULT); /* until every handle is closed */
    if (c->supervise)
        supervise_free(c->supervise);
    if (c->door)
        door_free(c->door);
    neighbours_free(c->neighbours);
    store_free(c->store);
    requests_free(c->requests);
    if (c->admin)
        admin_free(c->admin);
undo_loop:
    uv_loop_close(&c->loop);
undo_link:
    if (!link_dp_alive(c->link) && !unsaved) /* else the next start writes it down */
        link_unlink(c->config->dataplane.instance);
    link_close(c->link);
    return code;
}

int main(int argc, char **argv)
{
    struct control c = {0};
    if (argc == 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-v"))) {
        printf("barewire-control %s\n", BAREWIRE_VERSION);
        return 0;
    }
    int code = 1;
    memory_guard_loop();
    if (find_myself(&c) == 0 && read_config(&c, argc - 1, argv + 1) == 0 && take_cores(&c) == 0) {
        raise_file_limit();
        write_pidfile(c.config->control.pidfile);
        code = serve(&c);
        if (*c.config->control.pidfile)
            unlink(c.config->control.pidfile);
        if (code == 0)
            log_notice("Barewire is stopped");
    }
    config_free(c.config);
    return code;
}
