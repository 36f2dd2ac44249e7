/* The next token: through a chain of llama.cpp's samplers, held to a grammar, told with its probability. Runs on
 * the worker thread alone.
 *
 * A grammar is asked after the chain has chosen, about that one token: nearly always it agrees, and that costs
 * microseconds whatever the size of the vocabulary. When it does not, the likeliest tokens are asked about, and only
 * when none of them will do the whole vocabulary, in an order that shares beginnings. */
#include "engine.h"
#include "words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIKELIEST = 512, MAX_EOGS = 32 };

/* llama_token_data and its array */
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

struct mk_sampling {
    mk_words words;
    size_t longest;
    candidate *all;
    int32_t *allowed;
    int32_t eogs[MAX_EOGS], n_eogs;
    uint8_t *is_eog; /* by token */
};

/* ---- the vocabulary, when the first request needs it ---- */

static bool read_words(mk_engine *e, struct mk_sampling *s) {
    size_t room = (size_t) e->info.n_vocab * 8 + 1024;
    mk_words *w = &s->words;
    w->n = e->info.n_vocab;
    w->bytes = malloc(room);
    w->order = malloc((size_t) w->n * sizeof *w->order);
    w->common = malloc((size_t) w->n * sizeof *w->common);
    w->at = malloc(((size_t) w->n + 1) * sizeof *w->at);
    s->is_eog = calloc((size_t) w->n, 1);
    s->all = malloc((size_t) w->n * sizeof *s->all);
    s->allowed = malloc(((size_t) w->n + MAX_EOGS) * sizeof *s->allowed);
    if (!w->bytes || !w->order || !w->common || !w->at || !s->is_eog || !s->all || !s->allowed) {
        return false;
    }
    w->at[0] = 0;
    for (int32_t i = 0; i < w->n; i++) {
        size_t left = room - w->at[i];
        int32_t n = e->table.llama_token_to_piece(e->vocab, i, w->bytes + w->at[i], (int32_t) left, 0, false);
        if (n < 0) {
            char *more = realloc(w->bytes, room = 2 * room + (size_t) -n);
            if (more == NULL || room > INT32_MAX) {
                w->bytes = more == NULL ? w->bytes : more;
                return false;
            }
            w->bytes = more;
            i--;
            continue;
        }
        w->at[i + 1] = w->at[i] + (uint32_t) n;
        s->longest = (size_t) n > s->longest ? (size_t) n : s->longest;
        s->is_eog[i] = e->table.llama_vocab_is_eog(e->vocab, i);
        if (s->is_eog[i] && s->n_eogs < MAX_EOGS) {
            s->eogs[s->n_eogs++] = i;
        }
    }
    mk_words_sort(w);
    return true;
}

void mk_sampling_free(mk_engine *e) {
    struct mk_sampling *s = e->sampling;
    if (s != NULL) {
        free(s->words.bytes);
        free(s->words.order);
        free(s->words.common);
        free(s->words.at);
        free(s->is_eog);
        free(s->all);
        free(s->allowed);
        free(s);
        e->sampling = NULL;
    }
}

static struct mk_sampling *sampling(mk_engine *e) {
    if (e->sampling == NULL) {
        e->sampling = calloc(1, sizeof *e->sampling);
        if (e->sampling != NULL && !read_words(e, e->sampling)) {
            mk_sampling_free(e);
        }
    }
    return e->sampling;
}

/* ---- a request's part ---- */

/* The token that a grammar names, as the vocabulary splits its text. */
static int32_t find_token(void *context, const char *text, size_t n) {
    const mk_engine *e = context;
    int32_t tokens[2];
    int32_t count = n > INT32_MAX ? 0 : e->table.llama_tokenize(e->vocab, text, (int32_t) n, tokens, 2, false, true);
    return count == 1 ? tokens[0] : -1;
}

/* Makes what the slot's job asks for; 0, or the code of an error with its reason. */
uint32_t mk_sample_begin(mk_engine *e, mk_slot *slot, char *reason, size_t size) {
    const mk_job *job = slot->job;
    slot->hold = NULL;
    slot->sampler = NULL;
    if ((job->grammar.data != NULL || job->ask.logprobs > 0) && sampling(e) == NULL) {
        snprintf(reason, size, "no memory for the vocabulary");
        return MK_CODE_MEMORY;
    }
    if ((uint64_t) (e->config.slots + 1) * e->record_room + MK_SMALL_NEWS + e->config.slots * (uint64_t) mk_told_room(slot)
        > e->ring.capacity) {
        snprintf(reason, size, "the event ring is too small for so many probabilities");
        return MK_CODE_MEMORY;
    }
    if (job->grammar.data != NULL) {
        const mk_token_names names = {find_token, e, e->info.n_vocab};
        slot->hold = mk_hold_new(job->grammar.data, (size_t) job->grammar.length, job->root, &names, job->triggers,
                                 job->ask.n_triggers, e->sampling->longest, reason, size);
        if (slot->hold == NULL) {
            return MK_CODE_GRAMMAR;
        }
    }
    slot->sampler = mk_chain_new(e, job, reason, size);
    return slot->sampler == NULL ? MK_CODE_OPTION : 0;
}

