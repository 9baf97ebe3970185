/* See workload.h. Values are cut from one block of printable bytes; what a request is made of beside its drawn parts is made once. */
#include "dataplane/bench/workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/num.h"

#define KEY_DIGITS   12
#define NUMBER_CHARS 24

/* ---- templates ---- */

static const struct {
    const char *word;
    enum piece_kind kind;
} places[] = {
    {"__key__", PIECE_KEY},         {"__rand_int__", PIECE_RAND_INT}, {"__rand__", PIECE_RAND},
    {"__seq__", PIECE_SEQ},         {"__data__", PIECE_DATA},         {"__score__", PIECE_SCORE},
    {"__channel__", PIECE_CHANNEL}, {"__stamp__", PIECE_STAMP},       {"__again__", PIECE_KEY}};
#define PLACES (sizeof(places) / sizeof(places[0]))
#define AGAIN  (PLACES - 1) /* the key of the operation once more */
#define DATA   4

void workload_init(struct workload *w)
{
    memset(w, 0, sizeof(*w));
    w->channels = 1;
    size_draw_parse(&w->sizes, "3");
    key_draw_parse(&w->keys, "uniform");
}

void workload_fini(struct workload *w)
{
    free(w->text);
    free(w->data);
}

static bool text_add(struct workload *w, const char *p, size_t n)
{
    if (w->text_len + n > w->text_cap) {
        uint32_t cap = (uint32_t)(w->text_len + n) * 2 + 256;
        char *np = realloc(w->text, cap);
        if (!np)
            return false;
        w->text = np;
        w->text_cap = cap;
    }
    memcpy(w->text + w->text_len, p, n);
    w->text_len += (uint32_t)n;
    struct piece *last = w->pieces ? &w->piece[w->pieces - 1] : NULL;
    bool joins = w->pieces > w->op[w->ops].first && last->kind == PIECE_TEXT;
    if (joins) {
        last->len += (uint32_t)n;
    } else {
        if (w->pieces == PIECES_MOST)
            return false;
        w->piece[w->pieces++] =
            (struct piece){PIECE_TEXT, false, false, w->text_len - (uint32_t)n, (uint32_t)n};
    }
    return true;
}

static bool piece_add(struct workload *w, size_t place, bool framed)
{
    if (w->pieces == PIECES_MOST)
        return false;
    w->piece[w->pieces++] = (struct piece){places[place].kind, place == AGAIN, framed, 0, 0};
    return true;
}

/* Length of a drawn part, when it is always the same; else 0. */
static uint32_t fixed_len(const struct workload *w, enum piece_kind kind)
{
    switch (kind) {
    case PIECE_KEY: return 4 + KEY_DIGITS;
    case PIECE_RAND_INT: return KEY_DIGITS;
    case PIECE_SCORE: return 8;
    case PIECE_CHANNEL: return 8 + KEY_DIGITS;
    case PIECE_STAMP: return WORKLOAD_STAMP;
    case PIECE_DATA:
        return w->sizes.n == 1 && w->sizes.choice[0].least == w->sizes.choice[0].most
                   ? w->sizes.choice[0].least
                   : 0;
    default: return 0;
    }
}

static size_t place_at(const char *p)
{
    size_t i = 0;
    while (i < PLACES && strncmp(p, places[i].word, strlen(places[i].word)) != 0)
        i++;
    return i;
}

/* One argument. */
static bool arg_add(struct workload *w, const char *p, size_t n, char *err, size_t err_len)
{
    char head[NUMBER_CHARS];
    size_t place = place_at(p);
    bool whole = place < PLACES && strlen(places[place].word) == n;
    if (whole && fixed_len(w, places[place].kind) == 0 &&
        !(places[place].kind == PIECE_DATA && size_draw_most(&w->sizes) == 0))
        return piece_add(w, place, true);
    size_t len = 0;
    for (size_t i = 0; i < n;) {
        place = place_at(p + i);
        if (place < PLACES && fixed_len(w, places[place].kind) == 0 &&
            !(places[place].kind == PIECE_DATA && size_draw_most(&w->sizes) == 0)) {
            snprintf(err, err_len, "%s must be an argument of its own", places[place].word);
            return false;
        }
        len += place < PLACES ? fixed_len(w, places[place].kind) : 1;
        i += place < PLACES ? strlen(places[place].word) : 1;
    }
    if (!text_add(w, head, (size_t)snprintf(head, sizeof(head), "$%zu\r\n", len)))
        return false;
    for (size_t i = 0; i < n;) {
        place = place_at(p + i);
        if (!(place < PLACES ? piece_add(w, place, false) : text_add(w, p + i, 1)))
            return false;
        i += place < PLACES ? strlen(places[place].word) : 1;
    }
    return text_add(w, "\r\n", 2);
}

