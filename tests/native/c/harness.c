#include "harness.h"
#include "platform.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[512];
enum { PATIENCE = 100 }; /* seconds until a wait is a broken promise */

double now(void) {
    return mk_now();
}

static void nap(void) {
    struct timespec t = {0, 50000};
    nanosleep(&t, NULL);
}

void harness_begin(int argc, char **argv, int seconds) {
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    alarm((unsigned) seconds);
}

const char *scratch_file(const char *name) {
    static char path[700];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

void write_file(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, n, file) == n);
    CHECK(fclose(file) == 0);
}

/* xorshift64*, so that a seed means the same everywhere */
uint32_t random_below(uint64_t *state, uint32_t n) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t) ((*state * 0x2545f4914f6cdd1dull) >> 33) % n;
}

/* ---- a GGUF header ---- */

typedef struct out {
    uint8_t *bytes;
    size_t n;
} out;

static void put_number(out *o, uint64_t value, int width) {
    for (int i = 0; i < width; i++) {
        o->bytes[o->n++] = (uint8_t) (value >> (8 * i));
    }
}

static void put_text(out *o, const char *text) {
    put_number(o, strlen(text), 8);
    memcpy(o->bytes + o->n, text, strlen(text));
    o->n += strlen(text);
}

static void put_u32(out *o, const char *key, uint32_t value) {
    put_text(o, key);
    put_number(o, 4, 4);
    put_number(o, value, 4);
}

size_t adapter_build(uint8_t *bytes) {
    out o = {bytes, 0};
    memcpy(bytes, "GGUF", 4);
    o.n = 4;
    put_number(&o, 3, 4);
    put_number(&o, 0, 8);
    put_number(&o, 3, 8);
    for (int i = 0; i < 3; i++) {
        put_text(&o, i == 0 ? "general.type" : i == 1 ? "general.architecture" : "adapter.type");
        put_number(&o, 8, 4);
        put_text(&o, i == 0 ? "adapter" : i == 1 ? "llama" : "lora");
    }
    memset(bytes + o.n, 0, 40);
    return o.n + 40;
}

size_t gguf_build(uint8_t *bytes) {
    static const char *const tokens[] = {"<s>", "</s>", "a", "b"};
    out o = {bytes, 0};
    memcpy(bytes, "GGUF", 4);
    o.n = 4;
    put_number(&o, 3, 4);
    put_number(&o, 2, 8);  /* tensors */
    put_number(&o, 13, 8); /* values */
    put_text(&o, "general.architecture");
    put_number(&o, 8, 4);
    put_text(&o, "llama");
    put_u32(&o, "general.alignment", 32);
    put_u32(&o, "llama.block_count", 4);
    put_u32(&o, "llama.context_length", 2048);
    put_u32(&o, "llama.embedding_length", 64);
    put_u32(&o, "llama.attention.head_count", 4);
    put_u32(&o, "llama.attention.head_count_kv", 2);
    put_u32(&o, "llama.rope.dimension_count", 16);
    put_u32(&o, "tokenizer.ggml.bos_token_id", 0);
    put_text(&o, "tokenizer.ggml.model");
    put_number(&o, 8, 4);
    put_text(&o, "llama");
    put_text(&o, "tokenizer.ggml.tokens");
    put_number(&o, 9, 4);
    put_number(&o, 8, 4);
    put_number(&o, 4, 8);
    for (int i = 0; i < 4; i++) {
        put_text(&o, tokens[i]);
    }
    put_text(&o, "tokenizer.ggml.scores");
    put_number(&o, 9, 4);
    put_number(&o, 6, 4);
    put_number(&o, 4, 8);
    put_number(&o, 0, 8);
    put_number(&o, 0, 8);
    put_text(&o, "general.trained");
    put_number(&o, 7, 4);
    put_number(&o, 1, 1);
    put_text(&o, "token_embd.weight");
    put_number(&o, 2, 4);
    put_number(&o, 64, 8);
    put_number(&o, 4, 8);
    put_number(&o, 0, 4);
    put_number(&o, 0, 8);
    put_text(&o, "output_norm.weight");
    put_number(&o, 1, 4);
    put_number(&o, 64, 8);
    put_number(&o, 0, 4);
    put_number(&o, 32, 8);
    memset(bytes + o.n, 0, 40); /* data */
    return o.n + 40;
}