void mk_sample_end(mk_engine *e, mk_slot *slot) {
    if (slot->sampler != NULL) {
        e->table.llama_sampler_free(slot->sampler);
        slot->sampler = NULL;
    }
    mk_hold_free(slot->hold);
    slot->hold = NULL;
}

/* ---- under a grammar ---- */

static int allows(struct mk_sampling *s, mk_hold *h, int32_t token) {
    const mk_words *w = &s->words;
    if (s->is_eog[token]) {
        return mk_hold_may_end(h) ? MK_GRAMMAR_YES : MK_GRAMMAR_NO;
    }
    return mk_hold_allows(h, token, w->bytes + w->at[token], w->at[token + 1] - w->at[token]);
}

/* The chain's choice among n candidates, or -1 when it makes none. */
static int32_t choose(mk_engine *e, mk_slot *slot, int32_t n) {
    candidates c = {e->sampling->all, (size_t) n, -1, false};
    e->table.llama_sampler_apply(slot->sampler, &c);
    return c.selected >= 0 && (size_t) c.selected < c.size ? c.data[c.selected].id : -1;
}

/* The ids with the highest logits into s->allowed, by a heap whose root is the least of them. */
static int32_t likeliest(struct mk_sampling *s, const float *logits, int32_t n_vocab) {
    int32_t *heap = s->allowed, n = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        int32_t at;
        if (n < LIKELIEST) {
            for (at = n++; at > 0 && logits[heap[(at - 1) / 2]] > logits[i]; at = (at - 1) / 2) {
                heap[at] = heap[(at - 1) / 2];
            }
            heap[at] = i;
            continue;
        }
        if (!(logits[i] > logits[heap[0]])) {
            continue;
        }
        for (at = 0;;) {
            int32_t child = 2 * at + 1;
            if (child >= n) {
                break;
            }
            child += child + 1 < n && logits[heap[child + 1]] < logits[heap[child]];
            if (logits[heap[child]] >= logits[i]) {
                break;
            }
            heap[at] = heap[child];
            at = child;
        }
        heap[at] = i;
    }
    return n;
}

/* What the grammar allows, into s->allowed: of the likeliest, or of all. MK_GRAMMAR_LIMIT when it is too ambiguous. */
static int32_t allowed_tokens(mk_engine *e, mk_hold *h, const float *logits) {
    struct mk_sampling *s = e->sampling;
    int32_t n = likeliest(s, logits, e->info.n_vocab), kept = 0;
    for (int32_t i = 0; i < n; i++) {
        int result = s->is_eog[s->allowed[i]] ? MK_GRAMMAR_NO : allows(s, h, s->allowed[i]);
        if (result == MK_GRAMMAR_LIMIT) {
            return result;
        }
        if (result == MK_GRAMMAR_YES) {
            s->allowed[kept++] = s->allowed[i];
        }
    }
    if (kept == 0 && h->held) {
        n = mk_words_allowed(&s->words, h->grammar, s->allowed);
        kept = n < 0 ? n : 0;
        for (int32_t i = 0; i < n; i++) { /* an end of the reply is asked about below */
            s->allowed[kept] = s->allowed[i];
            kept += !s->is_eog[s->allowed[i]];
        }
    }
    for (int32_t i = 0; kept >= 0 && mk_hold_may_end(h) && i < s->n_eogs; i++) {
        s->allowed[kept++] = s->eogs[i];
    }
    return kept;
}

