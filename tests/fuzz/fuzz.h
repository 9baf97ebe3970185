/* What each fuzz target defines; libFuzzer or replay.c calls it. Always returns 0; a finding aborts. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
