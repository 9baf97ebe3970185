/* The impairments of one direction (impair.h).
 *
 *   in -> lost? -> corrupted? -> twice? -> held back? -> queue (rate, delay, jitter) -> out
 *
 * A corrupted frame has one bit of its IP packet flipped: the IPv4 header checksum, TCP's or ICMPv6's catches every single bit but those
 * of IPv6's traffic class, flow label and hop limit, which are no part of what is carried. ARP is left alone, it has no checksum: a
 * flipped bit there would be a lie that no stack can see. Ethernet addresses and types stay too. */
#include "tests/relay/impair.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ETH_HEADER_BYTES 14

/* xorshift128+ (Vigna): fast, and a seed is enough to play a run again. */
static uint64_t random_next(struct impair *im)
{
    uint64_t a = im->random[0], b = im->random[1];
    im->random[0] = b;
    a ^= a << 23;
    im->random[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
    return im->random[1] + b;
}

static bool chance(struct impair *im, double pct)
{
    /* Drawn always, so that one option does not shift the luck of the others. */
    return (double)(random_next(im) >> 11) * (100.0 / 9007199254740992.0) < pct;
}

void impair_defaults(struct impair_options *o)
{
    *o = (struct impair_options){.reorder_gap = 3, .hold_ns = 5000000, .queue_frames = 16384};
}

static bool number(const char *s, double max, double *ret_value, const char **ret_end)
{
    char *end;
    double v = strtod(s, &end);
    if (end == s || !(v >= 0 && v <= max))
        return false;
    *ret_value = v;
    *ret_end = end;
    return true;
}

static bool parse_one(struct impair_options *o, const char *word, size_t len)
{
    const double ms = 1e6, mbit = 1e6;
    char name[16];
    const char *end;
    double v, gap;
    size_t n = strcspn(word, "=,");
    if (n >= sizeof name || word[n] != '=')
        return false;
    memcpy(name, word, n);
    name[n] = 0;
    if (!number(word + n + 1, 1e6, &v, &end))
        return false;
    bool percent = true;
    if (!strcmp(name, "loss"))
        o->loss_pct = v;
    else if (!strcmp(name, "dup"))
        o->dup_pct = v;
    else if (!strcmp(name, "corrupt"))
        o->corrupt_pct = v;
    else if (!strcmp(name, "relabel"))
        o->relabel_pct = v;
    else if (!strcmp(name, "reorder")) {
        o->reorder_pct = v;
        if (*end == ':') {
            if (!number(end + 1, 1000, &gap, &end) || gap < 1)
                return false;
            o->reorder_gap = (uint32_t)gap;
        }
    } else {
        percent = false;
        if (!strcmp(name, "hold"))
            o->hold_ns = (uint64_t)(v * ms);
        else if (!strcmp(name, "delay"))
            o->delay_ns = (uint64_t)(v * ms);
        else if (!strcmp(name, "jitter"))
            o->jitter_ns = (uint64_t)(v * ms);
        else if (!strcmp(name, "rate"))
            o->rate_bits = (uint64_t)(v * mbit);
        else if (!strcmp(name, "queue") && v >= 1)
            o->queue_frames = (uint32_t)v;
        else
            return false;
    }
    return end == word + len && (!percent || v <= 100);
}

bool impair_parse(struct impair_options *o, const char *text, const char **word)
{
    while (*text) {
        size_t len = strcspn(text, ",");
        if (!parse_one(o, text, len)) {
            *word = text;
            return false;
        }
        text += len + (text[len] == ',');
    }
    return true;
}

int impair_init(struct impair *im, const struct impair_options *o, uint64_t seed)
{
    memset(im, 0, sizeof *im);
    im->options = *o;
    im->queue_slots = o->queue_frames;
    im->queue = calloc(im->queue_slots, sizeof *im->queue);
    if (!im->queue)
        return -ENOMEM;
    for (int i = 0; i < 2; i++) { /* splitmix64 of the seed; never both zero */
        uint64_t z = (seed += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        im->random[i] = (z ^ (z >> 31)) | 1;
    }
    return 0;
}

void impair_free(struct impair *im)
{
    for (; im->queue_count; im->queue_count--)
        free(im->queue[(im->queue_head + im->queue_count - 1) % im->queue_slots]);
    for (; im->held_count; im->held_count--)
        free(im->held[im->held_count - 1].frame);
    free(im->queue);
}

/* The end of the queue: the frame gets the time at which it leaves. */
static void enqueue(struct impair *im, struct impair_frame *f, uint64_t now_ns)
{
    const struct impair_options *o = &im->options;
    if (im->queue_count == im->queue_slots) {
        im->counters.queue_dropped++;
        free(f);
        return;
    }
    uint64_t due = now_ns;
    if (o->rate_bits) {
        if (im->wire_free_ns < now_ns)
            im->wire_free_ns = now_ns;
        im->wire_free_ns += (uint64_t)f->len * 8 * 1000000000 / o->rate_bits;
        due = im->wire_free_ns;
    }
    due += o->delay_ns;
    if (o->jitter_ns)
        due += random_next(im) % (o->jitter_ns + 1);
    if (due < im->last_due_ns)
        due = im->last_due_ns;
    im->last_due_ns = due;
    f->due_ns = due;
    im->queue[(im->queue_head + im->queue_count++) % im->queue_slots] = f;
}

static void release(struct impair *im, uint32_t i, uint64_t now_ns)
{
    struct impair_frame *f = im->held[i].frame;
    memmove(&im->held[i], &im->held[i + 1], (im->held_count - i - 1) * sizeof im->held[0]);
    im->held_count--;
    enqueue(im, f, now_ns);
}

static void pass(struct impair *im, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
    struct impair_frame *f = malloc(sizeof *f + len);
    if (!f) {
        im->counters.queue_dropped++;
        return;
    }
    f->len = len;
    memcpy(f->bytes, bytes, len);
    if (chance(im, im->options.reorder_pct) && im->held_count < IMPAIR_HELD_MAX) {
        im->counters.reordered++;
        im->held[im->held_count++] =
            (struct impair_held){f, im->options.reorder_gap, now_ns + im->options.hold_ns};
        return;
    }
    enqueue(im, f, now_ns);
    for (uint32_t i = 0; i < im->held_count;)
        if (--im->held[i].gap == 0)
            release(im, i, now_ns);
        else
            i++;
}

static bool is_ip6(const uint8_t *bytes, uint32_t len)
{
    return len >= ETH_HEADER_BYTES + 40 && bytes[12] == 0x86 && bytes[13] == 0xdd;
}

static bool is_ip(const uint8_t *bytes, uint32_t len)
{
    return len > ETH_HEADER_BYTES &&
           ((bytes[12] == 0x08 && bytes[13] == 0x00) || (bytes[12] == 0x86 && bytes[13] == 0xdd));
}

void impair_input(struct impair *im, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
    uint8_t changed[FRAME_MAX_BYTES];
    im->counters.in++;
    bool lost = chance(im, im->options.loss_pct), corrupt = chance(im, im->options.corrupt_pct),
         twice = chance(im, im->options.dup_pct);
    if (lost || len > sizeof changed) {
        im->counters.lost++;
        return;
    }
    if (corrupt && is_ip(bytes, len)) {
        uint64_t bit = random_next(im) % ((len - ETH_HEADER_BYTES) * 8ull);
        memcpy(changed, bytes, len);
        changed[ETH_HEADER_BYTES + bit / 8] ^= (uint8_t)(1u << (bit % 8));
        bytes = changed;
        im->counters.corrupted++;
    }
    if (im->options.relabel_pct > 0 && is_ip6(bytes, len) && chance(im, im->options.relabel_pct)) {
        uint32_t label = (uint32_t)random_next(im);
        if (bytes != changed)
            memcpy(changed, bytes, len);
        uint8_t *ip = changed + ETH_HEADER_BYTES;
        ip[1] = (uint8_t)((ip[1] & 0xf0u) | (label >> 16 & 0x0fu));
        ip[2] = (uint8_t)(label >> 8);
        ip[3] = (uint8_t)label;
        bytes = changed;
        im->counters.relabelled++;
    }
    pass(im, bytes, len, now_ns);
    if (twice) {
        im->counters.duplicated++;
        pass(im, bytes, len, now_ns);
    }
}

struct impair_frame *impair_due(struct impair *im, uint64_t now_ns)
{
    for (uint32_t i = 0; i < im->held_count;)
        if (im->held[i].until_ns <= now_ns)
            release(im, i, now_ns);
        else
            i++;
    if (!im->queue_count || im->queue[im->queue_head]->due_ns > now_ns)
        return NULL;
    return im->queue[im->queue_head];
}

void impair_sent(struct impair *im, bool counted)
{
    free(im->queue[im->queue_head]);
    im->queue_head = (im->queue_head + 1) % im->queue_slots;
    im->queue_count--;
    im->counters.out += counted;
}

uint64_t impair_next_ns(const struct impair *im)
{
    uint64_t next = im->queue_count ? im->queue[im->queue_head]->due_ns : UINT64_MAX;
    for (uint32_t i = 0; i < im->held_count; i++)
        if (im->held[i].until_ns < next)
            next = im->held[i].until_ns;
    return next;
}
