/* Long talk: when the context is full the oldest turns leave, and the persona stays. Where the model can, what is
 * behind them moves up in the KV cache (llama_memory_seq_add turns its positions back); where it cannot, that
 * is computed again, in slices like any prefill. Runs on the worker thread alone. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

/* In tokens: less of a reply, or of a whole context in parts, is not worth a move. */
enum { LEAST_OF_REPLY = 16, LEAST_SHARE_OF_CONTEXT = 8 };

static void close_up(int32_t *tokens, int32_t *n, int32_t at, int32_t gap) {
    memmove(tokens + at, tokens + at + gap, (size_t) (*n - at - gap) * sizeof *tokens);
    *n -= gap;
}

/* How many turns must leave so that at least so many tokens do; all but the last one when that is too few. */
static int32_t turns_for(const mk_job *job, int32_t tokens) {
    int32_t k = 1;
    while (k + 1 < job->n_turns && job->turns[k] - job->turns[0] < tokens) {
        k++;
    }
    return k < job->n_turns ? k : 0;
}

static void turns_leave(mk_job *job, int32_t k) {
    int32_t gap = job->turns[k] - job->turns[0];
    job->n_turns -= k;
    for (int32_t i = 0; i < job->n_turns; i++) {
        job->turns[i] = job->turns[i + k] - gap;
    }
    job->last_turn_end -= gap;
    job->left_turns += k;
}

/* What was before, for a slot that still holds it. Without memory for it, what is behind the gap is computed again. */
static void keep_whole(mk_job *job, int32_t at, int32_t gap) {
    job->whole = malloc((size_t) job->n_tokens * sizeof *job->whole);
    if (job->whole != NULL) {
        memcpy(job->whole, job->tokens, (size_t) job->n_tokens * sizeof *job->whole);
        job->n_whole = job->n_tokens;
        job->gap_at = at;
        job->gap = gap;
    }
}

/* Makes a prompt that is too long for its context fit, as its owner asked: whole turns leave, from the oldest on,
 * and of what is still too long the beginning of the last turn. They leave by the half context, so that the
 * next turns find the same beginning in the cache, also when their owner goes on sending all of them. */
void mk_job_fit(mk_engine *e, mk_job *job) {
    int32_t context = (int32_t) e->info.context, n = job->n_tokens, over, at, half, gap, k = 0;
    int32_t reply = job->ask.max_tokens < context / 4 ? job->ask.max_tokens : context / 4;
    if (job->tokens == NULL || job->ask.overflow == MK_REFUSE || n + reply <= context) {
        return;
    }
    over = n + reply - context;
    at = job->n_turns > 0 ? job->turns[0] : job->ask.n_pin > 0 ? job->ask.n_pin : 0;
    half = (context - at) / 2 > 0 ? (context - at) / 2 : 1;
    gap = (over + half - 1) / half * half;
    if (job->n_turns > 0) {
        k = turns_for(job, gap);
        gap = job->turns[k] - at;
    } else if (gap >= n - at) {
        gap = over < n - at ? over : 0;
    }
    if (gap > 0) {
        keep_whole(job, at, gap);
        if (k > 0) {
            turns_leave(job, k);
        }
        close_up(job->tokens, &job->n_tokens, at, gap);
        over -= gap;
    }
    at = job->n_turns > 0 ? job->turns[job->n_turns - 1] : 0;
    if (job->n_tokens >= context && job->ask.overflow == MK_TRIM && job->n_turns > 0 && job->last_turn_end - at > over) {
        close_up(job->tokens, &job->n_tokens, at, over);
        gap += over;
    }
    job->left_tokens = gap;
}

/* Takes tokens out of the middle of a slot; what is behind them stays computed where the model allows it. */
static void cut_out(mk_engine *e, mk_slot *slot, int32_t at, int32_t gap) {
    if (e->can_shift && slot->n_done > at + gap && e->table.llama_memory_seq_rm(e->memory, slot->seq, at, at + gap)) {
        e->table.llama_memory_seq_add(e->memory, slot->seq, at + gap, -1, -gap);
        slot->n_done -= gap;
        e->copying = true; /* carried out by the next decode, like a copy */
    } else {
        mk_slot_truncate(e, slot, slot->n_done < at ? slot->n_done : at);
    }
    if (slot->n_tokens > at + gap) {
        close_up(slot->tokens, &slot->n_tokens, at, gap);
    } else {
        slot->n_tokens = slot->n_done;
    }
}

/* The slot for a request. When turns have left its prompt, the slot that still holds them is worth the most. */
mk_slot *mk_slot_for(mk_engine *e, const mk_job *job) {
    int32_t fitted = 0, whole = 0;
    mk_slot *slot;
    e->set_wanted = job->ask.adapters;
    if (job->whole != NULL && e->can_shift) {
        fitted = mk_at_hand(e, job->tokens, job->n_tokens);
        whole = mk_at_hand(e, job->whole, job->n_whole);
        whole = whole > job->gap_at + job->gap ? whole - job->gap : 0;
    }
    if (whole <= fitted) {
        return mk_slot_take(e, job->tokens, job->n_tokens);
    }
    slot = mk_slot_take(e, job->whole, job->n_whole);
    slot->n_tokens = slot->n_done;
    mk_library_enter(e);
    cut_out(e, slot, job->gap_at, job->gap);
    mk_slot_truncate(e, slot, mk_common(slot->tokens, slot->n_done, job->tokens, job->n_tokens - 1));
    mk_library_leave(e);
    return slot;
}

/* The context is full and the reply goes on: the oldest turns leave, or the older half of what follows the pinned
 * tokens, or of the reply itself. False when nothing may leave: the reply ends here. */
bool mk_slot_make_room(mk_engine *e, mk_slot *slot) {
    mk_job *job = slot->job;
    int32_t context = (int32_t) e->info.context, at, gap = 0, k = 0;
    if (job->ask.overflow == MK_REFUSE) {
        return false;
    }
    at = job->n_turns > 0 ? job->turns[0] : slot->pin;
    if (job->n_turns > 1) {
        k = turns_for(job, (context - at) / 2);
        gap = job->turns[k] - at;
    } else if (job->n_turns == 0) {
        gap = (slot->n_tokens - at) / 2;
    }
    if (gap < context / LEAST_SHARE_OF_CONTEXT) {
        k = 0;
        at = slot->n_prompt;
        gap = (slot->n_tokens - at) / 2;
        if (gap < LEAST_OF_REPLY) {
            return false;
        }
    }
    if (k > 0) {
        turns_leave(job, k);
    }
    slot->n_prompt = slot->n_prompt - gap > at ? slot->n_prompt - gap : slot->n_prompt < at ? slot->n_prompt : at;
    cut_out(e, slot, at, gap);
    if (slot->n_done == 0 && !e->copying) { /* a model that goes on from an end only may find the persona's */
        mk_slot_find_beginning(e, slot);
    }
    mk_event_left(e, job->ask.id, k, gap);
    return true;
}
