/* The engine from the outside: its life and death, the command queue, and what becomes of a failed assertion. The
 * functions of core.h run on the host's thread; mk_next_command, mk_sleep and mk_log_line on the worker; the callbacks
 * (on_failed_assertion, on_terminate, on_log) on whatever thread llama.cpp fails or speaks. */
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

/* ---- failed assertions ----
 *
 * ggml_abort() calls one callback for the whole process, on whatever thread failed: the worker, or a
 * thread of the library's own pool that works for it. That thread must not return into code whose
 * assumptions are broken, so it is parked for good and its engine declared dead. The other threads of
 * its pool may fail much later, when that engine is closed already: they are parked like it. A failure
 * on a thread that no engine is responsible for is not ours: the callback returns and the library
 * aborts as ever.
 */

enum { MAX_ENGINES = 64 };
static _Atomic(mk_engine *) engines[MAX_ENGINES];
static MK_THREAD_LOCAL mk_engine *own_engine;      /* set on a worker */
static MK_THREAD_LOCAL bool is_host;               /* set on a thread that ever submitted or drained */

static _Atomic bool any_died;

/* How many threads are looking through `engines`: none of these may be freed meanwhile. */
static _Atomic int lookers;

static void die(mk_engine *e, const char *message) {
    if (atomic_exchange(&e->dying, true)) {
        return; /* an assertion often fails on several threads of a pool at once */
    }
    atomic_store(&any_died, true);
    snprintf(e->shared.death, sizeof e->shared.death, "%s", message);
    atomic_store_explicit(mk_state(e), MK_DEAD, memory_order_release);
    mk_semaphore_post(&e->ended);
}

static void on_failed_assertion(const char *message) {
    bool ours = false;
    if (own_engine != NULL) {
        die(own_engine, message);
        ours = true;
    } else if (!is_host) {
        ours = atomic_load(&any_died);
        atomic_fetch_add(&lookers, 1);
        for (int i = 0; i < MAX_ENGINES; i++) {
            mk_engine *e = atomic_load(&engines[i]);
            if (e != NULL && atomic_load(&e->in_library)) {
                die(e, message);
                ours = true;
            }
        }
        atomic_fetch_sub(&lookers, 1);
    }
    if (ours) {
        mk_park();
    }
}

/* The same for a C++ exception that nobody caught. Handlers chain: other threads are not our business. */
static void (*terminate_before)(void);

static void on_terminate(void) {
    if (own_engine != NULL) {
        die(own_engine, "a C++ exception left llama.cpp");
        mk_park();
    }
    if (terminate_before != NULL) {
        terminate_before();
    }
    abort();
}

static void catch_exceptions(void *set_terminate) {
    void (*(*set)(void (*)(void)))(void);
    void (*before)(void);
    memcpy(&set, &set_terminate, sizeof set);
    before = set(on_terminate);
    if (before != on_terminate) {
        terminate_before = before;
    }
}

void mk_log_line(mk_engine *e, int level, const char *text) {
    char clean[1000];
    size_t size = strlen(text);
    /* Lines come in the middle of a step, too: they leave the room that was kept for the step's own records. */
    uint32_t kept = (e->config.slots + 1) * e->record_room + 2048;
    kept = kept > e->ring.capacity / 2 ? kept : e->ring.capacity / 2;
    if (level < e->config.log_level || mk_ring_free(&e->ring) <= kept) {
        return;
    }
    size = mk_text_clean(clean, sizeof clean, text, size);
    mk_put_array(&e->ring, 4);
    mk_put_uint(&e->ring, 0);
    mk_put_uint(&e->ring, MK_LOG);
    mk_put_uint(&e->ring, (uint64_t) level);
    mk_put_string(&e->ring, clean, (uint32_t) size);
    mk_ring_publish(&e->ring);
}

static void on_log(int level, const char *text, void *unused) {
    static MK_THREAD_LOCAL int last_level;
    mk_engine *e = own_engine;
    size_t size = strlen(text);
    char line[1000];
    (void) unused;
    if (level == 5) { /* GGML_LOG_LEVEL_CONT: goes on with the line before */
        level = last_level;
    }
    last_level = level;
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r')) {
        size--;
    }
    if (e == NULL || size == 0) {
        return; /* a thread of the library's pool: it may not write into the worker's ring */
    }
    if (level == 4 && e->last_error[0] == '\0') { /* the first complaint says what, later ones only that */
        snprintf(e->last_error, sizeof e->last_error, "%.*s", (int) size, text);
    }
    snprintf(line, sizeof line, "%.*s", (int) (size < sizeof line ? size : sizeof line - 1), text);
    mk_fit_line(e, line);
    if (level > 1 && mk_on_abort_decode(e)) {
        level = 1; /* a decode or a load that was stopped on request complains as if it had failed */
    }
    if (!e->measuring) {
        mk_log_line(e, level, line);
    }
}

