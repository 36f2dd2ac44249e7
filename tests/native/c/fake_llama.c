#include "fake_llama.h"
#include "platform.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const fake_options_t usual = {.vocab_type = 2, .n_vocab = FAKE_TOKENS, .long_piece = 8, .state_width = 1, .add_bos = true};
fake_options_t fake_options = {.vocab_type = 2, .n_vocab = FAKE_TOKENS, .long_piece = 8, .state_width = 1, .add_bos = true};
fake_control fake;
char fake_chain[256];
const double *_Atomic fake_prices;
void (*_Atomic fake_witness)(const mk_batch *batch, double begun, double ended);
static _Atomic double virtual_now = 1;

static _Atomic(void (*)(const char *)) on_abort;
static _Atomic(void (*)(int, const char *, void *)) on_log;
static _Atomic(void (*)(void)) on_terminate;

typedef struct model {
    bool no_alloc;
    bool liar, stranger; /* says something else now and then; has another vocabulary */
    double price;        /* of its decodes, against the list */
    fake_options_t options;
} model;

typedef struct sequence {
    int32_t *tokens;
    int32_t n;
    int32_t set;  /* of adapters, with which it was computed: no other may go on from it */
    int32_t gap_from, gap_to; /* taken out, and what is behind has not moved up yet */
    int32_t from; /* what was before it is forgotten (a restored state of a model with a sliding window) */
} sequence;

typedef struct context {
    model *model;
    fake_context_params params;
    int32_t room;            /* tokens a sequence can hold */
    sequence *sequences;
    int32_t *outputs;        /* by index in the last batch: the sequence with logits there, or -1 */
    int32_t *known;          /* and how many of its tokens these logits have seen */
    int32_t n_outputs;
    int32_t set, control;    /* of adapters, by what is in it */
    bool copying;            /* a copy between sequences waits for the next decode */
    float *logits;
    float (*rows)[FAKE_DIMENSIONS]; /* of a context for embeddings: by sequence, or by token */
    pthread_t owner;         /* the only thread that may use this context */
} context;

typedef struct sampler {
    char names[sizeof fake_chain];
} sampler;

_Noreturn void broken(const char *file, int line, const char *promise) {
    fprintf(stderr, "BROKEN PROMISE %s:%d: %s\n", file, line, promise);
    fflush(stderr);
    _Exit(3);
}

void fake_reset(void) {
    fake_options = usual;
    atomic_store(&fake.decode_us, 0);
    atomic_store(&fake.token_us, 0);
    atomic_store(&fake.tokenise_us, 0);
    atomic_store(&fake.fail, 0);
    atomic_store(&fake.assertion, 0);
    atomic_store(&fake.assertion_in_load, 0);
    atomic_store(&fake.decodes, 0);
    atomic_store(&fake.embedded, 0);
    atomic_store(&fake.decoded, 0);
    atomic_store(&fake.aborted, 0);
    atomic_store(&fake.most_sequences, 0);
    atomic_store(&fake.gpu_layers, 0);
    atomic_store(&fake.copied, 0);
    atomic_store(&fake.loras, 0);
    atomic_store(&fake.swaps, 0);
    atomic_store(&fake.shifted, 0);
    atomic_store(&fake.measured, 0);
    atomic_store(&fake.warm_ups, 0);
    atomic_store(&fake.saved, 0);
    atomic_store(&fake.restored, 0);
    atomic_store(&fake.refuse_state, 0);
    atomic_store(&fake_prices, NULL);
    atomic_store(&fake_witness, NULL);
}

/* ---- time ---- */

static void rest(double seconds) {
    struct timespec t = {(time_t) seconds, (long) ((seconds - (double) (time_t) seconds) * 1e9)};
    nanosleep(&t, NULL);
}

/* Takes that long and asks now and then, as ggml asks between two nodes of a graph; false when it was told to stop. */
static bool work(int us, bool (*stop)(void *), void *data) {
    double end = mk_now() + us * 1e-6;
    for (;;) {
        double left = end - mk_now();
        if (stop != NULL && stop(data)) {
            return false;
        }
        if (left <= 0) {
            return true;
        }
        rest(left < 100e-6 ? left : 100e-6);
    }
}

double fake_clock(void) {
    return atomic_load(&virtual_now);
}

double fake_price(int n) {
    const double *prices = atomic_load(&fake_prices);
    return n <= 64 ? prices[n] : prices[64] * n / 64;
}

/* The price of a batch as llama.cpp computes it: with a cache for each sequence, it takes neighbours (each
 * sequence's number is one more than the last's) with as many tokens of each as all of them have, again and
 * again until nothing is left. */
static double price(const mk_batch *b, bool unified) {
    int32_t left[64] = {0}, order[64], n = 0, total = 0;
    double seconds = 0;
    if (unified) {
        return fake_price(b->n_tokens);
    }
    for (int32_t i = 0; i < b->n_tokens; i++) {
        if (left[b->seq_id[i][0]]++ == 0) {
            order[n++] = b->seq_id[i][0];
        }
    }
    while (total < b->n_tokens) {
        int32_t last = -1, least = INT32_MAX, members = 0;
        bool in[64] = {false};
        for (int32_t i = 0; i < n; i++) {
            if (left[order[i]] > 0 && (last < 0 || order[i] == last + 1)) {
                last = order[i];
                in[i] = true;
                members++;
                least = left[last] < least ? left[last] : least;
            }
        }
        for (int32_t i = 0; i < n; i++) {
            left[order[i]] -= in[i] ? least : 0;
        }
        total += members * least;
        seconds += fake_price(members * least);
    }
    return seconds;
}

/* ---- failures ---- */

