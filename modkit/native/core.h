/* The worker: one OS thread per engine that alone calls llama.cpp and never takes Python's lock.
 *
 * Who may call what, from where:
 *   - the host's thread: every mk_engine_* function. It may be another thread later, when the host itself makes
 *     sure that the first one is done; never two at a time. mk_engine_death(), mk_engine_shared() and, from
 *     MK_LOADED on, mk_engine_info(), _model(), _vocab(), _plan() and _buffers() only read: any thread;
 *   - the worker: everything in the function table, and the producing side of the ring;
 *   - any thread: mk_table_*, mk_quiet_log(), mk_block_* (see there) and the tools at the end.
 * What blocks: mk_engine_close() alone (it joins the worker). Everything else only copies memory.
 * Who owns what: the table, the config's own fields and the texts model_path, cache_folder and cache_salt are copied,
 * requests and adapters whole. What else the config and the params in its blobs point at (splits, draft_path,
 * quantise_params, output, lists of devices or overrides) is the caller's and must stay as it is until
 * mk_engine_close() has returned; so must the library behind the table.
 *
 * Nothing here includes Python.h or a header of llama.cpp, so a C test can drive it with a scripted
 * library, and a C host could link it. Parameter structs of llama.cpp travel as opaque blobs that the
 * caller filled after checking their layout.
 */
#ifndef MK_CORE_H
#define MK_CORE_H

#include "table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A log callback (for llama_log_set) that says nothing outside the workers: until the first engine. */
void *mk_quiet_log(void);

/* ---- what the worker says ---- */

/* Events are msgpack arrays [request, kind, …] in the ring; request 0 is the engine itself. */
enum {
    MK_LOADED = 1,    /* [0, 1]: mk_engine_info() is complete from now on */
    MK_FAILED = 2,    /* [0, 2, reason, code]: the model could not be loaded; the worker has ended */
    MK_STARTED = 3,   /* [id, 3, prompt tokens, of them already in the KV cache] */
    MK_TOKEN = 4,     /* [id, 4, token, text]: text is what may be shown by now, often empty */
    MK_DONE = 5,      /* [id, 5, finish, generated tokens, s from submit to first token, s from then on, text] */
    MK_ERROR = 6,     /* [id, 6, code, reason]: the stream is over */
    MK_LOG = 7,       /* [0, 7, ggml level, line] */
    MK_THOUGHT = 10,   /* [id, 10, token, text]: as MK_TOKEN, between the marks of a thought */
    MK_LOGPROBS = 8,  /* [id, 8, [token, log-probability, text], …]: the next MK_TOKEN's, then the likeliest ones' */
    MK_LEFT = 9,      /* [id, 9, turns, tokens]: they left the context, from the oldest on, to make room */
};
enum { MK_FINISH_STOP = 0, MK_FINISH_LENGTH = 1, MK_FINISH_CANCELLED = 2, MK_FINISH_STOP_STRING = 3 };
enum { MK_CODE_OVERFLOW = 1, MK_CODE_DECODE = 2, MK_CODE_MEMORY = 3, MK_CODE_PROMPT = 4, MK_CODE_TASK = 5, MK_CODE_GRAMMAR = 6, MK_CODE_OPTION = 7 };
enum { MK_LOADING = 0, MK_READY = 1, MK_ENDED = 2, MK_DEAD = 3 };

/* Read by the host through a buffer, without a call: a tick with no news costs two loads. */
typedef struct mk_shared {
    uint64_t head;    /* bytes of events ever written */
    uint64_t pad0[7];
    uint64_t tail;    /* bytes of events ever read */
    uint64_t pad1[7];
    uint32_t state;   /* MK_LOADING … MK_DEAD */
    float progress;   /* of loading, 0 to 1 */
    uint64_t decoded; /* tokens decoded ever, prefill included */
    uint64_t steps;   /* llama_decode calls ever */
    uint64_t drafted; /* tokens decoded ahead ever, and how many of them were said */
    uint64_t accepted;
    char death[512];  /* why the state is MK_DEAD */
    double perf_ms[3];   /* load, prompts, replies: llama.cpp's own counters, when they are on */
    uint64_t perf_n[3];  /* tokens of prompts, of replies, graphs used again */
} mk_shared;