/* ---- an engine ---- */

mk_config usual_config(void) {
    static char path[700];
    uint8_t header[2000];
    mk_config config = {0};
    snprintf(path, sizeof path, "%s", scratch_file("good.gguf"));
    write_file(path, header, gguf_build(header));
    config.model_path = path;
    config.slots = 4;
    config.context = 512;
    config.ring_bytes = 1 << 18;
    config.queue_length = 64;
    config.slice_seconds = 0.005;
    config.slice_seconds_alone = 0.1;
    config.log_level = 5;
    config.cache_bytes = 1 << 20;
    config.at_gpu_layers = offsetof(fake_model_params, n_gpu_layers);
    config.at_progress = offsetof(fake_model_params, progress);
    config.at_progress_data = offsetof(fake_model_params, progress_data);
    config.at_no_alloc = offsetof(fake_model_params, no_alloc);
    config.at_load_mode = offsetof(fake_model_params, load_mode);
    config.at_devices = offsetof(fake_model_params, devices);
    config.at_abort = offsetof(fake_context_params, abort);
    config.at_abort_data = offsetof(fake_context_params, abort_data);
    config.at_n_ctx = offsetof(fake_context_params, n_ctx);
    config.at_n_batch = offsetof(fake_context_params, n_batch);
    config.at_n_ubatch = offsetof(fake_context_params, n_ubatch);
    config.at_n_outputs = offsetof(fake_context_params, n_outputs);
    config.at_n_sequences = offsetof(fake_context_params, n_seq_max);
    config.at_pooling = offsetof(fake_context_params, pooling);
    memcpy(&config.embed_params, &(fake_context_params){.embeddings = true}, sizeof(fake_context_params));
    set_batch(&config, 512);
    return config;
}

void set_batch(mk_config *config, uint32_t n_batch) {
    fake_context_params params = {.n_batch = n_batch};
    memcpy(&config->context_params, &params, sizeof params);
}

void host_open(host *h, const mk_config *config) {
    mk_config c = *config;
    mk_table table;
    fake_context_params params;
    memset(h, 0, sizeof *h);
    memcpy(&params, &c.context_params, sizeof params);
    params.n_ctx = c.slots * c.context;
    params.n_seq_max = c.slots;
    memcpy(&c.context_params, &params, sizeof params);
    fake_fill(&table);
    h->drain_size = 4096;
    h->engine = mk_engine_new(&table, &c);
    CHECK(h->engine != NULL);
}

void host_open_ready(host *h, const mk_config *config) {
    host_open(h, config);
    host_until_loaded(h);
    CHECK(h->loaded == 1 && h->failed == 0 && state_of(h) == MK_READY);
}

void host_close_engine(host *h) {
    if (h->engine != NULL) {
        mk_engine_close(h->engine);
        h->engine = NULL;
    }
}

void host_close(host *h) {
    host_close_engine(h);
    for (uint64_t i = 0; i < h->n_streams; i++) {
        free(h->streams[i].text);
    }
    free(h->streams);
    free(h->bytes);
    memset(h, 0, sizeof *h);
}

uint32_t state_of(host *h) {
    return atomic_load((_Atomic uint32_t *) &mk_engine_shared(h->engine)->state);
}

heard *host_heard(host *h, uint64_t id) {
    CHECK(id > 0 && id <= h->n_streams);
    return &h->streams[id - 1];
}

/* ---- reading events ---- */

typedef struct record {
    const uint8_t *at, *end;
    bool cut; /* the record is not whole yet */
} record;

static uint64_t big_endian(record *r, int width) {
    uint64_t v = 0;
    if (r->end - r->at < width) {
        r->cut = true;
        return 0;
    }
    for (int i = 0; i < width; i++) {
        v = v << 8 | *r->at++;
    }
    return v;
}

