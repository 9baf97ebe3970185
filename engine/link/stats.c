/* The parts of the statistics page that are more than a store. */
#include "engine/link/stats.h"

#include <string.h>

const char *const stats_offload_names[STATS_OFFLOADS] = {"tx_checksum", "tso", "rx_checksum",
                                                         "vlan_strip"};
const char *const stats_offload_words[STATS_OFFLOADS] = {
    "transmit checksum offload", "segmentation offload (TSO)", "receive checksum offload",
    "VLAN tag stripping"};
const char *const stats_offload_states[OFFLOAD_FAILED + 1] = {"none", "trial", "on", "failed"};

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
