/* The worker's loop. One turn: take the host's commands, give idle slots to waiting requests, put
 * one batch together (a token for every speaking slot, a slice of the waiting prefill), decode it,
 * sample, and write what came of it into the ring. Runs on the worker thread alone. */
#include "schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double MOST_GATHERING = 0.01; /* seconds */

/* ---- slots and the waiting list ---- */

static void unlink_waiting(mk_engine *e, mk_job *before, mk_job *job) {
    *(before == NULL ? &e->waiting : &before->next) = job->next;
    if (e->waiting_last == job) {
        e->waiting_last = before;
    }
    atomic_fetch_sub(&e->n_waiting, 1);
}

/* The more important first, among equals the one that came first. */
static void enlist_waiting(mk_engine *e, mk_job *job) {
    mk_job **at = &e->waiting;
    if (e->waiting_last != NULL && e->waiting_last->ask.priority >= job->ask.priority) {
        at = &e->waiting_last->next; /* as a rule: no need to walk */
    }
    while (*at != NULL && (*at)->ask.priority >= job->ask.priority) {
        at = &(*at)->next;
    }
    job->next = *at;
    *at = job;
    if (job->next == NULL) {
        e->waiting_last = job;
    }
}

/* Behind the more important and those interrupted before it, before all others: it has begun. */
static void enlist_interrupted(mk_engine *e, mk_job *job) {
    mk_job **at = &e->waiting;
    while (*at != NULL && ((*at)->ask.priority > job->ask.priority || (*at)->rest != NULL)) {
        at = &(*at)->next;
    }
    job->next = *at;
    *at = job;
    if (job->next == NULL) {
        e->waiting_last = job;
    }
    atomic_fetch_add(&e->n_waiting, 1);
}

static void free_waiting(mk_engine *e, mk_job *job) {
    mk_rest_free(e, job);
    mk_job_free(job);
}

static void cancel(mk_engine *e, uint64_t id) {
    mk_job *before = NULL;
    for (mk_job *job = e->waiting; job != NULL; before = job, job = job->next) {
        if (job->ask.id != id) {
            continue;
        }
        unlink_waiting(e, before, job);
        mk_event_done(e, job, MK_FINISH_CANCELLED, job->rest != NULL ? job->rest->n_generated : 0,
                      job->rest != NULL ? job->rest->first_token : 0, "", 0);
        free_waiting(e, job);
        return;
    }
    if (mk_embed_cancel(e, id)) {
        return;
    }
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].job != NULL && e->slots[i].job->ask.id == id) {
            mk_slot_finish(e, &e->slots[i], MK_FINISH_CANCELLED);
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
            if (command.job->ask.task == MK_TASK_EMBED || command.job->ask.task == MK_TASK_RANK) {
                mk_embed_add(e, command.job);
                break;
            }
            enlist_waiting(e, command.job);
            break;
        case MK_COMMAND_ADAPTERS:
            if (!mk_adapters_add(e, command.set)) {
                free(command.set);
            }
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

/* What can be said without a slot: the error that the request ends with. */
static bool is_refused(mk_engine *e, mk_job *job) {
    char reason[300];
    const char *refusal;
    uint32_t code = MK_CODE_PROMPT;
    if (e->memory == NULL) {
        code = MK_CODE_TASK;
        refusal = "this model only makes embeddings: ask another one for words";
    } else if (job->tokens == NULL) {
        refusal = "the prompt is empty or cannot be tokenised with this vocabulary";
    } else if (job->n_tokens >= (int32_t) e->info.context) {
        snprintf(reason, sizeof reason, "the prompt has %d tokens and the context holds %u: shorten it, or make the engine with a larger context=",
                 job->n_tokens, e->info.context);
        code = MK_CODE_OVERFLOW;
        refusal = reason;
    } else {
        code = MK_CODE_OPTION;
        refusal = mk_adapters_ready(e, job->ask.adapters);
    }
    if (refusal != NULL) {
        mk_event_error(e, job->ask.id, code, refusal);
        mk_job_free(job);
    }
    return refusal != NULL;
}

/* There is an idle slot. */
static void begin(mk_engine *e, mk_job *job) {
    char reason[300];
    uint32_t code;
    int32_t n = job->n_tokens;
    mk_slot *slot = mk_slot_for(e, job);
    slot->set = job->ask.adapters;
    memcpy(slot->tokens, job->tokens, (size_t) n * sizeof *slot->tokens);
    slot->n_tokens = n;
    slot->job = job;
    mk_slot_pin(e, slot);
    mk_schedule_begin(e, slot);
    if (job->rest != NULL) {
        mk_go_on(slot);
        return;
    }
    slot->n_generated = 0;
    slot->n_prompt = n;
    slot->first_token = 0;
    mk_text_reset(&slot->text, job->stops, job->ask.n_stops, job->ask.trim_start);
    code = job->ask.task == MK_TASK_SCORE ? mk_score_begin(e, slot, reason, sizeof reason)
                                          : mk_sample_begin(e, slot, reason, sizeof reason);
    if (code == 0 && (mk_text_room(&slot->text, 64) == NULL || !mk_thought_begin(e, slot))) {
        code = MK_CODE_MEMORY;
        snprintf(reason, sizeof reason, "no memory for the text");
    }
    if (code != 0) { /* nothing was decoded: the cache is as it was */
        mk_event_error(e, job->ask.id, code, reason);
        mk_slot_release(e, slot);
        return;
    }
    mk_event_started(e, job->ask.id, n, slot->n_done);
    if (job->left_tokens > 0) {
        mk_event_left(e, job->ask.id, job->left_turns, job->left_tokens);
    }
}

static bool has_idle_slot(const mk_engine *e) {
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].job == NULL) {
            return true;
        }
    }
    return false;
}