/* The next word of a request: blanks part them, quotes hold them together. */
static const char *word_next(const char *p, const char **ret, size_t *ret_len)
{
    while (*p == ' ')
        p++;
    if (*p == 0 || *p == ';')
        return NULL;
    char quote = 0;
    if (*p == '"' || *p == '\'')
        quote = *p;
    p += quote != 0;
    *ret = p;
    while (*p && (quote ? *p != quote : *p != ' ' && *p != ';'))
        p++;
    *ret_len = (size_t)(p - *ret);
    if (quote && !*p)
        return NULL;
    return p + (quote != 0);
}

/* One request, up to ';' or the end. Returns where it ends; NULL: err. */
static const char *request_add(struct workload *w, const char *words, char *err, size_t err_len)
{
    const char *p = words, *next, *word;
    size_t n;
    uint32_t argc = 0;
    char head[NUMBER_CHARS];
    while ((next = word_next(p, &word, &n)) != NULL) {
        argc++;
        p = next;
    }
    while (*p == ' ')
        p++;
    if (argc == 0 || (*p && *p != ';')) {
        snprintf(err, err_len, "no command in '%s', or a quote is not closed", words);
        return NULL;
    }
    const char *end = p;
    snprintf(err, err_len, "the template is too long");
    if (!text_add(w, head, (size_t)snprintf(head, sizeof(head), "*%u\r\n", argc)))
        return NULL;
    for (p = words; (next = word_next(p, &word, &n)) != NULL; p = next) {
        if (!arg_add(w, word, n, err, err_len))
            return NULL;
    }
    return end;
}

/* The two words that memcached has in common with us, as its text protocol writes them. */
static bool memcached_add(struct workload *w, const char *words, char *err, size_t err_len)
{
    struct op *op = &w->op[w->ops];
    char head[NUMBER_CHARS];
    bool set = strcmp(words, "SET __key__ __data__") == 0, ok;
    uint32_t fixed = fixed_len(w, PIECE_DATA);
    snprintf(err, err_len, "memcached knows the tests set and get only");
    if (!set && strcmp(words, "GET __key__") != 0)
        return false;
    ok = text_add(w, set ? "set " : "get ", 4) && piece_add(w, 0, false);
    if (set && fixed)
        ok = ok && text_add(w, head, (size_t)snprintf(head, sizeof(head), " 0 0 %u\r\n", fixed)) &&
             piece_add(w, DATA, false) && text_add(w, "\r\n", 2);
    else if (set) /* "n CR LF data CR LF" */
        ok = ok && text_add(w, " 0 0 ", 5) && piece_add(w, DATA, true);
    else
        ok = ok && text_add(w, "\r\n", 2);
    op->requests = 1;
    op->pieces = w->pieces - op->first;
    w->total_weight += op->weight;
    w->ops++;
    return ok;
}

bool workload_add(struct workload *w, const char *name, uint32_t weight, const char *words,
                  char *err, size_t err_len)
{
    if (w->ops == OPS_MOST) {
        snprintf(err, err_len, "more than %d operations", OPS_MOST);
        return false;
    }
    struct op *op = &w->op[w->ops];
    *op = (struct op){.weight = weight, .first = w->pieces};
    if (name)
        snprintf(op->name, sizeof(op->name), "%s", name);
    else
        snprintf(op->name, sizeof(op->name), "%.*s", (int)strcspn(words, " ;"), words);
    op->publishes =
        strncasecmp(op->name, "publish", 8) == 0 || strncasecmp(op->name, "spublish", 9) == 0;
    if (w->memcached)
        return memcached_add(w, words, err, err_len);
    for (const char *p = words;; p++) {
        if (op->requests == REQUESTS_MOST) {
            snprintf(err, err_len, "more than %d requests in one operation", REQUESTS_MOST);
            return false;
        }
        p = request_add(w, p, err, err_len);
        if (!p)
            return false;
        op->requests++;
        if (!*p)
            break;
    }
    op->pieces = w->pieces - op->first;
    w->ops++;
    w->total_weight += weight;
    return true;
}