static void set_log(void (*callback)(int, const char *, void *), void *data) {
    (void) data;
    atomic_store(&on_log, callback);
}

static void *set_abort_callback(void (*callback)(const char *)) {
    atomic_store(&on_abort, callback);
    return NULL;
}

static void complain(int level, const char *text) {
    void (*callback)(int, const char *, void *) = atomic_load(&on_log);
    if (callback != NULL) {
        callback(level, text, NULL);
    }
}

void fake_fail_assertion(const char *message) {
    void (*callback)(const char *) = atomic_load(&on_abort);
    atomic_fetch_add(&fake.assertions, 1);
    if (callback != NULL) {
        callback(message);
    }
    abort();
}

static void ggml_abort_(const char *file, int line, const char *format, ...) {
    char message[300], text[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(message, sizeof message, "%.60s:%d: %s", file, line, text);
    fake_fail_assertion(message);
}

void (*fake_set_terminate(void (*handler)(void)))(void) {
    return atomic_exchange(&on_terminate, handler);
}

/* All four threads fail at the same moment. */
static void gather(void) {
    atomic_fetch_add(&fake.gathered, 1);
    while (atomic_load(&fake.gathered) % 4 != 0) {
        sched_yield();
    }
}

static void *pool_thread(void *all) {
    if (all != NULL) {
        gather();
    }
    fake_fail_assertion("a thread of the pool found a NaN");
    return NULL;
}

static void fail_as_told(int how) {
    pthread_t thread;
    int n = how == FAKE_ASSERT_EVERYWHERE ? 3 : how == FAKE_ASSERT_POOL ? 1 : 0;
    for (int i = 0; i < n; i++) {
        CHECK(pthread_create(&thread, NULL, pool_thread, how == FAKE_ASSERT_EVERYWHERE ? &fake : NULL) == 0);
        pthread_detach(thread);
    }
    if (how == FAKE_ASSERT_POOL) {
        mk_park(); /* as at a barrier that the parked thread never reaches */
    }
    if (how == FAKE_ASSERT_EVERYWHERE) {
        gather();
    }
    if (how == FAKE_TERMINATE) {
        atomic_load(&on_terminate)();
        abort();
    }
    fake_fail_assertion("GGML_ASSERT(n_tokens < n_ctx) failed");
}

/* ---- the model ---- */

static void *model_load(const char *path, mk_blob blob) {
    fake_model_params params;
    model *m;
    memcpy(&params, &blob, sizeof params);
    if (params.no_alloc) {
        CHECK(params.load_mode == 0 && params.progress(0.5f, params.progress_data));
        atomic_fetch_add(&fake.measured, 1);
        m = calloc(1, sizeof *m);
        CHECK(m != NULL);
        m->options = fake_options;
        m->no_alloc = true;
        atomic_fetch_add(&fake.models, 1);
        return m;
    }
    atomic_store(&fake.gpu_layers, params.devices != NULL && params.devices[0] == NULL ? -1 : params.n_gpu_layers);
    if (atomic_exchange(&fake.assertion_in_load, 0) != 0) {
        fake_fail_assertion("GGML_ASSERT(tensor != NULL) failed");
    }
    complain(2, "loading: a line in two ");
    complain(5, "pieces\n");
    atomic_fetch_add(&fake.loading, 1);
    for (int i = 0; i <= 1000; i++) {
        if (params.progress != NULL && !params.progress((float) i / 1000, params.progress_data)) {
            atomic_fetch_sub(&fake.loading, 1);
            return NULL;
        }
        if (fake_options.load_us > 0) {
            work(fake_options.load_us / 1000, NULL, NULL);
        }
    }
    atomic_fetch_sub(&fake.loading, 1);
    if (fake_options.refuse_load) {
        complain(4, fake_options.complaint);
        return NULL;
    }
    m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    m->options = fake_options;
    m->liar = strstr(path, "liar") != NULL;
    m->stranger = strstr(path, "stranger") != NULL;
    m->price = strstr(path, "draft") != NULL ? 0.1 : 1;
    atomic_fetch_add(&fake.models, 1);
    return m;
}

static void *load_from_splits(const char **paths, size_t n, mk_blob blob) {
    CHECK(n > 1 && paths[n - 1] != NULL);
    return model_load(paths[0], blob);
}

static void model_free(void *m) {
    atomic_fetch_sub(&fake.models, 1);
    free(m);
}

static const void *get_vocab(const void *m) {
    return m;
}

static int32_t n_ctx_train(const void *m) {
    (void) m;
    return 2048; /* more than a text may have in a decoder's context for embeddings (512) */
}

static int32_t n_layer(const void *m) {
    (void) m;
    return 4;
}

static int32_t n_embd(const void *m) {
    (void) m;
    return 64;
}

static uint64_t model_size(const void *m) {
    (void) m;
    return 4096;
}

static uint64_t n_params(const void *m) {
    (void) m;
    return 1024;
}

static int32_t desc(const void *m, char *out, size_t size) {
    (void) m;
    return snprintf(out, size, "fake 1K");
}

static int32_t meta_val_str(const void *m, const char *key, char *out, size_t size) {
    (void) m;
    return strcmp(key, "general.name") == 0 ? snprintf(out, size, "Fake") : -1;
}

static const char *chat_template(const void *m, const char *name) {
    return name == NULL ? ((const model *) m)->options.chat_template : NULL;
}

static bool has_encoder(const void *m) {
    return ((const model *) m)->options.encoder;
}

static bool has_decoder(const void *m) {
    (void) m;
    return true;
}

/* ---- the vocabulary ---- */

static int vocab_type(const void *v) {
    return ((const model *) v)->options.vocab_type;
}

static int32_t n_vocab(const void *v) {
    return ((const model *) v)->options.n_vocab;
}

static const char *get_text(const void *v, int32_t token) {
    if (((const model *) v)->stranger) {
        return "!";
    }
    return token == FAKE_BOS ? "<s>" : token == FAKE_EOS ? "</s>" : token == FAKE_EOT ? "<|im_end|>" : "?";
}

static int32_t bos(const void *v) {
    (void) v;
    return FAKE_BOS;
}

static int32_t eos(const void *v) {
    (void) v;
    return FAKE_EOS;
}

static int32_t eot(const void *v) {
    (void) v;
    return FAKE_EOT;
}

static bool get_add_bos(const void *v) {
    return ((const model *) v)->options.add_bos;
}

static bool is_eog(const void *v, int32_t token) {
    CHECK(token >= 0 && token < n_vocab(v));
    return token == FAKE_EOS || token == FAKE_EOT;
}

static int32_t token_to_piece(const void *v, int32_t token, char *out, int32_t room, int32_t lstrip, bool special) {
    const model *m = v;
    char byte = (char) token;
    const char *piece = token == FAKE_EURO ? "\xe2\x82" : token == FAKE_SPLIT ? "\xac\xe2" : "the lamp ";
    int32_t n = token < 256 ? 1 : token == FAKE_LONG ? m->options.long_piece : token < FAKE_LONG ? 0 : (int32_t) strlen(piece);
    CHECK(token >= 0 && token < m->options.n_vocab && lstrip == 0 && !special);
    if (n > room) {
        return -n;
    }
    if (token == FAKE_LONG) {
        memset(out, 'L', (size_t) n);
    } else if (n > 0) {
        memcpy(out, token < 256 ? &byte : piece, (size_t) n);
    }
    return n;
}

static int32_t tokenize(const void *v, const char *text, int32_t size, int32_t *out, int32_t room, bool add_special, bool special) {
    static const struct {
        const char *text;
        int32_t token;
    } marks[] = {{"<|im_start|>", FAKE_START}, {"<|im_end|>", FAKE_EOT}, {"<|echo|>", FAKE_ECHO}};
    const model *m = v;
    int32_t n = 0;
    atomic_fetch_add(&fake.tokenising, 1);
    work(atomic_load(&fake.tokenise_us), NULL, NULL);
    atomic_fetch_sub(&fake.tokenising, 1);
    for (int32_t at = add_special && m->options.add_bos ? -2 : -1; at < size;) {
        int32_t token, step = 1;
        if (at == -2) {
            token = FAKE_BOS;
        } else if (at == -1) {
            if (m->options.vocab_type != 1 || size == 0) {
                at++;
                continue;
            }
            token = ' ';
        } else {
            token = (unsigned char) text[at];
            for (size_t i = 0; special && i < sizeof marks / sizeof *marks; i++) {
                int32_t length = (int32_t) strlen(marks[i].text);
                if (size - at >= length && memcmp(text + at, marks[i].text, (size_t) length) == 0) {
                    token = marks[i].token;
                    step = length;
                }
            }
        }
        if (n < room) {
            out[n] = token;
        }
        n++;
        at += step;
    }
    return n <= room ? n : -n;
}

/* ---- the context and its cache ---- */

static void *init_from_model(void *m, mk_blob blob) {
    context *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->model = m;
    c->owner = pthread_self();
    memcpy(&c->params, &blob, sizeof c->params);
    if (c->params.embeddings) {
        CHECK(c->params.n_batch == c->params.n_ubatch && c->params.n_outputs >= c->params.n_batch);
        if (c->params.pooling < 0) {
            c->params.pooling = c->model->options.pooling;
        }
        c->rows = calloc(c->params.n_batch > c->params.n_seq_max ? c->params.n_batch : c->params.n_seq_max, sizeof *c->rows);
    }
    if (c->params.embeddings ? c->model->options.no_embed_context : c->model->options.refuse_context) {
        complain(4, "not enough memory for the cache\n");
        free(c->rows);
        free(c);
        return NULL;
    }
    c->room = (int32_t) (c->params.embeddings ? c->params.n_ctx : c->params.n_ctx / c->params.n_seq_max);
    if (c->model->no_alloc) { /* 4 KiB a cell, and a MiB to compute with */
        char line[200];
        snprintf(line, sizeof line, "llama_kv_cache: size = %7.2f MiB ( %u cells, 4 layers, 4/4 seqs)\n",
                 (double) c->params.n_ctx * 4096 / 1048576, c->params.n_ctx);
        complain(2, line);
        complain(2, "sched_reserve:       GPU0 compute buffer size =     1.00 MiB\n");
        complain(2, "sched_reserve:        CPU compute buffer size =     0.50 MiB\n");
    } else {
        complain(1, "sched_reserve:       GPU0 compute buffer size =     1.25 MiB\n");
    }
    c->sequences = calloc(c->params.n_seq_max, sizeof *c->sequences);
    c->outputs = calloc(c->params.n_batch, sizeof *c->outputs);
    c->known = calloc(c->params.n_batch, sizeof *c->known);
    CHECK(c->sequences != NULL && c->outputs != NULL && c->known != NULL);
    for (uint32_t i = 0; i < c->params.n_seq_max; i++) {
        c->sequences[i].tokens = malloc((size_t) c->room * sizeof(int32_t));
        CHECK(c->sequences[i].tokens != NULL);
    }
    atomic_fetch_add(&fake.contexts, 1);
    return c;
}

static void context_free(void *context_) {
    context *c = context_;
    CHECK(pthread_equal(c->owner, pthread_self()));
    for (uint32_t i = 0; i < c->params.n_seq_max; i++) {
        free(c->sequences[i].tokens);
    }
    free(c->sequences);
    free(c->outputs);
    free(c->logits);
    free(c->rows);
    free(c->known);
    free(c);
    atomic_fetch_sub(&fake.contexts, 1);
}

static uint64_t tensor_bytes;

static void *ggml_init_(mk_ggml_params params) {
    CHECK(params.memory == NULL && params.no_alloc && params.size > 100);
    return malloc(1);
}

static size_t tensor_overhead(void) {
    return 400;
}

static void *new_tensor_1d(void *context, int type, int64_t n) {
    CHECK(context != NULL && type == 24 && n > 0);
    tensor_bytes = (uint64_t) n;
    return context;
}

static void *dev_by_name(const char *name) {
    return strcmp(name, "GPU0") == 0 ? &fake : NULL;
}

static bool supports_op(void *device, const void *tensor) {
    CHECK(device == &fake && tensor != NULL);
    return fake_options.one_buffer == 0 || tensor_bytes <= fake_options.one_buffer;
}

static void set_warmup(void *c, bool on) {
    CHECK(pthread_equal(((context *) c)->owner, pthread_self()));
    atomic_fetch_add(&fake.warm_ups, on);
}

static void synchronize(void *c) {
    CHECK(pthread_equal(((context *) c)->owner, pthread_self()));
}

static void *pool_new(const void *params) {
    CHECK(*(const uint64_t *) params == 42);
    atomic_fetch_add(&fake.pools, 1);
    return &fake;
}

static void pool_free(void *pool) {
    CHECK(pool == &fake && atomic_load(&fake.contexts) == 0);
    atomic_fetch_sub(&fake.pools, 1);
}

void fake_pool(mk_config *config) {
    void *(*make)(const void *) = pool_new;
    void (*end)(void *) = pool_free;
    memcpy(&config->threadpool_new, &make, sizeof make);
    memcpy(&config->threadpool_free, &end, sizeof end);
    config->threadpool_params[0] = 42;
}

static void attach_threadpool(void *c, void *pool, void *for_batches) {
    CHECK(pthread_equal(((context *) c)->owner, pthread_self()) && pool == &fake && for_batches == NULL);
}

static mk_perf perf_context(const void *c) {
    (void) c;
    return (mk_perf){1, 2, 3, 4, 5, 6, 7};
}

static void *get_memory(const void *c) {
    return ((const context *) c)->model->options.no_memory ? NULL : (void *) (uintptr_t) c;
}

static uint32_t n_ctx(const void *c) {
    return ((const context *) c)->params.n_ctx;
}

static uint32_t n_batch(const void *c) {
    return ((const context *) c)->params.n_batch;
}

static bool seq_rm(void *memory, int32_t seq, int32_t from, int32_t to) {
    context *c = memory;
    sequence *s;
    CHECK(pthread_equal(c->owner, pthread_self()));
    CHECK(seq >= 0 && seq < (int32_t) c->params.n_seq_max);
    s = &c->sequences[seq];
    CHECK(s->gap_to == 0);
    from = from < 0 ? 0 : from;
    if (to >= 0) {
        CHECK(from < to && to < s->n && !c->model->options.recurrent);
        s->gap_from = from;
        s->gap_to = to;
        return true;
    }
    if (from >= s->n) {
        return true;
    }
    if (from > 0 && c->model->options.recurrent) {
        return false;
    }
    CHECK(from == 0 || from >= s->from); /* nothing goes on from what is forgotten */
    s->from = from == 0 ? 0 : s->from;
    s->n = from;
    return true;
}

static bool can_shift(void *memory) {
    return !((context *) memory)->model->options.no_shift; /* the real one says so of recurrent models, too */
}

static void seq_add(void *memory, int32_t seq, int32_t p0, int32_t p1, int32_t by) {
    context *c = memory;
    sequence *s;
    CHECK(pthread_equal(c->owner, pthread_self()) && seq >= 0 && seq < (int32_t) c->params.n_seq_max);
    s = &c->sequences[seq];
    CHECK(can_shift(c) && s->gap_to > 0 && p0 == s->gap_to && p1 < 0 && by == s->gap_from - s->gap_to);
    memmove(s->tokens + s->gap_from, s->tokens + s->gap_to, (size_t) (s->n - s->gap_to) * sizeof(int32_t));
    s->n += by;
    s->gap_from = s->gap_to = 0;
    c->copying = true; /* it is carried out by the next decode */
    atomic_fetch_add(&fake.shifted, 1);
}

static int32_t seq_pos_min(void *memory, int32_t seq) {
    context *c = memory;
    CHECK(pthread_equal(c->owner, pthread_self()) && seq >= 0 && seq < (int32_t) c->params.n_seq_max);
    return c->sequences[seq].n == 0 ? -1 : c->model->options.recurrent ? c->sequences[seq].n - 1 : c->sequences[seq].from;
}

/* As between the streams of a cache that is not unified: whole sequences only, and carried out by the next
 * decode, so that until then no state may be read or written. */
static void seq_cp(void *memory, int32_t from, int32_t to, int32_t p0, int32_t p1) {
    context *c = memory;
    CHECK(pthread_equal(c->owner, pthread_self()));
    CHECK(from >= 0 && from < (int32_t) c->params.n_seq_max && to >= 0 && to < (int32_t) c->params.n_seq_max && from != to);
    CHECK(p0 < 0 && p1 < 0 && !c->model->options.recurrent);
    memcpy(c->sequences[to].tokens, c->sequences[from].tokens, (size_t) c->sequences[from].n * sizeof(int32_t));
    c->sequences[to].n = c->sequences[from].n;
    c->sequences[to].from = c->sequences[from].from;
    c->sequences[to].set = c->sequences[from].set;
    c->copying = true;
    atomic_fetch_add(&fake.copied, 1);
}

static void *lora_init(void *m, const char *path) {
    const char *end = strrchr(path, '.');
    (void) m;
    if (end == NULL || strcmp(end, ".bad") == 0) {
        complain(4, "the shapes do not fit");
        return NULL;
    }
    return (void *) (uintptr_t) (1000 + atomic_fetch_add(&fake.loras, 1));
}

static int32_t set_loras(void *context_, void **loras, size_t n, float *scales) {
    context *c = context_;
    CHECK(pthread_equal(c->owner, pthread_self()));
    c->set = 0;
    for (size_t i = 0; i < n; i++) {
        CHECK(loras[i] != NULL);
        c->set += (int32_t) (uintptr_t) loras[i] * 100 + (int32_t) (scales[i] * 10);
    }
    atomic_fetch_add(&fake.swaps, 1);
    return 0;
}

static int32_t set_control(void *context_, const float *data, size_t n, int32_t n_embd, int32_t first, int32_t last) {
    context *c = context_;
    CHECK(pthread_equal(c->owner, pthread_self()) && n_embd == 64 && first == 1 && last == 4 && (data == NULL || n == 3 * 64));
    c->control = data == NULL ? 0 : 1 + (int32_t) data[0];
    return 0;
}

/* A state is a magic number, how many tokens, where the memory begins, the adapters, and the tokens. */
enum { STATE_MAGIC = 0x51a7e };

static size_t state_size(void *context_, int32_t seq) {
    context *c = context_;
    CHECK(pthread_equal(c->owner, pthread_self()) && seq >= 0 && seq < (int32_t) c->params.n_seq_max);
    return ((size_t) c->sequences[seq].n * (size_t) c->model->options.state_width + 4) * sizeof(int32_t);
}

static size_t state_get(void *context_, uint8_t *out, size_t size, int32_t seq) {
    context *c = context_;
    const sequence *s = &c->sequences[seq];
    int32_t n = s->n, swa = c->model->options.swa;
    int32_t head[4] = {STATE_MAGIC, n, swa > 0 && n > swa ? n - swa : s->from, s->set};
    CHECK(!c->copying);
    if (size < state_size(c, seq)) {
        return 0;
    }
    memcpy(out, head, sizeof head);
    for (int32_t i = 0, width = c->model->options.state_width; i < n * width; i++) {
        memcpy(out + sizeof head + (size_t) i * sizeof(int32_t), &s->tokens[i / width], sizeof(int32_t));
    }
    atomic_fetch_add(&fake.saved, 1);
    return state_size(c, seq);
}

static size_t state_set(void *context_, const uint8_t *in, size_t size, int32_t seq) {
    context *c = context_;
    sequence *s = &c->sequences[seq];
    int32_t head[4], width = c->model->options.state_width;
    CHECK(pthread_equal(c->owner, pthread_self()) && seq >= 0 && seq < (int32_t) c->params.n_seq_max);
    CHECK(size >= sizeof head && !c->copying);
    memcpy(head, in, sizeof head);
    /* the real one may fail an assertion over such bytes */
    CHECK(head[0] == STATE_MAGIC && head[1] >= 0 && head[1] <= c->room && size == ((size_t) (head[1] * width) + 4) * sizeof(int32_t));
    s->n = s->from = 0;
    if (atomic_exchange(&fake.refuse_state, 0) != 0) {
        complain(4, "failed to restore the cache");
        return 0;
    }
    for (int32_t i = 0; i < head[1] * width; i++) {
        memcpy(&s->tokens[i / width], in + sizeof head + (size_t) i * sizeof(int32_t), sizeof(int32_t));
    }
    s->n = head[1];
    s->from = head[2];
    s->set = head[3];
    atomic_fetch_add(&fake.restored, 1);
    return size;
}

static bool is_recurrent(const void *m) {
    return ((const model *) m)->options.recurrent;
}

static bool is_hybrid(const void *m) {
    (void) m;
    return false;
}

static int32_t n_swa(const void *m) {
    return ((const model *) m)->options.swa;
}

static void memory_clear(void *memory, bool data) {
    context *c = memory;
    (void) data;
    for (uint32_t i = 0; i < c->params.n_seq_max; i++) {
        c->sequences[i].n = c->sequences[i].from = 0;
    }
}

/* Everything that the worker promises about a batch. */
static void check_batch(context *c, const mk_batch *b) {
    int sequences = 0;
    CHECK(pthread_equal(c->owner, pthread_self()));
    CHECK(b->n_tokens > 0 && b->n_tokens <= (int32_t) c->params.n_batch && b->embd == NULL);
    c->n_outputs = b->n_tokens;
    for (int32_t i = 0; i < b->n_tokens; i++) {
        int32_t seq = b->seq_id[i][0];
        bool first = i == 0 || b->seq_id[i - 1][0] != seq;
        CHECK(b->n_seq_id[i] == 1 && seq >= 0 && seq < (int32_t) c->params.n_seq_max);
        CHECK(b->token[i] >= 0 && b->token[i] < c->model->options.n_vocab);
        CHECK(b->pos[i] < c->room);
        CHECK(c->sequences[seq].gap_to == 0);
        if (c->sequences[seq].n == 0) {
            c->sequences[seq].set = c->set + 7 * c->control;
        }
        CHECK(c->sequences[seq].set == c->set + 7 * c->control);
        CHECK(b->pos[i] == (first ? c->sequences[seq].n : b->pos[i - 1] + 1));
        CHECK(first || b->logits[i] || !b->logits[i - 1]); /* logits are asked for at the end, of one token or of drafted ones */
        for (int32_t k = 0; first && k < i; k++) {
            CHECK(b->seq_id[k][0] != seq); /* a sequence's tokens lie together */
        }
        sequences += first;
    }
    if (sequences > atomic_load(&fake.most_sequences)) {
        atomic_store(&fake.most_sequences, sequences);
    }
}

static int32_t decode(void *context_, mk_batch b) {
    context *c = context_;
    int result = atomic_exchange(&fake.fail, 0), how = atomic_load(&fake.assertion);
    int32_t kept = b.n_tokens;
    if (c->params.embeddings && c->model->options.no_memory) {
        memory_clear(c, false);
    }
    CHECK(!c->model->options.no_memory || c->params.embeddings); /* an encoder has no words */
    check_batch(c, &b);
#ifdef __linux__
    atomic_store(&fake.nice, getpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid)));
