/* Who gives way: when every slot is taken and somebody more important comes, an ambient stream is interrupted, and
 * goes on where it was once a slot is free. Runs on the worker thread alone.
 *
 * All that it has said stays said; it goes back among the waiting, before those of its kind that have not begun. Its
 * cache needs nothing of its own: whoever takes the slot stores what is lost by that (cache.c), and the stream finds
 * it there, or in the slot, or on disk, as any prompt does that begins with known tokens. Where it was given up
 * meanwhile, or nothing is stored, it is computed again. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

/* Who has said nothing yet is not missed; among the others the one whose cache is the least to copy. */
static mk_slot *least_missed(mk_engine *e) {
    mk_slot *best = NULL;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        mk_slot *slot = &e->slots[i];
        if (slot->job == NULL || slot->job->ask.priority > MK_AMBIENT) {
            continue;
        }
        if (best == NULL || (slot->n_generated == 0) > (best->n_generated == 0)
            || ((slot->n_generated == 0) == (best->n_generated == 0) && slot->n_done < best->n_done)) {
            best = slot;
        }
    }
    return best;
}

bool mk_may_interrupt(mk_engine *e, const mk_job *newcomer) {
    return newcomer->ask.priority > MK_AMBIENT && least_missed(e) != NULL;
}

/* Frees a slot, which there must be; the stream that spoke in it is the caller's to put among the waiting. NULL when
 * memory is out. */
mk_job *mk_interrupt(mk_engine *e) {
    mk_slot *slot = least_missed(e), *rest = malloc(sizeof *rest);
    int32_t *tokens = malloc((size_t) slot->n_tokens * sizeof *tokens);
    mk_job *job = slot->job;
    if (rest == NULL || tokens == NULL) {
        free(rest);
        free(tokens);
        return NULL;
    }
    memcpy(tokens, slot->tokens, (size_t) slot->n_tokens * sizeof *tokens);
    free(job->tokens);
    free(job->whole);
    job->tokens = tokens;
    job->n_tokens = slot->n_tokens;
    job->whole = NULL;
    job->fetched = false; /* its state may go to disk now */
    *rest = *slot;
    job->rest = rest;
    slot->job = NULL;
    slot->sampler = NULL;
    slot->hold = NULL;
    slot->thought = NULL;
    slot->score = NULL;
    slot->text = (mk_text){0};
    slot->n_tokens = slot->n_done;
    slot->keep = true; /* whoever takes the slot stores it */
    slot->last_used = ++e->clock;
    return job;
}

/* In another slot, or the same one, whose cache and tokens are there already. */
void mk_go_on(mk_slot *slot) {
    mk_slot *rest = slot->job->rest;
    free(slot->text.bytes);
    slot->text = rest->text;
    slot->sampler = rest->sampler;
    slot->hold = rest->hold;
    slot->thought = rest->thought;
    slot->score = rest->score;
    slot->n_generated = rest->n_generated;
    slot->n_prompt = rest->n_prompt;
    slot->first_token = rest->first_token;
    slot->due = rest->due;
    slot->job->rest = NULL;
    free(rest);
}

/* For a stream that ends while it waits to go on. */
void mk_rest_free(mk_engine *e, mk_job *job) {
    mk_slot *rest = job->rest;
    if (rest != NULL) {
        mk_sample_end(e, rest);
        mk_score_free(rest);
        mk_thought_free(rest);
        free(rest->text.bytes);
        free(rest);
        job->rest = NULL;
    }
}
