/* A stream of requests as one comparable text: what the parser made of it, however the stream was cut.
 * Used by the unit tests and by the fuzzer. */
#pragma once

#include "engine/resp/parse.h"

struct transcript {
    uint8_t *p;
    size_t len, cap;
    size_t requests, gathered, full, big; /* how they came about: not part of the text */
};

void transcript_free(struct transcript *t);

/* Parses data[0..n) cut at cuts[0..ncuts) (ascending, each <= n), every run in a block of its own of exactly its
 * size. `small_cap`: arena offered first; on RESP_FULL LIMIT_BATCH_ARGS spans are offered. Takes over every big
 * argument with an odd number. Appends each request, then how the stream ended. */
void transcript_run(struct transcript *t, struct resp_parser *p, const struct resp_limits *lim,
                    const uint8_t *data, size_t n, const size_t *cuts, size_t ncuts,
                    size_t small_cap);