#endif
    c->copying = false;
    atomic_fetch_add(c->params.embeddings ? &fake.embedded : c->model->price < 1 ? &fake.guessed : &fake.decodes, 1);
    if (how != 0 && how != FAKE_ASSERT_WHEN_ABORTED) {
        atomic_store(&fake.assertion, 0);
        fail_as_told(how);
    }
    atomic_fetch_add(&fake.decoding, b.n_tokens);
    if (!work(atomic_load(&fake.decode_us) + b.n_tokens * atomic_load(&fake.token_us), c->params.abort, c->params.abort_data)) {
        atomic_fetch_add(&fake.aborted, 1);
        result = 2;
        if (how == FAKE_ASSERT_WHEN_ABORTED) {
            fail_as_told(how);
        }
    }
    atomic_fetch_sub(&fake.decoding, b.n_tokens);
    if (result == 0 && atomic_load(&fake_prices) != NULL) {
        double begun = fake_clock(), ended = begun + c->model->price * price(&b, c->model->options.unified);
        atomic_store(&virtual_now, ended);
        if (atomic_load(&fake_witness) != NULL) {
            atomic_load(&fake_witness)(&b, begun, ended);
        }
    }
    if (result != 0) {
        kept = result == 2 || result < -1 ? b.n_tokens / 2 : 0; /* the others leave the cache as it was */
        complain(4, result == 2 ? "llama_decode: failed to decode, ret = 2" : "the cache is in a bad mood"); /* the real one does */
    }
    for (int32_t i = 0; i < b.n_tokens; i++) {
        c->outputs[i] = result == 0 && b.logits[i] ? b.seq_id[i][0] : -1;
        c->known[i] = b.pos[i] + 1;
    }
    for (int32_t i = 0; result == 0 && c->rows != NULL && i < b.n_tokens; i++) {
        int32_t row = c->params.pooling == 0 ? i : b.seq_id[i][0];
        for (int32_t k = 0; k < FAKE_DIMENSIONS; k++) {
            float part = c->params.pooling == 4 ? 1 : (float) ((b.token[i] + 1) * (k + 1));
            c->rows[row][k] = part + (c->params.pooling != 0 && b.pos[i] > 0 ? c->rows[row][k] : 0);
        }
    }
    for (int32_t i = 0; i < kept; i++) {
        sequence *s = &c->sequences[b.seq_id[i][0]];
        s->tokens[s->n++] = b.token[i];
    }
    atomic_fetch_add(&fake.decoded, result == 0);
    return result;
}