/* Complete once MK_LOADED was read; the strings live as long as the engine. */
typedef struct mk_info {
    int32_t n_vocab, n_ctx_train, n_layer, n_embd, vocab_type;
    uint32_t context; /* tokens a slot really has */
    uint64_t n_params, model_bytes;
    bool add_bos;
    bool recurrent, hybrid; /* its state, or a part of it, cannot be cut: only a sequence's end can be gone on from */
    int32_t n_swa;          /* tokens of its sliding window; 0 when every layer sees everything */
    char limits[2][128];    /* what it cannot do, a sentence each; empty ones for what it can */
    char name[128], description[128], bos[64], eos[64];
    const char *chat_template; /* NULL when the model has none */
} mk_info;

/* ---- where a model lies ---- */

/* A buffer that llama.cpp made, as its log tells: "Vulkan0" / "model", "KV", "compute", "output", "RS". */
typedef struct mk_buffer {
    char name[32], kind[16];
    uint64_t bytes;
} mk_buffer;

/* What was worked out before loading, in bytes (fit.c). layers counts the output layer, so it may be one
 * more than the model has blocks. */
typedef struct mk_plan {
    bool made;       /* false: nothing had to be worked out */
    int32_t layers, all_layers;
    uint32_t context; /* of each slot */
    uint64_t budget;  /* of all GPUs together, the margin taken off; 0 without one */
    uint64_t weights_gpu, weights_cpu, kv_gpu, kv_cpu, compute_gpu, compute_cpu;
    char steps[2048]; /* a line for each step down */
} mk_plan;

/* A GPU that may be used. */
typedef struct mk_device {
    char name[32];
    uint64_t free; /* bytes */
    double share;  /* of the layers, as tensor_split wants it; all zero: by free memory */
} mk_device;

enum { MK_MAX_DEVICES = 16, MK_MAX_BUFFERS = 48 };

/* What an engine is for. LOOKS: no context, the model is only looked at. FIT: only the plan, nothing is loaded. */
enum { MK_FOR_SPEECH = 0, MK_FOR_LOOKS = 1, MK_FOR_QUANTISE = 2, MK_FOR_FIT = 3 };
/* The code of MK_FAILED. */
enum { MK_FAILED_MODEL = 0, MK_FAILED_MEMORY = 1 };

/* ---- what the host asks ---- */

