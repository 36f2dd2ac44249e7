/* A request as it travels: one block with a copy of everything that the host gave, so that nothing of the host's is
 * looked at once mk_engine_submit() has returned. Made on the host's thread, freed by whoever owns it then. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

static size_t aligned(size_t n) {
    return (n + 15) & ~(size_t) 15;
}

static size_t segment_bytes(const mk_segment *s) {
    return (size_t) s->length * (s->kind == MK_TOKENS ? 4 : 1);
}

/* A copy behind the job, with a NUL that is not counted. */
static mk_segment segment_copy(mk_job *job, size_t *at, const mk_segment *s) {
    mk_segment copy = *s;
    copy.data = (char *) job + *at;
    if (segment_bytes(s) > 0) {
        memcpy((char *) job + *at, s->data, segment_bytes(s));
    }
    *at += aligned(segment_bytes(s) + 1);
    return copy;
}

/* What its copy takes. */
static size_t text_bytes(const mk_segment *s) {
    return aligned(segment_bytes(s) + 1);
}

/* The lists of pointers and numbers, behind the job. */
static size_t list_bytes(const mk_request *ask) {
    return aligned((size_t) ask->n_segments * sizeof(mk_segment)) + aligned((size_t) ask->n_stops * sizeof(mk_stop))
           + aligned((size_t) ask->n_segments * sizeof(int32_t)) + aligned((size_t) ask->n_triggers * sizeof(mk_stop))
           + aligned((size_t) ask->n_choices * sizeof(mk_segment)) + aligned((size_t) ask->n_samplers * sizeof(mk_sampler));
}

static void place_lists(mk_job *job) {
    const mk_request *ask = &job->ask;
    char *at = (char *) job + aligned(sizeof *job);
    job->segments = (mk_segment *) at;
    at += aligned((size_t) ask->n_segments * sizeof(mk_segment));
    job->stops = (mk_stop *) at;
    at += aligned((size_t) ask->n_stops * sizeof(mk_stop));
    job->turns = (int32_t *) at;
    at += aligned((size_t) ask->n_segments * sizeof(int32_t));
    job->triggers = (mk_stop *) at;
    at += aligned((size_t) ask->n_triggers * sizeof(mk_stop));
    job->choices = (mk_segment *) at;
    at += aligned((size_t) ask->n_choices * sizeof(mk_segment));
    job->samplers = (mk_sampler *) at;
}

/* The texts that the lists point at, behind them. */
static size_t all_text_bytes(const mk_request *ask) {
    size_t size = 0;
    for (int32_t i = 0; i < ask->n_segments; i++) {
        size += text_bytes(&ask->segments[i]);
    }
    for (int32_t i = 0; i < ask->n_stops; i++) {
        size += text_bytes(&ask->stops[i]);
    }
    for (int32_t i = 0; i < ask->n_triggers; i++) {
        size += text_bytes(&ask->triggers[i]);
    }
    for (int32_t i = 0; i < ask->n_choices; i++) {
        size += text_bytes(&ask->choices[i]);
    }
    for (int32_t i = 0; i < ask->n_samplers; i++) {
        size += aligned((size_t) ask->samplers[i].size + 1);
    }
    if (ask->thought_open != NULL) {
        size += text_bytes(ask->thought_open) + text_bytes(ask->thought_close);
    }
    return ask->grammar == NULL ? size : size + text_bytes(ask->grammar) + text_bytes(ask->root);
}

static mk_stop stop_copy(mk_job *job, size_t *at, const mk_segment *s) {
    mk_segment copy = segment_copy(job, at, s);
    return (mk_stop){copy.data, copy.length};
}

static void copy_texts(mk_job *job, size_t at) {
    const mk_request *ask = &job->ask;
    for (int32_t i = 0; i < ask->n_choices; i++) {
        job->choices[i] = segment_copy(job, &at, &ask->choices[i]);
    }
    for (int32_t i = 0; i < ask->n_samplers; i++) {
        mk_segment data = {.data = ask->samplers[i].data, .length = ask->samplers[i].size};
        job->samplers[i] = ask->samplers[i];
        job->samplers[i].data = segment_copy(job, &at, &data).data;
    }
    for (int32_t i = 0; i < ask->n_segments; i++) {
        job->segments[i] = segment_copy(job, &at, &ask->segments[i]);
    }
    for (int32_t i = 0; i < ask->n_stops; i++) {
        job->stops[i] = stop_copy(job, &at, &ask->stops[i]);
    }
    for (int32_t i = 0; i < ask->n_triggers; i++) {
        job->triggers[i] = stop_copy(job, &at, &ask->triggers[i]);
    }
    if (ask->thought_open != NULL) {
        job->thought_open = stop_copy(job, &at, ask->thought_open);
        job->thought_close = stop_copy(job, &at, ask->thought_close);
    }
    if (ask->grammar != NULL) {
        mk_segment root;
        job->grammar = segment_copy(job, &at, ask->grammar);
        root = segment_copy(job, &at, ask->root);
        job->root = (char *) (uintptr_t) root.data;
        job->root[root.length] = '\0';
    }
}

/* Host's thread; NULL when memory is out. */
mk_job *mk_job_new(const mk_request *ask) {
    size_t texts = aligned(sizeof(mk_job)) + list_bytes(ask);
    mk_job *job = malloc(texts + all_text_bytes(ask));
    if (job == NULL) {
        return NULL;
    }
    memset(job, 0, sizeof *job);
    job->ask = *ask;
    place_lists(job);
    copy_texts(job, texts);
    job->submitted = mk_now();
    mk_block_hold(ask->block);
    return job;
}

void mk_job_free(mk_job *job) {
    if (job != NULL) {
        free(job->tokens);
        free(job->whole);
        mk_block_release(job->ask.block);
    }
    free(job);
}
