/* Between the parts of the scheduler: the batch (schedule.c), who speaks (group.c), what of the prompts is read (prefill.c). */
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

/* Its next token is its first: all of its prompt but the last token was in the cache. */
static inline bool mk_is_fresh(const mk_slot *slot) {
    return mk_is_speaking(slot) && slot->n_generated == 0;
}

/* schedule.c: the slot's next n tokens go into the batch */
void mk_batch_add(mk_engine *e, mk_slot *slot, int32_t n);

/* group.c. The speaking slots in the order of their sequences, and what may be computed together. */
typedef struct mk_choice {
    mk_slot *slots[MK_MAX_SLOTS];
    double worth[MK_MAX_SLOTS];    /* what a token of each is worth by who it is */
    double counts[MK_MAX_SLOTS];   /* and counts in the choice of a group */
    double cost[MK_MAX_SLOTS + 1]; /* of a decode of so many; 0: nothing is known */
    double round;                  /* seconds in which all have a turn; 0: nothing is known */
    int32_t n, first;              /* of them all; the one that must be in, or -1 */
    int32_t from, size;            /* the group, as slots[from .. from + size) */
} mk_choice;
/* Of slots[0 .. n): the group that speaks in the next decode. */
void mk_group_choose(mk_engine *e, mk_choice *c);
/* How far the run of neighbours around the first reaches, as indexes. */
void mk_run_around(const mk_engine *e, const mk_choice *c, int32_t *low, int32_t *high);

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
