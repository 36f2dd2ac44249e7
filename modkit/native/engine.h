/* The engine's inside, shared by core.c (the host's side, life and death) and worker.c (the loop).
 *
 * Three kinds of fields: written once before the worker starts; the worker's own; and the few that
 * both sides touch, all of them atomic. Nothing is guarded by a lock.
 */
#ifndef MK_ENGINE_H
#define MK_ENGINE_H

#include "core.h"
#include "curve.h"
#include "disk.h"
#include "hold.h"
#include "platform.h"
#include "ring.h"
#include "text.h"

#include <string.h>

enum { MK_MAX_SLOTS = 64 };
enum { MK_COMMAND_SUBMIT = 1, MK_COMMAND_CANCEL = 2, MK_COMMAND_ASSERT = 3, MK_COMMAND_ADAPTERS = 4 };

/* A request as the queue carries it: one block of memory, everything copied behind the struct.
 * Owner: the host until it is in the queue, then the worker, which frees it. */
typedef struct mk_job {
    struct mk_job *next; /* in the worker's waiting list */
    mk_request ask;
    mk_segment *segments;
    mk_stop *stops;
    mk_segment grammar; /* data NULL: none */
    char *root;
    mk_stop *triggers;
    mk_segment *choices;
    mk_sampler *samplers;
    mk_stop thought_open, thought_close; /* text NULL: none */
    double submitted;
    int32_t *tokens, n_tokens; /* of the prompt, once they are known; the worker's, freed with the job */
    bool known;     /* they are, or cannot be had */
    bool fetched;   /* what is on disk for it was asked for */
    int32_t *turns; /* where in the prompt's tokens each turn begins; room for n_segments, filled by mk_tokenise */
    int32_t n_turns, last_turn_end;
    /* what left the prompt so that it fits (shift.c), and the prompt before that */
    int32_t left_turns, left_tokens, gap_at, gap;
    int32_t *whole, n_whole;
    struct mk_slot *rest; /* interrupt.c's: it has begun, and waits to go on with this; then `tokens` has what it said, too */
} mk_job;

/* A set of adapters, one block. Owner: the host until it is in the queue, then the worker. */
typedef struct mk_adapter_set {
    int32_t n, n_control;
    char *paths[MK_MAX_ADAPTERS];
    float scales[MK_MAX_ADAPTERS];
    void *loras[MK_MAX_ADAPTERS];
    bool tried;      /* the files were read, or not found good */
    char error[600]; /* why they cannot be used; empty when they can */
    float control[];
} mk_adapter_set;

typedef struct mk_command {
    int kind;
    uint64_t id;
    mk_job *job;
    mk_adapter_set *set;
} mk_command;

/* draft.c's: a draft that was not made, because the account did not allow it, but would have promised something. */
typedef struct mk_watch {
    int32_t length, right; /* 0: none; of its tokens, those that have come true so far */
    double seconds, rate;  /* that it would have cost; tokens a second without */
} mk_watch;

/* One sequence of the context and the stream that speaks in it, if any.
 * tokens[0 .. n_done) are in the KV cache; tokens[n_done .. n_tokens) wait to be decoded. While a
 * reply is generated that is always exactly one token. */
