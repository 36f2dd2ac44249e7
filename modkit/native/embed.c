/* Texts as vectors, and pairs of texts as scores: many in one decode, in a context of their own, so that no
 * conversation's cache is touched. Runs on the worker thread alone.
 *
 * A text is decoded whole (its pooling needs all of it), so the slices of this room are whole texts: as many as
 * a slice holds at the speed learned so far, at least one. Between two slices the worker speaks for the streams
 * and takes commands. */
#include "engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POOLING_NONE = 0, POOLING_MEAN = 1, POOLING_RANK = 4 };
enum {
    SEQUENCES = 32,      /* texts in one decode, at most */
    BATCH = 512,         /* tokens in one decode; more only where a single text may be longer */
    WINDOW_DECODER = 512,
    WINDOW_ENCODER = 8192,
};

/* ---- the waiting list: the first job is the one under way ---- */

void mk_embed_add(mk_engine *e, mk_job *job) {
    mk_embedder *m = &e->embedder;
    job->next = NULL;
    if (m->first == NULL) {
        m->first = job;
    } else {
        m->last->next = job;
    }
    m->last = job;
}

static void remove_job(mk_engine *e, mk_job *before, mk_job *job) {
    mk_embedder *m = &e->embedder;
    if (before == NULL) {
        m->first = job->next;
        m->next = m->n_tokens = 0;
    } else {
        before->next = job->next;
    }
    if (m->last == job) {
        m->last = before;
    }
    mk_job_free(job);
    atomic_fetch_sub(&e->n_waiting, 1);
}

bool mk_embed_cancel(mk_engine *e, uint64_t id) {
    mk_job *before = NULL;
    for (mk_job *job = e->embedder.first; job != NULL; before = job, job = job->next) {
        if (job->ask.id == id) {
            mk_event_done(e, job, MK_FINISH_CANCELLED, 0, 0, "", 0);
            remove_job(e, before, job);
            return true;
        }
    }
    return false;
}

static void fail(mk_engine *e, uint32_t code, const char *reason) {
    mk_event_error(e, e->embedder.first->ask.id, code, reason);
    remove_job(e, NULL, e->embedder.first);
}

static void finish(mk_engine *e) {
    mk_job *job = e->embedder.first;
    mk_event_started(e, job->ask.id, e->embedder.n_tokens, 0);
    mk_event_done(e, job, MK_FINISH_STOP, 0, 0, "", 0);
    remove_job(e, NULL, job);
}

/* ---- the context ---- */

static void close_context(mk_engine *e) {
    mk_embedder *m = &e->embedder;
    if (m->context != NULL) {
        e->table.llama_free(m->context);
        m->context = NULL;
    }
}

static void put(mk_blob *blob, int32_t at, int32_t value) {
    mk_blob_put(blob, at, &value, sizeof value);
}

static bool open_context(mk_engine *e, int32_t pooling) {
    mk_embedder *m = &e->embedder;
    mk_blob params = e->config.embed_params;
    int32_t most = e->memory == NULL ? WINDOW_ENCODER : WINDOW_DECODER, trained = e->info.n_ctx_train;
    int32_t window = trained > 0 && trained < most ? trained : most;
    int32_t room = window > BATCH ? window : BATCH;
    close_context(e);
    put(&params, e->config.at_n_ctx, room);
    put(&params, e->config.at_n_batch, room);
    put(&params, e->config.at_n_ubatch, room);
    put(&params, e->config.at_n_outputs, room);
    put(&params, e->config.at_n_sequences, SEQUENCES);
    put(&params, e->config.at_pooling, pooling);
    e->last_error[0] = '\0';
    m->context = e->table.llama_init_from_model(e->model, params);
    if (m->context == NULL) {
        return false;
    }
    m->window = window;
    m->pooling = e->table.llama_pooling_type(m->context);
    if (room > m->room) {
        mk_batch_free(&m->batch);
        m->room = mk_batch_new(&m->batch, room) ? room : 0;
    }
    return m->room > 0;
}

