/* admin: runs the commands that workers route to control: INFO and CONFIG. See admin.h.
 *
 *   worker -> link (MSG_ADMIN_REQUEST) -> control -> admin_execute -> reply bytes -> link -> worker -> client */
#include "control/admin/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "control/admin/admin_internal.h"
#include "engine/base/num.h"

static void random_id(char to[41])
{
    uint8_t bytes[20];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        memset(bytes, 0, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(to + 2 * i, 3, "%02x", bytes[i]);
}

struct admin *admin_new(const struct admin_env *env, int64_t now_ms)
{
    struct admin *a = calloc(1, sizeof(*a));
    struct base_worker *base = calloc(LIMIT_WORKERS, sizeof(*base));
    if (!a || !base) {
        free(a);
        free(base);
        return NULL;
    }
    a->env = *env;
    a->link = env->link;
    a->base = base;
    a->sampled_ms = now_ms;
    random_id(a->run_id);
    random_id(a->replid);
    admin_forget_baselines(a);
    return a;
}

void admin_free(struct admin *a)
{
    if (!a)
        return;
    free(a->base);
    free(a);
}

void admin_link_changed(struct admin *a, struct link *l)
{
    a->link = l;
    admin_forget_baselines(a);
}

void admin_count_error(struct admin *a, const char *code)
{
    a->own_error_replies++;
    for (int i = 0; i < STATS_ERRORS; i++) {
        struct error_row *e = &a->own_errors[i];
        if (!e->code[0])
            snprintf(e->code, sizeof(e->code), "%.16s", code);
        if (strncmp(e->code, code, 16) == 0) {
            e->count++;
            return;
        }
    }
}

/* ---- CONFIG ---- */

static bool has_glob(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (memchr("*?[", s.p[i], 3))
            return true;
    return false;
}

static bool gettable(uint32_t i)
{
    const struct config_item *it = config_item(i);
    return it->name && !(it->flags & CF_DIRECTIVE);
}

/* Each directive once. An exact name answers as the client wrote it, a pattern as the table does; both as Redis. */
static void config_get_reply(struct admin *a, const struct span *patterns, uint32_t n,
                             struct reply *out)
{
    uint32_t count = config_count(), found = 0;
    struct span *names = calloc(count, sizeof(*names));
    if (!names) {
        reply_error(out, "ERR out of memory");
        return;
    }
    for (uint32_t p = 0; p < n; p++) {
        bool glob = has_glob(patterns[p]);
        uint32_t exact = glob ? UINT32_MAX : config_find(patterns[p]);
        for (uint32_t i = 0; i < count; i++) {
            if (!gettable(i) || names[i].p)
                continue;
            struct span name = span_str(config_item(i)->name);
            bool hidden = config_item(i)->flags & CF_HIDDEN;
            if (glob ? !hidden && glob_match(patterns[p], name, true) : i == exact) {
                names[i] = glob ? name : patterns[p];
                found++;
            }
        }
    }
    reply_map(out, found);
    for (uint32_t i = 0; i < count; i++) {
        size_t len = 0;
        if (!names[i].p)
            continue;
        char *value = config_get(a->env.config, i, &len);
        reply_bulk(out, names[i]);
        reply_bulk(out, value ? span_of(value, len) : SPAN(""));
        free(value);
    }
    free(names);
}

static void config_set_reply(struct admin *a, const struct span *pairs, uint32_t n,
                             struct reply *out)
{
    char err[CONFIG_ERROR_BYTES];
    if (n % 2) {
        reply_error(out, "ERR syntax error");
        return;
    }
    if (config_set(a->env.config, pairs, n, err, sizeof(err)) != 0) {
        reply_error(out, err);
        return;
    }
    link_config_publish(a->link, &a->env.config->engine);
    if (a->env.config_changed)
        a->env.config_changed(a->env.ctx, a->env.config);
    reply_ok(out);
}

static void config_help_reply(struct reply *out)
{
    static const char *const lines[] = {
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
        "HELP",
        "    Prints this help.",
    };
    reply_array(out, sizeof(lines) / sizeof(lines[0]));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        reply_simple(out, lines[i]);
}

static void config_rewrite_reply(struct admin *a, struct reply *out)
{
    char err[CONFIG_ERROR_BYTES];
    if (config_rewrite(a->env.config, err, sizeof(err)) != 0)
        reply_error(out, err);
    else
        reply_ok(out);
}

static void admin_run(struct admin *a, const struct cmd_desc *d, const struct span *argv,
                      uint32_t argc, struct reply *out, int64_t now_ms)
{
    switch (d->index) {
    case CMD_info: admin_info(a, argv, argc, out, now_ms); break;
    case CMD_config_get: config_get_reply(a, argv + 2, argc - 2, out); break;
    case CMD_config_set: config_set_reply(a, argv + 2, argc - 2, out); break;
    case CMD_config_rewrite: config_rewrite_reply(a, out); break;
    case CMD_config_help: config_help_reply(out); break;
    case CMD_config_resetstat:
        admin_reset_stats(a);
        a->env.config->engine.stats_epoch++; /* workers reset their histograms */
        link_config_publish(a->link, &a->env.config->engine);
        reply_ok(out);
        break;
    default: reply_errorf(out, "ERR '%s' is not a command of the control process", d->full); break;
    }
}

static int64_t monotonic_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void admin_execute(struct admin *a, const struct msg_admin_request *req, struct span *argv,
                   uint32_t argc, struct reply *out, int64_t now_ms)
{
    uint32_t errors = out->errors;
    int64_t begin = monotonic_us();

    (void)
        req; /* whom it came from does not matter to these commands; the worker has checked what matters */
    if (argc == 0) {
        reply_error(out, "ERR empty request");
        return;
    }
    const struct cmd_desc *d =
        cmd_lookup(argv, argc, out); /* the worker has done this too; control trusts no message */
    if (d)
        admin_run(a, d, argv, argc, out, now_ms);
    bool failed = out->errors != errors;
    if (failed)
        admin_count_error(a, out->error_code);
    if (!d || d->index >= LINK_COMMANDS)
        return;
    struct link_cmdstat *s = &a->own_cmd[d->index];
    s->calls++;
    s->usec += (uint64_t)(monotonic_us() - begin);
    s->failed += failed;
}
