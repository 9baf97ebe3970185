/* text: a growing text on the heap, for what control writes to files and into INFO. A failed allocation is remembered and told by
 * text_take; everything in between may go unchecked. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/bytes.h"

struct config_text { /* starts as {0} */
    char *p;
    size_t n, cap;
    bool failed;
};

void text_add(struct config_text *t, const void *p, size_t n);
void text_str(struct config_text *t, const char *s);
/* At most 1023 bytes at a time. */
void text_addf(struct config_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* In double quotes, with escapes, as CONFIG REWRITE and the command line write arguments. */
void text_repr(struct config_text *t, struct span v);
/* As it is where a configuration file would give it back unchanged, else as text_repr. */
void text_word(struct config_text *t, struct span v);
/* NUL-terminates and hands over (free it); NULL when memory was out. ret_len may be NULL. */
char *text_take(struct config_text *t, size_t *ret_len);
