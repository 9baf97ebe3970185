/* supervise: see supervise.h. One timer drives it; an exit of our own child is told by libuv, that of an adopted one by the lock. */
#include "control/supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "control/log.h"

#define TICK_MS 20  /* while something is awaited */
#define LOOK_MS 200 /* while it runs */

enum life { LIFE_NONE, LIFE_WAITING, LIFE_STARTING, LIFE_RUNNING, LIFE_STOPPING };

struct supervise {
    uv_loop_t *loop;
    struct bridge *bridge;
    const struct config_dataplane *config;
    const struct supervise_ops *ops;
    void *ctx;
    char path[512];
    enum life life;
    uv_timer_t timer;
    uv_process_t process;
    bool process_open; /* the handle */
    bool child_alive;  /* our own child has not been reaped */
    bool adopted, ever_ran, stop_asked;
    pid_t pid;
    uint64_t since_ms, backoff_ms;
    char why[160];
};

static void on_timer(uv_timer_t *t);

static void enter(struct supervise *s, enum life life, uint64_t tick_ms)
{
    s->life = life;
    s->since_ms = uv_now(s->loop);
    uv_timer_start(&s->timer, on_timer, tick_ms, tick_ms);
}

static uint64_t age_ms(struct supervise *s)
{
    return uv_now(s->loop) - s->since_ms;
}

/* ---- command line ---- */

#define MAX_ARGS 64

struct args {
    char *v[MAX_ARGS + 1];
    int n;
    bool failed;
};

static void add(struct args *a, const char *name, const char *value)
{
    if (a->n + 2 > MAX_ARGS) {
        a->failed = true;
        return;
    }
    a->v[a->n++] = strdup(name);
    if (value)
        a->v[a->n++] = strdup(value);
    for (int i = 0; i < a->n; i++)
        a->failed |= !a->v[i];
}

static void add_text(struct args *a, const char *name, const char *value)
{
    if (*value)
        add(a, name, value);
}

static void add_number(struct args *a, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    if (value)
        add(a, name, text);
}

/* What is unset is left out: the dataplane has the defaults. */
static struct args command_line(struct supervise *s)
{
    static const char *const congestion[] = {"cubic", "newreno", "dctcp"};
    static const char *const trace[] = {"no", "errors", "yes"};
    static const char *const hugepages[] = {"no", "yes", "auto"};
    const struct config_dataplane *c = s->config;
    struct args a = {0};
    char port[16];
    add(&a, s->path, NULL);
    add_text(&a, "--instance", c->instance);
    add_number(&a, "--workers", link_workers(s->bridge->link));
    add(&a, "--load", "1"); /* the store says when the dataset is whole */
    add_text(&a, "--net-port", c->net_port);
    add_text(&a, "--net-address", c->net_address);
    add_text(&a, "--net-gateway", c->net_gateway);
    add_number(&a, "--net-mtu", c->net_mtu);
    add_number(&a, "--net-vlan", c->net_vlan);
    if (c->net_share == CONFIG_SHARE_KERNEL)
        add(&a, "--net-share", "kernel");
    snprintf(port, sizeof port, "%u", c->port);
    add(&a, "--port", port);
    add_number(&a, "--core-addressed", c->core_addressed);
    add(&a, "--hugepages", hugepages[c->hugepages <= CONFIG_AUTO ? c->hugepages : CONFIG_AUTO]);
    add_number(&a, "--heap-large-pages", c->heap_large_pages);
    add_number(&a, "--mbufs", c->mbufs);
    add_text(&a, "--eal-args", c->eal_args);
    add_number(&a, "--tcp-rto-min-ms", c->tcp_rto_min_ms);
    add_number(&a, "--tcp-rto-max-ms", c->tcp_rto_max_ms);
    add_number(&a, "--tcp-delayed-ack-ms", c->tcp_delayed_ack_ms);
    add_number(&a, "--tcp-time-wait-ms", c->tcp_time_wait_ms);
    add_number(&a, "--tcp-time-wait-max", c->tcp_time_wait_max);
    add_number(&a, "--tcp-keepalive-interval", c->tcp_keepalive_interval_s);
    add_number(&a, "--tcp-keepalive-probes", c->tcp_keepalive_probes);
    add_number(&a, "--tcp-initial-window", c->tcp_initial_window_segs);
    add(&a, "--tcp-congestion", congestion[c->tcp_congestion % 3]);
    if (!c->tcp_ecn)
        add(&a, "--tcp-ecn", "no");
    add(&a, "--tcp-trace", trace[c->tcp_trace % 3]);
    add_number(&a, "--tcp-trace-events", c->tcp_trace_events);
    add_number(&a, "--tcp-receive-buffer", c->tcp_receive_buffer_bytes);
    add_number(&a, "--tcp-send-buffer", c->tcp_send_buffer_bytes);
    return a;
}

