/* What may be said next: a request's grammar, over the whole reply or over islands in it. Runs on the worker
 * thread alone.
 *
 * A strict grammar holds the whole reply. A lazy one waits for its triggers: from the place where one of them
 * appears the text is held, until the grammar is complete and nothing in it goes on; then the reply is free again,
 * up to the next trigger. */
#include "hold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mk_stop *trigger_in(const mk_hold *h, const char *bytes, size_t n, size_t from, size_t *at);

/* NULL with a reason when the grammar is wrong. `longest` is the vocabulary's longest piece. */
mk_hold *mk_hold_new(const char *gbnf, size_t size, const char *root, const mk_token_names *names,
                     const mk_stop *triggers, int32_t n_triggers, size_t longest, char *reason, size_t reason_size) {
    mk_hold *h = calloc(1, sizeof *h);
    mk_grammar *g = h == NULL ? NULL : mk_grammar_new(gbnf, size, root, names, reason, reason_size);
    if (h == NULL || g == NULL) {
        if (h == NULL) {
            snprintf(reason, reason_size, "there is no memory for the grammar");
        }
        free(h);
        return NULL;
    }
    h->grammar = g;
    h->triggers = triggers;
    h->n_triggers = n_triggers;
    h->held = n_triggers == 0;
    for (int32_t i = 0; i < n_triggers; i++) {
        const mk_stop *t = &triggers[i];
        h->tail_room = (size_t) t->length > h->tail_room ? (size_t) t->length : h->tail_room;
        if (mk_grammar_try(g, t->text, (size_t) t->length) != MK_GRAMMAR_YES) {
            snprintf(reason, reason_size, "the grammar must begin with its trigger '%.60s', and it does not", t->text);
            mk_hold_free(h);
            return NULL;
        }
    }
    h->tail = malloc(h->tail_room + longest + 16);
    h->scratch = malloc(h->tail_room + longest + 16);
    if (h->tail == NULL || h->scratch == NULL) {
        snprintf(reason, reason_size, "there is no memory for the grammar");
        mk_hold_free(h);
        return NULL;
    }
    return h;
}

void mk_hold_free(mk_hold *h) {
    if (h != NULL) {
        mk_grammar_free(h->grammar);
        free(h->tail);
        free(h->scratch);
        free(h);
    }
}

/* The trigger that appears first in the bytes, at or behind `from`; NULL when none does. */
static const mk_stop *trigger_in(const mk_hold *h, const char *bytes, size_t n, size_t from, size_t *at) {
    for (size_t i = from; i < n; i++) {
        for (int32_t k = 0; k < h->n_triggers; k++) {
            const mk_stop *t = &h->triggers[k];
            if ((size_t) t->length <= n - i && memcmp(bytes + i, t->text, (size_t) t->length) == 0) {
                *at = i;
                return t;
            }
        }
    }
    return NULL;
}

/* The text that is free and may still become a trigger, and the piece behind it; returns its length. */
static size_t joined(mk_hold *h, const char *piece, size_t n) {
    memcpy(h->scratch, h->tail, h->n_tail);
    memcpy(h->scratch + h->n_tail, piece, n);
    return h->n_tail + n;
}

int mk_hold_allows(mk_hold *h, int32_t token, const char *piece, size_t n) {
    const char *rest = piece;
    size_t at, eaten;
    bool complete;
    if (h->held) {
        int whole = mk_grammar_try_token(h->grammar, token, piece, n);
        if (whole == MK_GRAMMAR_YES || n == 0 || h->n_triggers == 0) {
            return whole;
        }
    } else {
        size_t size = joined(h, piece, n);
        if (trigger_in(h, h->scratch, size, 0, &at) == NULL) {
            return MK_GRAMMAR_YES;
        }
        rest = h->scratch + at;
        n = size - at;
    }
    eaten = mk_grammar_try_some(h->grammar, rest, n, &complete);
    if (eaten == n) {
        return MK_GRAMMAR_YES;
    }
    /* the island ends inside this piece: what follows must be free */
    return complete && trigger_in(h, rest, n, eaten, &at) == NULL ? MK_GRAMMAR_YES : MK_GRAMMAR_NO;
}

static void set_free(mk_hold *h, const char *rest, size_t n) {
    size_t keep = n < h->tail_room ? n : h->tail_room - 1;
    mk_grammar_restart(h->grammar);
    h->held = false;
    memmove(h->tail, rest + n - keep, keep);
    h->n_tail = keep;
}

bool mk_hold_take(mk_hold *h, int32_t token, const char *piece, size_t n) {
    const char *rest = piece;
    size_t at, eaten;
    if (h->held) {
        bool whole = mk_grammar_feed_token(h->grammar, token, piece, n) == MK_GRAMMAR_YES;
        if (whole && h->n_triggers > 0 && mk_grammar_stuck(h->grammar)) {
            set_free(h, rest, 0);
        }
        if (whole || h->n_triggers == 0) {
            return whole;
        }
    } else {
        size_t size = joined(h, piece, n);
        if (trigger_in(h, h->scratch, size, 0, &at) == NULL) {
            size_t keep = size < h->tail_room ? size : h->tail_room - 1;
            memcpy(h->tail, h->scratch + size - keep, keep);
            h->n_tail = keep;
            return true;
        }
        rest = h->scratch + at;
        n = size - at;
        h->held = true;
    }
    eaten = mk_grammar_feed_some(h->grammar, rest, n);
    if (eaten < n) {
        if (!mk_grammar_complete(h->grammar)) {
            return false;
        }
        set_free(h, rest + eaten, n - eaten);
    } else if (mk_grammar_stuck(h->grammar)) {
        set_free(h, rest, 0);
    }
    return true;
}

bool mk_hold_may_end(const mk_hold *h) {
    return !h->held || mk_grammar_complete(h->grammar);
}

bool mk_hold_must_end(const mk_hold *h) {
    return h->n_triggers == 0 && mk_grammar_stuck(h->grammar);
}