static void take_slot(mk_engine *e, mk_job *job) {
    mk_job *interrupted = has_idle_slot(e) ? NULL : mk_interrupt(e);
    if (interrupted != NULL) {
        enlist_interrupted(e, interrupted);
    } else if (!has_idle_slot(e)) {
        mk_event_error(e, job->ask.id, MK_CODE_MEMORY, "no memory to interrupt another stream");
        mk_job_free(job);
        return;
    }
    begin(e, job);
}

/* In order, but for those whose beginning another slot is computing just now: they begin when it is there. Where no
 * slot is idle, an ambient stream gives way to whoever is more important. */
static void start_waiting(mk_engine *e) {
    mk_job *before = NULL, *job = e->waiting;
    e->all_held = true;
    while (job != NULL && (has_idle_slot(e) || mk_may_interrupt(e, job))) {
        if (!room_for_command(e)) {
            e->all_held = false;
            return;
        }
        if (!job->known) {
            job->tokens = mk_tokenise(e, job, &job->n_tokens);
            job->known = true;
            mk_job_fit(e, job);
        }
        if (mk_must_wait(e, job)) {
            before = job;
            job = job->next;
            continue;
        }
        unlink_waiting(e, before, job);
        if (!is_refused(e, job)) {
            take_slot(e, job);
        }
        job = before == NULL ? e->waiting : before->next;
    }
}

/* ---- one batch ---- */

static void decode_failed(mk_engine *e, int32_t result) {
    char reason[300];
    if (result == 2 && mk_on_abort_decode(e)) { /* on request: what was decoded is taken back, the loop comes again */
        for (uint32_t i = 0; i < e->config.slots; i++) {
            if (e->slots[i].n_batch > 0) {
                mk_slot_truncate(e, &e->slots[i], e->slots[i].n_done);
            }
        }
        return;
    }
    snprintf(reason, sizeof reason, "llama_decode failed with code %d%s%s", result, e->last_error[0] ? ": " : "", e->last_error);
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].n_batch > 0) {
            mk_slot_fail(e, &e->slots[i], MK_CODE_DECODE, reason);
        }
    }
}

/* Every stream has said what its pace allows: until the next one may, or something happens. */
static bool nothing_new(mk_engine *e) {
    return mk_queue_is_empty(e) && !atomic_load(&e->closing) && !atomic_load(&e->paused);
}

static void rest(mk_engine *e) {
    double seconds = e->next_due - mk_now();
    if (seconds > 0) {
        mk_sleep(e, nothing_new, seconds < 1 ? seconds : 1);
    }
}

