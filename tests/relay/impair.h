/* What the relay does to the frames of one direction: loss, corruption, duplicates, frames held back, rate, delay. By seed: the same
 * frames at the same times meet the same fate. Time comes in as an argument. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX_BYTES 9234 /* 9216 and an Ethernet header with a VLAN tag */

struct impair_options {
    double loss_pct, dup_pct, corrupt_pct, reorder_pct, relabel_pct;
    uint32_t reorder_gap;  /* frames that overtake a held one */
    uint64_t hold_ns;      /* and the longest that it is held when none come */
    uint64_t delay_ns;     /* each frame */
    uint64_t jitter_ns;    /* up to this much on top; frames keep their order */
    uint64_t rate_bits;    /* per second; 0: none */
    uint32_t queue_frames; /* frames that wait for rate and delay; more are dropped */
};

struct impair_counters {
    uint64_t in, out, lost, corrupted, duplicated, reordered, relabelled, queue_dropped;
};

struct impair_frame {
    uint64_t due_ns; /* when it leaves */
    uint32_t len;
    uint8_t bytes[];
};

struct impair_held {
    struct impair_frame *frame;
    uint32_t gap; /* frames that must still pass */
    uint64_t until_ns;
};

#define IMPAIR_HELD_MAX 64

struct impair {
    struct impair_options options;
    struct impair_counters counters;
    uint64_t random[2];
    struct impair_frame **queue; /* ring: dues only grow, as the order is kept */
    uint32_t queue_head, queue_count, queue_slots;
    struct impair_held held[IMPAIR_HELD_MAX];
    uint32_t held_count;
    uint64_t last_due_ns, wire_free_ns;
};

/* "loss=1,reorder=5:3,delay=5" into o, on top of what is there. On error returns false, *word is what was not understood. */
bool impair_parse(struct impair_options *o, const char *text, const char **word);
void impair_defaults(struct impair_options *o);

/* 0 or -ENOMEM. */
int impair_init(struct impair *im, const struct impair_options *o, uint64_t seed);
void impair_free(struct impair *im);

/* A frame came in: copied, or lost. */
void impair_input(struct impair *im, const uint8_t *bytes, uint32_t len, uint64_t now_ns);

/* The next frame that is due; NULL: none now. It stays first until impair_sent. */
struct impair_frame *impair_due(struct impair *im, uint64_t now_ns);
void impair_sent(struct impair *im, bool counted);

/* When impair_due may have one; UINT64_MAX: when a frame comes in. */
uint64_t impair_next_ns(const struct impair *im);
