/* What llama.cpp calls: failed assertions, C++ exceptions that nobody caught, lines of its log. On whatever thread it
 * fails or speaks; mk_log_line() on the worker alone, the rest of this file's functions on the threads that their
 * names say. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    mk_poke(e->config.wake_fd);
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

/* ---- the log ---- */

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

/* ---- which engines there are, and whose thread this is ---- */

/* Host: false when there are too many already. */
bool mk_callbacks_enlist(mk_engine *e) {
    for (int i = 0; i < MAX_ENGINES; i++) {
        mk_engine *none = NULL;
        if (atomic_compare_exchange_strong(&engines[i], &none, e)) {
            return true;
        }
    }
    return false;
}

/* Host: from then on no failing thread looks at the engine. */
void mk_callbacks_unlist(mk_engine *e) {
    for (int i = 0; i < MAX_ENGINES; i++) {
        mk_engine *expected = e;
        if (atomic_compare_exchange_strong(&engines[i], &expected, NULL)) {
            break;
        }
    }
    while (atomic_load(&lookers) > 0) { /* for the moments that a failing thread needs */
    }
}

void mk_callbacks_set(mk_engine *e) {
    e->table.ggml_set_abort_callback(on_failed_assertion);
    e->table.llama_log_set(on_log, NULL);
    if (e->config.set_terminate != NULL) {
        catch_exceptions(e->config.set_terminate);
    }
}

/* The calling thread is this engine's worker, or with NULL nobody's any more. */
void mk_callbacks_of(mk_engine *e) {
    own_engine = e;
}

void mk_callbacks_of_host(void) {
    is_host = true;
}

void mk_library_enter(mk_engine *e) {
    atomic_store(&e->in_library, true);
}

void mk_library_leave(mk_engine *e) {
    atomic_store(&e->in_library, false);
}
