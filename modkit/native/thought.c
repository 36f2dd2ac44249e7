/* Thoughts: what a thinking model says between two marks, apart from its reply, and ended when it takes too long.
 * Runs on the worker thread alone.
 *
 * A mark may be one special token, whose text is never shown, or plain text spread over several tokens: both are
 * recognised. When the budget is used up the end of the thought is said for the model: its tokens are fed as if they
 * had been sampled, so the model goes on with its reply. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FORCED = 48 };

struct mk_thought {
    mk_stop open, close;         /* borrowed from the request */
    int32_t open_token, close_token; /* -1: no single token */
    mk_stop said[MK_MAX_STOPS + 1];  /* the request's stops, and the opening mark */
    int32_t n_said;
    bool inside;
    int32_t used;
    int32_t forced[MAX_FORCED], n_forced, at;
};

static int32_t one_token(mk_engine *e, const mk_stop *mark) {
    int32_t tokens[8], n = e->table.llama_tokenize(e->vocab, mark->text, mark->length, tokens, 8, false, true);
    return n == 1 ? tokens[0] : -1;
}

static void set_inside(mk_slot *slot, bool inside) {
    struct mk_thought *t = slot->thought;
    t->inside = inside;
    slot->text.stops = inside ? &t->close : t->said;
    slot->text.n_stops = inside ? 1 : t->n_said;
    slot->text.trim_start = inside || slot->job->ask.trim_start;
}

/* false when memory is out. */
bool mk_thought_begin(mk_engine *e, mk_slot *slot) {
    const mk_job *job = slot->job;
    struct mk_thought *t;
    char end[MK_MAX_STOP_BYTES + 4];
    int32_t n;
    slot->thought = NULL;
    if (job->thought_open.text == NULL) {
        return true;
    }
    t = slot->thought = calloc(1, sizeof *t);
    if (t == NULL) {
        return false;
    }
    t->open = job->thought_open;
    t->close = job->thought_close;
    t->open_token = one_token(e, &t->open);
    t->close_token = one_token(e, &t->close);
    for (int32_t i = 0; i < job->ask.n_stops && i < MK_MAX_STOPS; i++) {
        t->said[t->n_said++] = job->stops[i];
    }
    t->said[t->n_said++] = t->open;
    n = t->close.length < MK_MAX_STOP_BYTES ? t->close.length : MK_MAX_STOP_BYTES;
    end[0] = '\n';
    memcpy(end + 1, t->close.text, (size_t) n);
    memcpy(end + 1 + n, "\n\n", 2);
    t->n_forced = e->table.llama_tokenize(e->vocab, end, n + 3, t->forced, MAX_FORCED, false, true);
    t->n_forced = t->n_forced < 0 ? 0 : t->n_forced;
    set_inside(slot, job->ask.thinking);
    return true;
}

void mk_thought_free(mk_slot *slot) {
    free(slot->thought);
    slot->thought = NULL;
}

bool mk_thought_inside(const mk_slot *slot) {
    return slot->thought != NULL && slot->thought->inside;
}

/* The token that must be said next because the budget is used up, or -1. */
int32_t mk_thought_force(mk_slot *slot) {
    struct mk_thought *t = slot->thought;
    bool begun = t != NULL && t->at > 0 && t->at < t->n_forced;
    if (t == NULL || t->n_forced == 0 || slot->job->ask.thought_budget < 0) {
        return -1;
    }
    if (!begun && !(t->inside && t->at == 0 && t->used >= slot->job->ask.thought_budget)) {
        return -1;
    }
    return t->forced[t->at++];
}

/* Counts the token; true when it is a mark by itself and has no text to show. */
bool mk_thought_token(mk_slot *slot, int32_t token) {
    struct mk_thought *t = slot->thought;
    if (t == NULL) {
        return false;
    }
    t->used += t->inside;
    if (t->inside ? token == t->close_token && token >= 0 : token == t->open_token && token >= 0) {
        slot->text.used = 0; /* what was held back might have become the mark in letters */
        set_inside(slot, !t->inside);
        return true;
    }
    return false;
}

/* A stop string was met behind n bytes of text: takes it out when it is a mark, and says so. */
bool mk_thought_mark(mk_slot *slot, size_t n) {
    struct mk_thought *t = slot->thought;
    const mk_stop *mark = t == NULL ? NULL : t->inside ? &t->close : &t->open;
    const mk_text *text = &slot->text;
    if (mark == NULL || text->used - n < (size_t) mark->length || memcmp(text->bytes + n, mark->text, (size_t) mark->length) != 0) {
        return false;
    }
    mk_text_consume(&slot->text, n + (size_t) mark->length);
    set_inside(slot, !t->inside);
    return true;
}
