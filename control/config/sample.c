/* sample: the table as a commented barewire.conf, and as the tables of docs/configuration.md. */
#include <stdlib.h>
#include <string.h>

#include "control/config/config_internal.h"

static bool supported(const struct config_row *r)
{
    return r->item.name && r->item.kind != CONFIG_FOREIGN;
}

/* A heading counts when a directive of the wanted kind follows it. */
static bool heads(uint32_t i, bool foreign)
{
    return i + 1 < config_rows_count && config_rows[i + 1].item.name &&
           (config_rows[i + 1].item.kind == CONFIG_FOREIGN) == foreign;
}

/* A comment of at most about 100 columns a line. */
static void wrapped(struct config_text *t, const char *s)
{
    size_t col = 0;
    while (*s) {
        size_t n = strcspn(s, " ");
        if (col == 0 || col + n + 1 > 98) {
            text_str(t, col ? "\n#" : "#");
            col = 1;
        }
        text_str(t, " ");
        text_add(t, s, n);
        col += n + 1;
        s += n + (s[n] == ' ');
    }
    text_str(t, "\n");
}

char *config_sample(void)
{
    struct config *c = config_new();
    struct config_text t = {0};
    char range[256];

    text_str(&t, "# Barewire: every directive with its default. The grammar is that of redis.conf: "
                 "one directive a line,\n"
                 "# \"quoted\" or 'quoted' arguments, include FILE, memory as 1k (1000), 1kb "
                 "(1024), 1m, 1mb, 1g, 1gb.\n");
    for (uint32_t i = 0; c && i < config_rows_count; i++) {
        const struct config_row *r = &config_rows[i];
        if (!r->item.name && heads(i, false))
            text_addf(&t, "\n################ %s\n", r->item.group);
        if (!supported(r))
            continue;
        config_range(i, range, sizeof(range));
        text_str(&t, "\n");
        wrapped(&t, r->item.help);
        text_addf(&t, "# (%s)\n", range);
        char *lines[CONFIG_SPECIAL_LINES] = {0};
        if (r->ops && r->ops->lines)
            r->ops->lines(c, lines);
        else
            lines[0] = config_row_text(c, r);
        for (int k = 0; k < CONFIG_SPECIAL_LINES && lines[k]; k++) {
            text_addf(&t, "# %s %s\n", r->item.name, lines[k][0] ? lines[k] : "\"\"");
            free(lines[k]);
        }
    }
    config_free(c);
    return text_take(&t, NULL);
}

static void cell(struct config_text *t, const char *s)
{
    for (; *s; s++) {
        if (*s == '|')
            text_str(t, "\\");
        text_add(t, s, 1);
    }
}

static const char *when(const struct config_row *r)
{
    return r->item.flags & (CF_IMMUTABLE | CF_PROTECTED) ? "start" : "any time";
}

static void docs_row(struct config_text *t, uint32_t i)
{
    const struct config_row *r = &config_rows[i];
    char range[256];
    config_range(i, range, sizeof(range));
    text_addf(t, "| `%s`%s | ", r->item.name, r->item.flags & CF_OURS ? " *" : "");
    cell(t, range);
    text_addf(t, " | %s%s%s | %s | ", r->item.default_text[0] ? "`" : "",
              r->item.default_text[0] ? r->item.default_text : "empty",
              r->item.default_text[0] ? "`" : "", when(r));
    cell(t, r->item.help);
    text_str(t, " |\n");
}

static void docs_foreign(struct config_text *t, uint32_t i)
{
    const struct config_row *r = &config_rows[i];
    text_addf(t, "| `%s` | ", r->item.name);
    if (r->item.flags & CF_DIRECTIVE)
        text_str(t, "not a parameter");
    else
        text_addf(t, "`%s`", r->item.default_text[0] ? r->item.default_text : "\"\"");
    text_str(t, " | ");
    cell(t, r->item.help);
    text_str(t, " |\n");
}

char *config_docs(void)
{
    struct config_text t = {0};
    text_str(&t, "## Directives\n\nThose with a star are Barewire's own; the others mean what they "
                 "mean in redis.conf.\n");
    for (uint32_t i = 0; i < config_rows_count; i++) {
        const struct config_row *r = &config_rows[i];
        if (!r->item.name && heads(i, false))
            text_addf(&t,
                      "\n### %s\n\n| directive | value | default | may change | what it does "
                      "|\n|---|---|---|---|---|\n",
                      r->item.group);
        else if (supported(r))
            docs_row(&t, i);
    }
    text_str(
        &t, "\n## Directives of Redis 7.0 that have no effect here\n\n"
            "In a file or on the command line each is accepted with one warning. CONFIG GET "
            "answers with the state that is\n"
            "true, whatever the file says; CONFIG SET accepts that value and refuses any other.\n");
    for (uint32_t i = 0; i < config_rows_count; i++) {
        const struct config_row *r = &config_rows[i];
        if (!r->item.name && heads(i, true))
            text_addf(&t, "\n### %s\n\n| directive | CONFIG GET answers | why |\n|---|---|---|\n",
                      r->item.group);
        else if (r->item.name && !supported(r))
            docs_foreign(&t, i);
    }
    return text_take(&t, NULL);
}