/* ---- embeddings ---- */

static int pooling_type(const void *c) {
    return ((const context *) c)->params.pooling;
}

static int32_t n_embd_out(const void *m) {
    (void) m;
    return FAKE_DIMENSIONS;
}

static float *embeddings_ith(void *context_, int32_t i) {
    context *c = context_;
    CHECK(pthread_equal(c->owner, pthread_self()) && c->params.pooling == 0 && i >= 0 && i < c->n_outputs && c->outputs[i] >= 0);
    return c->rows[i];
}

static float *embeddings_seq(void *context_, int32_t seq) {
    context *c = context_;
    CHECK(pthread_equal(c->owner, pthread_self()) && c->params.pooling != 0 && seq >= 0 && seq < (int32_t) c->params.n_seq_max);
    return c->rows[seq];
}

static int32_t sep(const void *v) {
    (void) v;
    return FAKE_SEP;
}

static bool yes(const void *v) {
    (void) v;
    return true;
}


/* ---- sampling ---- */

static void *chain_init(mk_chain_params params) {
    sampler *s = calloc(1, sizeof *s);
    CHECK(s != NULL && params.no_perf);
    atomic_fetch_add(&fake.samplers, 1);
    return s;
}

static void *named(const char *name) {
    sampler *s = chain_init((mk_chain_params){true});
    snprintf(s->names, sizeof s->names, "%s", name);
    return s;
}

