#include "disk.h"
#include "engine.h"
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, QUEUE = 64, SAMPLES = 64, SAMPLE_BYTES = 4096, MOST_FILES = 4096, LEAST_BACKLOG = 1 << 26 };
static const char MAGIC[8] = "MKSTATE";

/* As it lies in the file, little-endian, then the tokens, then the state. */
typedef struct header {
    char magic[8];
    uint32_t version, n_tokens;
    uint64_t size;
    uint8_t persona, zero[7];
    uint8_t fingerprint[16]; /* of the model file, the library and what decides how a state looks */
    uint8_t head_tag[16];    /* of all above and the tokens */
    uint8_t body_tag[16];    /* of head_tag and the state */
} header;
_Static_assert(sizeof(header) == 80, "the header has no gaps");

typedef struct queue {
    mk_order orders[QUEUE];
    _Atomic uint32_t head, tail;
} queue;

struct mk_disk {
    mk_disk_config config;
    uint8_t fingerprint[16];
    queue orders, answers;
    uint32_t under_way; /* the worker's: ordered and not answered; never more than a queue holds */
    uint64_t bytes_under_way;
    mk_semaphore wake;
    mk_thread thread;
    _Atomic bool closing;
    uint32_t n_files; /* seen by the index */
};

/* ---- bytes with several owners ---- */

mk_bytes *mk_bytes_new(size_t room) {
    mk_bytes *bytes = room < SIZE_MAX / 2 ? malloc(sizeof *bytes + room) : NULL;
    if (bytes != NULL) {
        atomic_init(&bytes->owners, 1);
        bytes->size = bytes->room = room;
    }
    return bytes;
}

bool mk_bytes_let_go(mk_bytes *bytes) {
    return atomic_fetch_sub(&bytes->owners, 1) == 1;
}

void mk_bytes_drop(mk_bytes *bytes) {
    if (bytes != NULL && mk_bytes_let_go(bytes)) {
        free(bytes);
    }
}

/* ---- queues ---- */

static bool put(queue *q, const mk_order *order) {
    uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    if (head - atomic_load_explicit(&q->tail, memory_order_acquire) == QUEUE) {
        return false;
    }
    q->orders[head % QUEUE] = *order;
    atomic_store(&q->head, head + 1);
    return true;
}

static bool get(queue *q, mk_order *out) {
    uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    if (tail == atomic_load_explicit(&q->head, memory_order_acquire)) {
        return false;
    }
    *out = q->orders[tail % QUEUE];
    atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
    return true;
}

/* ---- names and tags ---- */

static void path_of(const mk_disk *d, const uint8_t name[16], const char *end, char *out, size_t room) {
    char hex[33];
    for (int i = 0; i < 16; i++) {
        snprintf(hex + 2 * i, 3, "%02x", name[i]);
    }
    snprintf(out, room, "%s/%s%s", d->config.folder, hex, end);
}

void mk_disk_name(const mk_disk *d, const int32_t *tokens, int32_t n, uint8_t out[16]) {
    mk_tag t;
    mk_tag_begin(&t, d->config.key);
    mk_tag_add(&t, "name", 4);
    mk_tag_add(&t, d->fingerprint, sizeof d->fingerprint);
    mk_tag_add(&t, tokens, (size_t) n * sizeof *tokens);
    mk_tag_end(&t, out);
}

static void head_tag(const mk_disk *d, const header *h, const int32_t *tokens, uint8_t out[16]) {
    mk_tag t;
    mk_tag_begin(&t, d->config.key);
    mk_tag_add(&t, h, offsetof(header, head_tag));
    mk_tag_add(&t, tokens, (size_t) h->n_tokens * sizeof *tokens);
    mk_tag_end(&t, out);
}

static void body_tag(const mk_disk *d, const header *h, const mk_bytes *bytes, uint8_t out[16]) {
    mk_tag t;
    mk_tag_begin(&t, d->config.key);
    mk_tag_add(&t, h->head_tag, sizeof h->head_tag);
    mk_tag_add(&t, bytes->data, bytes->size);
    mk_tag_end(&t, out);
}

/* Of the model file some pages all over it are read: its whole would take seconds. Its size and time are in
 * the salt, with the library's. */
static void take_fingerprint(mk_disk *d) {
    static const uint8_t no_key[16] = {0};
    uint8_t *page = malloc(SAMPLE_BYTES);
    FILE *file = mk_file_open(d->config.model_path, "rb");
    uint64_t size = file == NULL ? 0 : mk_file_size(file);
    mk_tag t;
    mk_tag_begin(&t, no_key);
    mk_tag_add(&t, d->config.salt, strlen(d->config.salt) + 1);
    mk_tag_add(&t, &size, sizeof size);
    for (int i = 0; page != NULL && file != NULL && i < SAMPLES; i++) {
        if (mk_file_seek(file, size / SAMPLES * (uint64_t) i)) {
            mk_tag_add(&t, page, fread(page, 1, SAMPLE_BYTES, file));
        }
    }
    mk_tag_end(&t, d->fingerprint);
    if (file != NULL) {
        fclose(file);
    }
    free(page);
}

