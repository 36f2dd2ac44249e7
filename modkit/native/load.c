/* The worker's beginning and end: look at the file, load the model, make the context, say so; and
 * give everything back. Runs on the worker thread alone. */
#include "engine.h"
#include "gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool mk_on_progress(float progress, void *engine) {
    mk_engine *e = engine;
    mk_set_progress(e, progress);
    return !atomic_load(&e->closing);
}

bool mk_on_quiet_progress(float progress, void *engine) {
    (void) progress;
    return !atomic_load(&((mk_engine *) engine)->closing);
}

bool mk_on_abort_decode(void *engine) {
    mk_engine *e = engine;
    return (atomic_load_explicit(&e->abort_decode, memory_order_relaxed) && !atomic_load_explicit(&e->moving, memory_order_relaxed))
           || atomic_load_explicit(&e->closing, memory_order_relaxed);
}

void mk_failed(mk_engine *e, int code, const char *reason) {
    char clean[600];
    size_t size = mk_text_clean(clean, sizeof clean, reason, strlen(reason));
    mk_put_array(&e->ring, 4);
    mk_put_uint(&e->ring, 0);
    mk_put_uint(&e->ring, MK_FAILED);
    mk_put_string(&e->ring, clean, (uint32_t) size);
    mk_put_uint(&e->ring, (uint64_t) code);
    mk_ring_publish(&e->ring);
}

static void failed(mk_engine *e, const char *reason) {
    mk_failed(e, MK_FAILED_MODEL, reason);
}

/* llama.cpp's last complaint, when it was about memory, has a name of its own. */
static int code_of(const mk_engine *e) {
    const char *signs[] = {"failed to allocate", "unable to allocate", "out of memory", "OutOfDeviceMemory", "bad_alloc"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        if (strstr(e->last_error, signs[i]) != NULL) {
            return MK_FAILED_MEMORY;
        }
    }
    return MK_FAILED_MODEL;
}

/* The name of part `no` (from 0) of a model in `count` files, as llama.cpp derives it from the first one's. */
static bool part_name(const char *first, uint64_t no, uint64_t count, char *out, size_t size) {
    char end[32];
    size_t n = strlen(first), m;
    snprintf(end, sizeof end, "-%05d-of-%05d.gguf", 1, (int) count);
    m = strlen(end);
    if (n <= m || strcmp(first + n - m, end) != 0) {
        return false;
    }
    return snprintf(out, size, "%.*s-%05d-of-%05d.gguf", (int) (n - m), first, (int) no + 1, (int) count) < (int) size;
}

bool mk_read_headers(mk_engine *e, mk_gguf *header, mk_weights *weights) {
    char reason[1000], name[4096];
    mk_gguf part;
    uint64_t count;
    if (mk_gguf_weigh(e->path, header, weights) != 0) {
        failed(e, header->error);
        return false;
    }
    count = e->config.n_splits > 0 ? (uint64_t) e->config.n_splits : header->split_count;
    if (count > 1 && header->split_no != 0) {
        snprintf(reason, sizeof reason, "it is part %llu of a model in %llu files: give the first", (unsigned long long) header->split_no + 1,
                 (unsigned long long) count);
        failed(e, reason);
        return false;
    }
    for (uint64_t i = 1; i < count; i++) {
        bool named = e->config.n_splits > 0
                         ? snprintf(name, sizeof name, "%s", e->config.splits[i]) < (int) sizeof name
                         : part_name(e->path, i, count, name, sizeof name);
        if (!named) {
            failed(e, "it is one of several files, whose names are not NAME-00001-of-0000N.gguf: give a list of all");
            return false;
        }
        if (mk_gguf_weigh(name, &part, weights) != 0) {
            snprintf(reason, sizeof reason, "its part %d, %.500s: %s", (int) i + 1, name, part.error);
            failed(e, reason);
            return false;
        }
        header->file_bytes += part.file_bytes;
    }
    return true;
}

void *mk_load_file(mk_engine *e, mk_blob params) {
    if (e->config.n_splits > 1) {
        return e->table.llama_model_load_from_splits((const char **) e->config.splits, (size_t) e->config.n_splits, params);
    }
    return e->table.llama_model_load_from_file(e->path, params);
}

static bool load_model(mk_engine *e) {
    char reason[600];
    if (!mk_fit(e)) {
        return false;
    }
    e->last_error[0] = '\0';
    e->model = mk_load_file(e, e->config.model_params);
    if (e->model == NULL) {
        snprintf(reason, sizeof reason, "llama.cpp could not load it%s%s", e->last_error[0] ? ": " : "", e->last_error);
        mk_failed(e, code_of(e), atomic_load(&e->closing) ? "loading was cancelled" : reason);
        return false;
    }
    e->vocab = e->table.llama_model_get_vocab(e->model);
    if (e->config.purpose == MK_FOR_SPEECH
        && (!e->table.llama_model_has_decoder(e->model) || e->table.llama_model_has_encoder(e->model))) {
        failed(e, "it is an encoder model; modkit generates with decoder-only models");
        return false;
    }
    return true;
}