static void sampler_free(void *s) {
    atomic_fetch_sub(&fake.samplers, 1);
    free(s);
}

static void chain_add(void *chain, void *link) {
    sampler *c = chain, *s = link;
    size_t n = strlen(c->names);
    snprintf(c->names + n, sizeof c->names - n, "%s%s", n > 0 ? " " : "", s->names);
    if (fake_options.note_chain) {
        snprintf(fake_chain, sizeof fake_chain, "%s", c->names);
    }
    sampler_free(link);
}

static void *greedy(void) {
    return named("greedy");
}

static void *dist(uint32_t seed) {
    (void) seed;
    return named("dist");
}

static void *top_k(int32_t k) {
    (void) k;
    return named("top_k");
}

static void *top_p(float p, size_t keep) {
    (void) p;
    (void) keep;
    return named("top_p");
}

static void *min_p(float p, size_t keep) {
    (void) p;
    (void) keep;
    return named("min_p");
}

static void *temp(float t) {
    (void) t;
    return named("temp");
}

static void *penalties(int32_t n, int32_t last, float repeat, float frequency, float presence) {
    (void) n;
    (void) last;
    (void) repeat;
    (void) frequency;
    (void) presence;
    return named("penalties");
}

static void *typical(float p, size_t keep) {
    (void) p;
    (void) keep;
    return named("typical");
}

