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

bool mk_on_abort_decode(void *engine) {
    mk_engine *e = engine;
    return atomic_load_explicit(&e->abort_decode, memory_order_relaxed)
           || atomic_load_explicit(&e->closing, memory_order_relaxed);
}

static void failed(mk_engine *e, const char *reason) {
    char clean[600];
    size_t size = mk_text_clean(clean, sizeof clean, reason, strlen(reason));
    mk_put_array(&e->ring, 3);
    mk_put_uint(&e->ring, 0);
    mk_put_uint(&e->ring, MK_FAILED);
    mk_put_string(&e->ring, clean, (uint32_t) size);
    mk_ring_publish(&e->ring);
}

/* How many layers fit into vram_budget, if their share of the file and of the KV cache (f16, the
 * default) is all that counts. A first estimate: compute buffers are left to a tenth of the budget. */
static void fit_layers(mk_engine *e, const mk_gguf *g) {
    uint64_t head = g->n_head ? g->n_embd / g->n_head : 0;
    uint64_t kv = 2 * 2 * head * (g->n_head_kv ? g->n_head_kv : g->n_head) * e->config.slots * e->config.context;
    uint64_t layer = g->file_bytes / (g->n_layer + 1) + kv + 1;
    uint64_t layers = e->config.vram_budget / 10 * 9 / layer;
    int32_t n = (int32_t) (layers > g->n_layer + 1 ? g->n_layer + 1 : layers);
    memcpy((char *) &e->config.model_params + e->config.at_gpu_layers, &n, sizeof n);
}

static bool load_model(mk_engine *e) {
    mk_gguf header;
    char reason[600];
    if (mk_gguf_read(e->path, &header) != 0) {
        failed(e, header.error);
        return false;
    }
    if (e->config.vram_budget > 0) {
        fit_layers(e, &header);
    }
    e->model = e->table.llama_model_load_from_file(e->path, e->config.model_params);
    if (e->model == NULL) {
        snprintf(reason, sizeof reason, "llama.cpp could not load it%s%s", e->last_error[0] ? ": " : "", e->last_error);
        failed(e, atomic_load(&e->closing) ? "loading was cancelled" : reason);
        return false;
    }
    if (!e->table.llama_model_has_decoder(e->model) || e->table.llama_model_has_encoder(e->model)) {
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
        failed(e, reason);
        return false;
    }
    e->memory = e->table.llama_get_memory(e->context);
    e->vocab = e->table.llama_model_get_vocab(e->model);
    e->whole_only = e->table.llama_model_is_recurrent(e->model) || e->table.llama_model_is_hybrid(e->model);
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
    info->context = t->llama_n_ctx(e->context) / e->config.slots;
    info->context = info->context < e->config.context ? info->context : e->config.context;
    info->add_bos = t->llama_vocab_get_add_bos(e->vocab);
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
    if (info->n_vocab <= 0) {
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
    mk_batch_free(&e->batch);
    mk_embed_free(e);
    free(e->slots);
    if (e->context != NULL) {
        e->table.llama_free(e->context);
    }
    if (e->model != NULL) {
        e->table.llama_model_free(e->model);
    }
}

void mk_worker_run(mk_engine *e) {
    bool good;
    mk_library_enter(e);
    good = load_model(e) && make_context(e) && describe(e) && make_slots(e);
    mk_library_leave(e);
    if (good) {
        mk_set_progress(e, 1);
        atomic_store_explicit(mk_state(e), MK_READY, memory_order_release);
        mk_put_array(&e->ring, 2);
        mk_put_uint(&e->ring, 0);
        mk_put_uint(&e->ring, MK_LOADED);
        mk_ring_publish(&e->ring);
        mk_worker_loop(e);
    }
    mk_library_enter(e);
    give_back(e);
    mk_library_leave(e);
}