/* ---- signals ---- */

/* An adopted process is none of our children: a pidfd is opened first, then the lock is asked, so that the id cannot have changed hands
 * in between. */
static void signal_it(struct supervise *s, int sig)
{
    if (!s->adopted) {
        if (s->child_alive)
            uv_process_kill(&s->process, sig);
        return;
    }
    pid_t pid;
    link_dp_state(s->bridge->link, &pid);
    int fd = pid > 1 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (fd < 0)
        return;
    if (link_dp_alive(s->bridge->link))
        syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
    close(fd);
}

/* ---- transitions ---- */

static void wait_and_restart(struct supervise *s, const char *why)
{
    s->backoff_ms = s->backoff_ms ? s->backoff_ms * 2 : SUPERVISE_BACKOFF_MS;
    if (s->backoff_ms > SUPERVISE_BACKOFF_MAX_MS)
        s->backoff_ms = SUPERVISE_BACKOFF_MAX_MS;
    log_warning(
        "The dataplane is dead: %s. What was not saved is gone. It is started again in %llu ms",
        why, (unsigned long long)s->backoff_ms);
    enter(s, LIFE_WAITING, s->backoff_ms);
    s->ops->down(s->ctx, why);
}

static void it_died(struct supervise *s, const char *why)
{
    enum life life = s->life;
    /* Adopted, or one that a control before us had just started was faster than ours. */
    bool others = s->adopted || link_dp_alive(s->bridge->link);
    s->adopted = false;
    s->pid = 0;
    if (life == LIFE_STOPPING) {
        enter(s, LIFE_NONE, 1000);
        uv_timer_stop(&s->timer);
        s->ops->stopped(s->ctx);
    } else if (life == LIFE_STARTING && !s->ever_ran && !others) {
        enter(s, LIFE_NONE, 1000);
        uv_timer_stop(&s->timer);
        s->ops->failed(s->ctx, why);
    } else if (life == LIFE_STARTING || life == LIFE_RUNNING) {
        if (life == LIFE_RUNNING && age_ms(s) > SUPERVISE_STEADY_MS)
            s->backoff_ms = 0;
        wait_and_restart(s, why);
    }
}

static void on_process_closed(uv_handle_t *h)
{
    struct supervise *s = h->data;
    s->process_open = false;
    it_died(s, s->why);
}

static void on_child_exit(uv_process_t *p, int64_t status, int sig)
{
    struct supervise *s = p->data;
    s->child_alive = false;
    if (sig)
        snprintf(s->why, sizeof s->why, "killed by signal %d (%s)", sig, strsignal(sig));
    else
        snprintf(s->why, sizeof s->why, "ended with exit code %d", (int)status);
    uv_close((uv_handle_t *)p, on_process_closed); /* the handle is used again for the next one */
}

static void spawn(struct supervise *s)
{
    struct link_control *stats = link_control_stats(s->bridge->link);
    struct args a = command_line(s);
    uv_stdio_container_t io[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = log_fd()},
        {.flags = UV_INHERIT_FD, .data.fd = log_fd() == STDOUT_FILENO ? STDERR_FILENO : log_fd()},
    };
    uv_process_options_t o = {
        .file = s->path,
        .args = a.v,
        .exit_cb = on_child_exit,
        .flags = UV_PROCESS_DETACHED,
        .stdio = io,
        .stdio_count = 3,
    };
    int rc = a.failed ? UV_ENOMEM : 0;
    s->process.data = s;
    if (!rc) {
        s->process_open = true; /* also when it fails: the handle then still wants its close */
        if (s->ops->spawning)
            s->ops->spawning(s->ctx, true);
        rc = uv_spawn(s->loop, &s->process, &o);
        if (s->ops->spawning)
            s->ops->spawning(s->ctx, false);
    }
    for (int i = 0; i < a.n; i++)
        free(a.v[i]);
    STAT_INC(stats->dataplane_starts);
    enter(s, LIFE_STARTING, TICK_MS);
    if (rc) {
        snprintf(s->why, sizeof s->why, "%.100s does not start: %s", s->path, uv_strerror(rc));
        if (s->process_open)
            uv_close((uv_handle_t *)&s->process, on_process_closed);
        else
            it_died(s, s->why);
        return;
    }
    s->child_alive = true;
    s->pid = s->process.pid;
    log_notice("Dataplane started with pid %d", (int)s->pid);
}

static void is_up(struct supervise *s)
{
    s->ever_ran = true;
    enter(s, LIFE_RUNNING, LOOK_MS);
    s->ops->up(s->ctx, s->adopted);
}

