/* The draft model: a small one that says what the large one may say next, a token at a time, so that the large one
 * looks at several in one decode. Worker thread alone; allocates nothing once it is loaded.
 *
 * What it drafts goes into the batch as any draft does (draft.c), and the samplers choose as ever: a reply is the same
 * with it and without. What is decided here is how much of a draft is worth its time. How sure the draft model is, by
 * how far its likeliest token leads, says how likely a guess comes true; how likely exactly is learned from each guess.
 * It pays by an account of its own: reading a prompt, and drafts that fail, cost time out of it, drafts that come true
 * fill it, and else it grows by less than a hundredth of what was decoded. When it is empty nothing is drafted. */
#include "engine.h"
#include "gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_APART = 512,  /* tokens that the larger vocabulary may have more: rows added to make a round number */
    MOST_RENAMED = 64, /* and tokens that may be called otherwise: a fine-tune's marks. A wrong guess is only wrong */
    FIRST_SLICE = 16,  /* tokens that are read at once while nothing is known of their price */
    TRY_AGAIN = 64,    /* tokens said without it, after which it is tried once more, whatever else is at hand */
    TRIAL = 2,         /* tokens of such a draft */
    MOST_SEEN = 40,    /* guesses that a trust remembers */
};
/* Seconds: what may be spent on finding out whether it pays; the most that is put aside of what it gained. */
static const double ALLOWANCE = 0.5, SAVINGS = 2.0;

/* How far the likeliest token leads, in logits, and how often such a one is the right one, as a first estimate. */
static const struct {
    float lead;
    double trust;
} levels[MK_TRUSTS] = {{0, 0.3}, {0.5f, 0.4}, {1, 0.5}, {1.5f, 0.6}, {2, 0.7}, {3, 0.8}, {4.5f, 0.9}, {7, 0.95}};

struct mk_guesser {
    void *model, *context, *memory;
    int32_t n_vocab;          /* tokens that both vocabularies have */
    mk_batch batch;
    int32_t batch_room;
    int32_t *tokens[MK_MAX_SLOTS], n[MK_MAX_SLOTS]; /* what its cache holds of each sequence */
    double step;              /* seconds of a decode of one token */
    double read;              /* and of a token among many */
    double account;           /* seconds that it may lose */
    mk_trust any;             /* how often a guess comes true, however sure it is */
    mk_trust trust[MK_TRUSTS];
    int32_t since;            /* tokens said since it was last asked */
};

/* ---- its life ---- */

static bool refused(mk_engine *e, const char *why, const char *more) {
    char reason[900];
    snprintf(reason, sizeof reason, "its draft model %.300s: %s%s%s", e->config.draft_path, why, more[0] ? ": " : "", more);
    mk_failed(e, MK_FAILED_MODEL, atomic_load(&e->closing) ? "loading was cancelled" : reason);
    return false;
}

/* What it drafts is given to the other by number: so the numbers have to mean the same texts. */
static bool same_vocabulary(mk_engine *e, struct mk_guesser *g) {
    const mk_table *t = &e->table;
    const void *vocab = t->llama_model_get_vocab(g->model);
    int32_t theirs = t->llama_vocab_n_tokens(vocab), ours = e->info.n_vocab, renamed = 0, first = 0;
    char why[200], text[48];
    g->n_vocab = theirs < ours ? theirs : ours;
    if (t->llama_vocab_type(vocab) != e->info.vocab_type || abs(theirs - ours) > MOST_APART) {
        snprintf(why, sizeof why, "its vocabulary is another one (%d tokens, and the model has %d)", theirs, ours);
        return refused(e, why, "take a smaller model of the same family");
    }
    for (int32_t i = g->n_vocab - 1; i >= 0; i--) {
        const char *a = t->llama_vocab_get_text(vocab, i), *b = t->llama_vocab_get_text(e->vocab, i);
        if (a == NULL || b == NULL || strcmp(a, b) != 0) {
            renamed++;
            first = i;
        }
    }
    if (renamed > MOST_RENAMED) {
        const char *b = t->llama_vocab_get_text(e->vocab, first);
        text[mk_text_clean(text, sizeof text - 1, b == NULL ? "" : b, b == NULL ? 0 : strlen(b))] = '\0';
        snprintf(why, sizeof why, "its vocabulary is another one (token %d is \"%s\" in the model's)", first, text);
        return refused(e, why, "take a smaller model of the same family");
    }
    return true;
}