typedef struct mk_slot {
    int32_t seq;
    int32_t *tokens; /* room for `context` */
    int32_t n_tokens, n_done;
    mk_job *job; /* NULL: idle, the cache is kept for whoever comes with the same beginning */
    void *sampler;
    mk_hold *hold; /* the grammar, or NULL */
    struct mk_thought *thought; /* thought.c's, where thoughts are told from the reply; else NULL */
    struct mk_score *score; /* score.c's, of a request that weighs choices; else NULL */
    mk_text text;
    int32_t n_generated;
    int32_t n_batch; /* how many of its tokens are in the batch, together and in order */
    int32_t output; /* index of its logits in the batch, -1 when it has none */
    double first_token;
    uint64_t last_used;
    int32_t set;     /* of adapters: what its cache was computed with */
    bool aside;      /* another set's turn */
    int32_t waited;  /* decodes that it was */
    int32_t n_prompt; /* of its tokens; the others are the reply */
    int32_t pin;  /* tokens at its beginning that are the persona */
    bool keep;    /* its cache belongs to a conversation, which may go on */
    bool snapshot; /* the state at `pin` is still to be stored when the prefill comes by */
    /* schedule.c's own */
    double served;   /* tokens said, each divided by the stream's weight: whoever has least comes first */
    /* what is tried behind its next token, and how long a match it rests on; draft[0] is a guess even if n_draft is 0 */
    int32_t draft[MK_MAX_DRAFT], n_draft, match;
    int32_t misses;  /* guesses in a row that did not come true */
    bool quotes;     /* what followed two words or more before has followed them again in this reply */
    mk_watch watch;
    bool guessed;    /* the draft is the draft model's, which was so sure of each token */
    uint8_t sure[MK_MAX_DRAFT];
    double due;      /* when its pace allows the next token */
    int32_t skipped; /* decodes that went by without it: before its first token, one at most */
} mk_slot;

/* A sequence's state without a slot: what it holds, and llama.cpp's bytes. In a list, the one used last first.
 * Owner: the worker. */
typedef struct mk_saved {
    struct mk_saved *newer, *older;
    int32_t *tokens;
    int32_t n;
    int32_t set;     /* of adapters */
    bool persona;    /* kept at a beginning that many share; else one conversation's latest */
    bool on_disk;    /* or on its way there */
    bool reading;    /* it was asked back */
    bool gone;       /* nobody's any more, but an answer of the disk is still to come */
    int32_t orders;  /* of the disk that are not answered */
    uint8_t name[16];
    mk_bytes *bytes; /* NULL when it is on disk alone */
    uint64_t size;   /* of the bytes, wherever they are */
} mk_saved;

typedef struct mk_store {
    mk_saved *newest, *oldest;
    uint64_t used, disk_used; /* bytes; `used` with tokens */
    const mk_saved *in_use;   /* stays whatever the budget says */
    bool disk_failed;         /* a write failed: no more of them */
    mk_bytes *spare;          /* nobody's, for the next state; NULL when there is none */
} mk_store;

/* Who reads `holders`: both sides. Everything else is the worker's until the request has ended, then the host's. */
struct mk_block {
    _Atomic int32_t holders;
    float *data;
    int64_t rows, room;
    int32_t columns, trimmed;
    int32_t *rows_of;
};

/* What embed.c keeps between two slices; the worker's own. */
typedef struct mk_embedder {
    mk_job *first, *last; /* the first one is under way */
    int32_t next, n_tokens; /* texts and tokens of it that are done */
    void *context;          /* made when it is first asked for */
    int32_t asked, pooling; /* the pooling it was made for, and the one it has */
    int32_t window, room;   /* tokens a text may have, and a batch */
    mk_batch batch;
    int32_t *scratch; /* the tokens of one text */
    size_t scratch_room;
    double seconds_per_token;
} mk_embedder;

/* A group of neighbours who speak, slots[low .. low + size), and for how many seconds more it may go on before another. */
typedef struct mk_again {
    int32_t low, size;
    double seconds;
} mk_again;

/* What the batch under way is expected to show about costs. */
typedef struct mk_forecast {
    int32_t speaking, prefill; /* tokens of either kind */
    bool speaking_is_one;      /* computed in one go, so that its time is a measure of its size */
    bool exploring;            /* a size tried to learn its price, not because it is the best known */
    double rate, plain;        /* without drafts: tokens a second, and seconds of the batch */
    double each;               /* seconds of the batch that are each drafting slot's, by the curve */
    double drafting;           /* seconds that the draft model took */
} mk_forecast;

/* How often what followed the last words before followed them again, and of how many times that was seen. */
enum { MK_TRUSTS = 8 };
typedef struct mk_trust {
    double share;
    int32_t seen; /* as many as count */
} mk_trust;