static uint64_t get_uint(record *r) {
    uint8_t tag = (uint8_t) big_endian(r, 1);
    CHECK(r->cut || tag < 0x80 || (tag >= 0xcc && tag <= 0xcf));
    return r->cut || tag < 0x80 ? tag : big_endian(r, 1 << (tag - 0xcc));
}

static double get_double(record *r) {
    uint64_t tag = big_endian(r, 1), bits = big_endian(r, 8);
    double v;
    CHECK(r->cut || tag == 0xcb);
    memcpy(&v, &bits, sizeof v);
    return v;
}

static const char *get_text(record *r, size_t *n) {
    uint8_t tag = (uint8_t) big_endian(r, 1);
    const uint8_t *text;
    CHECK(r->cut || (tag & 0xe0) == 0xa0 || (tag >= 0xd9 && tag <= 0xdb));
    *n = (tag & 0xe0) == 0xa0 ? (tag & 0x1fu) : r->cut ? 0 : (size_t) big_endian(r, 1 << (tag - 0xd9));
    if (r->cut || (size_t) (r->end - r->at) < *n) {
        r->cut = true;
        *n = 0;
    }
    text = r->at;
    r->at += *n;
    CHECK(is_utf8((const char *) text, *n)); /* no reader of msgpack takes anything else for a string */
    return (const char *) text;
}

static void add_text(heard *s, const char *text, size_t n) {
    s->text = realloc(s->text, s->size + n + 1);
    CHECK(s->text != NULL);
    memcpy(s->text + s->size, text, n);
    s->size += n;
    s->text[s->size] = '\0';
}

static void of_engine(host *h, record *r, uint64_t kind, uint64_t fields) {
    size_t n;
    const char *text;
    uint64_t code, level = 0;
    if (kind == MK_LOADED) {
        CHECK(fields == 2 && h->loaded == 0 && h->failed == 0);
        h->loaded = 1;
        return;
    }
    if (kind == MK_LOG) {
        level = get_uint(r);
        CHECK(fields == 4 && level <= 4);
    }
    text = get_text(r, &n);
    code = kind == MK_FAILED ? get_uint(r) : 0;
    if (r->cut) {
        return;
    }
    if (kind == MK_LOG) {
        h->logs++;
        h->errors += level == 4;
        h->warnings += level == 3;
        snprintf(h->log, sizeof h->log, "%.*s", (int) n, text);
        return;
    }
    CHECK(kind == MK_FAILED && fields == 4 && h->loaded == 0 && h->failed == 0 && n > 0);
    h->failed = 1;
    h->failed_code = code;
    snprintf(h->reason, sizeof h->reason, "%.*s", (int) n, text);
}

static void of_stream(host *h, record *r, heard *s, uint64_t kind, uint64_t fields) {
    size_t n = 0;
    const char *text;
    uint64_t a = get_uint(r), b = kind == MK_STARTED || kind == MK_DONE || kind == MK_LEFT ? get_uint(r) : 0;
    double first = kind == MK_DONE ? get_double(r) : 0, rest = kind == MK_DONE ? get_double(r) : 0;
    text = kind == MK_STARTED || kind == MK_LEFT ? "" : get_text(r, &n);
    if (r->cut) {
        return;
    }
    CHECK(s->ended == 0); /* nothing comes after the end, and the end comes once */
    switch (kind) {
    case MK_STARTED:
        CHECK(fields == 4 && s->started == 0 && b < a);
        s->started = 1;
        s->prompt = (int) a;
        s->cached = (int) b;
        break;
    case MK_LEFT:
        CHECK(fields == 4 && s->started == 1 && b > 0);
        s->left_turns += (int) a;
        s->left_tokens += (int) b;
        break;
    case MK_THOUGHT:
        CHECK(fields == 4 && s->started == 1);
        s->tokens++;
        strncat(s->thought, text, n < sizeof s->thought - strlen(s->thought) - 1 ? n : sizeof s->thought - strlen(s->thought) - 1);
        break;
    case MK_TOKEN:
        CHECK(fields == 4 && s->started == 1);
        s->tokens++;
        add_text(s, text, n);
        break;
    case MK_DONE:
        CHECK(fields == 7 && (s->started == 1 || a == MK_FINISH_CANCELLED) && (int) b == s->tokens);
        CHECK(first >= 0 && rest >= 0 && (s->tokens == 0 || first > 0));
        s->finish = (int) a;
        s->generated = (int) b;
        s->first = first;
        s->rest = rest;
        add_text(s, text, n);
        s->ended = 1;
        h->n_ended++;
        break;
    default:
        CHECK(kind == MK_ERROR && fields == 4 && n > 0);
        s->code = (int) a;
        s->finish = -1;
        snprintf(s->reason, sizeof s->reason, "%.*s", (int) n, text);
        s->ended = 1;
        h->n_ended++;
    }
}

