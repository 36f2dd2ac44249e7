/* What stays in the KV cache, and which slot begins most like a new prompt. Runs on the worker thread
 * alone. */
#include "engine.h"

/* Drops everything behind the first n tokens from the cache. Models that cannot drop a part
 * (recurrent ones) lose the whole sequence and are prefilled again. */
void mk_slot_truncate(mk_engine *e, mk_slot *slot, int32_t n) {
    if (!e->table.llama_memory_seq_rm(e->memory, slot->seq, n, -1)) {
        e->table.llama_memory_seq_rm(e->memory, slot->seq, -1, -1);
        n = 0;
    }
    slot->n_done = n;
}

static int32_t common_prefix(const mk_slot *slot, const int32_t *tokens, int32_t n) {
    int32_t i = 0;
    while (i < n && i < slot->n_done && slot->tokens[i] == tokens[i]) {
        i++;
    }
    return i;
}

/* The idle slot whose cache begins most like this prompt; among equals the one unused for longest. A
 * cache that would mostly be thrown away counts for nothing: every prompt shares its first words with
 * every other, and two characters who speak in turn must not take each other's slot for that. */
mk_slot *mk_best_slot(mk_engine *e, const int32_t *tokens, int32_t n, int32_t *prefix) {
    mk_slot *best = NULL;
    int32_t most = -1;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        mk_slot *slot = &e->slots[i];
        int32_t common = slot->job == NULL ? common_prefix(slot, tokens, n) : 0;
        int32_t worth = 2 * common > slot->n_done ? common : 0;
        if (slot->job == NULL && (best == NULL || worth > most || (worth == most && slot->last_used < best->last_used))) {
            best = slot;
            most = worth;
            *prefix = common;
        }
    }
    return best;
}