/* ---- one file ---- */

/* Reads and checks the header and the tokens, whose block is the caller's to free. NULL with a reason in
 * `error`, or with none when the file is another model's or longer than this engine takes. */
static int32_t *read_head(const mk_disk *d, FILE *file, header *h, char *error, size_t room) {
    uint64_t size = mk_file_size(file);
    uint8_t tag[16];
    int32_t *tokens;
    error[0] = '\0';
    if (fread(h, 1, sizeof *h, file) != sizeof *h || memcmp(h->magic, MAGIC, sizeof MAGIC) != 0 || h->version != VERSION) {
        snprintf(error, room, "is not a state file of this version");
        return NULL;
    }
    if (memcmp(h->fingerprint, d->fingerprint, sizeof h->fingerprint) != 0 || h->size > d->config.most_bytes
        || h->n_tokens > (uint32_t) d->config.most_tokens) {
        return NULL;
    }
    if (h->n_tokens == 0 || h->size == 0 || size != sizeof *h + h->size + (uint64_t) h->n_tokens * sizeof *tokens) {
        snprintf(error, room, "is cut short, or longer than it says");
        return NULL;
    }
    tokens = malloc(h->n_tokens * sizeof *tokens);
    if (tokens == NULL || fread(tokens, sizeof *tokens, h->n_tokens, file) != h->n_tokens) {
        snprintf(error, room, "cannot be read");
        free(tokens);
        return NULL;
    }
    head_tag(d, h, tokens, tag);
    if (memcmp(tag, h->head_tag, sizeof tag) != 0) {
        snprintf(error, room, "is damaged, or was not written by this user");
        free(tokens);
        return NULL;
    }
    return tokens;
}

static void read_state(const mk_disk *d, mk_order *order) {
    char path[4200], why[120];
    header h;
    uint8_t tag[16];
    int32_t *tokens;
    FILE *file;
    path_of(d, order->name, ".state", path, sizeof path);
    file = mk_file_open(path, "rb");
    if (file == NULL) {
        snprintf(order->error, sizeof order->error, "it cannot be opened");
        return;
    }
    tokens = read_head(d, file, &h, why, sizeof why);
    if (tokens != NULL && (h.n_tokens != (uint32_t) order->saved->n || h.size != order->saved->size
                           || memcmp(tokens, order->saved->tokens, h.n_tokens * sizeof *tokens) != 0)) {
        snprintf(why, sizeof why, "holds something else than its name says");
        free(tokens);
        tokens = NULL;
    }
    if (tokens != NULL && (order->bytes = mk_bytes_new((size_t) h.size)) != NULL) {
        bool whole = fread(order->bytes->data, 1, order->bytes->size, file) == order->bytes->size;
        body_tag(d, &h, order->bytes, tag);
        if (!whole || memcmp(tag, h.body_tag, sizeof tag) != 0) {
            snprintf(why, sizeof why, "is damaged, or was not written by this user");
            mk_bytes_drop(order->bytes);
            order->bytes = NULL;
        }
    }
    if (order->bytes == NULL) {
        snprintf(order->error, sizeof order->error, "it %s", why[0] != '\0' ? why : "is not this model's, or memory is out");
    }
    free(tokens);
    fclose(file);
}

static bool write_parts(FILE *file, const header *h, const mk_saved *saved, const mk_bytes *bytes) {
    if (fwrite(h, sizeof *h, 1, file) != 1
        || fwrite(saved->tokens, sizeof *saved->tokens, (size_t) saved->n, file) != (size_t) saved->n) {
        return false;
    }
    return fwrite(bytes->data, 1, bytes->size, file) == bytes->size;
}

/* To a name of its own, then renamed: who reads at the same time finds the old file or the new one. */
static void write_state(const mk_disk *d, mk_order *order) {
    char path[4200], fresh[4200], end[40];
    header h = {.version = VERSION, .n_tokens = (uint32_t) order->saved->n, .size = order->bytes->size};
    bool good;
    FILE *file;
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    memcpy(h.fingerprint, d->fingerprint, sizeof h.fingerprint);
    h.persona = order->saved->persona;
    head_tag(d, &h, order->saved->tokens, h.head_tag);
    body_tag(d, &h, order->bytes, h.body_tag);
    snprintf(end, sizeof end, ".%llx.new", (unsigned long long) (uintptr_t) d ^ (unsigned long long) (mk_now() * 1e6));
    path_of(d, order->name, ".state", path, sizeof path);
    path_of(d, order->name, end, fresh, sizeof fresh);
    file = mk_file_open(fresh, "wb");
    if (file == NULL) {
        snprintf(order->error, sizeof order->error, "no file can be made there");
        return;
    }
    good = write_parts(file, &h, order->saved, order->bytes);
    good = fclose(file) == 0 && good;
    if (!good || !mk_file_rename(fresh, path)) {
        mk_file_remove(fresh);
        snprintf(order->error, sizeof order->error, good ? "it cannot be renamed" : "the disk is full, or cannot be written");
    }
}

