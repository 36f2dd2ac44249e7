/* A llama.cpp that does as it is told: it fills the same function table as the real one.
 *
 * What a sequence says next is a pure function of its (fake) KV cache, so a worker that loses, doubles
 * or mixes up tokens says something else than the script. A prompt carries its own script:
 *
 *     … FAKE_SAY  t0 t1 … tn-1  FAKE_GO      the reply is t0 … tn-1, then FAKE_EOT
 *     … FAKE_DICE                            the reply has no end: 'a', 'b' or 'c' as dice throw them
 *     … FAKE_ECHO                            the reply is the prompt before FAKE_ECHO, then FAKE_EOT
 *
 * llama_decode checks its batch hard (positions, sequences, logits, sizes, thread) and ends the process
 * with a message when one of the worker's promises to llama.cpp is broken.
 */
#ifndef FAKE_LLAMA_H
#define FAKE_LLAMA_H

#include "core.h"

#include <stdatomic.h>

/* Tokens 0 to 255 are single bytes; those behind them are odd. */
enum {
    FAKE_BOS = 256,
    FAKE_EOS,   /* ends a reply */
    FAKE_EOT,   /* ends a reply; written <|im_end|> */
    FAKE_START, /* written <|im_start|>; a control token, its piece is empty */
    FAKE_SAY,
    FAKE_GO,
    FAKE_ECHO,
    FAKE_LONG, /* fake_options.long_piece times 'L' */
    FAKE_EURO, /* the first two bytes of the euro sign */
    FAKE_SPLIT, /* the last byte of a euro sign and the first of the next */
    FAKE_LAMP, /* "the lamp " */
    FAKE_DICE,
    FAKE_TOKENS,
};

/* A file whose path has "draft" in it is a model whose decodes cost a tenth; "liar": half of its likeliest tokens are
 * not the script's; "stranger": it has another vocabulary.
 *
 * Copied by each model while it is loaded: set these before mk_engine_new(). */
typedef struct fake_options_t {
    int vocab_type; /* 1: SentencePiece, puts a space before each call's text; 2: BPE */
    int n_vocab;    /* 0 for a model without one */
    int long_piece; /* bytes */
    int load_us;    /* how long loading takes */
    bool no_shift;  /* positions cannot be moved */
    bool recurrent; /* a part of a sequence cannot be dropped */
    int state_width; /* a token takes so many times four bytes in a state */
    int swa;        /* so many tokens back a restored state remembers; 0 for all */
    bool encoder, refuse_load, refuse_context, add_bos;
    bool no_memory;  /* an encoder: it has no cache and makes embeddings only */
    bool no_embed_context; /* a context for embeddings cannot be made */
    int pooling;     /* the model's own: 0 none, 1 mean, 4 rank */
    bool note_chain; /* keep fake_chain; for a single engine */
    uint64_t one_buffer;   /* how large one buffer of the GPU may be; 0: as large as it likes */
    const char *chat_template;
    const char *complaint; /* logged at level error by a load that fails */
    bool unified;   /* the sequences share a cache: a batch is one graph; else it is cut as llama.cpp cuts it */
} fake_options_t;
extern fake_options_t fake_options;
void fake_reset(void); /* options and controls as they were at the start */

enum { FAKE_ASSERT_WORKER = 1, FAKE_ASSERT_POOL, FAKE_ASSERT_EVERYWHERE, FAKE_ASSERT_WHEN_ABORTED, FAKE_TERMINATE };

/* May be turned and read at any time. */
typedef struct fake_control {
    _Atomic int decode_us, token_us;  /* what a decode costs, and each of its tokens */
    _Atomic int tokenise_us;
    _Atomic int fail;      /* the next decode returns this */
    _Atomic int assertion; /* the next decode fails one, in this way */
    _Atomic int assertion_in_load;
    /* what happened */
    _Atomic int decoding, tokenising; /* tokens in decodes under way; calls under way */
    _Atomic int loading, gathered;
    _Atomic int decodes, aborted, most_sequences;
    _Atomic int embedded; /* decodes of a context for embeddings, which are not among `decodes` */
    _Atomic int guessed;  /* decodes of a draft model, which are not, either */
    _Atomic int nice;    /* of the thread that decoded last, where threads have one */
    _Atomic int decoded; /* decodes that are over and went well */
    _Atomic int assertions; /* failed ones, ever */
    _Atomic int models, contexts, samplers; /* alive */
    _Atomic int loras, swaps;    /* files loaded, sets put on a context, ever */
    _Atomic int copied, shifted; /* sequences, ever */
    _Atomic int gpu_layers; /* of the last load that was meant, -1 when it was given no device */
    _Atomic int measured;   /* loads that were not meant: no_alloc */
    _Atomic int warm_ups, pools; /* begun ever; alive */
    _Atomic int saved, restored; /* states of sequences, ever */
    _Atomic int refuse_state;    /* the next state is refused */
} fake_control;
extern fake_control fake;

/* A scripted price: decodes then cost no time, but move fake_clock(). Seconds by the tokens that are computed
 * together, 1 to 64; larger batches cost in proportion. NULL: none. Set it while nothing is decoded. */
extern const double *_Atomic fake_prices;
double fake_price(int n);
double fake_clock(void);
/* Called on the worker's thread after each decode that went well, with fake_clock() before and after it. */
extern void (*_Atomic fake_witness)(const mk_batch *batch, double begun, double ended);

/* What FAKE_DICE says k tokens behind it, in a sequence that begins with that token. */
int32_t fake_dice(int32_t k, int32_t first);

/* The samplers of the chain made last, by name; read it after the request's MK_STARTED. */
extern char fake_chain[256];

/* The fake's own params structs, as they lie in the blobs. */
typedef struct fake_model_params {
    int32_t n_gpu_layers;
    bool (*progress)(float, void *);
    void *progress_data;
    bool no_alloc;
    int32_t load_mode;
    void **devices; /* NULL: all there are */
} fake_model_params;

typedef struct fake_context_params {
    uint32_t n_ctx, n_batch, n_seq_max;
    bool (*abort)(void *);
    void *abort_data;
    uint32_t n_ubatch, n_outputs;
    int32_t pooling;
    bool embeddings;
} fake_context_params;

/* Of the context for embeddings: row[k] of a text is the sum over its tokens t of (t + 1) * (k + 1), so a test
 * knows each vector; a token's own row is its own part of the sum. A rank is the number of tokens. */
enum { FAKE_DIMENSIONS = 8, FAKE_SEP = FAKE_EOS };

void fake_fill(mk_table *table);
/* Gives the config a pool of compute threads. */
void fake_pool(mk_config *config);
/* The fake C++ runtime's set_terminate. */
void (*fake_set_terminate(void (*handler)(void)))(void);
/* Fails an assertion on the calling thread, as ggml does. */
void fake_fail_assertion(const char *message);

/* Ends the process with a message; a promise that was broken. */
_Noreturn void broken(const char *file, int line, const char *promise);
#define CHECK(promise) ((promise) ? (void) 0 : broken(__FILE__, __LINE__, #promise))

#endif