/* It came again, or not. The first estimate counts as six that were seen. */
static inline void mk_trust_learn(mk_trust *trust, bool right, int32_t most) {
    trust->seen += trust->seen < most;
    trust->share += (right - trust->share) / (trust->seen + 6);
}

struct mk_engine {
    /* written before the worker starts */
    mk_table table;
    mk_config config;
    char *path, *cache_folder, *cache_salt;
    mk_thread thread;
    mk_semaphore wake, ended;
    mk_shared shared; /* head, tail and state are atomic, see below */
    mk_command *queue;

    /* both sides */
    _Atomic uint32_t queue_head, queue_tail; /* host writes at head, worker reads at tail */
    _Atomic uint32_t n_waiting;  /* requests accepted and not yet begun or cancelled */
    _Atomic bool closing, paused, abort_decode, sleeping;
    _Atomic bool moving;         /* the decode under way moves positions: half done would be wrong */
    _Atomic bool dying;          /* somebody writes, or has written, shared.death */
    _Atomic bool in_library;     /* the worker is inside a call of llama.cpp */
    _Atomic uint64_t alone;      /* the request whose prefill is the whole batch, or 0 */
    _Atomic double pace;         /* tokens a second for a stream at most, or 0 */
    _Atomic uint64_t late_us;    /* how late frames were, all together */
    _Atomic bool calibrating;    /* the decode under way is for nobody: any request aborts it */

    /* the worker's own */
    mk_ring ring; /* the consumer uses only `bytes`, `capacity` and the atomics */
    mk_info info;
    char *chat_template;
    void *model, *context, *memory;
    const void *vocab;
    mk_slot *slots;
    mk_batch batch;
    int32_t batch_room;
    mk_job *waiting, *waiting_last;
    mk_embedder embedder;
    struct mk_sampling *sampling; /* sample.c's, NULL until a request needs it */
    uint64_t clock;           /* for last_used */
    uint64_t told;            /* the ring's head when the host was woken last */
    bool all_held;            /* none of those who wait can begin before something else happens */
    mk_adapter_set *sets[MK_MAX_ADAPTER_SETS]; /* number n at n - 1 */
    int32_t n_sets, set, set_applied; /* of the next batch; of the context */
    bool control_applied;
    int32_t set_wanted;       /* by the request that is being placed: what others computed counts for nothing */
    bool can_shift;           /* positions in the KV cache can be moved */
    bool copying;             /* llama.cpp carries out llama_memory_seq_cp and _seq_add in the next decode: until then
                                 no state of a sequence may be read or written */
    bool whole_only;          /* a recurrent model: a sequence goes on from its end or not at all */
    bool whole_states;        /* and so does a stored one, because the model forgets what is far behind (SWA) */
    mk_store store;
    mk_disk *disk; /* NULL without a folder */
    uint32_t record_room;     /* the most ring space that one slot's step can take */
    mk_plan plan;
    mk_buffer buffers[MK_MAX_BUFFERS]; /* while measuring, those that would be made */
    int n_buffers;
    uint64_t kv_cells_bytes;  /* of the whole KV cache, as the log tells */
    bool loaded;              /* `buffers` is the host's to read from now on */
    bool measuring;           /* llama.cpp's lines are not for the host */
    void *threadpool;
    char last_error[200];     /* the first complaint (level error) of llama.cpp in the load or decode under way */
    mk_curve speaking_cost;   /* of tokens with logits */
    mk_curve prefill_cost;    /* of tokens without */
    mk_forecast forecast;
    double served;            /* the least served of those who speak: where a newcomer begins */
    mk_again again;           /* the group of the last decode, while it may go again */
    double credit;            /* seconds that may be spent on learning prices */
    double calibrated;        /* seconds spent on it at load; negative: done */
    uint32_t calibration;     /* the step it is at */
    bool drafted;             /* ever, or tried to: the account is open */
    double draft_account;     /* seconds that drafts may lose */
    double draft_plain;       /* and seconds of the last batch that was weighed against one with drafts */
    mk_trust trust[4][MK_TRUSTS]; /* draft.c's: of what, and by the length of the match */
    struct mk_guesser *guesser;   /* guess.c's: the draft model, or NULL */
    double next_due;          /* when the batch is empty: until when */
    double seconds_a_byte;    /* that a change of places takes, as far as is known */
    double crowd;             /* how much longer decodes take than they compute, because others want the processor, too */
    double slice_scale;       /* of the slices' time: less than 1 after late frames */
    double slice_scaled;      /* when it last changed */
    uint64_t late_seen;       /* late_us at that time */
};

