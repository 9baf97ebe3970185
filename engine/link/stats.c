/* The one part of the statistics page that is more than a store. */
#include "engine/link/stats.h"

#include <string.h>

void stats_count_error(struct stats_worker *s, const char *code)
{
    unsigned i = 0;
    for (; i < STATS_ERRORS - 1; i++) {
        if (strncmp(s->errors[i].code, code, sizeof(s->errors[i].code)) == 0)
            break;
        if (s->errors[i].code[0] == 0) {
            char fresh[sizeof(s->errors[i].code)] = {0};
            strncpy(fresh, code, sizeof(fresh) - 1);
            memcpy(s->errors[i].code, fresh, sizeof(fresh));
            break;
        }
    }
    if (i == STATS_ERRORS - 1)
        memcpy(s->errors[i].code, "OTHER", 6);
    STAT_INC(s->errors[i].count);
}
