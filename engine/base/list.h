/* Intrusive doubly linked list with a sentinel head. Nodes live in their owners; no allocation. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

#define list_entry(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))
#define list_for_each(it, head)        for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_for_each_safe(it, nx, head) \
    for (struct list *it = (head)->next, *nx = it->next; it != (head); it = nx, nx = it->next)

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}
static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}
/* An initialised node that is in no list links to itself. */
static inline bool list_linked(const struct list *n)
{
    return n->next != n;
}
static inline void list_push_back(struct list *head, struct list *n)
{
    n->prev = head->prev;
    n->next = head;
    head->prev->next = n;
    head->prev = n;
}
static inline void list_push_front(struct list *head, struct list *n)
{
    n->next = head->next;
    n->prev = head;
    head->next->prev = n;
    head->next = n;
}
static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}
/* All of `from` before an entry, or before a head: at its list's end. `from` is empty then. */
static inline void list_splice_before(struct list *at, struct list *from)
{
    if (from->next == from)
        return;
    from->next->prev = at->prev;
    at->prev->next = from->next;
    from->prev->next = at;
    at->prev = from->prev;
    list_init(from);
}
static inline struct list *list_pop_front(struct list *head)
{
    struct list *n = head->next;
    if (n == head)
        return NULL;
    list_remove(n);
    return n;
}