/* The fields of mk_shared that two threads touch, beside the ring's head and tail. */
static inline _Atomic uint32_t *mk_state(mk_engine *e) {
    return (_Atomic uint32_t *) &e->shared.state;
}

static inline void mk_set_progress(mk_engine *e, float progress) {
    atomic_store_explicit((_Atomic float *) &e->shared.progress, progress, memory_order_relaxed);
}

/* The worker alone writes these counters; an atomic store keeps a reader from seeing half of one. */
static inline void mk_count(uint64_t *counter, uint64_t more) {
    atomic_store_explicit((_Atomic uint64_t *) counter, *counter + more, memory_order_relaxed);
}

/* A field of a params struct, which lies at that byte of its blob. */
static inline void mk_blob_put(mk_blob *blob, int32_t at, const void *value, size_t size) {
    memcpy((char *) blob + at, value, size);
}

/* job.c */
mk_job *mk_job_new(const mk_request *ask);
void mk_job_free(mk_job *job);

/* block.c */
void mk_block_hold(mk_block *b);
bool mk_block_room(mk_block *b, int64_t rows);

/* callbacks.c: a line of our own into the log that the host gets; between enter and leave the worker is inside a call
 * of llama.cpp, so that a failure on a thread of its pool is this engine's */
void mk_log_line(mk_engine *e, int level, const char *text);
void mk_library_enter(mk_engine *e);
void mk_library_leave(mk_engine *e);
bool mk_callbacks_enlist(mk_engine *e);
void mk_callbacks_unlist(mk_engine *e);
void mk_callbacks_set(mk_engine *e);
void mk_callbacks_of(mk_engine *e);
void mk_callbacks_of_host(void);

/* core.c, for the worker */
bool mk_next_command(mk_engine *e, mk_command *out);
bool mk_queue_is_empty(mk_engine *e);
void mk_sleep(mk_engine *e, bool (*idle)(mk_engine *), double seconds);
void mk_wake(mk_engine *e);                                  /* any thread */
void mk_wake_host(mk_engine *e);                             /* when there is news that it was not woken for */

/* request.c: the prompt's tokens in a block that the caller frees, NULL with *n = 0 when it cannot be
 * tokenised; the tokens of a text that goes on behind a prompt */
int32_t *mk_tokenise(mk_engine *e, mk_job *job, int32_t *n);
int32_t mk_tokenise_more(mk_engine *e, const mk_segment *s, int32_t *out, int32_t room);

/* chain.c: the samplers, freed with llama_sampler_free, or NULL with a reason */
void *mk_chain_new(mk_engine *e, const mk_job *job, char *reason, size_t size);

/* sample.c: what a slot needs to sample, and the next token. told_room: ring space for the
 * probabilities that are told with it. log_sum is of all exp(logit) */
uint32_t mk_sample_begin(mk_engine *e, mk_slot *slot, char *reason, size_t size);
void mk_sample_end(mk_engine *e, mk_slot *slot);
int32_t mk_sample(mk_engine *e, mk_slot *slot, int32_t output, const char **wrong);
uint32_t mk_told_room(const mk_slot *slot);
double mk_log_sum(const float *logits, int32_t n);
void mk_sampling_free(mk_engine *e);