/* A context for what the job asks: its pooling, or the model's own, or the mean. false: the job has failed. */
static bool prepare(mk_engine *e, mk_job *job) {
    mk_embedder *m = &e->embedder;
    bool rank = job->ask.task == MK_TASK_RANK;
    int32_t wanted = rank ? -1 : job->ask.pooling;
    char reason[400];
    if (m->context == NULL || m->asked != wanted) {
        bool good = open_context(e, wanted);
        if (good && wanted == -1 && m->pooling == POOLING_NONE) {
            good = open_context(e, POOLING_MEAN);
        }
        if (!good) {
            snprintf(reason, sizeof reason, "llama.cpp could not make a context for embeddings%s%s",
                     e->last_error[0] ? ": " : "", e->last_error);
            close_context(e);
            fail(e, MK_CODE_MEMORY, reason);
            return false;
        }
        m->asked = wanted;
    }
    if (rank != (m->pooling == POOLING_RANK)) {
        fail(e, MK_CODE_TASK, rank ? "this model does not rank: rank() needs a cross-encoder (a reranker)"
                                   : "this model is a reranker and makes no embeddings: use rank()");
        return false;
    }
    return true;
}

/* ---- from a text to tokens ---- */

static bool scratch(mk_embedder *m, size_t n) {
    if (n > m->scratch_room) {
        int32_t *tokens = realloc(m->scratch, n * sizeof *tokens);
        if (tokens == NULL) {
            return false;
        }
        m->scratch = tokens;
        m->scratch_room = n;
    }
    return true;
}

/* Appends a piece behind the n tokens in the scratch; the new count, or -1. */
static int32_t append(mk_engine *e, const char *text, int32_t size, int32_t n, bool add_special, bool special) {
    mk_embedder *m = &e->embedder;
    size_t room = (size_t) n + (size_t) size + 16; /* a token is at least a byte, but for the ones added */
    int32_t got;
    if (room > INT32_MAX || !scratch(m, room)) {
        return -1;
    }
    got = e->table.llama_tokenize(e->vocab, text, size, m->scratch + n, (int32_t) m->scratch_room - n, add_special, special);
    return got < 0 ? -1 : n + got;
}

static int32_t append_token(mk_engine *e, int32_t token, int32_t n) {
    mk_embedder *m = &e->embedder;
    if (n < 0 || token < 0 || !scratch(m, (size_t) n + 1)) {
        return n;
    }
    m->scratch[n] = token;
    return n + 1;
}

/* A query and a text as a cross-encoder was trained on them: by the model's own "rerank" template, or
 * BOS query EOS SEP text EOS, each where the vocabulary asks for it. */
static int32_t tokenise_pair(mk_engine *e, const mk_segment *query, const mk_segment *text) {
    const mk_table *t = &e->table;
    const char *form = t->llama_model_chat_template(e->model, "rerank");
    int32_t n = 0, eos = t->llama_vocab_eos(e->vocab);
    if (form != NULL) {
        while (*form != '\0' && n >= 0) {
            const mk_segment *s = strncmp(form, "{query}", 7) == 0 ? query : strncmp(form, "{document}", 10) == 0 ? text : NULL;
            size_t size = s == query ? 7 : 10;
            if (s != NULL) {
                n = append(e, s->data, s->length, n, false, false);
            } else {
                const char *a = strstr(form, "{query}"), *b = strstr(form, "{document}");
                a = a == NULL || (b != NULL && b < a) ? b : a;
                size = a == NULL ? strlen(form) : (size_t) (a - form);
                n = append(e, form, (int32_t) size, n, n == 0, true);
            }
            form += size;
        }
        return n;
    }
    eos = eos < 0 ? t->llama_vocab_sep(e->vocab) : eos;
    n = t->llama_vocab_get_add_bos(e->vocab) ? append_token(e, t->llama_vocab_bos(e->vocab), 0) : 0;
    n = append(e, query->data, query->length, n, false, false);
    n = n >= 0 && t->llama_vocab_get_add_eos(e->vocab) ? append_token(e, eos, n) : n;
    n = n >= 0 && t->llama_vocab_get_add_sep(e->vocab) ? append_token(e, t->llama_vocab_sep(e->vocab), n) : n;
    n = n < 0 ? n : append(e, text->data, text->length, n, false, false);
    return n >= 0 && t->llama_vocab_get_add_eos(e->vocab) ? append_token(e, eos, n) : n;
}

