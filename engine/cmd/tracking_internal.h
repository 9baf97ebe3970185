/* What tracking.c and tracking_table.c share. */
#pragma once

#include "engine/cmd/tracking.h"

/* With tracking_of done before. */
void tracking_on(struct tracking_table *t, struct session *s, uint32_t flags);
bool tracking_add_prefix(struct tracking_table *t, struct tracking *who, struct span name);
