/* Sequences that have no slot at the moment: their states in memory, the least recently used first to leave
 * it, to disk where there is a folder for them. A state is llama.cpp's own bytes (llama_state_seq_get_data)
 * and the tokens that they stand for. Runs on the worker thread alone; disk.c has the thread that waits for
 * disks. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Below this a prefill costs less than the copy and its keeping. */
enum { LEAST_TOKENS = 16, LEAST_FETCH = 64 };
/* Bytes of a state whose memory is used again for the next. */
enum { LEAST_SPARE = 1 << 20, MOST_SPARE = 128 << 20 };

int32_t mk_common(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b) {
    int32_t i = 0;
    while (i < n_a && i < n_b && a[i] == b[i]) {
        i++;
    }
    return i;
}

/* ---- memory ---- */

/* One comes as another goes, and to be given new memory by the system costs up to fifty times what copying the state into
 * it does. So the memory of the last that went is kept, within the budget, for the next of about its size; which is mostly a
 * little longer. */
static mk_bytes *new_bytes(mk_engine *e, size_t size) {
    mk_bytes *spare = e->store.spare;
    if (spare != NULL && spare->room >= size && spare->room / 2 <= size) {
        e->store.spare = NULL;
        atomic_init(&spare->owners, 1);
        return spare;
    }
    return mk_bytes_new(size + (size >= LEAST_SPARE ? size / 8 : 0));
}

static bool may_be_spare(const mk_engine *e, const mk_bytes *bytes) {
    return bytes->room >= LEAST_SPARE && bytes->room <= MOST_SPARE && e->store.used + bytes->room <= e->config.cache_bytes;
}

void mk_state_drop(mk_engine *e, mk_bytes *bytes) {
    if (bytes == NULL || !mk_bytes_let_go(bytes)) {
        return;
    }
    if (may_be_spare(e, bytes)) {
        mk_bytes *other = e->store.spare;
        e->store.spare = bytes;
        bytes = other;
    }
    free(bytes);
}

/* ---- the list ---- */

static uint64_t weight(const mk_saved *saved) {
    return (saved->bytes != NULL ? saved->bytes->room : 0) + (uint64_t) saved->n * sizeof *saved->tokens + sizeof *saved;
}

/* The disk thread reads tokens, name and size of what is ordered: that waits for the answer. */
static void free_when_answered(mk_engine *e, mk_saved *saved) {
    mk_state_drop(e, saved->bytes);
    saved->bytes = NULL;
    saved->gone = true;
    if (saved->orders == 0) {
        free(saved->tokens);
        free(saved);
    }
}

static void take_out(mk_engine *e, mk_saved *saved) {
    mk_store *s = &e->store;
    *(saved->newer != NULL ? &saved->newer->older : &s->newest) = saved->older;
    *(saved->older != NULL ? &saved->older->newer : &s->oldest) = saved->newer;
    saved->newer = saved->older = NULL;
    s->used -= weight(saved);
}

static void put_in_front(mk_engine *e, mk_saved *saved) {
    mk_store *s = &e->store;
    saved->newer = NULL;
    saved->older = s->newest;
    *(s->newest != NULL ? &s->newest->newer : &s->oldest) = saved;
    s->newest = saved;
    s->used += weight(saved);
}

static void set_bytes(mk_engine *e, mk_saved *saved, mk_bytes *bytes) {
    e->store.used -= weight(saved);
    mk_state_drop(e, saved->bytes);
    saved->bytes = bytes;
    e->store.used += weight(saved);
}

static bool order(mk_engine *e, int kind, mk_saved *saved, mk_bytes *bytes) {
    mk_order o = {.kind = kind, .saved = saved, .bytes = bytes};
    memcpy(o.name, saved->name, sizeof o.name);
    if (!mk_disk_order(e->disk, &o)) {
        return false;
    }
    saved->orders++;
    return true;
}