static bool load(mk_engine *e, struct mk_guesser *g) {
    const mk_table *t = &e->table;
    mk_gguf header;
    if (mk_gguf_read(e->config.draft_path, &header) != 0) {
        return refused(e, header.error, "");
    }
    e->last_error[0] = '\0';
    g->model = t->llama_model_load_from_file(e->config.draft_path, e->config.draft_model_params);
    if (g->model == NULL) {
        return refused(e, "llama.cpp could not load it", e->last_error);
    }
    if (!t->llama_model_has_decoder(g->model) || t->llama_model_has_encoder(g->model)
        || t->llama_model_is_recurrent(g->model) || t->llama_model_is_hybrid(g->model) || t->llama_model_n_swa(g->model) > 0) {
        return refused(e, "it cannot take back a token (an encoder, a recurrent model or one with a sliding window)", "");
    }
    if (!same_vocabulary(e, g)) {
        return false;
    }
    g->context = t->llama_init_from_model(g->model, e->config.draft_context_params);
    g->memory = g->context == NULL ? NULL : t->llama_get_memory(g->context);
    if (g->memory == NULL) {
        return refused(e, "llama.cpp could not make a context for it", e->last_error);
    }
    g->batch_room = (int32_t) t->llama_n_batch(g->context);
    return true;
}

bool mk_guesser_load(mk_engine *e) {
    struct mk_guesser *g;
    bool good;
    if (e->config.draft_path == NULL || e->config.draft == 0) {
        return true;
    }
    if (e->whole_only || e->whole_states) {
        mk_log_line(e, 3, "this model cannot take back a token, so its draft model is of no use to it and not loaded");
        return true;
    }
    g = e->guesser = calloc(1, sizeof *g);
    if (g == NULL || !load(e, g)) {
        return g != NULL ? false : refused(e, "no memory for it", "");
    }
    good = mk_batch_new(&g->batch, g->batch_room);
    for (uint32_t i = 0; i < e->config.slots && good; i++) {
        good = (g->tokens[i] = malloc(((size_t) e->info.context + 1) * sizeof **g->tokens)) != NULL;
    }
    for (int i = 0; i < MK_TRUSTS; i++) {
        g->trust[i].share = levels[i].trust;
    }
    g->account = ALLOWANCE;
    g->any.share = 0.7;
    return good || refused(e, "no memory for its slots", "");
}

void mk_guesser_free(mk_engine *e) {
    struct mk_guesser *g = e->guesser;
    if (g == NULL) {
        return;
    }
    for (int i = 0; i < MK_MAX_SLOTS; i++) {
        free(g->tokens[i]);
    }
    mk_batch_free(&g->batch);
    if (g->context != NULL) {
        e->table.llama_free(g->context);
    }
    if (g->model != NULL) {
        e->table.llama_model_free(g->model);
    }
    free(g);
    e->guesser = NULL;
}

/* ---- what it says ---- */

static void forget(mk_engine *e, struct mk_guesser *g, const mk_slot *slot, int32_t keep) {
    if (keep < g->n[slot->seq]) {
        e->table.llama_memory_seq_rm(g->memory, slot->seq, keep, -1);
        g->n[slot->seq] = keep;
    }
}

/* Decodes tokens behind what it holds of that sequence, the last one with logits; the seconds, or -1. */
static double decode(mk_engine *e, struct mk_guesser *g, const mk_slot *slot, const int32_t *tokens, int32_t n) {
    mk_batch *b = &g->batch;
    int32_t held = g->n[slot->seq], result;
    double begun, seconds;
    b->n_tokens = n;
    for (int32_t i = 0; i < n; i++) {
        b->token[i] = tokens[i];
        b->pos[i] = held + i;
        b->n_seq_id[i] = 1;
        b->seq_id[i][0] = slot->seq;
        b->logits[i] = i == n - 1;
    }
    mk_library_enter(e);
    begun = mk_clock(e);
    result = e->table.llama_decode(g->context, *b);
    e->table.llama_synchronize(g->context);
    seconds = mk_clock(e) - begun;
    mk_library_leave(e);
    if (result != 0) { /* what of it is in the cache is not known */
        g->n[slot->seq] = held + n;
        forget(e, g, slot, held);
        return -1;
    }
    memcpy(g->tokens[slot->seq] + held, tokens, (size_t) n * sizeof *tokens);
    g->n[slot->seq] = held + n;
    if (n <= 2) { /* what was said behind the last draft comes along with the first step of the next */
        g->step += (seconds - g->step) * (g->step <= 0 ? 1 : 0.2);
    } else if (n >= FIRST_SLICE) {
        g->read += (seconds / n - g->read) * (g->read <= 0 ? 1 : 0.2);
    }
    return seconds;
}

/* The likeliest token behind what was decoded last, and the level of its lead. */
static int32_t likeliest(mk_engine *e, struct mk_guesser *g, uint8_t *level) {
    const float *logits = e->table.llama_get_logits_ith(g->context, g->batch.n_tokens - 1);
    float first = logits[0], second = -1e30f;
    int32_t best = 0, at = MK_TRUSTS - 1;
    for (int32_t i = 1; i < g->n_vocab; i++) {
        if (logits[i] > second) {
            second = logits[i] > first ? first : logits[i];
            best = logits[i] > first ? i : best;
            first = logits[i] > first ? logits[i] : first;
        }
    }
    while (at > 0 && !(first - second >= levels[at].lead)) {
        at--;
    }
    *level = (uint8_t) at;
    return best;
}