typedef struct mk_config {
    const char *model_path; /* UTF-8 */
    mk_blob model_params, context_params;
    uint32_t slots, context;    /* sequences, at most 64, and tokens for each */
    uint32_t ring_bytes;        /* a power of two, at least 4096 */
    uint32_t queue_length;      /* requests that may wait, a power of two */
    double slice_seconds;       /* how long a decode with prefill may take while others speak */
    double slice_seconds_alone; /* and while nobody does; such a decode is aborted by a cancel */
    int log_level;              /* lowest ggml level to hand on: 1 debug … 4 error; 5 none */
    uint64_t vram_budget;       /* bytes; 0 for none */
    uint64_t cache_bytes;       /* of memory for sequences that have no slot at the moment; 0 for none */
    uint64_t disk_bytes;        /* of disk for those that leave memory, and for personas between runs */
    const char *cache_folder;   /* UTF-8, there already; NULL for none */
    const char *cache_salt;     /* what decides, beside the model file's bytes, how a state looks */
    uint8_t cache_key[16];      /* secret: only files tagged with it are read back */
    /* Where these fields lie in the blobs, in bytes: the worker fills them in. */
    int32_t at_gpu_layers, at_progress, at_progress_data, at_abort, at_abort_data;
    /* The params of the context for embeddings, and where its sizes lie. */
    mk_blob embed_params;
    int32_t at_n_ctx, at_n_batch, at_n_ubatch, at_n_outputs, at_n_sequences, at_pooling;
    int32_t purpose;             /* MK_FOR_… */
    const char *const *splits;   /* the files of a model in parts, when their names do not say; the first is model_path */
    int32_t n_splits;
    bool warm_up, perf;
    void *threadpool_new, *threadpool_free; /* ggml's, or NULL: no pool of our own */
    uint64_t threadpool_params[72];         /* its struct, opaque */
    void *quantise;              /* llama_model_quantize, its params and the file to write */
    const void *quantise_params;
    const char *output;
    /* Where the model is to lie (fit.c). */
    bool auto_layers;            /* choose how many layers go to the GPU; else they are only checked */
    bool kv_on_gpu, experts_on_cpu, weights_in_ram; /* weights_in_ram: they are read, not mapped */
    bool imagine;                /* MK_FOR_FIT: the devices are not on this machine */
    mk_device devices[MK_MAX_DEVICES];
    int32_t n_devices;
    uint64_t vram_margin, ram_free;         /* bytes; ram_free 0: not known */
    uint32_t min_context;                   /* of a slot; the context is not shortened below */
    int32_t at_no_alloc, at_load_mode, at_devices;
    /* std::set_terminate of the C++ runtime behind the library, or NULL: a C++ exception that leaves
     * the library on the worker's thread then ends the engine instead of the process. */
    void *set_terminate;
    /* Of scheduling. unified: the sequences share one cache (kv_unified), so that any of them are computed
     * together; else only neighbours are, those whose numbers follow each other. */
    bool unified;
    double calibrate_seconds; /* what may be spent, idle after the load, on learning what a batch costs */
    bool on_cpu;              /* the model is computed by the worker's thread, and others that it waits for */
    double (*clock)(void);    /* for tests: times decodes instead of the system's clock; or NULL */
    int32_t draft;            /* tokens drafted ahead at most, 0 to MK_MAX_DRAFT; for tests: -n drafts n whatever it costs */
    const char *draft_path;   /* UTF-8, of a model that drafts for this one; NULL for none. Its params: */
    mk_blob draft_model_params, draft_context_params;
    int32_t wake_fd;          /* > 0: a byte is written there when there is news, for a host that waits instead of ticking;
                                 it must not block, and stays open until mk_engine_close() has returned */
    int32_t thread_priority;  /* of the worker and the threads it starts: MK_PRIORITY_… */
} mk_config;

/* Tokens that may be drafted ahead of the model in one decode; n_outputs_max of the context's params must
 * hold one more, and a slot each. */
enum { MK_MAX_DRAFT = 15 };
/* Of the worker's thread, as the system weighs it against others. */
enum { MK_PRIORITY_NORMAL = 0, MK_PRIORITY_LOW = 1, MK_PRIORITY_LOWEST = 2 };
/* When the context is too short: an error, or the reply's end; or the oldest turns leave (what has none: the oldest
 * tokens behind n_pin), and a last turn that alone is too long is an error; or it loses its beginning, too. */
enum { MK_REFUSE = 0, MK_DROP = 1, MK_TRIM = 2 };
/* Whose turn it is when there is not time for all: shares of 1, 2 and 4. */
enum { MK_AMBIENT = 0, MK_NEAR = 1, MK_PLAYER = 2 };
/* What a segment is; see mk_segment. */
enum { MK_TEXT = 0, MK_TEMPLATE = 1, MK_TOKENS = 2 };

/* A piece of a prompt. Only MK_TEMPLATE text may name special tokens; MK_TEXT is data. */
typedef struct mk_segment {
    const void *data; /* UTF-8 bytes, or int32 token ids */
    int32_t length;   /* bytes, or tokens */
    int32_t kind;
    bool turn;        /* a turn of the conversation begins here: all before the first one is the persona */
} mk_segment;

/* A result too large for the ring: rows of floats. The host makes it and gives it with the request; the worker
 * fills it; the host may look inside once it has read the record that ends the request. Each side lets go of
 * it, and whoever is last frees it. */
typedef struct mk_block mk_block;
mk_block *mk_block_new(void); /* NULL when memory is out */
void mk_block_release(mk_block *b);
float *mk_block_data(mk_block *b);             /* rows x columns, one row after another; NULL when empty */
int64_t mk_block_rows(const mk_block *b);
int32_t mk_block_columns(const mk_block *b);
const int32_t *mk_block_rows_of(const mk_block *b); /* how many rows each text has; NULL when empty */
int32_t mk_block_trimmed(const mk_block *b);   /* texts that were longer than the model reads */