static void off_disk(mk_engine *e, mk_saved *saved) {
    if (saved->on_disk) {
        e->store.disk_used -= saved->size;
        saved->on_disk = false;
        order(e, MK_DISK_REMOVE, saved, NULL);
    }
}

/* Out of memory and off the disk. */
static void forget(mk_engine *e, mk_saved *saved) {
    off_disk(e, saved);
    take_out(e, saved);
    free_when_answered(e, saved);
}

/* Orders it to be written, unless it is; false when it cannot be. */
static bool to_disk(mk_engine *e, mk_saved *saved) {
    if (saved->on_disk) {
        return true;
    }
    if (e->disk == NULL || saved->set != 0 || saved->size > e->config.disk_bytes || e->store.disk_failed) {
        return false;
    }
    atomic_fetch_add(&saved->bytes->owners, 1);
    if (!order(e, MK_DISK_WRITE, saved, saved->bytes)) {
        mk_bytes_drop(saved->bytes);
        return false;
    }
    saved->on_disk = true; /* taken back if the answer says otherwise */
    e->store.disk_used += saved->size;
    return true;
}

/* Keeps the budgets: the least recently used leave memory, to disk if they can; of those on disk, the least
 * recently used again. */
static void shrink(mk_engine *e) {
    mk_saved *saved, *next;
    for (saved = e->store.oldest; saved != NULL && e->store.used > e->config.cache_bytes; saved = next) {
        next = saved->newer;
        if (saved == e->store.in_use || saved->bytes == NULL) {
            continue;
        }
        if (to_disk(e, saved)) {
            set_bytes(e, saved, NULL);
        } else {
            forget(e, saved);
        }
    }
    for (saved = e->store.oldest; saved != NULL && e->store.used > e->config.cache_bytes; saved = next) {
        next = saved->newer; /* their tokens alone are too much */
        if (saved != e->store.in_use) {
            forget(e, saved);
        }
    }
    for (saved = e->store.oldest; saved != NULL && e->store.disk_used > e->config.disk_bytes; saved = next) {
        next = saved->newer;
        if (saved->bytes != NULL) {
            off_disk(e, saved);
        } else if (saved->on_disk && saved != e->store.in_use) {
            forget(e, saved);
        }
    }
    if (e->store.spare != NULL && !may_be_spare(e, e->store.spare)) {
        free(e->store.spare);
        e->store.spare = NULL;
    }
}

void mk_store_free(mk_engine *e) {
    mk_disk *disk = e->disk;
    if (disk != NULL) {
        mk_disk_stop(disk);
        mk_store_answers(e);
        mk_disk_free(disk);
        e->disk = NULL;
    }
    for (mk_saved *saved = e->store.newest, *next; saved != NULL; saved = next) {
        next = saved->older;
        free_when_answered(e, saved);
    }
    free(e->store.spare);
    memset(&e->store, 0, sizeof e->store);
}

/* ---- looking ---- */

/* How much of the state a prompt of n tokens can go on from. The last token is always decoded: its logits
 * are needed. */
static int32_t usable(const mk_engine *e, const mk_saved *saved, const int32_t *tokens, int32_t n) {
    int32_t common = saved->set == e->set_wanted ? mk_common(saved->tokens, saved->n, tokens, n - 1) : 0;
    return common < saved->n && e->whole_states ? 0 : common;
}

/* The state that saves most of the prefill; NULL with 0 when there is none. */
static mk_saved *find(mk_engine *e, const int32_t *tokens, int32_t n, bool in_memory, int32_t *most) {
    mk_saved *best = NULL;
    *most = 0;
    for (mk_saved *saved = e->store.newest; saved != NULL; saved = saved->older) {
        int32_t here = saved->bytes == NULL && in_memory ? 0 : usable(e, saved, tokens, n);
        if (here > *most || (here == *most && best != NULL && saved->n < best->n)) {
            *most = here;
            best = saved;
        }
    }
    return best;
}

mk_saved *mk_store_find(mk_engine *e, const int32_t *tokens, int32_t n, int32_t *most) {
    return find(e, tokens, n, true, most);
}