static int32_t sample_held(mk_engine *e, mk_slot *slot, const float *logits, const char **wrong) {
    struct mk_sampling *s = e->sampling;
    int32_t token, n;
    int result;
    for (int32_t i = 0; i < e->info.n_vocab; i++) {
        s->all[i] = (candidate){i, logits[i], 0};
    }
    token = choose(e, slot, e->info.n_vocab);
    result = token < 0 ? MK_GRAMMAR_NO : allows(s, slot->hold, token);
    if (result == MK_GRAMMAR_NO) {
        n = allowed_tokens(e, slot->hold, logits);
        if (n == 0) {
            *wrong = "no token of this vocabulary continues what the grammar asks for here";
            return -1;
        }
        result = n < 0 ? MK_GRAMMAR_LIMIT : MK_GRAMMAR_YES;
        for (int32_t i = 0; i < n; i++) {
            s->all[i] = (candidate){s->allowed[i], logits[s->allowed[i]], 0};
        }
        token = n < 0 ? -1 : choose(e, slot, n);
        token = token < 0 && n > 0 ? s->allowed[0] : token;
    }
    if (result == MK_GRAMMAR_LIMIT) {
        *wrong = "the grammar can be read in too many ways here: make it less ambiguous";
        return -1;
    }
    e->table.llama_sampler_accept(slot->sampler, token);
    if (!s->is_eog[token]) {
        mk_hold_take(slot->hold, token, s->words.bytes + s->words.at[token], s->words.at[token + 1] - s->words.at[token]);
    }
    return token;
}

/* ---- probabilities ---- */

/* The logarithm of the sum of all exp(logit), so that a token's log-probability is its logit minus this. */
double mk_log_sum(const float *logits, int32_t n) {
    float most = logits[0];
    double sum = 0;
    for (int32_t i = 1; i < n; i++) {
        most = logits[i] > most ? logits[i] : most;
    }
    for (int32_t i = 0; i < n; i++) {
        sum += exp((double) (logits[i] - most));
    }
    return (double) most + log(sum);
}

static void put_one(mk_engine *e, int32_t token, double logprob) {
    const mk_words *w = &e->sampling->words;
    char text[MK_LOGPROB_BYTES];
    size_t n = mk_text_clean(text, sizeof text, w->bytes + w->at[token], w->at[token + 1] - w->at[token]);
    mk_put_array(&e->ring, 3);
    mk_put_uint(&e->ring, (uint64_t) token);
    mk_put_double(&e->ring, logprob);
    mk_put_string(&e->ring, text, (uint32_t) n);
}

uint32_t mk_told_room(const mk_slot *slot) {
    int32_t n = slot->job->ask.logprobs;
    return n > 0 ? 32 + (uint32_t) (n + 1) * (MK_LOGPROB_BYTES + 24) : 0;
}

/* [id, 8, [token, logprob, text], …]: the token that was chosen, then the likeliest. */
static void tell(mk_engine *e, const mk_slot *slot, const float *logits, int32_t token) {
    double sum = mk_log_sum(logits, e->info.n_vocab);
    int32_t best[MK_MAX_LOGPROBS], n = 0, most = slot->job->ask.logprobs;
    for (int32_t i = 0; i < e->info.n_vocab && most > 0; i++) {
        int32_t at;
        if (n == most && !(logits[i] > logits[best[n - 1]])) {
            continue;
        }
        n += n < most;
        for (at = n - 1; at > 0 && logits[best[at - 1]] < logits[i]; at--) {
            best[at] = best[at - 1];
        }
        best[at] = i;
    }
    mk_put_head(&e->ring, 0xdc, (uint64_t) (3 + n), 2); /* an array that may have more than 15 */
    mk_put_uint(&e->ring, slot->job->ask.id);
    mk_put_uint(&e->ring, MK_LOGPROBS);
    put_one(e, token, logits[token] - sum);
    for (int32_t i = 0; i < n; i++) {
        put_one(e, best[i], logits[best[i]] - sum);
    }
    mk_ring_publish(&e->ring);
}

/* The next token of the slot's stream from the logits at `output`, or -1 with what is wrong. */
int32_t mk_sample(mk_engine *e, mk_slot *slot, int32_t output, const char **wrong) {
    const float *logits = NULL;
    bool free = mk_thought_inside(slot); /* a thought is nobody's business: neither held nor told */
    bool held = slot->hold != NULL && !free, told = slot->job->ask.logprobs > 0 && !free;
    int32_t token;
    if (held || told) {
        logits = e->table.llama_get_logits_ith(e->context, output);
        if (logits == NULL) {
            *wrong = "llama.cpp gave no logits";
            return -1;
        }
    }
    token = held ? sample_held(e, slot, logits, wrong)
                 : e->table.llama_sampler_sample(slot->sampler, e->context, output);
    if (token >= 0 && told) {
        tell(e, slot, logits, token);
    }
    return token;
}
