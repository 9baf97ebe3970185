/* set: a set of texts as the commands see it: an intset while all members are integers and few, else a fieldmap without values.
 *
 * A struct set is a handle that lives as long as a command: where the value is (b), and what changing it needs. A value of 0 bytes of
 * cap is a fieldmap, otherwise an intset. After a change b is what belongs on the entry. */
#pragma once

#include "engine/base/num.h"
#include "engine/ds/fieldmap.h"
#include "engine/ds/intset.h"

struct set {
    struct mem_block b;
    struct mem *mem;
    const struct siphash_key *key;
    size_t max_ints; /* an intset has at most so many */
};

enum set_added { SET_NEW, SET_THERE, SET_NO_MEMORY };

/* A member on its way from one set to another, or to a reply. The text is borrowed from the set it comes from or from `digits`. */
struct set_member {
    struct span text;
    int64_t number;
    bool is_number; /* it comes from an intset: text is made when it is asked for */
    bool has_hash;
    uint64_t hash;
    char digits[NUM_I64_CHARS];
};
static inline struct set_member set_member_of(struct span text)
{
    return (struct set_member){.text = text};
}
/* The member as text. */
static inline struct span set_member_text(struct set_member *m)
{
    if (m->is_number && !m->text.p)
        m->text = span_of(m->digits, num_format_i64(m->digits, m->number));
    return m->text;
}

static inline bool set_is_ints(const struct set *s)
{
    return s->b.cap != 0;
}
static inline struct fieldmap *set_map(const struct set *s)
{
    return (struct fieldmap *)(void *)s->b.p;
}

/* Empty, of integers or not. False: no memory. */
bool set_init(struct set *s, bool ints);
void set_free(struct set *s);
size_t set_count(const struct set *s);
/* On SET_NO_MEMORY nothing has changed. */
enum set_added set_add(struct set *s, struct span text);
enum set_added set_add_member(struct set *s, struct set_member *m);
bool set_remove(struct set *s, struct span text);
bool set_remove_member(struct set *s, struct set_member *m);
bool set_has(const struct set *s, struct span text);
bool set_has_member(const struct set *s, struct set_member *m);
/* Makes it a fieldmap. False: no memory, unchanged. */
bool set_to_map(struct set *s);
/* Makes it an intset if all members are integers and few enough. Without memory for that it stays what it is. */
void set_to_ints(struct set *s);

/* All members; an intset in ascending order. The set must not change meanwhile. */
struct set_iter {
    const struct set *set;
    size_t next; /* of an intset */
    struct fieldmap_iter map;
};
void set_iter_init(struct set_iter *it, const struct set *s);
bool set_next(struct set_iter *it, struct set_member *ret);

/* A uniformly chosen member; the set is not empty. */
void set_random(const struct set *s, uint64_t (*rnd)(void *), void *rnd_ctx,
                struct set_member *ret);