/* Cuts what is longer than the model reads, and keeps the token that closes a text. */
static int32_t cut(mk_engine *e, int32_t n) {
    mk_embedder *m = &e->embedder;
    int32_t last = m->scratch[n - 1];
    bool closes = last == e->table.llama_vocab_sep(e->vocab) || last == e->table.llama_vocab_eos(e->vocab);
    if (n <= m->window) {
        return n;
    }
    if (closes) {
        m->scratch[m->window - 1] = last;
    }
    return m->window;
}

/* ---- one slice ---- */

static int32_t budget(const mk_engine *e, bool others) {
    const mk_embedder *m = &e->embedder;
    double seconds = others ? e->config.slice_seconds : e->config.slice_seconds_alone;
    double n = m->seconds_per_token > 0 ? seconds / m->seconds_per_token : 64;
    return n < 1 ? 1 : n > m->room ? m->room : (int32_t) n;
}

/* Fills the batch with whole texts; returns how many, or -1 when the job has failed. */
static int32_t fill(mk_engine *e, mk_job *job, int32_t first, bool others, int32_t *trimmed) {
    mk_embedder *m = &e->embedder;
    mk_batch *b = &m->batch;
    int32_t most = budget(e, others), texts = 0;
    char reason[200];
    b->n_tokens = 0;
    *trimmed = 0;
    for (int32_t i = first; i < job->ask.n_segments && texts < SEQUENCES; i++) {
        int32_t n, whole;
        whole = job->ask.task == MK_TASK_RANK ? tokenise_pair(e, &job->segments[0], &job->segments[i])
                                              : append(e, job->segments[i].data, job->segments[i].length, 0, true, false);
        if (whole <= 0) {
            snprintf(reason, sizeof reason, "text %d is empty or cannot be tokenised with this vocabulary",
                     job->ask.task == MK_TASK_RANK ? i - 1 : i);
            fail(e, MK_CODE_PROMPT, reason);
            return -1;
        }
        n = cut(e, whole);
        if (n < whole && !job->ask.trim) {
            snprintf(reason, sizeof reason, "text %d has %d tokens and this model reads %d: shorten it, or allow trimming",
                     job->ask.task == MK_TASK_RANK ? i - 1 : i, whole, m->window);
            fail(e, MK_CODE_OVERFLOW, reason);
            return -1;
        }
        if (b->n_tokens + n > (texts == 0 ? m->room : most)) {
            break;
        }
        *trimmed += n < whole;
        for (int32_t k = 0; k < n; k++) {
            int32_t at = b->n_tokens++;
            b->token[at] = m->scratch[k];
            b->pos[at] = k;
            b->n_seq_id[at] = 1;
            b->seq_id[at][0] = texts;
            b->logits[at] = true;
        }
        texts++;
    }
    return texts;
}

static void copy_row(float *out, const float *in, int32_t n, bool normalise) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += (double) in[i] * in[i];
    }
    sum = normalise && sum > 0 ? 1 / sqrt(sum) : 1;
    for (int32_t i = 0; i < n; i++) {
        out[i] = (float) (in[i] * sum);
    }
}