/* SPEAK: a reply. EMBED: a vector for each segment (MK_TEXT). RANK: a score for each segment against the first.
 * These two take segments, block, pooling, normalise and trim, and nothing else. SCORE: the log-probability of each
 * choice behind a prompt, into the block, a row each. */
enum { MK_TASK_SPEAK = 0, MK_TASK_EMBED = 1, MK_TASK_RANK = 2, MK_TASK_SCORE = 3 };

/* A link of a chain of samplers; see llama.h for what each does. */
enum {
    MK_GREEDY = 1,
    MK_DIST = 2,
    MK_TOP_K = 3,
    MK_TOP_P = 4,
    MK_MIN_P = 5,
    MK_TYPICAL = 6,
    MK_TEMP = 7,
    MK_TEMP_EXT = 8,
    MK_TOP_N_SIGMA = 9,
    MK_XTC = 10,
    MK_MIROSTAT = 11,
    MK_MIROSTAT_2 = 12,
    MK_ADAPTIVE_P = 13,
    MK_PENALTIES = 14,
    MK_DRY = 15,
    MK_LOGIT_BIAS = 16,
    MK_INFILL = 17,
};
typedef struct mk_sampler {
    int32_t kind;
    int32_t ints[4]; /* k, minimum to keep, last n … in the order of llama.cpp's function; [3] is the seed */
    float floats[4];
    const void *data; /* of DRY: breakers, each ended by a NUL; of LOGIT_BIAS: {int32 token, float} pairs */
    int32_t size; /* bytes */
} mk_sampler;

typedef struct mk_request {
    uint64_t id; /* > 0, never used twice */
    const mk_segment *segments;
    int32_t n_segments;
    const mk_segment *stops; /* MK_TEXT */
    int32_t n_stops;
    int32_t max_tokens;
    int32_t n_pin;   /* tokens of the prompt that are the persona; -1: as many as come before the first turn */
    int32_t adapters; /* the number of a set that mk_engine_adapters() gave, or 0 for none */
    bool keep;       /* a conversation: its sequence is worth memory until the next turn */
    bool add_bos;    /* begin with the tokens that the vocabulary asks for (BOS) */
    bool trim_start; /* drop white space at the beginning of the reply */
    float temperature, top_p, min_p; /* temperature <= 0: greedy */
    int32_t top_k;
    float repeat_penalty, frequency_penalty, presence_penalty;
    int32_t repeat_last_n;
    uint32_t seed;
    int32_t task;
    mk_block *block;
    int32_t pooling; /* as llama.cpp numbers them; -1: the model's own, or else the mean */
    bool normalise;  /* vectors of length 1 */
    bool trim;       /* cut texts longer than the model reads, instead of failing */
    int32_t priority; /* MK_AMBIENT … MK_PLAYER; where no slot is idle, ambient streams are interrupted for others */
    const mk_segment *grammar;  /* GBNF; NULL for none */
    const mk_segment *root;     /* the rule to start from */
    const mk_segment *triggers; /* the grammar holds from one of these texts on; none: from the beginning */
    int32_t n_triggers;
    int32_t logprobs;           /* how many of the likeliest tokens are told with each, and its own probability */
    const mk_segment *choices;  /* SCORE: the answers to weigh */
    int32_t n_choices;
    const mk_sampler *samplers; /* the chain, instead of the options above; the last one chooses */
    int32_t n_samplers;
    int32_t overflow; /* MK_REFUSE … MK_TRIM */
    const mk_segment *thought_open;  /* what opens a thought, and what closes it; NULL: nothing does */
    const mk_segment *thought_close;
    bool thinking;          /* the prompt has opened one */
    int32_t thought_budget; /* tokens, after which it is closed; -1: none */
} mk_request;
enum { MK_MAX_LOGPROBS = 100, MK_LOGPROB_BYTES = 64 };

typedef struct mk_engine mk_engine;

