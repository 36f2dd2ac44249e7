/* The worker's loop. One turn: take the host's commands, give idle slots to waiting requests, put
 * one batch together (a token for every speaking slot, a slice of the waiting prefill), decode it,
 * sample, and write what came of it into the ring. Runs on the worker thread alone. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- events ---- */

static void event(mk_engine *e, uint32_t fields, uint64_t id, uint32_t kind) {
    mk_put_array(&e->ring, fields);
    mk_put_uint(&e->ring, id);
    mk_put_uint(&e->ring, kind);
}

static void event_error(mk_engine *e, uint64_t id, uint32_t code, const char *reason) {
    char clean[320];
    size_t size = mk_text_clean(clean, sizeof clean, reason, strlen(reason));
    event(e, 4, id, MK_ERROR);
    mk_put_uint(&e->ring, code);
    mk_put_string(&e->ring, clean, (uint32_t) size);
    mk_ring_publish(&e->ring);
}

static void event_done(mk_engine *e, const mk_job *job, int finish, int32_t generated, double first_token,
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

/* ---- slots and the waiting list ---- */

static void slot_release(mk_engine *e, mk_slot *slot) {
    if (slot->sampler != NULL) {
        e->table.llama_sampler_free(slot->sampler);
        slot->sampler = NULL;
    }
    mk_job_free(slot->job);
    slot->job = NULL;
    slot->n_tokens = slot->n_done; /* the cache stays: the next turn begins with it */
    slot->last_used = ++e->clock;
}

/* Drops everything behind the first n tokens from the cache. Models that cannot drop a part
 * (recurrent ones) lose the whole sequence and are prefilled again. */
static void slot_truncate(mk_engine *e, mk_slot *slot, int32_t n) {
    if (!e->table.llama_memory_seq_rm(e->memory, slot->seq, n, -1)) {
        e->table.llama_memory_seq_rm(e->memory, slot->seq, -1, -1);
        n = 0;
    }
    slot->n_done = n;
}

static void slot_finish(mk_engine *e, mk_slot *slot, int finish) {
    size_t n = finish == MK_FINISH_CANCELLED ? 0 : mk_text_flush(&slot->text);
    event_done(e, slot->job, finish, slot->n_generated, slot->first_token, slot->text.bytes, n);
    slot_release(e, slot);
}

static void slot_fail(mk_engine *e, mk_slot *slot, uint32_t code, const char *reason) {
    event_error(e, slot->job->ask.id, code, reason);
    slot_truncate(e, slot, 0);
    slot_release(e, slot);
}

static void cancel(mk_engine *e, uint64_t id) {
    mk_job *before = NULL;
    for (mk_job *job = e->waiting; job != NULL; before = job, job = job->next) {
        if (job->ask.id != id) {
            continue;
        }
        if (before == NULL) {
            e->waiting = job->next;
        } else {
            before->next = job->next;
        }
        if (e->waiting_last == job) {
            e->waiting_last = before;
        }
        event_done(e, job, MK_FINISH_CANCELLED, 0, 0, "", 0);
        mk_job_free(job);
        atomic_fetch_sub(&e->n_waiting, 1);
        return;
    }
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].job != NULL && e->slots[i].job->ask.id == id) {
            slot_finish(e, &e->slots[i], MK_FINISH_CANCELLED);
        }
    }
}

static void fail_assertion(mk_engine *e) {
    mk_library_enter(e);
    e->table.ggml_abort(__FILE__, __LINE__, "an assertion that a test asked for");
}

/* A command writes one small record at most; there must be room for it. */
static bool room_for_command(mk_engine *e) {
    return mk_ring_free(&e->ring) >= e->record_room;
}

static void take_commands(mk_engine *e) {
    mk_command command;
    while (room_for_command(e) && mk_next_command(e, &command)) {
        switch (command.kind) {
        case MK_COMMAND_SUBMIT:
            if (e->waiting_last == NULL) {
                e->waiting = command.job;
            } else {
                e->waiting_last->next = command.job;
            }
            e->waiting_last = command.job;
            break;
        case MK_COMMAND_CANCEL:
            cancel(e, command.id);
            break;
        default:
            fail_assertion(e);
        }
    }
}