/* The token chosen and the likeliest ones, each [token, log-probability, text]. */
static void of_logprobs(record *r, heard *s, uint64_t fields) {
    double before = 0;
    for (uint64_t i = 2; i < fields && !r->cut; i++) {
        uint64_t tag = big_endian(r, 1), token = get_uint(r);
        double logprob = get_double(r);
        size_t n;
        get_text(r, &n);
        CHECK(r->cut || (tag == 0x93 && logprob <= 0 && (i <= 3 || logprob <= before)));
        before = logprob;
        if (i == 2 && !r->cut) {
            s->told_token = (int) token;
            s->told_logprob = logprob;
        }
    }
    if (!r->cut) {
        CHECK(s->ended == 0 && s->told == s->tokens);
        s->told++;
        s->told_n = (int) fields - 3;
    }
}

/* Reads one record; 0 when there is no whole one. */
static size_t read_record(host *h, const uint8_t *at, const uint8_t *end) {
    record r = {at, end, false};
    uint64_t tag = big_endian(&r, 1), fields = tag == 0xdc ? big_endian(&r, 2) : tag & 15;
    uint64_t id = r.cut ? 0 : get_uint(&r), kind = r.cut ? 0 : get_uint(&r);
    if (r.cut) {
        return 0;
    }
    CHECK((tag & 0xf0) == 0x90 || tag == 0xdc);
    if (id == 0) {
        of_engine(h, &r, kind, fields);
    } else if (kind == MK_LOGPROBS) {
        of_logprobs(&r, host_heard(h, id), fields);
    } else {
        of_stream(h, &r, host_heard(h, id), kind, fields);
    }
    return r.cut ? 0 : (size_t) (r.at - at);
}

uint32_t host_drain(host *h) {
    size_t at = 0, n;
    uint32_t got;
    h->bytes = realloc(h->bytes, h->used + h->drain_size);
    CHECK(h->bytes != NULL);
    got = mk_engine_drain(h->engine, h->bytes + h->used, h->drain_size);
    h->used += got;
    h->taken += got;
    while ((n = read_record(h, h->bytes + at, h->bytes + h->used)) > 0) {
        at += n;
    }
    memmove(h->bytes, h->bytes + at, h->used - at);
    h->used -= at;
    return got;
}

bool host_has_news(host *h) {
    return atomic_load((_Atomic uint64_t *) &mk_engine_shared(h->engine)->head) != h->taken;
}

/* Like a game: a tick without news makes no call, so it cannot wake a worker that missed its wake-up. */
#define UNTIL(condition)                                                                                               \
    for (double begun_ = now(); !(condition);) {                                                                       \
        CHECK(now() - begun_ < PATIENCE);                                                                              \
        if (host_has_news(h)) {                                                                                        \
            host_drain(h);                                                                                             \
        } else {                                                                                                       \
            nap();                                                                                                     \
        }                                                                                                              \
    }

void host_until_loaded(host *h) {
    UNTIL(h->loaded || h->failed)
}

void host_until_ended(host *h, uint64_t id) {
    UNTIL(host_heard(h, id)->ended)
}

