/* The engine from the outside: its life and its end, and the command queue. The functions of core.h run on the host's
 * thread, mk_next_command and mk_sleep on the worker. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the function table ---- */

#define MK_NAME(result, name, arguments) #name,
static const char *const table_names[] = {MK_FUNCTIONS(MK_NAME)};
#undef MK_NAME
enum { TABLE_SIZE = sizeof table_names / sizeof *table_names };

_Static_assert(sizeof(mk_table) == TABLE_SIZE * sizeof(void *), "the table is an array of pointers");

const char *mk_table_name(int index) {
    return index >= 0 && index < TABLE_SIZE ? table_names[index] : NULL;
}

int mk_table_set(mk_table *table, int index, void *function) {
    if (index < 0 || index >= TABLE_SIZE) {
        return -1;
    }
    memcpy((char *) table + (size_t) index * sizeof(void *), &function, sizeof function);
    return 0;
}

size_t mk_table_size(void) {
    return sizeof(mk_table);
}

/* ---- the command queue: the host writes, the worker reads ---- */

void mk_wake(mk_engine *e) {
    if (atomic_exchange(&e->sleeping, false)) {
        mk_semaphore_post(&e->wake);
    }
}

bool mk_queue_is_empty(mk_engine *e) {
    return atomic_load(&e->queue_tail) == atomic_load(&e->queue_head);
}

static int push(mk_engine *e, mk_command command) {
    uint32_t head = atomic_load_explicit(&e->queue_head, memory_order_relaxed);
    /* half of the queue is kept for cancels, so that a request that got in can always be taken back */
    uint32_t room = command.kind == MK_COMMAND_SUBMIT ? e->config.queue_length : 2 * e->config.queue_length;
    mk_callbacks_of_host();
    if (head - atomic_load_explicit(&e->queue_tail, memory_order_acquire) >= room) {
        return -1;
    }
    e->queue[head & (2 * e->config.queue_length - 1)] = command;
    atomic_store(&e->queue_head, head + 1);
    mk_wake(e);
    return 0;
}

bool mk_next_command(mk_engine *e, mk_command *out) {
    uint32_t tail = atomic_load_explicit(&e->queue_tail, memory_order_relaxed);
    if (tail == atomic_load_explicit(&e->queue_head, memory_order_acquire)) {
        return false;
    }
    *out = e->queue[tail & (2 * e->config.queue_length - 1)];
    atomic_store_explicit(&e->queue_tail, tail + 1, memory_order_release);
    return true;
}

/* Worker: sleeps until the host submits, cancels, drains, resumes or closes, as long as `idle` holds; for
 * that many seconds at most, or 0 for any time.
 * The flag goes up before the last look, and the host takes it down after its change: one of the two
 * always sees the other, so no wake-up is lost and none is left over. Both are exchanges, not stores:
 * the later one then also sees everything before the earlier one, whatever order that was written in. */
void mk_sleep(mk_engine *e, bool (*idle)(mk_engine *), double seconds) {
    atomic_exchange(&e->sleeping, true);
    if (!idle(e) && atomic_exchange(&e->sleeping, false)) {
        return;
    }
    if (seconds > 0) {
        if (mk_semaphore_wait_for(&e->wake, seconds) || atomic_exchange(&e->sleeping, false)) {
            return; /* posted; or in time nobody did, and nobody will */
        }
    }
    mk_semaphore_wait(&e->wake);
}

/* ---- the host's side ---- */

int mk_engine_submit(mk_engine *e, const mk_request *request) {
    mk_job *job;
    if (atomic_load(&e->n_waiting) >= e->config.queue_length) {
        return -1;
    }
    job = mk_job_new(request);
    if (job == NULL) {
        return -2;
    }
    atomic_fetch_add(&e->n_waiting, 1); /* before the worker can see it and count down */
    if (push(e, (mk_command){MK_COMMAND_SUBMIT, request->id, job, NULL}) != 0) {
        atomic_fetch_sub(&e->n_waiting, 1);
        mk_job_free(job);
        return -1;
    }
    if (atomic_load(&e->calibrating)) {
        atomic_store(&e->abort_decode, true);
    }
    return 0;
}

int mk_engine_cancel(mk_engine *e, uint64_t id) {
    int result = push(e, (mk_command){MK_COMMAND_CANCEL, id, NULL, NULL});
    if (result == 0 && atomic_load(&e->alone) == id) {
        atomic_store(&e->abort_decode, true); /* nobody else loses work by it */
    }
    return result;
}

int mk_engine_adapters(mk_engine *e, const mk_adapters *given) {
    mk_adapter_set *set = mk_adapters_copy(given);
    if (set == NULL) {
        return -2;
    }
    if (push(e, (mk_command){MK_COMMAND_ADAPTERS, 0, NULL, set}) != 0) {
        free(set);
        return -1;
    }
    return 0;
}

int mk_engine_fail_assertion(mk_engine *e) {
    return push(e, (mk_command){MK_COMMAND_ASSERT, 0, NULL, NULL});
}

uint32_t mk_engine_drain(mk_engine *e, void *data, uint32_t size) {
    uint32_t n = mk_ring_take(&e->ring, data, size);
    mk_callbacks_of_host();
    mk_wake(e);
    return n;
}

bool mk_stores_keep_order(void) {
#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)
    return true;
#else
    return false;
#endif
}

uint8_t *mk_engine_ring(mk_engine *e) {
    return e->ring.bytes;
}

uint32_t mk_engine_ring_size(mk_engine *e) {
    return e->ring.capacity;
}