static void *temp_ext(float t, float delta, float exponent) {
    (void) t;
    (void) delta;
    (void) exponent;
    return named("temp_ext");
}

static void *top_n_sigma(float n) {
    (void) n;
    return named("top_n_sigma");
}

static void *xtc(float p, float t, size_t keep, uint32_t seed) {
    (void) p;
    (void) t;
    (void) keep;
    (void) seed;
    return named("xtc");
}

static void *mirostat(int32_t n, uint32_t seed, float tau, float eta, int32_t m) {
    (void) seed;
    (void) tau;
    (void) eta;
    (void) m;
    CHECK(n == fake_options.n_vocab);
    return named("mirostat");
}

static void *mirostat_v2(uint32_t seed, float tau, float eta) {
    (void) seed;
    (void) tau;
    (void) eta;
    return named("mirostat_v2");
}

static void *adaptive_p(float target, float decay, uint32_t seed) {
    (void) target;
    (void) decay;
    (void) seed;
    return named("adaptive_p");
}

static void *dry(const void *v, float by, float base, int32_t allowed, int32_t last, const char **breakers, size_t n) {
    char name[64] = "dry";
    (void) by;
    (void) base;
    (void) allowed;
    (void) last;
    CHECK(v != NULL);
    for (size_t i = 0; i < n; i++) {
        strncat(name, breakers[i], sizeof name - strlen(name) - 1);
    }
    return named(name);
}