/* ---- names ---- */

#define FIELDS                                                                         \
    "field0 __data__ field1 __data__ field2 __data__ field3 __data__ field4 __data__ " \
    "field5 __data__ field6 __data__ field7 __data__ field8 __data__ field9 __data__"
#define YCSB_READ   "HGETALL __key__"
#define YCSB_UPDATE "HSET __key__ field0 __data__"
#define YCSB_INSERT "HSET __key__ " FIELDS "; ZADD _indices __score__ __again__"
#define YCSB_SCAN   "ZRANGEBYSCORE _indices __score__ +inf LIMIT 0 50"
#define YCSB_RMW    "HGETALL __key__; HSET __again__ field0 __data__"

/* Several rows of one name are a mix. */
static const struct {
    const char *name, *op;
    uint32_t weight;
    const char *words;
} tests[] = {
    {"ping", NULL, 1, "PING"},
    {"set", NULL, 1, "SET __key__ __data__"},
    {"get", NULL, 1, "GET __key__"},
    {"incr", NULL, 1, "INCR counter:__rand_int__"},
    {"lpush", NULL, 1, "LPUSH mylist __data__"},
    {"rpush", NULL, 1, "RPUSH mylist __data__"},
    {"lpop", NULL, 1, "LPOP mylist"},
    {"rpop", NULL, 1, "RPOP mylist"},
    {"sadd", NULL, 1, "SADD myset element:__rand_int__"},
    {"hset", NULL, 1, "HSET myhash element:__rand_int__ __data__"},
    {"spop", NULL, 1, "SPOP myset"},
    {"zadd", NULL, 1, "ZADD myzset __rand__ element:__rand_int__"},
    {"zpopmin", NULL, 1, "ZPOPMIN myzset"},
    {"lrange_100", NULL, 1, "LRANGE mylist 0 99"},
    {"lrange_300", NULL, 1, "LRANGE mylist 0 299"},
    {"lrange_500", NULL, 1, "LRANGE mylist 0 499"},
    {"lrange_600", NULL, 1, "LRANGE mylist 0 599"},
    {"mset", NULL, 1,
     "MSET __key__ __data__ __key__ __data__ __key__ __data__ __key__ __data__ __key__ __data__ "
     "__key__ __data__ __key__ __data__ __key__ __data__ __key__ __data__ __key__ __data__"},
    {"mget", NULL, 1,
     "MGET __key__ __key__ __key__ __key__ __key__ __key__ __key__ __key__ __key__ __key__"},
    {"xadd", NULL, 1, "XADD mystream * myfield __data__"},
    {"pfadd", NULL, 1, "PFADD hll __rand__"},
    {"publish", NULL, 1, "PUBLISH __channel__ __stamp__"},
    {"ycsb-load", NULL, 1, YCSB_INSERT},
    {"ycsb-a", "read", 50, YCSB_READ},
    {"ycsb-a", "update", 50, YCSB_UPDATE},
    {"ycsb-b", "read", 95, YCSB_READ},
    {"ycsb-b", "update", 5, YCSB_UPDATE},
    {"ycsb-c", "read", 100, YCSB_READ},
    {"ycsb-d", "read", 95, YCSB_READ},
    {"ycsb-d", "insert", 5, YCSB_INSERT},
    {"ycsb-e", "scan", 95, YCSB_SCAN},
    {"ycsb-e", "insert", 5, YCSB_INSERT},
    {"ycsb-f", "read", 50, YCSB_READ},
    {"ycsb-f", "read-modify-write", 50, YCSB_RMW},
};
#define TESTS (sizeof(tests) / sizeof(tests[0]))

bool workload_add_named(struct workload *w, const char *name, uint32_t weight, char *err,
                        size_t err_len)
{
    bool found = false;
    for (size_t i = 0; i < TESTS; i++) {
        if (strcmp(tests[i].name, name) != 0)
            continue;
        found = true;
        if (!workload_add(w, tests[i].op ? tests[i].op : name, weight * tests[i].weight,
                          tests[i].words, err, err_len))
            return false;
    }
    if (!found)
        snprintf(err, err_len, "no test '%s'; --list tells them", name);
    return found;
}