void host_until_all_ended(host *h) {
    UNTIL(h->n_ended == h->n_streams)
}

void host_until_heard(host *h, uint64_t id, int tokens) {
    UNTIL(host_heard(h, id)->tokens >= tokens)
}

void until(_Atomic int *value, int at_least) {
    for (double begun = now(); atomic_load(value) < at_least; nap()) {
        CHECK(now() - begun < PATIENCE);
    }
}

/* ---- asking ---- */

ask *ask_new(void) {
    static ask a;
    a.n = a.n_segments = a.n_stops = 0;
    a.max_tokens = 10000;
    a.trim_start = a.add_bos = a.keep = false;
    a.pin = -1;
    a.overflow = MK_REFUSE;
    a.adapters = 0;
    a.temperature = a.min_p = 0;
    a.top_p = a.repeat_penalty = 1;
    a.top_k = 0;
    a.grammar = a.open = a.close = NULL;
    a.thinking = false;
    a.budget = -1;
    a.n_triggers = a.logprobs = a.n_samplers = 0;
    return &a;
}

void ask_tokens(ask *a, const int32_t *tokens, int n) {
    CHECK(a->n + n <= (int) (sizeof a->tokens / sizeof *a->tokens));
    if (n > 0) {
        memcpy(a->tokens + a->n, tokens, (size_t) n * sizeof *tokens);
    }
    a->n += n;
}

void ask_text(ask *a, const char *text) {
    for (; *text != '\0'; text++) {
        ask_tokens(a, (int32_t[]){(unsigned char) *text}, 1);
    }
}

void ask_filler(ask *a, int n, int kind) {
    for (int i = 0; i < n; i++) {
        ask_tokens(a, (int32_t[]){(i * 7 + kind) % 256}, 1);
    }
}

void ask_reply_tokens(ask *a, const int32_t *tokens, int n) {
    ask_tokens(a, (int32_t[]){FAKE_SAY}, 1);
    ask_tokens(a, tokens, n);
    ask_tokens(a, (int32_t[]){FAKE_GO}, 1);
}

void ask_reply(ask *a, const char *text) {
    ask_tokens(a, (int32_t[]){FAKE_SAY}, 1);
    ask_text(a, text);
    ask_tokens(a, (int32_t[]){FAKE_GO}, 1);
}

void ask_segment(ask *a, int kind, const char *text) {
    CHECK(a->n_segments < 8);
    a->segments[a->n_segments++] = (mk_segment){text, (int32_t) strlen(text), kind, false};
}

int host_request(host *h, mk_request *request) {
    int result;
    if (h->n_streams == h->room) {
        h->room = h->room * 2 + 16;
        h->streams = realloc(h->streams, h->room * sizeof *h->streams);
        CHECK(h->streams != NULL);
    }
    memset(&h->streams[h->n_streams++], 0, sizeof *h->streams);
    request->id = h->n_streams;
    result = mk_engine_submit(h->engine, request);
    h->n_streams -= result != 0;
    return result;
}