/* Takes the vectors of the texts just decoded; false when memory is out or the library has none. */
static bool collect(mk_engine *e, mk_job *job, int32_t first, int32_t texts) {
    mk_embedder *m = &e->embedder;
    mk_block *block = job->ask.block;
    bool normalise = job->ask.normalise && job->ask.task != MK_TASK_RANK;
    int32_t start = job->ask.task == MK_TASK_RANK;
    block->columns = start ? 1 : e->table.llama_model_n_embd_out(e->model);
    if (block->rows_of == NULL) {
        block->rows_of = calloc((size_t) job->ask.n_segments + 1, sizeof *block->rows_of);
    }
    if (block->rows_of == NULL || block->columns <= 0
        || !mk_block_room(block, m->pooling == POOLING_NONE ? block->rows + m->batch.n_tokens : job->ask.n_segments - start)) {
        return false;
    }
    for (int32_t i = 0, at = 0; i < texts; i++) {
        int32_t rows = 0;
        for (; at < m->batch.n_tokens && m->batch.seq_id[at][0] == i; at++) {
            if (m->pooling == POOLING_NONE || rows == 0) {
                const float *row = m->pooling == POOLING_NONE ? e->table.llama_get_embeddings_ith(m->context, at)
                                                              : e->table.llama_get_embeddings_seq(m->context, i);
                if (row == NULL) {
                    return false;
                }
                copy_row(block->data + block->rows++ * block->columns, row, block->columns, normalise);
                rows++;
            }
        }
        block->rows_of[first - start + i] = rows;
    }
    return true;
}

bool mk_embed_wants(const mk_engine *e) {
    return e->embedder.first != NULL;
}

static int32_t decode(mk_engine *e) {
    mk_embedder *m = &e->embedder;
    void *memory = e->table.llama_get_memory(m->context);
    double begun = mk_now(), sample;
    int32_t result;
    if (memory != NULL) {
        e->table.llama_memory_clear(memory, false);
    }
    e->last_error[0] = '\0';
    result = e->table.llama_decode(m->context, m->batch);
    if (result == 0) {
        sample = (mk_now() - begun) / m->batch.n_tokens;
        m->seconds_per_token = m->seconds_per_token > 0 ? 0.7 * m->seconds_per_token + 0.3 * sample : sample;
        mk_count(&e->shared.decoded, (uint64_t) m->batch.n_tokens);
        mk_count(&e->shared.steps, 1);
    }
    return result;
}

static void slice(mk_engine *e, mk_job *job, bool others) {
    mk_embedder *m = &e->embedder;
    int32_t start = job->ask.task == MK_TASK_RANK, first = m->next + start, trimmed, texts, result;
    char reason[300];
    if (!prepare(e, job)) {
        return;
    }
    texts = fill(e, job, first, others, &trimmed);
    if (texts < 0) {
        return;
    }
    result = decode(e);
    if (result == 2 && mk_on_abort_decode(e)) {
        return; /* on request: the loop comes again, unless the request was cancelled */
    }
    if (result != 0) {
        snprintf(reason, sizeof reason, "llama_decode failed with code %d%s%s", result, e->last_error[0] ? ": " : "",
                 e->last_error);
        fail(e, MK_CODE_DECODE, reason);
        return;
    }
    if (!collect(e, job, first, texts)) {
        fail(e, MK_CODE_MEMORY, "no memory for the vectors, or the model made none");
        return;
    }
    m->next += texts;
    m->n_tokens += m->batch.n_tokens;
    job->ask.block->trimmed += trimmed;
    if (m->next + start == job->ask.n_segments) {
        finish(e);
    }
}

/* `others`: somebody else waits for the worker, so the slice is short. */
void mk_embed_step(mk_engine *e, bool others) {
    mk_job *job = e->embedder.first;
    atomic_store(&e->alone, others ? 0 : job->ask.id);
    if (others || mk_queue_is_empty(e)) { /* a cancel that came before `alone` was set could not abort this */
        mk_library_enter(e);
        slice(e, job, others);
        mk_library_leave(e);
    }
    atomic_store(&e->alone, 0);
}

void mk_embed_free(mk_engine *e) {
    mk_embedder *m = &e->embedder;
    while (m->first != NULL) {
        remove_job(e, NULL, m->first);
    }
    close_context(e);
    mk_batch_free(&m->batch);
    free(m->scratch);
}
