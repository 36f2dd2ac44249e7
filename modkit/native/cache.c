/* What stays in the KV cache, and where a new prompt begins: in the slot or with the stored state that begins
 * most like it. Runs on the worker thread alone. */
#include "engine.h"

#include <string.h>

/* A copy of a state is not worth less than this, a persona not fewer tokens. */
enum { LEAST_GAIN = 16, LEAST_PERSONA = 32 };

/* Drops everything behind the first n tokens from the cache. Models that cannot drop a part
 * (recurrent ones, and what a sliding window has forgotten) lose the whole sequence and are prefilled again. */
void mk_slot_truncate(mk_engine *e, mk_slot *slot, int32_t n) {
    bool forgot = n > 0 && n < slot->n_done && e->whole_states && e->table.llama_memory_seq_pos_min(e->memory, slot->seq) > 0;
    if (forgot || !e->table.llama_memory_seq_rm(e->memory, slot->seq, n, -1)) {
        e->table.llama_memory_seq_rm(e->memory, slot->seq, -1, -1);
        n = 0;
    }
    slot->n_done = n;
}

/* How many tokens of the prompt need no prefill in this slot. The last one is always decoded: its logits are
 * needed. */
static int32_t usable(const mk_engine *e, const mk_slot *slot, const int32_t *tokens, int32_t n) {
    int32_t common = mk_common(slot->tokens, slot->n_done, tokens, n - 1);
    return common < slot->n_done && e->whole_only ? 0 : common;
}

/* The idle slot whose cache begins most like this prompt; among equals the one unused for longest. A
 * cache that would mostly be thrown away counts for nothing: every prompt shares its first words with
 * every other, and two characters who speak in turn must not take each other's slot for that. */
static mk_slot *best_slot(mk_engine *e, const int32_t *tokens, int32_t n, int32_t *prefix) {
    mk_slot *best = NULL;
    int32_t most = -1;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        mk_slot *slot = &e->slots[i];
        int32_t common = slot->job == NULL ? usable(e, slot, tokens, n) : 0;
        int32_t worth = 2 * common > slot->n_done ? common : 0;
        if (slot->job == NULL && (best == NULL || worth > most || (worth == most && slot->last_used < best->last_used))) {
            best = slot;
            most = worth;
            *prefix = common;
        }
    }
    return best;
}

/* Puts a stored state into the slot; its n_done is 0 when llama.cpp refuses it. */
static void restore(mk_engine *e, mk_slot *slot, const mk_saved *state) {
    slot->n_done = 0;
    if (e->table.llama_state_seq_set_data(e->context, state->bytes, state->size, slot->seq) == state->size) {
        memcpy(slot->tokens, state->tokens, (size_t) state->n * sizeof *state->tokens);
        slot->n_done = state->n;
    } else {
        mk_slot_truncate(e, slot, 0);
    }
}

/* An idle slot for this prompt, its cache cut to what the two have in common: n_done tokens need no prefill.
 * Another conversation's cache that is lost by it goes into the store. */
mk_slot *mk_slot_take(mk_engine *e, const int32_t *tokens, int32_t n) {
    int32_t own = 0, stored;
    mk_slot *slot = best_slot(e, tokens, n, &own);
    mk_saved *state = mk_store_find(e, tokens, n, &stored);
    if (state != NULL && (stored < own + LEAST_GAIN || state->n > (int32_t) e->info.context)) {
        state = NULL;
    }
    mk_library_enter(e);
    if (state != NULL) {
        mk_store_take(e, state); /* what is stored now may cost the budget, but not this */
    }
    if (slot->keep && slot->n_done - (state != NULL ? 0 : own) >= LEAST_GAIN) {
        mk_store_save(e, slot, false);
    }
    if (state != NULL) {
        bool moves = !state->persona && stored == state->n; /* the conversation goes on in the slot */
        restore(e, slot, state);
        if (moves || slot->n_done == 0) {
            mk_saved_free(state);
        } else {
            mk_store_put(e, state);
        }
    }
    own = mk_common(slot->tokens, slot->n_done, tokens, n - 1);
    mk_slot_truncate(e, slot, own);
    mk_library_leave(e);
    return slot;
}

/* ---- the persona: what many prompts begin with ---- */

/* Notes how much of the slot's prompt is the persona, and whether its state is still to be stored. */
void mk_slot_pin(mk_engine *e, mk_slot *slot) {
    const mk_job *job = slot->job;
    int32_t pin = job->ask.n_pin >= 0 ? job->ask.n_pin : job->n_turns > 0 ? job->turns[0] : 0;
    slot->pin = pin < slot->n_tokens ? pin : slot->n_tokens - 1;
    slot->keep = job->ask.keep;
    slot->snapshot = e->config.cache_bytes > 0 && slot->pin >= LEAST_PERSONA && slot->n_done < slot->pin
                     && !mk_store_has(e, slot->tokens, slot->pin, true);
}

/* Tokens that the slot's prefill may take in one piece: it stops at the persona's end when that is to be stored. */
int32_t mk_prefill_left(const mk_slot *slot) {
    int32_t end = slot->snapshot && slot->n_done < slot->pin ? slot->pin : slot->n_tokens;
    return end - slot->n_done;
}

/* After a decode: stores the persona when the prefill has just come to its end. */
void mk_slot_prefilled(mk_engine *e, mk_slot *slot) {
    if (slot->snapshot && slot->n_done >= slot->pin) {
        slot->snapshot = false;
        if (slot->n_done == slot->pin) {
            mk_store_save(e, slot, true);
        }
    }
}