/* ---- the thread ---- */

static void carry_out(mk_disk *d, mk_order *order) {
    char path[4200];
    bool closing = atomic_load(&d->closing);
    if (order->kind == MK_DISK_READ && !closing) {
        read_state(d, order);
    } else if (order->kind == MK_DISK_WRITE && (!closing || order->saved->persona)) {
        write_state(d, order);
    } else if (order->kind == MK_DISK_REMOVE) {
        path_of(d, order->name, ".state", path, sizeof path);
        mk_file_remove(path);
    }
}

MK_THREAD_MAIN(disk_main, argument) {
    mk_disk *d = argument;
    mk_low_priority();
    for (;;) {
        mk_order order;
        mk_semaphore_wait(&d->wake);
        if (!get(&d->orders, &order)) {
            break; /* the post without an order is the close */
        }
        carry_out(d, &order);
        put(&d->answers, &order); /* there is room: no more is under way than it holds */
        d->config.wake(d->config.data);
    }
    MK_THREAD_RETURN;
}

mk_disk *mk_disk_open(const mk_disk_config *config) {
    mk_disk *d = calloc(1, sizeof *d);
    if (d == NULL || mk_semaphore_init(&d->wake) != 0) {
        free(d);
        return NULL;
    }
    d->config = *config;
    take_fingerprint(d);
    if (mk_thread_start(&d->thread, disk_main, d) != 0) {
        mk_semaphore_free(&d->wake);
        free(d);
        return NULL;
    }
    return d;
}

void mk_disk_stop(mk_disk *d) {
    atomic_store(&d->closing, true);
    mk_semaphore_post(&d->wake);
    mk_thread_join(d->thread);
}

void mk_disk_free(mk_disk *d) {
    mk_semaphore_free(&d->wake);
    free(d);
}

bool mk_disk_order(mk_disk *d, const mk_order *order) {
    uint64_t size = order->bytes != NULL ? order->bytes->size : 0;
    uint64_t most = d->config.most_bytes > LEAST_BACKLOG ? d->config.most_bytes : LEAST_BACKLOG;
    if (atomic_load(&d->closing) || d->under_way == QUEUE || d->bytes_under_way + size > most || !put(&d->orders, order)) {
        return false;
    }
    d->under_way++;
    d->bytes_under_way += size;
    mk_semaphore_post(&d->wake);
    return true;
}

bool mk_disk_answer(mk_disk *d, mk_order *out) {
    if (!get(&d->answers, out)) {
        return false;
    }
    d->under_way--;
    if (out->kind == MK_DISK_WRITE) {
        d->bytes_under_way -= out->bytes->size;
    }
    return true;
}

bool mk_disk_has_answer(const mk_disk *d) {
    return atomic_load(&d->answers.head) != atomic_load(&d->answers.tail);
}

/* ---- what is there from earlier runs ---- */

typedef struct indexing {
    mk_disk *disk;
    void (*found)(void *, int32_t *, int32_t, uint64_t, bool);
    void (*bad)(void *, const char *);
    void *data;
} indexing;

static bool index_file(void *indexing_, const char *name) {
    indexing *i = indexing_;
    char path[4200], why[120], sentence[300], expected[4200];
    uint8_t true_name[16];
    size_t n = strlen(name);
    header h;
    FILE *file;
    int32_t *tokens;
    if (n != 32 + 6 || strcmp(name + 32, ".state") != 0) {
        return true;
    }
    snprintf(path, sizeof path, "%s/%s", i->disk->config.folder, name);
    file = mk_file_open(path, "rb");
    if (file == NULL) {
        return true;
    }
    tokens = read_head(i->disk, file, &h, why, sizeof why);
    fclose(file);
    if (tokens != NULL) {
        mk_disk_name(i->disk, tokens, (int32_t) h.n_tokens, true_name);
        path_of(i->disk, true_name, ".state", expected, sizeof expected);
        if (strcmp(path, expected) != 0) {
            snprintf(why, sizeof why, "has another file's name");
            free(tokens);
            tokens = NULL;
        }
    }
    if (tokens != NULL) {
        i->found(i->data, tokens, (int32_t) h.n_tokens, h.size, h.persona != 0);
    } else if (why[0] != '\0') {
        snprintf(sentence, sizeof sentence, "the stored state %s %s: it is ignored, and computed again when it is needed",
                 name, why);
        i->bad(i->data, sentence);
    }
    return ++i->disk->n_files < MOST_FILES;
}

void mk_disk_index(mk_disk *d, void (*found)(void *, int32_t *, int32_t, uint64_t, bool),
                   void (*bad)(void *, const char *), void *data) {
    indexing i = {d, found, bad, data};
    mk_file_list(d->config.folder, index_file, &i);
}
