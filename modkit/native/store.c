/* Sequences that have no slot at the moment: their states in memory, the least recently used given up first.
 * A state is llama.cpp's own bytes (llama_state_seq_get_data) and the tokens that they stand for. Runs on
 * the worker thread alone. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

/* Below this a prefill costs less than the copy and its keeping. */
enum { LEAST_TOKENS = 16 };

int32_t mk_common(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b) {
    int32_t i = 0;
    while (i < n_a && i < n_b && a[i] == b[i]) {
        i++;
    }
    return i;
}

static uint64_t weight(const mk_saved *state) {
    return state->size + (uint64_t) state->n * sizeof *state->tokens + sizeof *state;
}

void mk_saved_free(mk_saved *state) {
    if (state != NULL) {
        free(state->tokens);
        free(state->bytes);
        free(state);
    }
}

void mk_store_take(mk_engine *e, mk_saved *state) {
    mk_store *s = &e->store;
    *(state->newer != NULL ? &state->newer->older : &s->newest) = state->older;
    *(state->older != NULL ? &state->older->newer : &s->oldest) = state->newer;
    state->newer = state->older = NULL;
    s->used -= weight(state);
    s->n--;
}

/* As the one used last. The least recently used are given up when the budget is spent; the state itself,
 * too, when it alone is more than that. */
void mk_store_put(mk_engine *e, mk_saved *state) {
    mk_store *s = &e->store;
    state->newer = NULL;
    state->older = s->newest;
    *(s->newest != NULL ? &s->newest->newer : &s->oldest) = state;
    s->newest = state;
    s->used += weight(state);
    s->n++;
    while (s->used > e->config.cache_bytes) {
        mk_saved *last = s->oldest;
        mk_store_take(e, last);
        mk_saved_free(last);
    }
}

void mk_store_free(mk_engine *e) {
    while (e->store.newest != NULL) {
        mk_saved *state = e->store.newest;
        mk_store_take(e, state);
        mk_saved_free(state);
    }
}

/* How much of the state a prompt of n tokens can go on from. The last token is always decoded: its logits
 * are needed. */
static int32_t usable(const mk_engine *e, const mk_saved *state, const int32_t *tokens, int32_t n) {
    int32_t common = mk_common(state->tokens, state->n, tokens, n - 1);
    return common < state->n && e->whole_states ? 0 : common;
}

/* The state that saves most of the prefill; NULL with 0 when there is none. */
mk_saved *mk_store_find(mk_engine *e, const int32_t *tokens, int32_t n, int32_t *most) {
    mk_saved *best = NULL;
    *most = 0;
    for (mk_saved *state = e->store.newest; state != NULL; state = state->older) {
        int32_t here = usable(e, state, tokens, n);
        if (here > *most || (here == *most && best != NULL && state->n < best->n)) {
            *most = here;
            best = state;
        }
    }
    return best;
}

/* Whether just these tokens are stored; or, not `exactly`, more that begin with them and can be cut. */
bool mk_store_has(const mk_engine *e, const int32_t *tokens, int32_t n, bool exactly) {
    for (const mk_saved *state = e->store.newest; state != NULL; state = state->older) {
        if (mk_common(state->tokens, state->n, tokens, n) == n && (state->n == n || !(exactly || e->whole_states))) {
            return true;
        }
    }
    return false;
}

/* A conversation's older state says nothing that its newer one does not say. */
static void drop_older(mk_engine *e, const mk_saved *newer) {
    for (mk_saved *state = e->store.newest, *next; state != NULL; state = next) {
        next = state->older;
        if (!state->persona && state->n <= newer->n
            && mk_common(state->tokens, state->n, newer->tokens, newer->n) == state->n) {
            mk_store_take(e, state);
            mk_saved_free(state);
        }
    }
}

/* Copies the slot's cache (some ms for each 10 MB). Without memory for it nothing is stored: that costs a
 * prefill later, no more. */
void mk_store_save(mk_engine *e, mk_slot *slot, bool persona) {
    size_t size;
    mk_saved *state;
    if (e->config.cache_bytes == 0 || slot->n_done < LEAST_TOKENS || mk_store_has(e, slot->tokens, slot->n_done, persona)) {
        return;
    }
    size = e->table.llama_state_seq_get_size(e->context, slot->seq);
    if (size == 0 || size > e->config.cache_bytes) {
        return;
    }
    state = calloc(1, sizeof *state);
    if (state == NULL) {
        return;
    }
    state->n = slot->n_done;
    state->persona = persona;
    state->tokens = malloc((size_t) state->n * sizeof *state->tokens);
    state->bytes = malloc(size);
    if (state->tokens == NULL || state->bytes == NULL) {
        mk_saved_free(state);
        return;
    }
    memcpy(state->tokens, slot->tokens, (size_t) state->n * sizeof *state->tokens);
    state->size = e->table.llama_state_seq_get_data(e->context, state->bytes, size, slot->seq);
    if (state->size == 0 || state->size > size) {
        mk_saved_free(state);
        return;
    }
    if (!persona) {
        drop_older(e, state);
    }
    mk_store_put(e, state);
}
