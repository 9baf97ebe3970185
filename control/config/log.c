/* appendonly. control/store begins or ends the log when it sees the change. Thread: the main thread. */
#include <stdio.h>
#include <string.h>

#include "control/config/config_internal.h"
#include "control/config/text.h"

static bool appendonly_set(struct config *c, const struct span *argv, uint32_t argc, char *why)
{
    bool yes = argc == 1 && span_is(argv[0], "yes");
    if (!yes && !(argc == 1 && span_is(argv[0], "no"))) {
        snprintf(why, CONFIG_WHY_BYTES, "argument must be 'yes' or 'no'");
        return false;
    }
    c->control.appendonly = yes;
    return true;
}

static char *appendonly_get(const struct config *c, size_t *ret_len)
{
    struct config_text t = {0};
    text_str(&t, c->control.appendonly ? "yes" : "no");
    return text_take(&t, ret_len);
}

const struct config_special ops_appendonly = {
    .set = appendonly_set, .get = appendonly_get, .range = "yes | no"};