void *mk_quiet_log(void) {
    void (*callback)(int, const char *, void *) = on_log;
    void *address;
    memcpy(&address, &callback, sizeof address);
    return address;
}

void mk_library_enter(mk_engine *e) {
    atomic_store(&e->in_library, true);
}

void mk_library_leave(mk_engine *e) {
    atomic_store(&e->in_library, false);
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
    is_host = true;
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

static size_t aligned(size_t n) {
    return (n + 15) & ~(size_t) 15;
}

static size_t segment_bytes(const mk_segment *s) {
    return (size_t) s->length * (s->kind == MK_TOKENS ? 4 : 1);
}

/* A copy behind the job, with a NUL that is not counted. */
static mk_segment segment_copy(mk_job *job, size_t *at, const mk_segment *s) {
    mk_segment copy = *s;
    copy.data = (char *) job + *at;
    if (segment_bytes(s) > 0) {
        memcpy((char *) job + *at, s->data, segment_bytes(s));
    }
    *at += aligned(segment_bytes(s) + 1);
    return copy;
}

static mk_job *job_new(const mk_request *ask) {
    size_t size = aligned(sizeof(mk_job)) + aligned((size_t) ask->n_segments * sizeof(mk_segment))
                  + aligned((size_t) ask->n_stops * sizeof(mk_stop))
                  + aligned((size_t) ask->n_segments * sizeof(int32_t))
                  + aligned((size_t) ask->n_triggers * sizeof(mk_stop))
                  + aligned((size_t) ask->n_choices * sizeof(mk_segment))
                  + aligned((size_t) ask->n_samplers * sizeof(mk_sampler));
    size_t at = size;
    mk_job *job;
    for (int32_t i = 0; i < ask->n_segments; i++) {
        size += aligned(segment_bytes(&ask->segments[i]) + 1);
    }
    for (int32_t i = 0; i < ask->n_stops; i++) {
        size += aligned(segment_bytes(&ask->stops[i]) + 1);
    }
    for (int32_t i = 0; i < ask->n_triggers; i++) {
        size += aligned(segment_bytes(&ask->triggers[i]) + 1);
    }
    for (int32_t i = 0; i < ask->n_choices; i++) {
        size += aligned(segment_bytes(&ask->choices[i]) + 1);
    }
    for (int32_t i = 0; i < ask->n_samplers; i++) {
        size += aligned((size_t) ask->samplers[i].size + 1);
    }
    if (ask->thought_open != NULL) {
        size += aligned(segment_bytes(ask->thought_open) + 1) + aligned(segment_bytes(ask->thought_close) + 1);
    }
    size += ask->grammar == NULL ? 0 : aligned(segment_bytes(ask->grammar) + 1) + aligned(segment_bytes(ask->root) + 1);
    job = malloc(size);
    if (job == NULL) {
        return NULL;
    }
    memset(job, 0, sizeof *job);
    job->ask = *ask;
    job->segments = (mk_segment *) ((char *) job + aligned(sizeof(mk_job)));
    job->stops = (mk_stop *) ((char *) job->segments + aligned((size_t) ask->n_segments * sizeof(mk_segment)));
    job->turns = (int32_t *) ((char *) job->stops + aligned((size_t) ask->n_stops * sizeof(mk_stop)));
    job->triggers = (mk_stop *) ((char *) job->turns + aligned((size_t) ask->n_segments * sizeof(int32_t)));
    job->choices = (mk_segment *) ((char *) job->triggers + aligned((size_t) ask->n_triggers * sizeof(mk_stop)));
    for (int32_t i = 0; i < ask->n_choices; i++) {
        job->choices[i] = segment_copy(job, &at, &ask->choices[i]);
    }
    job->samplers = (mk_sampler *) ((char *) job->choices + aligned((size_t) ask->n_choices * sizeof(mk_segment)));
    for (int32_t i = 0; i < ask->n_samplers; i++) {
        mk_segment data = segment_copy(job, &at, &(mk_segment){.data = ask->samplers[i].data, .length = ask->samplers[i].size});
        job->samplers[i] = ask->samplers[i];
        job->samplers[i].data = data.data;
    }
    for (int32_t i = 0; i < ask->n_segments; i++) {
        job->segments[i] = segment_copy(job, &at, &ask->segments[i]);
    }
    for (int32_t i = 0; i < ask->n_stops; i++) {
        mk_segment stop = segment_copy(job, &at, &ask->stops[i]);
        job->stops[i] = (mk_stop){stop.data, stop.length};
    }
    for (int32_t i = 0; i < ask->n_triggers; i++) {
        mk_segment trigger = segment_copy(job, &at, &ask->triggers[i]);
        job->triggers[i] = (mk_stop){trigger.data, trigger.length};
    }
    if (ask->thought_open != NULL) {
        mk_segment open = segment_copy(job, &at, ask->thought_open), close = segment_copy(job, &at, ask->thought_close);
        job->thought_open = (mk_stop){open.data, open.length};
        job->thought_close = (mk_stop){close.data, close.length};
    }
    if (ask->grammar != NULL) {
        mk_segment root;
        job->grammar = segment_copy(job, &at, ask->grammar);
        root = segment_copy(job, &at, ask->root);
        job->root = (char *) (uintptr_t) root.data;
        job->root[root.length] = '\0';
    }
    job->submitted = mk_now();
    mk_block_hold(ask->block);
    return job;
}

void mk_job_free(mk_job *job) {
    if (job != NULL) {
        free(job->tokens);
        free(job->whole);
        mk_block_release(job->ask.block);
    }
    free(job);
}

int mk_engine_submit(mk_engine *e, const mk_request *request) {
    mk_job *job;
    if (atomic_load(&e->n_waiting) >= e->config.queue_length) {
        return -1;
    }
    job = job_new(request);
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
    is_host = true;
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

const char *mk_engine_death(mk_engine *e) {
    return atomic_load_explicit(mk_state(e), memory_order_acquire) == MK_DEAD ? e->shared.death : NULL;
}

/* ---- life ---- */

MK_THREAD_MAIN(worker_main, argument) {
    mk_engine *e = argument;
    own_engine = e;
    mk_thread_lower(e->config.thread_priority);
    mk_worker_run(e);
    own_engine = NULL;
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

static int enlist(mk_engine *e, bool in) {
    for (int i = 0; i < MAX_ENGINES; i++) {
        mk_engine *expected = in ? NULL : e;
        if (atomic_compare_exchange_strong(&engines[i], &expected, in ? e : NULL)) {
            return 0;
        }
    }
    return -1;
}

static void put_pointer(mk_blob *blob, int32_t at, const void *pointer) {
    memcpy((char *) blob + at, pointer, sizeof(void *));
}

static void fill_callbacks(mk_engine *e) {
    bool (*progress)(float, void *) = mk_on_progress;
    bool (*abort_decode)(void *) = mk_on_abort_decode;
    put_pointer(&e->config.model_params, e->config.at_progress, &progress);
    put_pointer(&e->config.model_params, e->config.at_progress_data, &e);
    put_pointer(&e->config.context_params, e->config.at_abort, &abort_decode);
    put_pointer(&e->config.context_params, e->config.at_abort_data, &e);
    put_pointer(&e->config.embed_params, e->config.at_abort, &abort_decode);
    put_pointer(&e->config.embed_params, e->config.at_abort_data, &e);
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
    if (e->path == NULL || e->queue == NULL || e->ring.bytes == NULL || enlist(e, true) != 0) {
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
    e->table.ggml_set_abort_callback(on_failed_assertion);
    e->table.llama_log_set(on_log, NULL);
    if (config->set_terminate != NULL) {
        catch_exceptions(config->set_terminate);
    }
    if (mk_thread_start(&e->thread, worker_main, e) != 0) {
        enlist(e, false);
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
    enlist(e, false);
    while (atomic_load(&lookers) > 0) { /* for the moments that a failing thread needs */
    }
    if (atomic_load(mk_state(e)) == MK_DEAD) {
        mk_thread_detach(e->thread);
        return;
    }
    mk_thread_join(e->thread);
    free_memory(e);
}