void mk_engine_pace(mk_engine *e, double tokens_per_second) {
    atomic_store(&e->pace, tokens_per_second);
    mk_wake(e);
}

void mk_engine_late(mk_engine *e, double seconds) {
    atomic_fetch_add(&e->late_us, seconds > 1e-6 ? (uint64_t) (seconds * 1e6) : 1);
}

void mk_engine_pause(mk_engine *e, bool paused) {
    atomic_store(&e->paused, paused);
    mk_wake(e);
}

mk_shared *mk_engine_shared(mk_engine *e) {
    return &e->shared;
}

const mk_info *mk_engine_info(mk_engine *e) {
    return &e->info;
}

const void *mk_engine_model(mk_engine *e) {
    return e->model;
}

const void *mk_engine_vocab(mk_engine *e) {
    return e->vocab;
}

const mk_plan *mk_engine_plan(mk_engine *e) {
    return &e->plan;
}

int mk_engine_buffers(mk_engine *e, const mk_buffer **buffers) {
    *buffers = e->buffers;
    return e->n_buffers;
}

void mk_wake_host(mk_engine *e) {
    if (e->told != e->ring.cursor) { /* between records all of it is published */
        e->told = e->ring.cursor;
        mk_poke(e->config.wake_fd);
    }
}

const char *mk_engine_death(mk_engine *e) {
    return atomic_load_explicit(mk_state(e), memory_order_acquire) == MK_DEAD ? e->shared.death : NULL;
}

/* ---- life ---- */

MK_THREAD_MAIN(worker_main, argument) {
    mk_engine *e = argument;
    mk_callbacks_of(e);
    mk_thread_lower(e->config.thread_priority);
    mk_worker_run(e);
    mk_callbacks_of(NULL);
    if (!atomic_exchange(&e->dying, true)) { /* else a thread of the pool says that it is dead, and posts */
        atomic_store_explicit(mk_state(e), MK_ENDED, memory_order_release);
        mk_semaphore_post(&e->ended);
    }
    MK_THREAD_RETURN;
}

static void free_memory(mk_engine *e) {
    mk_command command;
    while (mk_next_command(e, &command)) {
        mk_job_free(command.job);
        free(command.set);
    }
    mk_adapters_free(e);
    mk_semaphore_free(&e->wake);
    mk_semaphore_free(&e->ended);
    free(e->ring.bytes);
    free(e->chat_template);
    free(e->queue);
    free(e->path);
    free(e->cache_folder);
    free(e->cache_salt);
    free(e);
}

static void fill_callbacks(mk_engine *e) {
    bool (*progress)(float, void *) = mk_on_progress, (*quiet)(float, void *) = mk_on_quiet_progress;
    bool (*abort_decode)(void *) = mk_on_abort_decode;
    mk_blob *contexts[] = {&e->config.context_params, &e->config.embed_params, &e->config.draft_context_params};
    mk_blob_put(&e->config.model_params, e->config.at_progress, &progress, sizeof progress);
    mk_blob_put(&e->config.model_params, e->config.at_progress_data, &e, sizeof e);
    mk_blob_put(&e->config.draft_model_params, e->config.at_progress, &quiet, sizeof quiet); /* the bar is the other's */
    mk_blob_put(&e->config.draft_model_params, e->config.at_progress_data, &e, sizeof e);
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        mk_blob_put(contexts[i], e->config.at_abort, &abort_decode, sizeof abort_decode);
        mk_blob_put(contexts[i], e->config.at_abort_data, &e, sizeof e);
    }
}

static char *copied(const char *text) {
    size_t size = text == NULL ? 0 : strlen(text) + 1;
    char *copy = size == 0 ? NULL : malloc(size);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}

mk_engine *mk_engine_new(const mk_table *table, const mk_config *config) {
    mk_engine *e = calloc(1, sizeof *e);
    if (e == NULL || mk_semaphore_init(&e->wake) != 0 || mk_semaphore_init(&e->ended) != 0) {
        free(e);
        return NULL;
    }
    e->table = *table;
    e->config = *config;
    e->path = malloc(strlen(config->model_path) + 1);
    e->queue = calloc(2 * (size_t) config->queue_length, sizeof *e->queue);
    e->ring.bytes = malloc(config->ring_bytes);
    e->ring.capacity = config->ring_bytes;
    e->ring.head = (_Atomic uint64_t *) &e->shared.head;
    e->ring.tail = (_Atomic uint64_t *) &e->shared.tail;
    if (e->path == NULL || e->queue == NULL || e->ring.bytes == NULL || !mk_callbacks_enlist(e)) {
        free_memory(e);
        return NULL;
    }
    strcpy(e->path, config->model_path);
    e->cache_folder = copied(config->cache_folder);
    e->cache_salt = copied(config->cache_salt);
    if (e->cache_salt == NULL) {
        free(e->cache_folder);
        e->cache_folder = NULL;
    }
    fill_callbacks(e);
    mk_callbacks_set(e);
    if (mk_thread_start(&e->thread, worker_main, e) != 0) {
        mk_callbacks_unlist(e);
        free_memory(e);
        return NULL;
    }
    return e;
}

void mk_engine_close(mk_engine *e) {
    atomic_store(&e->closing, true);
    atomic_store(&e->abort_decode, true);
    mk_wake(e);
    mk_semaphore_wait(&e->ended); /* the worker has ended, or was parked: joining that one would hang */
    mk_callbacks_unlist(e);
    if (atomic_load(mk_state(e)) == MK_DEAD) {
        mk_thread_detach(e->thread);
        return;
    }
    mk_thread_join(e->thread);
    free_memory(e);
}