static void *logit_bias(int32_t n_vocab, int32_t n, const void *all) {
    CHECK(n_vocab == fake_options.n_vocab && n > 0 && *(const int32_t *) all < n_vocab);
    return named("logit_bias");
}

static void *infill(const void *v) {
    CHECK(v != NULL);
    return named("infill");
}

int32_t fake_dice(int32_t k, int32_t first) {
    uint32_t dice = (uint32_t) (k + 1) * 2654435761u + (uint32_t) first * 40503u;
    dice = (dice ^ dice >> 15) * 2246822519u;
    return 'a' + (int32_t) ((dice ^ dice >> 13) % 3);
}

/* What the script says next, after the sequence with logits at this index. */
static int32_t scripted(context *c, int32_t index) {
    const sequence *s;
    int32_t go, say, k, n;
    CHECK(index >= 0 && index < c->n_outputs && c->outputs[index] >= 0); /* there are logits, of a decode that went well */
    s = &c->sequences[c->outputs[index]];
    n = c->known[index];
    CHECK(n <= s->n); /* nothing of what these logits have seen was dropped since */
    for (go = n - 1; go >= 0 && s->tokens[go] != FAKE_GO && s->tokens[go] != FAKE_ECHO && s->tokens[go] != FAKE_DICE; go--) {
    }
    CHECK(go >= 0); /* a prompt without a script, or logits asked for in its middle */
    k = n - 1 - go;
    if (s->tokens[go] == FAKE_DICE) {
        return fake_dice(k, s->tokens[0]);
    }
    if (s->tokens[go] == FAKE_ECHO) {
        return k < go ? s->tokens[k] : FAKE_EOT;
    }
    for (say = go; s->tokens[say] != FAKE_SAY; say--) {
        CHECK(say > 0);
    }
    return k < go - say - 1 ? s->tokens[say + 1 + k] : FAKE_EOT;
}

static int32_t sample(void *chain, void *context_, int32_t index) {
    context *c = context_;
    CHECK(chain != NULL && pthread_equal(c->owner, pthread_self()));
    return scripted(c, index);
}

/* The script's token is the likeliest; then come all others, the lower ones first. */
static float *logits_ith(void *context_, int32_t index) {
    context *c = context_;
    int32_t n = c->model->options.n_vocab, token;
    CHECK(pthread_equal(c->owner, pthread_self()));
    c->logits = realloc(c->logits, (size_t) n * sizeof *c->logits);
    CHECK(c->logits != NULL);
    for (int32_t i = 0; i < n; i++) {
        c->logits[i] = (float) -i / 64;
    }
    token = scripted(c, index);
    c->logits[c->model->liar && c->known[index] % 2 == 0 ? (token + 1) % n : token] = 5;
    return c->logits;
}

typedef struct candidate {
    int32_t id;
    float logit, p;
} candidate;

typedef struct candidates {
    candidate *data;
    size_t size;
    int64_t selected;
    bool sorted;
} candidates;

static void sampler_apply(void *chain, void *candidates_) {
    candidates *c = candidates_;
    CHECK(chain != NULL && c->size > 0);
    c->selected = 0;
    for (size_t i = 1; i < c->size; i++) {
        c->selected = c->data[i].logit > c->data[c->selected].logit ? (int64_t) i : c->selected;
    }
}

static void sampler_accept(void *chain, int32_t token) {
    CHECK(chain != NULL && token >= 0);
}

/* ---- the table ---- */