static void ask_to_stop(struct supervise *s)
{
    uint8_t none = 0;
    enter(s, LIFE_STOPPING, TICK_MS);
    for (uint32_t i = 0; i < s->bridge->workers; i++)
        bridge_send(s->bridge, i, MSG_SHUTDOWN, &none, 0, NULL, 0);
    signal_it(s, SIGTERM);
}

static bool gone(struct supervise *s)
{
    return s->adopted && !link_dp_alive(s->bridge->link);
}

static void on_timer(uv_timer_t *t)
{
    struct supervise *s = t->data;
    pid_t pid;
    switch (s->life) {
    case LIFE_NONE: break;
    case LIFE_WAITING:
        supervise_start(s); /* somebody may have started one by hand in the meantime */
        break;
    case LIFE_STARTING:
        if (gone(s)) {
            it_died(s, "the process is gone");
        } else if (link_dp_state(s->bridge->link, &pid) == LINK_DP_RUNNING &&
                   (s->adopted || pid == s->pid)) {
            is_up(s);
        } else if (age_ms(s) > SUPERVISE_START_MS) {
            log_warning("The dataplane is not up after %d s: killed", SUPERVISE_START_MS / 1000);
            signal_it(s, SIGKILL);
            s->since_ms = uv_now(s->loop);
        }
        break;
    case LIFE_RUNNING:
        if (gone(s))
            it_died(s, "the process is gone");
        break;
    case LIFE_STOPPING:
        if (gone(s)) {
            it_died(s, "stopped");
        } else if (age_ms(s) > SUPERVISE_STOP_MS) {
            log_warning("The dataplane did not stop within %d s: killed", SUPERVISE_STOP_MS / 1000);
            signal_it(s, SIGKILL);
            s->since_ms = uv_now(s->loop);
        }
        break;
    }
}

void supervise_start(struct supervise *s)
{
    pid_t pid;
    if (!link_dp_alive(s->bridge->link)) {
        if (!s->ops->ready || s->ops->ready(s->ctx))
            spawn(s);
        else if (s->life == LIFE_NONE)
            enter(s, LIFE_WAITING, TICK_MS);
        return;
    }
    enum link_dp_state state = link_dp_state(s->bridge->link, &pid);
    s->adopted = true;
    s->pid = pid;
    log_notice("A dataplane of this instance is running (pid %d): attached to it", (int)pid);
    enter(s, LIFE_STARTING, TICK_MS);
    if (state == LINK_DP_RUNNING)
        is_up(s);
}

void supervise_stop(struct supervise *s)
{
    if (s->life == LIFE_STOPPING) {
        signal_it(s, SIGKILL);
        return;
    }
    if (s->life == LIFE_STARTING || s->life == LIFE_RUNNING) {
        ask_to_stop(s);
        return;
    }
    uv_timer_stop(&s->timer);
    s->life = LIFE_NONE;
    s->ops->stopped(s->ctx);
}

/* BAREWIRE_DATAPLANE, else beside control, else where `meson install` may have put helpers. */
static bool find_dataplane(char *to, size_t n, const char *dir)
{
    static const char *const places[] = {"barewire-dataplane", "../libexec/barewire-dataplane",
                                         "../dataplane/barewire-dataplane"};
    const char *env = getenv("BAREWIRE_DATAPLANE");
    if (env && *env) {
        snprintf(to, n, "%s", env);
        return access(to, X_OK) == 0;
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(to, n, "%s/%s", dir, places[i]);
        if (access(to, X_OK) == 0)
            return true;
    }
    return false;
}

struct supervise *supervise_new(uv_loop_t *loop, struct bridge *b, const struct config_dataplane *c,
                                const char *dir, const struct supervise_ops *ops, void *ctx,
                                char *err, size_t err_len)
{
    struct supervise *s = calloc(1, sizeof *s);
    if (!s) {
        snprintf(err, err_len, "no memory");
        return NULL;
    }
    if (!find_dataplane(s->path, sizeof s->path, dir)) {
        snprintf(err, err_len,
                 "no executable barewire-dataplane in %s (BAREWIRE_DATAPLANE names another)", dir);
        free(s);
        return NULL;
    }
    s->loop = loop;
    s->bridge = b;
    s->config = c;
    s->ops = ops;
    s->ctx = ctx;
    uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    return s;
}

void supervise_renew(struct supervise *s)
{
    signal_it(s, SIGKILL);
}

void supervise_close(struct supervise *s)
{
    uv_close((uv_handle_t *)&s->timer, NULL);
    if (s->process_open && !uv_is_closing((uv_handle_t *)&s->process))
        uv_close((uv_handle_t *)&s->process, NULL);
}

void supervise_free(struct supervise *s)
{
    free(s);
}
