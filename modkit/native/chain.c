/* A request's samplers as a chain of llama.cpp's: from the usual options, or link by link as the host lists them.
 * Runs on the worker thread alone. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BREAKERS = 64 };

typedef struct bias {
    int32_t token;
    float by;
} bias;

static bool selects(int32_t kind) {
    return kind == MK_GREEDY || kind == MK_DIST || kind == MK_MIROSTAT || kind == MK_MIROSTAT_2 || kind == MK_ADAPTIVE_P;
}

/* One link, or NULL with a reason. */
static void *link_of(mk_engine *e, const mk_sampler *s, char *reason, size_t size) {
    const mk_table *t = &e->table;
    const int32_t *n = s->ints;
    const float *f = s->floats;
    uint32_t seed = (uint32_t) n[3];
    switch (s->kind) {
    case MK_GREEDY: return t->llama_sampler_init_greedy();
    case MK_DIST: return t->llama_sampler_init_dist(seed);
    case MK_TOP_K: return t->llama_sampler_init_top_k(n[0]);
    case MK_TOP_P: return t->llama_sampler_init_top_p(f[0], (size_t) n[0]);
    case MK_MIN_P: return t->llama_sampler_init_min_p(f[0], (size_t) n[0]);
    case MK_TYPICAL: return t->llama_sampler_init_typical(f[0], (size_t) n[0]);
    case MK_TEMP: return t->llama_sampler_init_temp(f[0]);
    case MK_TEMP_EXT: return t->llama_sampler_init_temp_ext(f[0], f[1], f[2]);
    case MK_TOP_N_SIGMA: return t->llama_sampler_init_top_n_sigma(f[0]);
    case MK_XTC: return t->llama_sampler_init_xtc(f[0], f[1], (size_t) n[0], seed);
    case MK_MIROSTAT: return t->llama_sampler_init_mirostat(e->info.n_vocab, seed, f[0], f[1], n[0]);
    case MK_MIROSTAT_2: return t->llama_sampler_init_mirostat_v2(seed, f[0], f[1]);
    case MK_ADAPTIVE_P: return t->llama_sampler_init_adaptive_p(f[0], f[1], seed);
    case MK_PENALTIES: return t->llama_sampler_init_penalties(e->info.n_vocab, n[0], f[0], f[1], f[2]);
    case MK_DRY: {
        const char *breakers[MAX_BREAKERS], *text = s->data, *end = text + s->size;
        size_t k = 0;
        for (; text < end && k < MAX_BREAKERS; text += strlen(text) + 1) { /* each ends with a NUL; one more follows */
            breakers[k++] = text;
        }
        return t->llama_sampler_init_dry(e->vocab, f[0], f[1], n[0], n[1], breakers, k);
    }
    case MK_LOGIT_BIAS: {
        const bias *all = s->data;
        int32_t k = s->size / (int32_t) sizeof *all;
        for (int32_t i = 0; i < k; i++) {
            if (all[i].token < 0 || all[i].token >= e->info.n_vocab) {
                snprintf(reason, size, "logit_bias names token %d, and the vocabulary ends at %d", all[i].token, e->info.n_vocab - 1);
                return NULL;
            }
        }
        return t->llama_sampler_init_logit_bias(e->info.n_vocab, k, all);
    }
    case MK_INFILL:
        if (t->llama_vocab_eot(e->vocab) < 0 && t->llama_vocab_eos(e->vocab) < 0) {
            snprintf(reason, size, "infill needs a vocabulary with an end of text, and this one has none");
            return NULL;
        }
        return t->llama_sampler_init_infill(e->vocab);
    default:
        snprintf(reason, size, "sampler %d is not known", s->kind);
        return NULL;
    }
}

static void *listed(mk_engine *e, const mk_job *job, char *reason, size_t size) {
    const mk_table *t = &e->table;
    void *chain = t->llama_sampler_chain_init((mk_chain_params){true});
    int32_t last = 0;
    for (int32_t i = 0; chain != NULL && i < job->ask.n_samplers; i++) {
        void *link = link_of(e, &job->samplers[i], reason, size);
        if (link == NULL) {
            t->llama_sampler_free(chain);
            return NULL;
        }
        t->llama_sampler_chain_add(chain, link);
        last = job->samplers[i].kind;
    }
    if (chain != NULL && !selects(last)) { /* llama.cpp fails an assertion when nobody chooses */
        t->llama_sampler_chain_add(chain, t->llama_sampler_init_dist(job->ask.seed));
    }
    return chain;
}

static void *usual(mk_engine *e, const mk_request *ask) {
    const mk_table *t = &e->table;
    void *chain = t->llama_sampler_chain_init((mk_chain_params){true});
    if (chain == NULL) {
        return NULL;
    }
    if (ask->repeat_last_n != 0
        && (ask->repeat_penalty != 1.0f || ask->frequency_penalty != 0.0f || ask->presence_penalty != 0.0f)) {
        t->llama_sampler_chain_add(chain, t->llama_sampler_init_penalties(e->info.n_vocab, ask->repeat_last_n,
                                                                          ask->repeat_penalty, ask->frequency_penalty,
                                                                          ask->presence_penalty));
    }
    if (ask->temperature <= 0) {
        t->llama_sampler_chain_add(chain, t->llama_sampler_init_greedy());
        return chain;
    }
    if (ask->top_k > 0) {
        t->llama_sampler_chain_add(chain, t->llama_sampler_init_top_k(ask->top_k));
    }
    if (ask->top_p < 1) {
        t->llama_sampler_chain_add(chain, t->llama_sampler_init_top_p(ask->top_p, 1));
    }
    if (ask->min_p > 0) {
        t->llama_sampler_chain_add(chain, t->llama_sampler_init_min_p(ask->min_p, 1));
    }
    t->llama_sampler_chain_add(chain, t->llama_sampler_init_temp(ask->temperature));
    t->llama_sampler_chain_add(chain, t->llama_sampler_init_dist(ask->seed));
    return chain;
}

void *mk_chain_new(mk_engine *e, const mk_job *job, char *reason, size_t size) {
    snprintf(reason, size, "no memory for the samplers");
    return job->ask.n_samplers > 0 ? listed(e, job, reason, size) : usual(e, &job->ask);
}