static bool make_context(mk_engine *e) {
    char reason[600];
    e->context = e->table.llama_init_from_model(e->model, e->config.context_params);
    if (e->context == NULL) {
        snprintf(reason, sizeof reason, "llama.cpp could not make a context of %u x %u tokens%s%s", e->config.slots,
                 e->config.context, e->last_error[0] ? ": " : "", e->last_error);
        mk_failed(e, code_of(e), reason);
        return false;
    }
    if (e->config.slots > MK_MAX_SLOTS) {
        snprintf(reason, sizeof reason, "%u slots are more than %d", e->config.slots, MK_MAX_SLOTS);
        failed(e, reason);
        return false;
    }
    e->slice_scale = e->crowd = 1;
    e->seconds_a_byte = 1e-9;
    e->memory = e->table.llama_get_memory(e->context);
    e->whole_only = e->table.llama_model_is_recurrent(e->model) || e->table.llama_model_is_hybrid(e->model);
    e->can_shift = !e->whole_only && e->memory != NULL && e->table.llama_memory_can_shift(e->memory);
    e->whole_states = e->whole_only || e->table.llama_model_n_swa(e->model) > 0;
    e->batch_room = (int32_t) e->table.llama_n_batch(e->context);
    if (e->batch_room < (int32_t) e->config.slots) { /* a batch has a place for each slot's next token */
        snprintf(reason, sizeof reason, "a batch of %d tokens is too small for %u slots", e->batch_room, e->config.slots);
        failed(e, reason);
        return false;
    }
    return true;
}

static void copy_text(char *out, size_t size, const char *text) {
    snprintf(out, size, "%s", text == NULL ? "" : text);
}

/* What the engine does without, and slower for it. */
static void note_limits(mk_engine *e) {
    mk_info *info = &e->info;
    size_t size = sizeof info->limits[0];
    const char *kind = info->recurrent ? "recurrent" : "hybrid";
    if (info->recurrent || info->hybrid) {
        snprintf(info->limits[0], size, "%s: its state cannot be cut, so a prompt goes on from a whole cached one or starts anew",
                 kind);
        snprintf(info->limits[1], size, "%s: its context cannot be shifted, so a full one is computed anew without its oldest turns",
                 kind);
    } else if (info->n_swa > 0) {
        snprintf(info->limits[0], size, "sliding window of %d tokens: what lies further back cannot be gone on from",
                 info->n_swa);
    }
}

/* Once, into the log: a developer wonders why this model is slower than another. */
static void tell_limits(mk_engine *e) {
    char line[300];
    for (int i = 0; i < 2 && e->info.limits[i][0] != '\0'; i++) {
        snprintf(line, sizeof line, "%s: %s", e->info.name[0] != '\0' ? e->info.name : "this model", e->info.limits[i]);
        mk_log_line(e, e->whole_only ? 3 : 2, line);
    }
}

/* Everything the host may want to know, copied, so that it never calls into the model itself. */
static bool describe(mk_engine *e) {
    const mk_table *t = &e->table;
    mk_info *info = &e->info;
    int32_t bos = t->llama_vocab_bos(e->vocab), eos = t->llama_vocab_eot(e->vocab);
    int32_t longest = 16;
    const char *chat_template = t->llama_model_chat_template(e->model, NULL);
    eos = eos < 0 ? t->llama_vocab_eos(e->vocab) : eos;
    info->n_vocab = t->llama_vocab_n_tokens(e->vocab);
    info->vocab_type = t->llama_vocab_type(e->vocab);
    info->n_ctx_train = t->llama_model_n_ctx_train(e->model);
    info->n_layer = t->llama_model_n_layer(e->model);
    info->n_embd = t->llama_model_n_embd(e->model);
    info->n_params = t->llama_model_n_params(e->model);
    info->model_bytes = t->llama_model_size(e->model);
    if (e->context != NULL) {
        info->context = t->llama_n_ctx(e->context) / e->config.slots;
        info->context = info->context < e->config.context ? info->context : e->config.context;
    }
    info->add_bos = t->llama_vocab_get_add_bos(e->vocab);
    info->recurrent = t->llama_model_is_recurrent(e->model);
    info->hybrid = t->llama_model_is_hybrid(e->model);
    info->n_swa = t->llama_model_n_swa(e->model);
    note_limits(e);
    t->llama_model_desc(e->model, info->description, sizeof info->description);
    if (t->llama_model_meta_val_str(e->model, "general.name", info->name, sizeof info->name) < 0) {
        info->name[0] = '\0';
    }
    copy_text(info->bos, sizeof info->bos, bos < 0 ? NULL : t->llama_vocab_get_text(e->vocab, bos));
    copy_text(info->eos, sizeof info->eos, eos < 0 ? NULL : t->llama_vocab_get_text(e->vocab, eos));
    if (chat_template != NULL) {
        e->chat_template = malloc(strlen(chat_template) + 1);
        if (e->chat_template == NULL) {
            failed(e, "no memory for the chat template");
            return false;
        }
        strcpy(e->chat_template, chat_template);
        info->chat_template = e->chat_template;
    }
    if (e->config.purpose == MK_FOR_SPEECH && info->n_vocab <= 0) {
        failed(e, "it has no vocabulary");
        return false;
    }
    for (int32_t i = 0; i < info->n_vocab; i++) {
        char one[1];
        int32_t n = t->llama_token_to_piece(e->vocab, i, one, 0, 0, false);
        longest = -n > longest ? -n : longest;
    }
    /* a token and its stream's end: held-back text, each byte perhaps replaced by three, and the rest */
    e->record_room = 2 * (3 * ((uint32_t) longest + MK_MAX_STOP_BYTES) + 400);
    /* and a worker never waits for room while there are only small news: nobody would wake it */
    if ((uint64_t) e->record_room * (e->config.slots + 1) + MK_SMALL_NEWS > e->ring.capacity) {
        failed(e, "its vocabulary has tokens too long for the event ring");
        return false;
    }
    return true;
}

