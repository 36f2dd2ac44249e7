/* A host in C: opens an engine over the fake llama.cpp, asks, drains, and keeps what was heard of each
 * stream. Reading an event checks the order of events, so every test checks it. */
#ifndef HARNESS_H
#define HARNESS_H

#include "fake_llama.h"

#include <stdio.h>

/* What must be prompt is set against work of AGES: on a machine with much else to do "prompt" may take
 * seconds, but never half an age. A test that keeps its promise waits for neither. In seconds. */
enum { AGES = 60 };
#define PROMPT(begun) CHECK(now() - (begun) < AGES / 2)

/* What was heard of one request. */
typedef struct heard {
    int started, ended; /* how often; ended counts MK_DONE and MK_ERROR */
    int left_turns, left_tokens;
    int prompt, cached, tokens, finish, generated, code;
    char *text;
    size_t size;
    char reason[400];
    double first, rest; /* seconds, from MK_DONE */
    char thought[400]; /* what MK_THOUGHT said, cut there */
    int told; /* records of MK_LOGPROBS */
    int told_token, told_n;
    double told_logprob;
} heard;

typedef struct host {
    mk_engine *engine;
    heard *streams; /* by id - 1 */
    uint64_t n_streams, room, n_ended;
    uint8_t *bytes; /* drained, not yet a whole record */
    size_t used;
    uint64_t taken;
    uint32_t drain_size;
    int loaded, failed, logs, errors, warnings; /* errors and warnings are logs, too */
    uint64_t failed_code;
    char reason[700], log[1100];
} host;

/* A request being put together. */
typedef struct ask {
    int32_t tokens[20000];
    int n;
    mk_segment segments[8]; /* instead of `tokens` when there are any */
    int n_segments;
    const char *stops[4];
    int n_stops, max_tokens, priority;
    bool trim_start, add_bos, keep;
    int overflow, adapters;
    int pin; /* tokens; -1: up to the first turn */
    float temperature, top_p, min_p, repeat_penalty;
    int top_k;
    const char *grammar, *triggers[4];
    int n_triggers, logprobs;
    const mk_sampler *samplers;
    int n_samplers;
    const char *open, *close;
    bool thinking;
    int budget;
} ask;

/* argv[1] is a folder to write in. Sets the alarm that ends a program that hangs. */
void harness_begin(int argc, char **argv, int seconds);
const char *scratch_file(const char *name);
void write_file(const char *path, const void *bytes, size_t n);
size_t adapter_build(uint8_t *out); /* a LoRA file without tensors; at most 300 bytes */
size_t gguf_build(uint8_t *out); /* a small good header; at most 2,000 bytes */
uint32_t random_below(uint64_t *state, uint32_t n);
double now(void);

mk_config usual_config(void); /* 4 slots of 512 tokens over a good file */
void set_batch(mk_config *config, uint32_t n_batch);
void host_open(host *h, const mk_config *config); /* does not wait for the model */
void host_open_ready(host *h, const mk_config *config);
void host_close(host *h);
void host_close_engine(host *h); /* what was heard stays readable until host_close */
uint32_t host_drain(host *h);   /* one drain; returns its bytes */
bool host_has_news(host *h);    /* without a call into the engine */
void host_until_loaded(host *h);
void host_until_ended(host *h, uint64_t id);
void host_until_all_ended(host *h);
void host_until_heard(host *h, uint64_t id, int tokens);
void until(_Atomic int *value, int at_least);
uint32_t state_of(host *h);

ask *ask_new(void); /* the one ask there is, emptied */
void ask_text(ask *a, const char *text);
void ask_filler(ask *a, int n, int kind); /* n tokens; two kinds differ from their first token on */
void ask_tokens(ask *a, const int32_t *tokens, int n);
void ask_reply(ask *a, const char *text);
void ask_reply_tokens(ask *a, const int32_t *tokens, int n);
void ask_segment(ask *a, int kind, const char *text);
int host_request(host *h, mk_request *request); /* mk_engine_submit's answer; gives it its id, h->n_streams when it is 0 */
int host_try(host *h, const ask *a);
uint64_t host_submit(host *h, const ask *a);
/* Asks for vectors (task MK_TASK_EMBED or MK_TASK_RANK); the caller lets go of the block. */
uint64_t host_score(host *h, const ask *a, const char *const *choices, int n, mk_block **block);
uint64_t host_embed(host *h, int task, const char *const *texts, int n, int pooling, bool trim, mk_block **block);
heard *host_heard(host *h, uint64_t id);
void expect_text(host *h, uint64_t id, int finish, const char *text);
bool is_utf8(const char *text, size_t n); /* written apart from the code under test */

#define RUN(test)                                                                                                      \
    do {                                                                                                               \
        double begun_ = now();                                                                                         \
        fake_reset();                                                                                                  \
        test();                                                                                                        \
        printf("ok %s %.0f ms\n", #test, (now() - begun_) * 1e3);                                                      \
        fflush(stdout);                                                                                                \
    } while (0)

#endif
