/* The pieces of a vocabulary in an order that shares beginnings, so that what may come next is asked of all of them
 * at once. Filled once and read only from then on; belongs to whoever fills it. */
#ifndef MK_WORDS_H
#define MK_WORDS_H

#include "grammar.h"

typedef struct mk_words {
    int32_t n;
    int32_t *order;   /* tokens sorted by their bytes */
    uint16_t *common; /* how many first bytes order[i] shares with order[i - 1] */
    uint32_t *at;     /* token t is bytes[at[t] .. at[t + 1]) */
    char *bytes;
    int32_t from[257]; /* the first place in `order` whose piece begins with this byte or a greater one */
} mk_words;

/* Fills `order`, `common` and `from` from the rest. */
void mk_words_sort(mk_words *words);

/* Every token that may come next, into `allowed` (room for all); a token without bytes may only when the grammar
 * names it. Returns how many, or MK_GRAMMAR_LIMIT. On the grammar's thread. */
int32_t mk_words_allowed(const mk_words *words, mk_grammar *g, int32_t *allowed);

#endif
