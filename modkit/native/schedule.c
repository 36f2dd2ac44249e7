/* What goes into the next batch: a token for every speaking slot, a slice of the waiting prefill. Runs on
 * the worker thread alone. */
#include "engine.h"

static void batch_add(mk_engine *e, mk_slot *slot, int32_t n) {
    mk_batch *b = &e->batch;
    slot->n_batch = n;
    for (int32_t i = 0; i < n; i++) {
        int32_t at = b->n_tokens++;
        b->token[at] = slot->tokens[slot->n_done + i];
        b->pos[at] = slot->n_done + i;
        b->n_seq_id[at] = 1;
        b->seq_id[at][0] = slot->seq;
        b->logits[at] = slot->n_done + i + 1 == slot->n_tokens;
        if (b->logits[at]) {
            slot->output = at;
        }
    }
}

static int32_t slice(const mk_engine *e, bool alone) {
    double seconds = alone ? e->config.slice_seconds_alone : e->config.slice_seconds;
    double n = e->seconds_per_token > 0 ? seconds / e->seconds_per_token : 16;
    return n < 4 ? 4 : n > e->batch_room ? e->batch_room : (int32_t) n;
}

/* Fills the batch; returns how many prefill tokens are in it. */
int32_t mk_batch_fill(mk_engine *e) {
    int32_t speaking = 0, prefilled = 0, budget;
    uint64_t prefilling = 0;
    e->batch.n_tokens = 0;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        mk_slot *slot = &e->slots[i];
        slot->output = -1;
        slot->n_batch = 0;
        if (slot->job == NULL) {
            continue;
        }
        if (slot->n_tokens - slot->n_done == 1) {
            batch_add(e, slot, 1);
            speaking++;
        } else {
            prefilling = prefilling == 0 ? slot->job->ask.id : UINT64_MAX;
        }
    }
    if (prefilling == 0) {
        atomic_store(&e->alone, 0);
        return 0;
    }
    atomic_store(&e->alone, speaking == 0 && prefilling != UINT64_MAX ? prefilling : 0);
    budget = slice(e, speaking == 0);
    /* the prompt that has waited longest goes first: a first word soon beats two half prompts */
    while (budget > 0 && e->batch.n_tokens < e->batch_room) {
        mk_slot *next = NULL;
        int32_t n;
        for (uint32_t i = 0; i < e->config.slots; i++) {
            mk_slot *slot = &e->slots[i];
            if (slot->job != NULL && slot->n_tokens - slot->n_done > 1 && slot->output == -1
                && (next == NULL || slot->job->submitted < next->job->submitted)) {
                next = slot;
            }
        }
        if (next == NULL) {
            break;
        }
        n = mk_prefill_left(next);
        n = n > budget ? budget : n;
        n = n > e->batch_room - e->batch.n_tokens ? e->batch_room - e->batch.n_tokens : n;
        batch_add(e, next, n);
        next->output = next->output == -1 ? -2 : next->output; /* -2: in the batch, without logits */
        prefilled += n;
        budget -= n;
    }
    return prefilled;
}

void mk_learn(mk_engine *e, double seconds, int32_t n) {
    double sample = seconds / n;
    e->seconds_per_token = e->seconds_per_token > 0 ? 0.7 * e->seconds_per_token + 0.3 * sample : sample;
}
