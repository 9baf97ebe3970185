/* Cursor, MATCH and COUNT of SSCAN and HSCAN, and what such a call collects. */
#pragma once

#include "engine/cmd/keyref.h"
#include "engine/ds/fieldmap.h"

struct field_scan {
    uint64_t cursor;
    size_t count;
    struct span pattern;
    bool has_pattern;
    bool values; /* each field is followed by its value */
    /* The spans that are answered: they stay where they are until the reply is written. */
    struct mem *mem;
    struct span *v;
    size_t n, cap;
    bool failed;
    int64_t now_ms; /* fields that are due are left out */
};

/* The cursor (argument 2). False: the error was written. */
bool field_scan_begin(struct cmd *c, struct field_scan *scan);
/* The options behind it. False: the error was written. */
bool field_scan_options(struct cmd *c, struct field_scan *scan);
/* One field; what does not match is left out. */
void field_scan_add(struct field_scan *scan, struct span field, struct span value);
/* As many as COUNT asks for; moves the cursor on. */
void field_scan_map(struct field_scan *scan, const struct fieldmap *fm);
/* Writes the reply and frees what was collected. */
void field_scan_reply(struct cmd *c, struct field_scan *scan);
/* The reply when there is no key. */
void field_scan_nothing(struct cmd *c);