void workload_list(void)
{
    for (size_t i = 0; i < TESTS; i++)
        printf("%-12s %s%s%s\n", tests[i].name, tests[i].words, tests[i].op ? "   # " : "",
               tests[i].op ? tests[i].op : "");
}

/* ---- writing ---- */

bool workload_ready(struct workload *w, uint64_t keys)
{
    uint32_t most = size_draw_most(&w->sizes);
    key_draw_init(&w->keys, keys);
    w->data = malloc(most + 1);
    if (!w->data)
        return false;
    for (uint32_t i = 0; i < most; i++)
        w->data[i] = (uint8_t)('a' + (i * 7 + i / 26) % 26);
    w->longest = 0;
    for (uint32_t i = 0; i < w->ops; i++) {
        uint32_t bytes = 0;
        for (uint32_t k = 0; k < w->op[i].pieces; k++) {
            const struct piece *p = &w->piece[w->op[i].first + k];
            bytes += p->kind == PIECE_TEXT   ? p->len
                     : p->kind == PIECE_DATA ? most + 32
                                             : 2 * NUMBER_CHARS;
        }
        w->longest = bytes > w->longest ? bytes : w->longest;
    }
    return true;
}

void workload_channel(const struct workload *w, uint32_t i, char *to)
{
    sprintf(to, "channel:%0*u", KEY_DIGITS, i % w->channels);
}

uint32_t workload_draw(const struct workload *w, struct draw *d)
{
    if (w->ops == 1)
        return 0;
    uint64_t at = draw_below(d, w->total_weight);
    uint32_t i = 0;
    for (; at >= w->op[i].weight; i++)
        at -= w->op[i].weight;
    return i;
}

static uint8_t *digits(uint8_t *to, uint64_t v, int n)
{
    for (int i = n - 1; i >= 0; i--, v /= 10)
        to[i] = (uint8_t)('0' + v % 10);
    return to + n;
}

static uint8_t *framed(uint8_t *to, const void *p, size_t n, bool dollar)
{
    *to = '$';
    to += dollar;
    to += num_format_u64((char *)to, n);
    *to++ = '\r';
    *to++ = '\n';
    memcpy(to, p, n);
    to += n;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static uint8_t *write_piece(struct workload *w, const struct piece *p, struct draw *d,
                            uint64_t *key, uint8_t *to)
{
    char number[NUMBER_CHARS];
    uint32_t n;
    switch (p->kind) {
    case PIECE_TEXT: memcpy(to, w->text + p->off, p->len); return to + p->len;
    case PIECE_KEY:
        if (!p->again)
            *key = key_draw(&w->keys, d);
        memcpy(to, "key:", 4);
        return digits(to + 4, *key, KEY_DIGITS);
    case PIECE_RAND_INT: return digits(to, key_draw(&w->keys, d), KEY_DIGITS);
    case PIECE_SCORE: memcpy(to, "0.", 2); return digits(to + 2, draw_below(d, 1000000), 6);
    case PIECE_STAMP: return digits(to, w->now_ns, WORKLOAD_STAMP);
    case PIECE_CHANNEL:
        memcpy(to, "channel:", 8);
        return digits(to + 8, w->channels > 1 ? draw_below(d, w->channels) : 0, KEY_DIGITS);
    case PIECE_RAND:
    case PIECE_SEQ:
        n = (uint32_t)num_format_u64(number,
                                     p->kind == PIECE_SEQ ? w->seq++ : key_draw(&w->keys, d));
        return framed(to, number, n, true);
    case PIECE_DATA: {
        n = size_draw(&w->sizes, d);
        if (p->framed)
            return framed(to, w->data, n, !w->memcached);
        memcpy(to, w->data, n);
        return to + n;
    }
    }
    return to;
}

size_t workload_write(struct workload *w, uint32_t op, struct draw *d, uint8_t *to)
{
    const struct op *o = &w->op[op];
    uint8_t *at = to;
    uint64_t key = 0;
    for (uint32_t i = 0; i < o->pieces; i++)
        at = write_piece(w, &w->piece[o->first + i], d, &key, at);
    return (size_t)(at - to);
}
