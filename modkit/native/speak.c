/* What a stream says: a token sampled from its logits, the text that may be shown by now, and the records
 * that tell the host. Runs on the worker thread alone. */
#include "engine.h"

#include <string.h>

/* ---- events ---- */

static void event(mk_engine *e, uint32_t fields, uint64_t id, uint32_t kind) {
    mk_put_array(&e->ring, fields);
    mk_put_uint(&e->ring, id);
    mk_put_uint(&e->ring, kind);
}

void mk_event_error(mk_engine *e, uint64_t id, uint32_t code, const char *reason) {
    char clean[320];
    size_t size = mk_text_clean(clean, sizeof clean, reason, strlen(reason));
    event(e, 4, id, MK_ERROR);
    mk_put_uint(&e->ring, code);
    mk_put_string(&e->ring, clean, (uint32_t) size);
    mk_ring_publish(&e->ring);
}

void mk_event_done(mk_engine *e, const mk_job *job, int finish, int32_t generated, double first_token,
                       const char *text, size_t size) {
    double now = mk_now();
    event(e, 7, job->ask.id, MK_DONE);
    mk_put_uint(&e->ring, (uint64_t) finish);
    mk_put_uint(&e->ring, (uint64_t) generated);
    mk_put_double(&e->ring, first_token > 0 ? first_token - job->submitted : 0);
    mk_put_double(&e->ring, first_token > 0 ? now - first_token : 0);
    mk_put_string(&e->ring, text, (uint32_t) size);
    mk_ring_publish(&e->ring);
}

void mk_event_left(mk_engine *e, uint64_t id, int32_t turns, int32_t tokens) {
    event(e, 4, id, MK_LEFT);
    mk_put_uint(&e->ring, (uint64_t) turns);
    mk_put_uint(&e->ring, (uint64_t) tokens);
    mk_ring_publish(&e->ring);
}

void mk_event_started(mk_engine *e, uint64_t id, int32_t prompt, int32_t cached) {
    event(e, 4, id, MK_STARTED);
    mk_put_uint(&e->ring, (uint64_t) prompt);
    mk_put_uint(&e->ring, (uint64_t) cached);
    mk_ring_publish(&e->ring);
}

/* ---- a slot's stream: its words, its end ---- */

void mk_slot_release(mk_engine *e, mk_slot *slot) {
    mk_sample_end(e, slot);
    mk_score_free(slot);
    mk_thought_free(slot);
    mk_job_free(slot->job);
    slot->job = NULL;
    slot->n_tokens = slot->n_done; /* the cache stays: the next turn begins with it */
    slot->last_used = ++e->clock;
}

void mk_slot_finish(mk_engine *e, mk_slot *slot, int finish) {
    size_t n = finish == MK_FINISH_CANCELLED || mk_thought_inside(slot) ? 0 : mk_text_flush(&slot->text);
    mk_event_done(e, slot->job, finish, slot->n_generated, slot->first_token, slot->text.bytes, n);
    mk_slot_release(e, slot);
}

void mk_slot_fail(mk_engine *e, mk_slot *slot, uint32_t code, const char *reason) {
    mk_event_error(e, slot->job->ask.id, code, reason);
    mk_slot_truncate(e, slot, 0);
    mk_slot_release(e, slot);
}

/* Appends the piece of a token to the slot's text; false when memory is out. */
static bool append_piece(mk_engine *e, mk_slot *slot, int32_t token) {
    size_t room = 64;
    for (;;) {
        char *at = mk_text_room(&slot->text, room);
        int32_t n = at == NULL ? 0 : e->table.llama_token_to_piece(e->vocab, token, at, (int32_t) room, 0, false);
        if (at == NULL) {
            return false;
        }
        if (n >= 0) {
            slot->text.used += (size_t) n;
            return true;
        }
        room = (size_t) -n;
    }
}

void mk_speak(mk_engine *e, mk_slot *slot) {
    const char *wrong = "the samplers chose no token";
    int32_t token;
    bool stopped = false, thought = mk_thought_inside(slot);
    size_t n = 0;
    if (slot->score != NULL) {
        mk_score_step(e, slot);
        return;
    }
    token = mk_thought_force(slot);
    if (token >= 0) {
        e->table.llama_sampler_accept(slot->sampler, token);
    } else {
        token = mk_sample(e, slot, slot->output, &wrong);
    }
    if (token < 0) {
        mk_slot_fail(e, slot, slot->hold != NULL ? MK_CODE_GRAMMAR : MK_CODE_DECODE, wrong);
        return;
    }
    if (slot->first_token == 0) {
        slot->first_token = mk_now();
    }
    if (e->table.llama_vocab_is_eog(e->vocab, token)) {
        mk_slot_finish(e, slot, MK_FINISH_STOP);
        return;
    }
    slot->n_generated++;
    slot->tokens[slot->n_tokens++] = token;
    if (!mk_thought_token(slot, token)) {
        if (!append_piece(e, slot, token)) {
            mk_slot_fail(e, slot, MK_CODE_MEMORY, "no memory for the text");
            return;
        }
        n = mk_text_ready(&slot->text, &stopped);
    }
    event(e, 4, slot->job->ask.id, thought || mk_thought_inside(slot) ? MK_THOUGHT : MK_TOKEN);
    mk_put_uint(&e->ring, (uint64_t) token);
    mk_put_string(&e->ring, slot->text.bytes, (uint32_t) n);
    mk_ring_publish(&e->ring);
    if (stopped && mk_thought_mark(slot, n)) {
        stopped = false;
    } else {
        mk_text_consume(&slot->text, stopped ? slot->text.used : n);
    }
    if (stopped) {
        mk_slot_finish(e, slot, MK_FINISH_STOP_STRING);
    } else if (slot->hold != NULL && !mk_thought_inside(slot) && mk_hold_must_end(slot->hold)) {
        mk_slot_finish(e, slot, MK_FINISH_STOP);
    } else if (slot->n_generated >= slot->job->ask.max_tokens
               || (slot->n_tokens >= (int32_t) e->info.context && !mk_slot_make_room(e, slot))) {
        mk_slot_finish(e, slot, MK_FINISH_LENGTH);
    }
}
