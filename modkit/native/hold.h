/* What a grammar allows a reply to say next; see hold.c. */
#ifndef MK_HOLD_H
#define MK_HOLD_H

#include "grammar.h"
#include "text.h"

typedef struct mk_hold {
    mk_grammar *grammar;
    const mk_stop *triggers; /* borrowed from the request */
    int32_t n_triggers;      /* 0: strict */
    bool held;               /* the grammar is under way */
    char *tail;              /* the last bytes of free text, less than the longest trigger */
    size_t n_tail, tail_room;
    char *scratch;
} mk_hold;

mk_hold *mk_hold_new(const char *gbnf, size_t size, const char *root, const mk_token_names *names,
                     const mk_stop *triggers, int32_t n_triggers, size_t longest, char *reason, size_t reason_size);
void mk_hold_free(mk_hold *h);
/* Whether this token may come next: MK_GRAMMAR_YES, NO or LIMIT. */
int mk_hold_allows(mk_hold *h, int32_t token, const char *piece, size_t n);
/* It was said; false when it was not allowed. */
bool mk_hold_take(mk_hold *h, int32_t token, const char *piece, size_t n);
bool mk_hold_may_end(const mk_hold *h);
bool mk_hold_must_end(const mk_hold *h); /* nothing can be said any more */

#endif