/* thought.c */
bool mk_thought_begin(mk_engine *e, mk_slot *slot);
void mk_thought_free(mk_slot *slot);
bool mk_thought_inside(const mk_slot *slot);
int32_t mk_thought_force(mk_slot *slot);
bool mk_thought_token(mk_slot *slot, int32_t token);
bool mk_thought_mark(mk_slot *slot, size_t n);

/* score.c: choices weighed in a slot. begin gives 0 or the code of an error; step ends the stream after the last */
uint32_t mk_score_begin(mk_engine *e, mk_slot *slot, char *reason, size_t size);
void mk_score_step(mk_engine *e, mk_slot *slot);
void mk_score_free(mk_slot *slot);

/* cache.c */
void mk_slot_truncate(mk_engine *e, mk_slot *slot, int32_t n);
mk_slot *mk_slot_take(mk_engine *e, const int32_t *tokens, int32_t n);
int32_t mk_at_hand(mk_engine *e, const int32_t *tokens, int32_t n);
void mk_slot_find_beginning(mk_engine *e, mk_slot *slot);
bool mk_must_wait(mk_engine *e, mk_job *job);
int32_t mk_prefill_left(const mk_slot *slot);
void mk_slot_pin(mk_engine *e, mk_slot *slot);
void mk_slot_prefilled(mk_engine *e, mk_slot *slot);

/* adapter.c */
mk_adapter_set *mk_adapters_copy(const mk_adapters *given);
bool mk_adapters_add(mk_engine *e, mk_adapter_set *set);
const char *mk_adapters_ready(mk_engine *e, int32_t number);
void mk_adapters_choose(mk_engine *e);
void mk_adapters_apply(mk_engine *e);
void mk_adapters_free(mk_engine *e);

/* interrupt.c */
bool mk_may_interrupt(mk_engine *e, const mk_job *newcomer);
mk_job *mk_interrupt(mk_engine *e);
void mk_go_on(mk_slot *slot);
void mk_rest_free(mk_engine *e, mk_job *job);

/* shift.c */
void mk_job_fit(mk_engine *e, mk_job *job);
mk_slot *mk_slot_for(mk_engine *e, const mk_job *job);
bool mk_slot_make_room(mk_engine *e, mk_slot *slot);

/* seat.c: the idle slot, or another that has changed places with it to be among those who speak */
mk_slot *mk_seat(mk_engine *e, mk_slot *slot);

/* store.c: sequences that have no slot */
mk_bytes *mk_state_of(mk_engine *e, const mk_slot *slot, uint64_t most);
void mk_state_drop(mk_engine *e, mk_bytes *bytes); /* NULL is fine */
void mk_store_save(mk_engine *e, mk_slot *slot, bool persona);
mk_saved *mk_store_find(mk_engine *e, const int32_t *tokens, int32_t n, int32_t *usable);
bool mk_store_has(const mk_engine *e, const int32_t *tokens, int32_t n, bool exactly);
bool mk_store_restore(mk_engine *e, mk_saved *saved, int32_t seq, bool moves);
bool mk_store_fetch(mk_engine *e, mk_job *job, int32_t at_hand);
void mk_store_answers(mk_engine *e);
void mk_store_open(mk_engine *e);
void mk_store_free(mk_engine *e);
int32_t mk_common(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b);

/* schedule.c: what a stream begins with; fills the batch, which may stay empty; learns from a decode of it
 * that took so long; the clock that decodes are timed with */
void mk_schedule_begin(mk_engine *e, mk_slot *slot);
void mk_batch_fill(mk_engine *e);
void mk_learn(mk_engine *e, double seconds, double wall);
void mk_schedule_said(mk_engine *e, mk_slot *slot, int32_t drafted);
double mk_clock(const mk_engine *e);

/* draft.c: room for a draft, one that is at hand, what may be hoped of it, one for a price that is not known; watches what
 * would come of one; says what a decode brought, drafted or not, and returns how many drafted tokens are among it */
