/* ahead: the thread beside the workers that touches memory which their shards will want next (engine/base/mem_ahead.h). */
#pragma once

struct ahead;

/* Before the workers' shards are made. Without the thread they touch their memory themselves: it costs time only, so nothing is said. */
void ahead_start(struct ahead **ret);
void ahead_stop(struct ahead *a); /* behind the last shard's end; NULL does nothing */