/* Whether just these tokens are stored; or, not `exactly`, more that begin with them and can be cut. */
bool mk_store_has(const mk_engine *e, const int32_t *tokens, int32_t n, bool exactly) {
    for (const mk_saved *saved = e->store.newest; saved != NULL; saved = saved->older) {
        if (saved->set == e->set_wanted && mk_common(saved->tokens, saved->n, tokens, n) == n && (saved->n == n || !(exactly || e->whole_states))) {
            return true;
        }
    }
    return false;
}

/* ---- coming back ---- */

/* Gives the state to the slot's sequence; false when llama.cpp refuses it. It stays stored unless the
 * conversation `moves` into the slot. */
bool mk_store_restore(mk_engine *e, mk_saved *saved, int32_t seq, bool moves) {
    bool good = e->table.llama_state_seq_set_data(e->context, saved->bytes->data, saved->bytes->size, seq) == saved->bytes->size;
    take_out(e, saved);
    put_in_front(e, saved);
    if (!good || (moves && !saved->on_disk)) {
        forget(e, saved);
    } else if (moves) {
        set_bytes(e, saved, NULL);
    }
    shrink(e);
    return good;
}

/* Whether a prompt that finds `at_hand` tokens in memory had better wait for more of them from disk. Each
 * request asks once: whatever then happens to the state, it begins. */
bool mk_store_fetch(mk_engine *e, mk_job *job, int32_t at_hand) {
    int32_t there;
    mk_saved *saved = e->disk == NULL ? NULL : find(e, job->tokens, job->n_tokens, false, &there);
    if (saved == NULL || saved->bytes != NULL || there < at_hand + LEAST_FETCH) {
        return false;
    }
    if (!saved->reading && !job->fetched) {
        saved->reading = order(e, MK_DISK_READ, saved, NULL);
        job->fetched = true;
    }
    return saved->reading;
}

/* Takes the disk's answers. */
void mk_store_answers(mk_engine *e) {
    mk_order o;
    char sentence[300];
    while (e->disk != NULL && mk_disk_answer(e->disk, &o)) {
        mk_saved *saved = o.saved;
        saved->orders--;
        if (o.error[0] != '\0') {
            snprintf(sentence, sizeof sentence, "a state could not be %s: %s",
                     o.kind == MK_DISK_WRITE ? "written to the cache folder" : "read back, so it is computed again", o.error);
            mk_log_line(e, 3, sentence);
        }
        saved->reading = saved->reading && o.kind != MK_DISK_READ;
        e->store.disk_failed = e->store.disk_failed || (o.kind == MK_DISK_WRITE && o.error[0] != '\0');
        if (saved->gone) {
            mk_state_drop(e, o.bytes);
            free_when_answered(e, saved);
        } else if (o.error[0] != '\0') { /* not on disk after all, or not to be trusted */
            mk_state_drop(e, o.bytes);
            e->store.disk_used -= saved->on_disk ? saved->size : 0;
            saved->on_disk = false;
            if (saved->bytes == NULL) {
                forget(e, saved);
            }
        } else if (o.kind == MK_DISK_READ && saved->bytes == NULL && o.bytes != NULL) {
            take_out(e, saved);
            saved->bytes = o.bytes;
            put_in_front(e, saved);
            shrink(e);
        } else {
            mk_state_drop(e, o.bytes);
        }
    }
}

/* ---- going ---- */

/* A conversation's older state says nothing that its newer one does not say. */
static void drop_older(mk_engine *e, const mk_saved *newer) {
    for (mk_saved *saved = e->store.newest, *next; saved != NULL; saved = next) {
        next = saved->older;
        if (!saved->persona && saved != e->store.in_use && saved->set == newer->set && saved->n <= newer->n
            && mk_common(saved->tokens, saved->n, newer->tokens, newer->n) == saved->n) {
            forget(e, saved);
        }
    }
}

