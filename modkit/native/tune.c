/* What belongs to running a model well and is no part of a batch: the compute threads' pool, the warm-up,
 * llama.cpp's own counters; and the one other job a worker may have, quantising. Runs on the worker. */
#include "engine.h"

#include <stdio.h>
#include <string.h>

typedef void *(*pool_new)(const void *params);
typedef void (*pool_free)(void *pool);
typedef uint32_t (*quantise)(const char *from, const char *to, const void *params);

bool mk_threadpool_attach(mk_engine *e) {
    pool_new make;
    if (e->config.threadpool_new == NULL) {
        return true;
    }
    memcpy(&make, &e->config.threadpool_new, sizeof make);
    e->threadpool = make(e->config.threadpool_params);
    if (e->threadpool == NULL) {
        mk_failed(e, MK_FAILED_MODEL, "the compute threads could not be started");
        return false;
    }
    e->table.llama_attach_threadpool(e->context, e->threadpool, NULL);
    return true;
}

/* After the context is gone. */
void mk_threadpool_release(mk_engine *e) {
    pool_free end;
    if (e->threadpool != NULL) {
        memcpy(&end, &e->config.threadpool_free, sizeof end);
        end(e->threadpool);
        e->threadpool = NULL;
    }
}

/* One decode of one token touches every weight, so that the first reply does not wait for the disk. A
 * decode that fails here fails again, with somebody to hear it, in the first reply. */
void mk_warm_up(mk_engine *e) {
    mk_batch *b = &e->batch;
    int32_t token = e->table.llama_vocab_bos(e->vocab);
    if (!e->config.warm_up) {
        return;
    }
    token = token >= 0 ? token : e->table.llama_vocab_eos(e->vocab);
    b->n_tokens = 1;
    b->token[0] = token >= 0 ? token : 0;
    b->pos[0] = 0;
    b->n_seq_id[0] = 1;
    b->seq_id[0][0] = 0;
    b->logits[0] = 1;
    e->table.llama_set_warmup(e->context, true);
    e->table.llama_decode(e->context, *b);
    e->table.llama_synchronize(e->context);
    e->table.llama_set_warmup(e->context, false);
    e->table.llama_memory_clear(e->memory, true);
}

void mk_perf_note(mk_engine *e) {
    mk_perf p;
    double ms[3];
    uint64_t n[3];
    if (!e->config.perf) {
        return;
    }
    p = e->table.llama_perf_context(e->context);
    ms[0] = p.load_ms, ms[1] = p.prompt_ms, ms[2] = p.reply_ms;
    n[0] = (uint64_t) p.n_prompt, n[1] = (uint64_t) p.n_reply, n[2] = (uint64_t) p.n_reused;
    for (int i = 0; i < 3; i++) {
        atomic_store_explicit((_Atomic double *) &e->shared.perf_ms[i], ms[i], memory_order_relaxed);
        atomic_store_explicit((_Atomic uint64_t *) &e->shared.perf_n[i], n[i], memory_order_relaxed);
    }
}

bool mk_quantise(mk_engine *e) {
    quantise run;
    uint32_t code;
    char reason[400];
    memcpy(&run, &e->config.quantise, sizeof run);
    e->last_error[0] = '\0';
    code = run(e->path, e->config.output, e->config.quantise_params);
    if (code != 0) {
        snprintf(reason, sizeof reason, "llama.cpp could not quantise it (code %u)%s%s", code, e->last_error[0] ? ": " : "",
                 e->last_error);
        mk_failed(e, MK_FAILED_MODEL, reason);
    }
    return code == 0;
}