/* ---- from a request to a slot ---- */

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
static mk_slot *best_slot(mk_engine *e, const int32_t *tokens, int32_t n, int32_t *prefix) {
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

static void begin(mk_engine *e, mk_job *job, int32_t *tokens, int32_t n) {
    char reason[160];
    int32_t prefix = 0;
    mk_slot *slot;
    if (tokens == NULL) {
        event_error(e, job->ask.id, MK_CODE_PROMPT, "the prompt is empty or cannot be tokenised with this vocabulary");
        mk_job_free(job);
        return;
    }
    if (n >= (int32_t) e->info.context) {
        snprintf(reason, sizeof reason, "the prompt has %d tokens and the context holds %u: shorten it, or make the engine with a larger context=",
                 n, e->info.context);
        event_error(e, job->ask.id, MK_CODE_OVERFLOW, reason);
        mk_job_free(job);
        return;
    }
    slot = best_slot(e, tokens, n, &prefix);
    slot_truncate(e, slot, prefix < n - 1 ? prefix : n - 1); /* the last token's logits are needed */
    memcpy(slot->tokens, tokens, (size_t) n * sizeof *tokens);
    slot->n_tokens = n;
    slot->job = job;
    slot->n_generated = 0;
    slot->first_token = 0;
    mk_text_reset(&slot->text, job->stops, job->ask.n_stops, job->ask.trim_start);
    slot->sampler = mk_sampler_new(e, &job->ask);
    if (slot->sampler == NULL || mk_text_room(&slot->text, 64) == NULL) {
        slot_fail(e, slot, MK_CODE_MEMORY, "no memory for the sampler");
        return;
    }
    event(e, 4, job->ask.id, MK_STARTED);
    mk_put_uint(&e->ring, (uint64_t) n);
    mk_put_uint(&e->ring, (uint64_t) slot->n_done);
    mk_ring_publish(&e->ring);
}

static bool has_idle_slot(const mk_engine *e) {
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].job == NULL) {
            return true;
        }
    }
    return false;
}

static void start_waiting(mk_engine *e) {
    while (e->waiting != NULL && has_idle_slot(e) && room_for_command(e)) {
        mk_job *job = e->waiting;
        int32_t n, *tokens;
        e->waiting = job->next;
        if (e->waiting == NULL) {
            e->waiting_last = NULL;
        }
        atomic_fetch_sub(&e->n_waiting, 1);
        tokens = mk_tokenise(e, job, &n);
        begin(e, job, tokens, n);
        free(tokens);
    }
}

/* ---- one batch ---- */

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
static int32_t batch_fill(mk_engine *e) {
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
        n = next->n_tokens - next->n_done;
        n = n > budget ? budget : n;
        n = n > e->batch_room - e->batch.n_tokens ? e->batch_room - e->batch.n_tokens : n;
        batch_add(e, next, n);
        next->output = next->output == -1 ? -2 : next->output; /* -2: in the batch, without logits */
        prefilled += n;
        budget -= n;
    }
    return prefilled;
}

static void learn(mk_engine *e, double seconds, int32_t n) {
    double sample = seconds / n;
    e->seconds_per_token = e->seconds_per_token > 0 ? 0.7 * e->seconds_per_token + 0.3 * sample : sample;
}

static void decode_failed(mk_engine *e, int32_t result) {
    char reason[300];
    if (result == 2 && mk_on_abort_decode(e)) { /* on request: what was decoded is taken back, the loop comes again */
        for (uint32_t i = 0; i < e->config.slots; i++) {
            if (e->slots[i].n_batch > 0) {
                slot_truncate(e, &e->slots[i], e->slots[i].n_done);
            }
        }
        return;
    }
    snprintf(reason, sizeof reason, "llama_decode failed with code %d%s%s", result, e->last_error[0] ? ": " : "", e->last_error);
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].n_batch > 0) {
            slot_fail(e, &e->slots[i], MK_CODE_DECODE, reason);
        }
    }
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

