/* The finishers that gather.c knows, each beside its command. */
#pragma once

#include "engine/cmd/gather.h"

gather_fn digest_finish; /* digest.c */