/* Has it read everything but a few tokens of that slot? Else a slice is read, as far as the account goes. */
static bool has_read(mk_engine *e, struct mk_guesser *g, const mk_slot *slot, bool always) {
    int32_t held = mk_common(g->tokens[slot->seq], g->n[slot->seq], slot->tokens, slot->n_tokens - 1), left;
    forget(e, g, slot, held);
    for (int32_t i = held; i < slot->n_tokens; i++) {
        if (slot->tokens[i] < 0 || slot->tokens[i] >= g->n_vocab) {
            return false; /* it does not know such a token */
        }
    }
    while ((left = slot->n_tokens - g->n[slot->seq]) > FIRST_SLICE) {
        int32_t n = g->read > 0 ? (int32_t) (e->config.slice_seconds / g->read) : FIRST_SLICE;
        double seconds;
        n = n < FIRST_SLICE ? FIRST_SLICE : n;
        n = n < left - 1 ? n : left - 1;
        n = n < g->batch_room ? n : g->batch_room;
        if (!always && g->account <= 0) {
            return false; /* what it has read so far is kept: another time */
        }
        seconds = decode(e, g, slot, slot->tokens + g->n[slot->seq], n);
        g->account -= seconds > 0 ? seconds : 0;
        if (seconds < 0 || (!always && left - n > FIRST_SLICE)) {
            return false; /* the speakers are not kept waiting: more of it before the next token */
        }
    }
    return true;
}

/* ---- how much of it ---- */

/* Of a draft of at most `most` tokens, of which `known` are there (with these levels), how many make the most tokens
 * a second, and how many a second that is; `spent` seconds are gone already. */
static int32_t best_length(mk_engine *e, const struct mk_guesser *g, const uint8_t *level, int32_t known, int32_t most,
                           double spent, double *rate) {
    double expected = 1, power = 1;
    int32_t best = 0;
    for (int32_t k = 1; k <= most; k++) {
        double cost = spent + mk_curve_at(&e->speaking_cost, k + 1) + (k > known ? (k - known) * g->step : 0);
        power *= k <= known ? g->trust[level[k - 1]].share : g->any.share;
        expected += power;
        if (expected / cost > *rate) {
            *rate = expected / cost;
            best = k;
        }
    }
    return best;
}

/* A draft for a slot that else says, or hopes to say, `wanted` tokens a second; in slot->draft, with slot->n_draft.
 * Returns the seconds that were spent on it; 0 when slot is as it was. */
double mk_guess(mk_engine *e, mk_slot *slot, int32_t most, double wanted) {
    struct mk_guesser *g = e->guesser;
    bool always = e->config.draft < 0;
    double spent = 0;
    int32_t known = 0, planned = always ? most : 0, longest = 2 * mk_curve_most(&e->speaking_cost) - 1;
    most = !always && most > longest ? longest : most;
    if (most <= 0 || (!always && g->account <= 0)) {
        return 0;
    }
    if (!always) {
        double hoped = wanted;
        planned = g->step > 0 ? best_length(e, g, NULL, 0, most, 0, &hoped) : 0;
        if (planned == 0 && ++g->since < TRY_AGAIN && (slot->n_draft > 0 || g->step > 0)) {
            return 0;
        }
        planned = planned == 0 ? (most < TRIAL ? most : TRIAL) : planned;
    }
    if (!has_read(e, g, slot, always)) {
        return 0;
    }
    g->since = 0;
    while (known < planned) {
        int32_t held = g->n[slot->seq], n = known == 0 ? slot->n_tokens - held : 1;
        double seconds = decode(e, g, slot, known == 0 ? slot->tokens + held : &slot->draft[known - 1], n), without;
        if (seconds < 0) {
            break;
        }
        spent += seconds;
        slot->draft[known] = likeliest(e, g, &slot->sure[known]);
        known++;
        without = 1 / (spent + mk_curve_at(&e->speaking_cost, 1)); /* tokens a second, now that it is spent */
        if (!always) {
            planned = best_length(e, g, slot->sure, known, most, spent, &without);
        }
    }
    if (known == 0) {
        return 0; /* it failed, and the slot has what it had */
    }
    slot->match = 0; /* what stood before is overwritten */
    slot->n_draft = planned < known ? planned : known;
    slot->guessed = slot->n_draft > 0;
    if (slot->n_draft == 0) {
        g->account -= spent;
    }
    return spent;
}

/* A guess came true, or not. */
void mk_guess_learn(mk_engine *e, int level, bool right) {
    mk_trust_learn(&e->guesser->trust[level], right, MOST_SEEN);
    mk_trust_learn(&e->guesser->any, right, MOST_SEEN);
}

void mk_guess_book(mk_engine *e, double gained) {
    struct mk_guesser *g = e->guesser;
    g->account += gained;
    g->account = g->account > SAVINGS ? SAVINGS : g->account;
}

/* So many seconds were decoded. */
void mk_guess_allow(mk_engine *e, double seconds) {
    if (e->guesser != NULL && e->guesser->account < ALLOWANCE / 4) {
        e->guesser->account += 0.005 * seconds;
    }
}
