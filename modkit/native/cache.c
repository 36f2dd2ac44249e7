/* What stays in the KV cache, and where a new prompt begins: in the slot or with the stored state that begins
 * most like it. Runs on the worker thread alone. */
#include "engine.h"

#include <string.h>

/* In tokens: a stored state that saves fewer is not worth its copy, nor is a copy between slots, and a
 * persona of fewer is not worth keeping. */
enum { LEAST_GAIN = 16, LEAST_SHARE = 32, LEAST_PERSONA = 32 };

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
    int32_t common = slot->set == e->set_wanted ? mk_common(slot->tokens, slot->n_done, tokens, n - 1) : 0;
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
static void restore(mk_engine *e, mk_slot *slot, mk_saved *saved, bool moves) {
    int32_t n = saved->n;
    memcpy(slot->tokens, saved->tokens, (size_t) n * sizeof *slot->tokens);
    slot->n_done = mk_store_restore(e, saved, slot->seq, moves) ? n : 0;
    if (slot->n_done == 0) {
        mk_slot_truncate(e, slot, 0);
    }
}

/* The other slot, speaking or not, that holds more of the prompt's beginning than anybody; NULL with 0 when
 * none does. A model that goes on from the end only has nothing to share. */
static mk_slot *best_other(mk_engine *e, const mk_slot *not_this, const int32_t *tokens, int32_t n, int32_t *most) {
    mk_slot *best = NULL;
    *most = 0;
    for (uint32_t i = 0; i < e->config.slots && !e->whole_only; i++) {
        mk_slot *slot = &e->slots[i];
        int32_t common = slot == not_this ? 0 : usable(e, slot, tokens, n);
        if (common > *most) {
            *most = common;
            best = slot;
        }
    }
    return best;
}

/* The whole sequence is copied and cut behind what is shared: between the streams of a cache llama.cpp
 * copies nothing less. It costs a read and a write of the slot's part of the cache (20 ms for 170 MB). */
static void copy_slot(mk_engine *e, mk_slot *slot, const mk_slot *from) {
    e->table.llama_memory_seq_rm(e->memory, slot->seq, -1, -1);
    e->table.llama_memory_seq_cp(e->memory, from->seq, slot->seq, -1, -1);
    memcpy(slot->tokens, from->tokens, (size_t) from->n_done * sizeof *slot->tokens);
    slot->n_done = from->n_done;
    e->copying = true;
}

/* An idle slot for this prompt, its cache cut to what the two have in common: n_done tokens need no prefill.
 * Another conversation's cache that is lost by it goes into the store. */
mk_slot *mk_slot_take(mk_engine *e, const int32_t *tokens, int32_t n) {
    int32_t own = 0, stored, shared;
    mk_slot *slot = best_slot(e, tokens, n, &own), *other;
    mk_saved *state = e->copying ? NULL : mk_store_find(e, tokens, n, &stored);
    mk_library_enter(e);
    slot = mk_seat(e, slot);
    other = best_other(e, slot, tokens, n, &shared);
    if (state != NULL && (stored < own + LEAST_GAIN || stored + LEAST_SHARE < shared || state->n > (int32_t) e->info.context)) {
        state = NULL;
    }
    if (other != NULL && (state != NULL || shared < own + LEAST_SHARE)) {
        other = NULL;
    }
    e->store.in_use = state; /* what is stored now may cost the budget, but not this */
    if (!e->copying && slot->keep && slot->n_done - (state != NULL || other != NULL ? 0 : own) >= LEAST_GAIN) {
        mk_store_save(e, slot, false);
    }
    e->store.in_use = NULL;
    if (state != NULL) { /* unless others share it, the conversation moves into the slot */
        restore(e, slot, state, !state->persona && stored == state->n);
    } else if (other != NULL) {
        copy_slot(e, slot, other);
    }
    if (state == NULL && other == NULL && slot->set != e->set_wanted) {
        own = 0;
    } else {
        own = mk_common(slot->tokens, slot->n_done, tokens, n - 1);
    }
    mk_slot_truncate(e, slot, own);
    mk_library_leave(e);
    return slot;
}

/* For a slot whose cache is lost: a stored state that its tokens begin with. */
void mk_slot_find_beginning(mk_engine *e, mk_slot *slot) {
    int32_t most, n = slot->n_tokens;
    e->set_wanted = slot->set;
    mk_saved *saved = mk_store_find(e, slot->tokens, n, &most);
    if (saved != NULL && most == saved->n && saved->n < n) {
        restore(e, slot, saved, false);
    }
}

/* Tokens of the prompt that need no prefill if it begins now. */
int32_t mk_at_hand(mk_engine *e, const int32_t *tokens, int32_t n) {
    int32_t stored, shared, own = 0;
    mk_store_find(e, tokens, n, &stored);
    best_other(e, NULL, tokens, n, &shared);
    for (uint32_t i = 0; i < e->config.slots && e->whole_only; i++) {
        int32_t here = e->slots[i].job == NULL ? usable(e, &e->slots[i], tokens, n) : 0;
        own = here > own ? here : own;
    }
    return stored > shared ? (stored > own ? stored : own) : (shared > own ? shared : own);
}

/* Whether a request had better wait: another slot computes its beginning just now, it is read from disk, or a
 * copy is under way that the next decode completes. Only what goes on by itself is waited for, so the wait ends. */
bool mk_must_wait(mk_engine *e, mk_job *job) {
    int32_t now = -1, n = job->n_tokens;
    if (job->tokens == NULL || n >= (int32_t) e->info.context) {
        return false; /* it ends with an error, and at once */
    }
    e->set_wanted = job->ask.adapters;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        const mk_slot *slot = &e->slots[i];
        int32_t common;
        if (slot->job == NULL) {
            continue;
        }
        if (e->copying) {
            return true;
        }
        if (slot->job->ask.priority < job->ask.priority) {
            continue; /* it may be kept waiting itself */
        }
        if (slot->set != job->ask.adapters) {
            continue;
        }
        common = mk_common(slot->tokens, slot->n_tokens, job->tokens, n - 1);
        if (e->whole_only) {
            common = slot->snapshot && common >= slot->pin ? slot->pin : 0;
        }
        if (common < slot->n_done + LEAST_SHARE) {
            continue;
        }
        now = now < 0 ? mk_at_hand(e, job->tokens, n) : now;
        if (common >= now + LEAST_SHARE) {
            return true;
        }
    }
    return e->disk != NULL && mk_store_fetch(e, job, now < 0 ? mk_at_hand(e, job->tokens, n) : now);
}

/* ---- the persona: what many prompts begin with ---- */

/* Notes how much of the slot's prompt is the persona, and whether its state is still to be stored. */
void mk_slot_pin(mk_engine *e, mk_slot *slot) {
    const mk_job *job = slot->job;
    int32_t pin = job->ask.n_pin >= 0 ? job->ask.n_pin : job->n_turns > 0 ? job->turns[0] : 0;
    slot->pin = pin < slot->n_tokens ? pin : slot->n_tokens - 1;
    slot->keep = job->ask.keep;
    e->set_wanted = slot->set;
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