static mk_saved *saved_new(const mk_engine *e, int32_t *tokens, int32_t n, uint64_t size, bool persona) {
    mk_saved *saved = calloc(1, sizeof *saved);
    if (saved == NULL || tokens == NULL) {
        free(saved);
        free(tokens);
        return NULL;
    }
    saved->tokens = tokens;
    saved->n = n;
    saved->size = size;
    saved->persona = persona;
    if (e->disk != NULL) {
        mk_disk_name(e->disk, tokens, n, saved->name);
    }
    return saved;
}

/* The state of the slot's sequence; NULL when it has none, or more than `most` bytes, or memory is out. */
mk_bytes *mk_state_of(mk_engine *e, const mk_slot *slot, uint64_t most) {
    size_t size = e->table.llama_state_seq_get_size(e->context, slot->seq);
    mk_bytes *bytes = size == 0 || size > most ? NULL : new_bytes(e, size);
    size_t got = bytes == NULL ? 0 : e->table.llama_state_seq_get_data(e->context, bytes->data, size, slot->seq);
    if (got == 0 || got > size) {
        mk_state_drop(e, bytes);
        return NULL;
    }
    bytes->size = got;
    return bytes;
}

/* Copies the slot's cache (some ms for each 10 MB). Without memory for it nothing is stored: that costs a
 * prefill later, no more. */
void mk_store_save(mk_engine *e, mk_slot *slot, bool persona) {
    int32_t *tokens;
    mk_bytes *bytes;
    mk_saved *saved;
    int32_t wanted = e->set_wanted;
    bool stored;
    if (e->config.cache_bytes == 0 || slot->n_done < LEAST_TOKENS) {
        return;
    }
    e->set_wanted = slot->set;
    stored = mk_store_has(e, slot->tokens, slot->n_done, persona);
    e->set_wanted = wanted;
    if (stored) {
        return;
    }
    bytes = mk_state_of(e, slot, e->config.cache_bytes);
    tokens = bytes == NULL ? NULL : malloc((size_t) slot->n_done * sizeof *tokens);
    if (tokens == NULL) {
        mk_state_drop(e, bytes);
        return;
    }
    memcpy(tokens, slot->tokens, (size_t) slot->n_done * sizeof *tokens);
    saved = saved_new(e, tokens, slot->n_done, bytes->size, persona);
    if (saved == NULL) {
        mk_state_drop(e, bytes);
        return;
    }
    saved->bytes = bytes;
    saved->set = slot->set;
    if (!persona) {
        drop_older(e, saved);
    }
    put_in_front(e, saved);
    if (persona) {
        to_disk(e, saved); /* it is there for the next run, too */
    }
    shrink(e);
}

/* ---- what is on disk from earlier runs ---- */

static void on_found(void *engine, int32_t *tokens, int32_t n, uint64_t size, bool persona) {
    mk_engine *e = engine;
    mk_saved *saved = saved_new(e, tokens, n, size, persona);
    if (saved != NULL) {
        saved->on_disk = true;
        e->store.disk_used += size;
        put_in_front(e, saved);
    }
}

static void on_bad(void *engine, const char *sentence) {
    mk_log_line(engine, 3, sentence);
}

static void on_answer(void *engine) {
    mk_wake(engine);
}

/* Before the loop. Without the disk's thread or memory there is no disk, and nothing else is different. */
void mk_store_open(mk_engine *e) {
    mk_disk_config config = {.folder = e->cache_folder, .model_path = e->path, .salt = e->cache_salt, .key = e->config.cache_key,
                             .most_bytes = e->config.cache_bytes, .most_tokens = (int32_t) e->info.context,
                             .wake = on_answer, .data = e};
    if (e->cache_folder == NULL || e->config.cache_bytes == 0) {
        return;
    }
    e->disk = mk_disk_open(&config);
    if (e->disk != NULL) {
        mk_disk_index(e->disk, on_found, on_bad, e);
        shrink(e);
    }
}