/* NULL when memory or threads are out, or 64 engines are open. The worker starts at once and loads the model. */
mk_engine *mk_engine_new(const mk_table *table, const mk_config *config);
mk_shared *mk_engine_shared(mk_engine *e);
const mk_info *mk_engine_info(mk_engine *e);
/* Why the engine died, or NULL while it lives. */
const char *mk_engine_death(mk_engine *e);
/* 0; -1 when the queue is full; -2 when memory is out. Copies everything. */
int mk_engine_submit(mk_engine *e, const mk_request *request);
/* Describes a set of adapters; the n-th description of an engine is number n. -1 when the queue is full, -2 when memory
 * is out. Copies everything; the files are read by the worker when a request first names the set. */
enum { MK_MAX_ADAPTERS = 8, MK_MAX_ADAPTER_SETS = 256 };
typedef struct mk_adapters {
    const char *paths[8]; /* UTF-8, of LoRA files */
    float scales[8];
    int32_t n;
    const float *control; /* a row of n_embd numbers for each layer but the first; NULL for none */
    int32_t n_control;
} mk_adapters;
int mk_engine_adapters(mk_engine *e, const mk_adapters *set);
/* 0; -1 when the queue is full. Cancelling what is over does nothing. */
int mk_engine_cancel(mk_engine *e, uint64_t id);
/* Copies at most `size` bytes of events out and returns how many; they may end inside a record. */
uint32_t mk_engine_drain(mk_engine *e, void *data, uint32_t size);
/* The ring's bytes and size, for a host that reads small news itself instead of calling mk_engine_drain():
 * it may, where stores keep their order (x86), when it advances `tail` after it has copied the bytes and
 * leaves what is more than MK_SMALL_NEWS, or wraps, to the call, which also wakes a waiting worker. */
enum { MK_SMALL_NEWS = 4096 };
bool mk_stores_keep_order(void);
uint8_t *mk_engine_ring(mk_engine *e);
uint32_t mk_engine_ring_size(mk_engine *e);
/* Nothing is decoded after the batch under way, until it is taken back; requests and cancels are still heard. */
void mk_engine_pause(mk_engine *e, bool paused);
/* No stream gets more tokens a second than this, its first ones apart; 0: as many as there are. */
void mk_engine_pace(mk_engine *e, double tokens_per_second);
/* A frame came late by so many seconds: slices of prefill become shorter for a while. */
void mk_engine_late(mk_engine *e, double seconds);
/* From MK_LOADED on: the model and its vocabulary, for functions of llama.cpp that only read them; the plan;
 * and what buffers there are (returns how many). They live as long as the engine. */
const void *mk_engine_model(mk_engine *e);
const void *mk_engine_vocab(mk_engine *e);
const mk_plan *mk_engine_plan(mk_engine *e);
int mk_engine_buffers(mk_engine *e, const mk_buffer **buffers);
/* Ends the worker (a decode or a load under way is aborted), waits for it, frees everything. A dead
 * engine's memory is left alone, because its parked thread may still point into it. */
void mk_engine_close(mk_engine *e);
/* For tests: makes the worker fail an assertion of llama.cpp. */
int mk_engine_fail_assertion(mk_engine *e);

/* ---- for tools, on any thread (tools.c) ---- */

/* The pieces of n tokens, one behind the other without zeros; ends[i] is where the i-th ends. Returns how
 * many bytes they need together; when that is more than `room`, what was written is of no use. -1: a token
 * that the vocabulary does not have, or more than 2 GiB. A vocabulary only reads, so a worker may use it meanwhile. */
int64_t mk_pieces(const mk_table *table, const void *vocab, const int32_t *tokens, int64_t n, bool special, char *out,
                  int64_t room, int32_t *ends);
/* The same from a table of all pieces that mk_pieces made (with 16 bytes of room behind the last): what a
 * caller does who asks often. Returns 16 more than the bytes that belong together, and so wants room for them. */
int64_t mk_join(const char *pieces, const int32_t *ends, int32_t n_pieces, const int32_t *tokens, int64_t n, char *out,
                int64_t room);
/* out[i] = 1 where token i ends a generation. 0, or -1 when the vocabulary has not n tokens. */
int mk_eog_flags(const mk_table *table, const void *vocab, uint8_t *out, int32_t n);
/* The file that the code at this address was loaded from, as UTF-8. 0, or -1 when the system does not say. */
int mk_code_path(const void *address, char *out, size_t size);

#endif