void fake_fill(mk_table *table) {
    static const struct {
        const char *name;
        void (*function)(void);
    } all[] = {
#define ENTRY(name, function) {#name, (void (*)(void)) function}
        ENTRY(llama_model_load_from_file, model_load),
        ENTRY(llama_model_load_from_splits, load_from_splits),
        ENTRY(ggml_init, ggml_init_),
        ENTRY(ggml_free, free),
        ENTRY(ggml_tensor_overhead, tensor_overhead),
        ENTRY(ggml_new_tensor_1d, new_tensor_1d),
        ENTRY(ggml_backend_dev_by_name, dev_by_name),
        ENTRY(ggml_backend_dev_supports_op, supports_op),
        ENTRY(llama_set_warmup, set_warmup),
        ENTRY(llama_synchronize, synchronize),
        ENTRY(llama_attach_threadpool, attach_threadpool),
        ENTRY(llama_perf_context, perf_context),
        ENTRY(llama_model_free, model_free),
        ENTRY(llama_init_from_model, init_from_model),
        ENTRY(llama_free, context_free),
        ENTRY(llama_model_get_vocab, get_vocab),
        ENTRY(llama_get_memory, get_memory),
        ENTRY(llama_model_n_ctx_train, n_ctx_train),
        ENTRY(llama_model_n_layer, n_layer),
        ENTRY(llama_model_n_embd, n_embd),
        ENTRY(llama_model_size, model_size),
        ENTRY(llama_model_n_params, n_params),
        ENTRY(llama_model_desc, desc),
        ENTRY(llama_model_meta_val_str, meta_val_str),
        ENTRY(llama_model_chat_template, chat_template),
        ENTRY(llama_model_has_encoder, has_encoder),
        ENTRY(llama_model_has_decoder, has_decoder),
        ENTRY(llama_n_ctx, n_ctx),
        ENTRY(llama_n_batch, n_batch),
        ENTRY(llama_vocab_type, vocab_type),
        ENTRY(llama_vocab_n_tokens, n_vocab),
        ENTRY(llama_vocab_get_text, get_text),
        ENTRY(llama_vocab_bos, bos),
        ENTRY(llama_vocab_eos, eos),
        ENTRY(llama_vocab_eot, eot),
        ENTRY(llama_vocab_get_add_bos, get_add_bos),
        ENTRY(llama_vocab_is_eog, is_eog),
        ENTRY(llama_tokenize, tokenize),
        ENTRY(llama_token_to_piece, token_to_piece),
        ENTRY(llama_decode, decode),
        ENTRY(llama_memory_seq_rm, seq_rm),
        ENTRY(llama_memory_clear, memory_clear),
        ENTRY(llama_memory_seq_pos_min, seq_pos_min),
        ENTRY(llama_memory_seq_cp, seq_cp),
        ENTRY(llama_memory_seq_add, seq_add),
        ENTRY(llama_memory_can_shift, can_shift),
        ENTRY(llama_adapter_lora_init, lora_init),
        ENTRY(llama_set_adapters_lora, set_loras),
        ENTRY(llama_set_adapter_cvec, set_control),
        ENTRY(llama_state_seq_get_size, state_size),
        ENTRY(llama_state_seq_get_data, state_get),
        ENTRY(llama_state_seq_set_data, state_set),
        ENTRY(llama_model_is_recurrent, is_recurrent),
        ENTRY(llama_model_is_hybrid, is_hybrid),
        ENTRY(llama_model_n_swa, n_swa),
        ENTRY(llama_pooling_type, pooling_type),
        ENTRY(llama_model_n_embd_out, n_embd_out),
        ENTRY(llama_get_embeddings_ith, embeddings_ith),
        ENTRY(llama_get_embeddings_seq, embeddings_seq),
        ENTRY(llama_vocab_sep, sep),
        ENTRY(llama_vocab_get_add_eos, yes),
        ENTRY(llama_vocab_get_add_sep, yes),
        ENTRY(llama_get_logits_ith, logits_ith),
        ENTRY(llama_sampler_apply, sampler_apply),
        ENTRY(llama_sampler_accept, sampler_accept),
        ENTRY(llama_sampler_chain_init, chain_init),
        ENTRY(llama_sampler_chain_add, chain_add),
        ENTRY(llama_sampler_init_greedy, greedy),
        ENTRY(llama_sampler_init_dist, dist),
        ENTRY(llama_sampler_init_top_k, top_k),
        ENTRY(llama_sampler_init_top_p, top_p),
        ENTRY(llama_sampler_init_min_p, min_p),
        ENTRY(llama_sampler_init_temp, temp),
        ENTRY(llama_sampler_init_typical, typical),
        ENTRY(llama_sampler_init_temp_ext, temp_ext),
        ENTRY(llama_sampler_init_top_n_sigma, top_n_sigma),
        ENTRY(llama_sampler_init_xtc, xtc),
        ENTRY(llama_sampler_init_mirostat, mirostat),
        ENTRY(llama_sampler_init_mirostat_v2, mirostat_v2),
        ENTRY(llama_sampler_init_adaptive_p, adaptive_p),
        ENTRY(llama_sampler_init_dry, dry),
        ENTRY(llama_sampler_init_logit_bias, logit_bias),
        ENTRY(llama_sampler_init_infill, infill),
        ENTRY(llama_sampler_init_penalties, penalties),
        ENTRY(llama_sampler_sample, sample),
        ENTRY(llama_sampler_free, sampler_free),
        ENTRY(ggml_set_abort_callback, set_abort_callback),
        ENTRY(llama_log_set, set_log),
        ENTRY(ggml_abort, ggml_abort_),
#undef ENTRY
    };
    for (int i = 0; mk_table_name(i) != NULL; i++) {
        bool found = false;
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            if (strcmp(all[k].name, mk_table_name(i)) == 0) {
                void *function;
                memcpy(&function, &all[k].function, sizeof function);
                found = mk_table_set(table, i, function) == 0;
            }
        }
        CHECK(found); /* the worker calls a function that the fake does not have yet */
    }
    CHECK(mk_table_set(table, -1, NULL) == -1 && mk_table_name(-1) == NULL);
}