/* A batch of one sequence a token; false when memory is out (mk_batch_free then frees what there is). */
bool mk_batch_new(mk_batch *b, int32_t n) {
    size_t room = (size_t) n;
    b->token = calloc(room, sizeof *b->token);
    b->pos = calloc(room, sizeof *b->pos);
    b->n_seq_id = calloc(room, sizeof *b->n_seq_id);
    b->seq_id = calloc(room, sizeof *b->seq_id);
    b->logits = calloc(room, sizeof *b->logits);
    if (!b->token || !b->pos || !b->n_seq_id || !b->seq_id || !b->logits) {
        return false;
    }
    b->seq_id[0] = calloc(room, sizeof **b->seq_id);
    for (size_t i = 1; i < room && b->seq_id[0] != NULL; i++) {
        b->seq_id[i] = b->seq_id[0] + i;
    }
    return b->seq_id[0] != NULL;
}

void mk_batch_free(mk_batch *b) {
    if (b->seq_id != NULL) {
        free(b->seq_id[0]);
    }
    free(b->token);
    free(b->pos);
    free(b->n_seq_id);
    free(b->seq_id);
    free(b->logits);
    memset(b, 0, sizeof *b);
}

static bool make_slots(mk_engine *e) {
    bool batch = mk_batch_new(&e->batch, e->batch_room);
    e->slots = calloc(e->config.slots, sizeof *e->slots);
    if (e->slots == NULL || !batch) {
        failed(e, "no memory for the slots");
        return false;
    }
    for (uint32_t i = 0; i < e->config.slots; i++) {
        mk_slot *slot = &e->slots[i];
        slot->seq = (int32_t) i;
        slot->tokens = malloc(((size_t) e->info.context + 1) * sizeof *slot->tokens);
        if (slot->tokens == NULL || mk_text_room(&slot->text, 1024) == NULL) {
            failed(e, "no memory for the slots");
            return false;
        }
    }
    return true;
}

static void give_back(mk_engine *e) {
    for (uint32_t i = 0; e->slots != NULL && i < e->config.slots; i++) {
        free(e->slots[i].tokens);
        free(e->slots[i].text.bytes);
    }
    mk_store_free(e);
    mk_sampling_free(e);
    mk_batch_free(&e->batch);
    mk_embed_free(e);
    free(e->slots);
    if (e->context != NULL) {
        e->table.llama_free(e->context);
    }
    mk_guesser_free(e);
    mk_threadpool_release(e);
    if (e->model != NULL) {
        e->table.llama_model_free(e->model);
    }
}

/* Everything up to the moment when the engine can do what it is for. */
static bool make_ready(mk_engine *e) {
    switch (e->config.purpose) {
    case MK_FOR_FIT:
        return mk_fit(e);
    case MK_FOR_QUANTISE: {
        mk_gguf header;
        return mk_read_headers(e, &header, NULL) && mk_quantise(e);
    }
    case MK_FOR_LOOKS:
        return load_model(e) && describe(e);
    default:
        break;
    }
    if (!load_model(e) || !make_context(e) || !describe(e) || !make_slots(e) || !mk_threadpool_attach(e)
        || !mk_guesser_load(e)) {
        return false;
    }
    mk_warm_up(e);
    tell_limits(e);
    return true;
}

static bool nothing_to_do(mk_engine *e) {
    return !atomic_load(&e->closing);
}

void mk_worker_run(mk_engine *e) {
    bool good;
    mk_library_enter(e);
    good = make_ready(e);
    mk_library_leave(e);
    if (good) {
        e->loaded = true;
        mk_store_open(e);
        mk_set_progress(e, 1);
        atomic_store_explicit(mk_state(e), MK_READY, memory_order_release);
        mk_put_array(&e->ring, 2);
        mk_put_uint(&e->ring, 0);
        mk_put_uint(&e->ring, MK_LOADED);
        mk_ring_publish(&e->ring);
        if (e->config.purpose == MK_FOR_SPEECH) {
            mk_worker_loop(e);
        } else {
            mk_wake_host(e);
            while (nothing_to_do(e)) {
                mk_sleep(e, nothing_to_do, 0);
            }
        }
    }
    mk_wake_host(e); /* of what went wrong */
    mk_library_enter(e);
    give_back(e);
    mk_library_leave(e);
}