static void step(mk_engine *e) {
    int32_t result;
    bool copied;
    double begun, wall;
    mk_batch_fill(e);
    if (e->batch.n_tokens == 0) {
        rest(e);
        return;
    }
    if (atomic_load(&e->alone) != 0 && !mk_queue_is_empty(e)) {
        return; /* a cancel that came before `alone` was set did not know that it may abort this decode */
    }
    e->last_error[0] = '\0'; /* an older complaint does not explain this decode */
    mk_library_enter(e);
    wall = mk_now();
    begun = mk_clock(e);
    mk_adapters_apply(e);
    atomic_store(&e->moving, e->copying);
    result = e->table.llama_decode(e->context, e->batch);
    atomic_store(&e->moving, false);
    e->table.llama_synchronize(e->context); /* a GPU is only asked by then: nothing is gained by not waiting */
    copied = e->copying;
    e->copying = e->copying && result != 0 && result != 2;
    if (result != 0) {
        decode_failed(e, result);
        mk_library_leave(e);
        return;
    }
    if (!copied) { /* the time of a copy is none of the batch's */
        mk_learn(e, mk_clock(e) - begun, mk_now() - wall);
    }
    mk_count(&e->shared.decoded, (uint64_t) e->batch.n_tokens);
    mk_count(&e->shared.steps, 1);
    mk_perf_note(e);
    for (uint32_t i = 0; i < e->config.slots; i++) {
        e->slots[i].n_done += e->slots[i].n_batch;
        mk_slot_prefilled(e, &e->slots[i]);
    }
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].job != NULL && e->slots[i].output >= 0) {
            mk_schedule_said(e, &e->slots[i], mk_say(e, &e->slots[i]));
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
    uint32_t room = e->config.slots * e->record_room;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        room += e->slots[i].job != NULL ? mk_told_room(&e->slots[i]) : 0;
    }
    return mk_ring_free(&e->ring) >= room;
}

static bool may_step(mk_engine *e) {
    return busy(e) && room_for_step(e) && !atomic_load(&e->paused);
}

/* Who is asked in the same frame begins together: where all were silent, what there is to read waits for more, for a
 * hundredth of the time that it takes. */
static void gather(mk_engine *e) {
    double begun = mk_now(), left;
    while (may_step(e) && !atomic_load(&e->closing)) {
        left = begun + fmin(0.01 * mk_reading_seconds(e), MOST_GATHERING) - mk_now();
        if (left <= 0) {
            return;
        }
        mk_sleep(e, nothing_new, left);
        take_commands(e);
        start_waiting(e);
    }
}

static bool may_embed(mk_engine *e) {
    return mk_embed_wants(e) && room_for_command(e) && !atomic_load(&e->paused);
}

static bool idle(mk_engine *e) {
    bool commands = !mk_queue_is_empty(e) || (e->waiting != NULL && !e->all_held);
    bool answers = e->disk != NULL && mk_disk_has_answer(e->disk);
    return !atomic_load(&e->closing) && !may_step(e) && !may_embed(e) && !answers && !(commands && room_for_command(e));
}

void mk_worker_loop(mk_engine *e) {
    while (!atomic_load(&e->closing)) {
        /* Before the commands are taken: a cancel that comes later finds the decode abortable, and one
         * that came earlier costs at most one decode begun again. */
        bool silent = !busy(e);
        atomic_store(&e->abort_decode, false);
        take_commands(e);
        mk_store_answers(e);
        start_waiting(e);
        if (silent && may_step(e)) {
            gather(e);
        }
        if (may_embed(e)) { /* in turn with the speakers */
            mk_embed_step(e, busy(e) || e->waiting != NULL);
        }
        mk_wake_host(e);
        if (may_step(e)) {
            step(e);
            mk_wake_host(e);
        } else if (!atomic_load(&e->paused) && mk_calibrate(e)) {
            continue;
        } else if (idle(e)) {
            mk_sleep(e, idle, 0);
        }
    }
    for (mk_job *job = e->waiting, *next; job != NULL; job = next) {
        next = job->next;
        free_waiting(e, job);
    }
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].job != NULL) {
            mk_slot_release(e, &e->slots[i]);
        }
    }
}
