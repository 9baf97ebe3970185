/* Text <-> number, with Redis's rules about what is a number. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

/* Strict signed decimal: no blanks, no '+', no leading zeros, no "-0" (Redis's string2ll).
 * Returns false and leaves *ret untouched otherwise. */
bool num_parse_i64(struct span s, int64_t *ret);
bool num_parse_u64(struct span s, uint64_t *ret);
/* Floating point as Redis reads arguments: whole span, no leading blank, no NaN; inf allowed. */
bool num_parse_double(struct span s, double *ret);
bool num_parse_long_double(struct span s, long double *ret);

#define NUM_I64_CHARS 21 /* longest "-9223372036854775808" and a spare */
/* Writes decimal digits, no terminator; returns the count. */
size_t num_format_i64(char *to, int64_t v);
size_t num_format_u64(char *to, uint64_t v);
/* %.17g as Redis replies doubles ("inf", "-inf", "nan"); buffer of 128. */
size_t num_format_double(char *to, double v);
/* %.17Lf without trailing zeros (INCRBYFLOAT); buffer of 5 KiB: a long double may have 4933 digits. */
#define NUM_LONG_DOUBLE_CHARS 5120
size_t num_format_long_double(char *to, long double v);

/* Glob match of Redis (stringmatchlen): * ? [] [^] \x; bounded recursion, so no pattern can hang. */
bool glob_match(struct span pattern, struct span text, bool nocase);