int host_try(host *h, const ask *a) {
    mk_segment whole = {a->tokens, a->n, MK_TOKENS, false}, stops[4];
    mk_segment open, close, grammar, root = {.data = "root", .length = 4}, triggers[4];
    mk_request request = {.max_tokens = a->max_tokens, .trim_start = a->trim_start, .seed = 1};
    for (int i = 0; i < a->n_stops; i++) {
        stops[i] = (mk_segment){a->stops[i], (int32_t) strlen(a->stops[i]), MK_TEXT, false};
    }
    request.segments = a->n_segments > 0 ? a->segments : &whole;
    request.n_segments = a->n_segments > 0 ? a->n_segments : 1;
    request.stops = stops;
    request.n_stops = a->n_stops;
    request.logprobs = a->logprobs;
    open = (mk_segment){.data = a->open, .length = a->open == NULL ? 0 : (int32_t) strlen(a->open)};
    close = (mk_segment){.data = a->close, .length = a->close == NULL ? 0 : (int32_t) strlen(a->close)};
    request.thought_open = a->open == NULL ? NULL : &open;
    request.thought_close = &close;
    request.thinking = a->thinking;
    request.thought_budget = a->budget;
    request.samplers = a->samplers;
    request.n_samplers = a->n_samplers;
    if (a->grammar != NULL) {
        grammar = (mk_segment){.data = a->grammar, .length = (int32_t) strlen(a->grammar)};
        request.grammar = &grammar;
        request.root = &root;
        request.triggers = triggers;
        request.n_triggers = a->n_triggers;
        for (int i = 0; i < a->n_triggers; i++) {
            triggers[i] = (mk_segment){.data = a->triggers[i], .length = (int32_t) strlen(a->triggers[i])};
        }
    }
    request.add_bos = a->add_bos;
    request.n_pin = a->pin;
    request.overflow = a->overflow;
    request.adapters = a->adapters;
    request.keep = a->keep;
    request.temperature = a->temperature;
    request.top_k = a->top_k;
    request.top_p = a->top_p;
    request.min_p = a->min_p;
    request.repeat_penalty = a->repeat_penalty;
    request.repeat_last_n = 64;
    request.priority = a->priority;
    return host_request(h, &request);
}

uint64_t host_score(host *h, const ask *a, const char *const *choices, int n, mk_block **block) {
    mk_segment whole = {.data = a->tokens, .length = a->n, .kind = MK_TOKENS}, all[8];
    mk_request request = {.task = MK_TASK_SCORE, .segments = &whole, .n_segments = 1, .choices = all, .n_choices = n};
    for (int i = 0; i < n; i++) {
        all[i] = (mk_segment){.data = choices[i], .length = (int32_t) strlen(choices[i])};
    }
    CHECK(n <= 8 && (*block = mk_block_new()) != NULL);
    request.block = *block;
    CHECK(host_request(h, &request) == 0);
    return request.id;
}

uint64_t host_submit(host *h, const ask *a) {
    CHECK(host_try(h, a) == 0);
    return h->n_streams;
}

uint64_t host_embed(host *h, int task, const char *const *texts, int n, int pooling, bool trim, mk_block **block) {
    mk_request request = {.task = task, .pooling = pooling, .trim = trim, .n_segments = n};
    mk_segment *segments = calloc((size_t) n + 1, sizeof *segments);
    CHECK(segments != NULL && (*block = mk_block_new()) != NULL);
    for (int i = 0; i < n; i++) {
        segments[i] = (mk_segment){.data = texts[i], .length = (int32_t) strlen(texts[i]), .kind = MK_TEXT};
    }
    request.segments = segments;
    request.block = *block;
    CHECK(host_request(h, &request) == 0);
    free(segments);
    return request.id;
}

void expect_text(host *h, uint64_t id, int finish, const char *text) {
    heard *s;
    host_until_ended(h, id);
    s = host_heard(h, id);
    if (s->finish != finish || s->size != strlen(text) || memcmp(s->text, text, s->size) != 0) {
        fprintf(stderr, "stream %llu: finish %d, expected %d; error \"%s\"; text \"%s\"; expected \"%s\"\n",
                (unsigned long long) id, s->finish, finish, s->reason, s->text == NULL ? "" : s->text, text);
        CHECK(!"the stream says what its script says");
    }
}

bool is_utf8(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *) text;
    for (size_t at = 0; at < n;) {
        int length = s[at] < 0x80 ? 1 : s[at] < 0xc0 ? 0 : s[at] < 0xe0 ? 2 : s[at] < 0xf0 ? 3 : s[at] < 0xf8 ? 4 : 0;
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        uint32_t code;
        if (length == 0 || at + (size_t) length > n) {
            return false;
        }
        code = length == 1 ? s[at] : s[at] & (0xffu >> (length + 1));
        for (int i = 1; i < length; i++) {
            if ((s[at + (size_t) i] & 0xc0) != 0x80) {
                return false;
            }
            code = code << 6 | (s[at + (size_t) i] & 0x3f);
        }
        if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
            return false;
        }
        at += (size_t) length;
    }
    return true;
}