static void speak(mk_engine *e, mk_slot *slot) {
    int32_t token = e->table.llama_sampler_sample(slot->sampler, e->context, slot->output);
    bool stopped;
    size_t n;
    if (slot->first_token == 0) {
        slot->first_token = mk_now();
    }
    if (e->table.llama_vocab_is_eog(e->vocab, token)) {
        slot_finish(e, slot, MK_FINISH_STOP);
        return;
    }
    slot->n_generated++;
    slot->tokens[slot->n_tokens++] = token;
    if (!append_piece(e, slot, token)) {
        slot_fail(e, slot, MK_CODE_MEMORY, "no memory for the text");
        return;
    }
    n = mk_text_ready(&slot->text, &stopped);
    event(e, 4, slot->job->ask.id, MK_TOKEN);
    mk_put_uint(&e->ring, (uint64_t) token);
    mk_put_string(&e->ring, slot->text.bytes, (uint32_t) n);
    mk_ring_publish(&e->ring);
    mk_text_consume(&slot->text, stopped ? slot->text.used : n);
    if (stopped) {
        slot_finish(e, slot, MK_FINISH_STOP_STRING);
    } else if (slot->n_generated >= slot->job->ask.max_tokens || slot->n_tokens >= (int32_t) e->info.context) {
        slot_finish(e, slot, MK_FINISH_LENGTH);
    }
}

static void step(mk_engine *e) {
    int32_t prefilled = batch_fill(e), result;
    double begun = mk_now();
    if (atomic_load(&e->alone) != 0 && !mk_queue_is_empty(e)) {
        return; /* a cancel that came before `alone` was set did not know that it may abort this decode */
    }
    e->last_error[0] = '\0'; /* an older complaint does not explain this decode */
    mk_library_enter(e);
    result = e->table.llama_decode(e->context, e->batch);
    if (result != 0) {
        decode_failed(e, result);
        mk_library_leave(e);
        return;
    }
    if (prefilled > 0) {
        learn(e, mk_now() - begun, e->batch.n_tokens);
    }
    mk_count(&e->shared.decoded, (uint64_t) e->batch.n_tokens);
    mk_count(&e->shared.steps, 1);
    for (uint32_t i = 0; i < e->config.slots; i++) {
        e->slots[i].n_done += e->slots[i].n_batch;
    }
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].job != NULL && e->slots[i].output >= 0) {
            speak(e, &e->slots[i]);
        }
    }
    mk_library_leave(e);
}

static bool busy(const mk_engine *e) {
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].job != NULL) {
            return true;
        }
    }
    return false;
}

/* Room for every record that one step can write. When the host does not tick, there is none, and the
 * worker waits instead of growing memory. */
static bool room_for_step(mk_engine *e) {
    return mk_ring_free(&e->ring) >= e->config.slots * e->record_room;
}

static bool may_step(mk_engine *e) {
    return busy(e) && room_for_step(e) && !atomic_load(&e->paused);
}

static bool idle(mk_engine *e) {
    bool commands = !mk_queue_is_empty(e) || (e->waiting != NULL && has_idle_slot(e));
    return !atomic_load(&e->closing) && !may_step(e) && !(commands && room_for_command(e));
}

void mk_worker_loop(mk_engine *e) {
    while (!atomic_load(&e->closing)) {
        /* Before the commands are taken: a cancel that comes later finds the decode abortable, and one
         * that came earlier costs at most one decode begun again. */
        atomic_store(&e->abort_decode, false);
        take_commands(e);
        start_waiting(e);
        if (may_step(e)) {
            step(e);
        } else if (idle(e)) {
            mk_sleep(e, idle);
        }
    }
    for (mk_job *job = e->waiting, *next; job != NULL; job = next) {
        next = job->next;
        mk_job_free(job);
    }
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].job != NULL) {
            slot_release(e, &e->slots[i]);
        }
    }
}
