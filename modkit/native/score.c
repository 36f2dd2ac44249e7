/* How likely a model finds each of several answers: the logarithms of their probabilities, read from the logits
 * and not from text. Runs on the worker thread alone.
 *
 * The prompt is prefilled once. Its last logits have the first token of every choice; a choice of several tokens is
 * then fed token by token, as if it had been said, and taken back for the next one. So the scheduler sees a stream
 * that speaks, and one-token choices cost the prefill alone. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mk_score {
    int32_t n;        /* choices */
    int32_t *at;      /* choice c is tokens[at[c] .. at[c + 1]) */
    int32_t *tokens;
    double *sums;
    int32_t now, fed; /* the choice being fed, -1 before the first, and how many of its tokens are */
    int32_t prompt;   /* tokens of the prompt */
};

void mk_score_free(mk_slot *slot) {
    struct mk_score *s = slot->score;
    if (s != NULL) {
        free(s->at);
        free(s->tokens);
        free(s->sums);
        free(s);
        slot->score = NULL;
    }
}

/* Where one choice is the beginning of another, the shorter one would always win: then each is followed by the end
 * of the turn, so that "yes" means "yes and no more". */
static bool one_begins_another(const struct mk_score *s) {
    for (int32_t a = 0; a < s->n; a++) {
        for (int32_t b = 0; b < s->n; b++) {
            int32_t n = s->at[a + 1] - s->at[a], m = s->at[b + 1] - s->at[b];
            if (a != b && n <= m && memcmp(s->tokens + s->at[a], s->tokens + s->at[b], (size_t) n * sizeof *s->tokens) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool end_each(mk_engine *e, struct mk_score *s) {
    int32_t end = e->table.llama_vocab_eot(e->vocab), *tokens;
    end = end < 0 ? e->table.llama_vocab_eos(e->vocab) : end;
    if (end < 0) {
        return true; /* the vocabulary has no end: the shorter one wins */
    }
    tokens = malloc(((size_t) s->at[s->n] + (size_t) s->n) * sizeof *tokens);
    if (tokens == NULL) {
        return false;
    }
    for (int32_t c = s->n - 1; c >= 0; c--) {
        int32_t n = s->at[c + 1] - s->at[c];
        memcpy(tokens + s->at[c] + c, s->tokens + s->at[c], (size_t) n * sizeof *tokens);
        tokens[s->at[c] + c + n] = end;
    }
    for (int32_t c = 0; c <= s->n; c++) {
        s->at[c] += c;
    }
    free(s->tokens);
    s->tokens = tokens;
    return true;
}

/* Makes the slot's score from its job's choices; 0, or the code of an error with its reason. */
uint32_t mk_score_begin(mk_engine *e, mk_slot *slot, char *reason, size_t size) {
    const mk_job *job = slot->job;
    struct mk_score *s = calloc(1, sizeof *s);
    size_t room = 0;
    int32_t longest = 0;
    slot->score = s;
    for (int32_t i = 0; i < job->ask.n_choices; i++) {
        room += (size_t) job->choices[i].length + 16;
    }
    if (s != NULL) {
        s->n = job->ask.n_choices;
        s->prompt = slot->n_tokens;
        s->now = -1;
        s->at = calloc((size_t) s->n + 1, sizeof *s->at);
        s->tokens = malloc(room * sizeof *s->tokens);
        s->sums = calloc((size_t) s->n, sizeof *s->sums);
    }
    if (s == NULL || s->at == NULL || s->tokens == NULL || s->sums == NULL) {
        snprintf(reason, size, "no memory for the choices");
        return MK_CODE_MEMORY;
    }
    for (int32_t i = 0; i < s->n; i++) {
        int32_t n = mk_tokenise_more(e, &job->choices[i], s->tokens + s->at[i], (int32_t) (room - (size_t) s->at[i]));
        if (n <= 0) {
            snprintf(reason, size, "choice %d is empty or cannot be tokenised with this vocabulary", i);
            return MK_CODE_PROMPT;
        }
        s->at[i + 1] = s->at[i] + n;
        longest = n + 1 > longest ? n + 1 : longest;
    }
    if (s->prompt + longest >= (int32_t) e->info.context) {
        snprintf(reason, size, "the prompt has %d tokens and the longest choice %d, and the context holds %u", s->prompt,
                 longest - 1, e->info.context);
        return MK_CODE_OVERFLOW;
    }
    if (one_begins_another(s) && !end_each(e, s)) {
        snprintf(reason, size, "no memory for the choices");
        return MK_CODE_MEMORY;
    }
    return 0;
}

static void feed(mk_slot *slot, int32_t token) {
    slot->tokens[slot->n_tokens++] = token;
    slot->score->fed++;
}

/* Takes back what was fed, and begins with the next choice that has more than one token; false: there is none. A
 * model that cannot drop a part of its state prefills the prompt again. */
static bool next_choice(mk_engine *e, mk_slot *slot) {
    struct mk_score *s = slot->score;
    do {
        s->now++;
    } while (s->now < s->n && s->at[s->now + 1] - s->at[s->now] < 2);
    if (slot->n_done > s->prompt) {
        mk_slot_truncate(e, slot, s->prompt);
    }
    slot->n_tokens = s->prompt;
    s->fed = 0;
    if (s->now == s->n) {
        return false;
    }
    feed(slot, s->tokens[s->at[s->now]]);
    return true;
}

static void finish(mk_engine *e, mk_slot *slot) {
    struct mk_score *s = slot->score;
    mk_block *block = slot->job->ask.block;
    block->columns = 1;
    if (!mk_block_room(block, s->n)) {
        mk_slot_fail(e, slot, MK_CODE_MEMORY, "no memory for the probabilities");
        return;
    }
    for (int32_t c = 0; c < s->n; c++) {
        block->data[block->rows++] = (float) s->sums[c];
    }
    mk_slot_finish(e, slot, MK_FINISH_STOP);
}

/* There are logits for the slot: of its prompt, or of what was fed last. */
void mk_score_step(mk_engine *e, mk_slot *slot) {
    struct mk_score *s = slot->score;
    const float *logits = e->table.llama_get_logits_ith(e->context, slot->output);
    double sum;
    if (logits == NULL) {
        mk_slot_fail(e, slot, MK_CODE_DECODE, "llama.cpp gave no logits");
        return;
    }
    if (slot->first_token == 0) {
        slot->first_token = mk_now();
    }
    sum = mk_log_sum(logits, e->info.n_vocab);
    if (s->now < 0) {
        for (int32_t c = 0; c < s->n; c++) {
            s->sums[c] = logits[s->tokens[s->at[c]]] - sum;
        }
    } else {
        s->sums[s->now] += logits[s->tokens[s->at[s->now] + s->fed]] - sum;
        if (s->at[s->now] + s->fed + 1 < s->at[s->now + 1]) {
            feed(slot, s->tokens[s->at[s->now] + s->fed]);
            return;
        }
    }
    if (!next_choice(e, slot)) {
        finish(e, slot);
    }
}