void mk_draft_begin(mk_engine *e, mk_slot *slot); /* a reply */
int32_t mk_draft_room(mk_engine *e, const mk_slot *slot);
int32_t mk_draft_find(mk_engine *e, mk_slot *slot, int32_t room);
void mk_draft_hope(mk_engine *e, const mk_slot *slot, int32_t n, double *hopes);
void mk_draft_watch(mk_engine *e, mk_slot *slot, int32_t length, double seconds);
int32_t mk_draft_try(mk_engine *e, const mk_slot *slot, int32_t n, double rate);
int32_t mk_say(mk_engine *e, mk_slot *slot);

/* guess.c: the draft model. load: true when there is none; false when mk_failed has said what is wrong. A draft for a
 * slot, and the seconds it took; what came of a guess that was so sure; seconds gained by a draft, or lost; and decoded */
bool mk_guesser_load(mk_engine *e);
void mk_guesser_free(mk_engine *e);
double mk_guess(mk_engine *e, mk_slot *slot, int32_t most, double wanted);
void mk_guess_learn(mk_engine *e, int level, bool right);
void mk_guess_book(mk_engine *e, double gained);
void mk_guess_allow(mk_engine *e, double seconds);

/* calibrate.c: one timed decode of the calibration at load; false when there is none to be done now */
bool mk_calibrate(mk_engine *e);

/* speak.c: every record of a stream. finish and fail end the slot's stream and keep, or drop, its cache */
void mk_event_started(mk_engine *e, uint64_t id, int32_t prompt, int32_t cached);
void mk_event_left(mk_engine *e, uint64_t id, int32_t turns, int32_t tokens);
void mk_event_error(mk_engine *e, uint64_t id, uint32_t code, const char *reason);
void mk_event_done(mk_engine *e, const mk_job *job, int finish, int32_t generated, double first_token,
                   const char *text, size_t size);
void mk_slot_release(mk_engine *e, mk_slot *slot);
void mk_slot_finish(mk_engine *e, mk_slot *slot, int finish);
void mk_slot_fail(mk_engine *e, mk_slot *slot, uint32_t code, const char *reason);
void mk_speak(mk_engine *e, mk_slot *slot);

/* embed.c: requests for vectors, decoded in slices of whole texts */
void mk_embed_add(mk_engine *e, mk_job *job);
bool mk_embed_cancel(mk_engine *e, uint64_t id);
bool mk_embed_wants(const mk_engine *e);
void mk_embed_step(mk_engine *e, bool others);
void mk_embed_free(mk_engine *e);

/* worker.c: returns when the engine closes */
void mk_worker_loop(mk_engine *e);

/* load.c */
void mk_failed(mk_engine *e, int code, const char *reason);
/* load.c: the header of each of the model's files, checked; false when mk_failed has said what is wrong */
struct mk_gguf;
struct mk_weights;
bool mk_read_headers(mk_engine *e, struct mk_gguf *header, struct mk_weights *weights);
void *mk_load_file(mk_engine *e, mk_blob params);
void mk_worker_run(mk_engine *e);
bool mk_on_progress(float progress, void *engine);
bool mk_on_quiet_progress(float progress, void *engine); /* of a load that nobody watches: it only ends with the engine */
bool mk_on_abort_decode(void *engine);
bool mk_batch_new(mk_batch *b, int32_t room);
void mk_batch_free(mk_batch *b);

/* fit.c: decides where the model lies and writes that into config's params; false when it cannot lie
 * anywhere (mk_failed has said so) */
bool mk_fit(mk_engine *e);
/* a line of llama.cpp's log: does it tell of a buffer? */
void mk_fit_line(mk_engine *e, const char *text);

/* tune.c */
bool mk_threadpool_attach(mk_engine *e);
void mk_threadpool_release(mk_engine *e);
void mk_warm_up(mk_engine *e);
void mk_perf_note(mk_engine *e);
bool mk_quantise(mk_engine *e);

#endif
