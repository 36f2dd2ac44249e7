/* Between the two halves of the scheduler: who speaks (schedule.c) and what of the prompts is read (prefill.c). */
#ifndef MK_SCHEDULE_H
#define MK_SCHEDULE_H

#include "engine.h"

enum { MK_LEAST_SLICE = 4 }; /* tokens of prefill in a batch */

/* The share that a stream has, by its priority: ambient, near, player. */
static inline double mk_weight(const mk_slot *slot) {
    static const double weights[] = {1, 2, 4};
    int32_t priority = slot->job->ask.priority;
    return weights[priority < MK_AMBIENT ? MK_AMBIENT : priority > MK_PLAYER ? MK_PLAYER : priority];
}

static inline bool mk_is_speaking(const mk_slot *slot) {
    return slot->job != NULL && !slot->aside && slot->n_tokens - slot->n_done == 1;
}

static inline bool mk_is_prefilling(const mk_slot *slot) {
    return slot->job != NULL && !slot->aside && slot->n_tokens - slot->n_done > 1;
}

/* schedule.c: the slot's next n tokens go into the batch */
void mk_batch_add(mk_engine *e, mk_slot *slot, int32_t n);

/* Who is there: how many speak, how many of them in this batch, how many prompts are read or wait to be; and the weight of
 * the most important one who speaks. */
typedef struct mk_company {
    int32_t speaking, decoded, reading;
    double heaviest;
} mk_company;

/* prefill.c. In one shared cache: beside the speakers, parts of several prompts. With a cache for each: slots[low .. high],
 * `each` tokens of them. */
typedef struct mk_run {
    int32_t low, high, each;
} mk_run;
void mk_prefill_add(mk_engine *e, const mk_company *who, uint64_t prefilling);
mk_run mk_run_choose(mk_engine *e, const mk_company *who);
void mk_run_add(mk_engine *e, mk_run r);
/* What it takes to read all that waits to be read; 0 while nothing is known of prices. */
double mk_reading_seconds(const mk_engine *e);

#endif
