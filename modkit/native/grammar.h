/* A grammar that text is held to, byte by byte.
 *
 * GBNF, llama.cpp's notation, compiled to a network of byte ranges, choices and calls, and walked with a stack that
 * is shared between all ways of reading the text (a graph-structured stack, as generalised LL parsers have it): the
 * work for a byte is bounded whatever the grammar, ambiguous and left-recursive ones included, and a text is never
 * "too deep". llama.cpp's own grammar sampler keeps every stack apart, throws when it is asked for what it cannot do
 * and ends the process with some inputs; that is why it is not used.
 *
 * No state is shared: a grammar belongs to the thread that uses it. No allocation per token once buffers have grown.
 */
#ifndef MK_GRAMMAR_H
#define MK_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mk_grammar mk_grammar;

/* NULL with a reason that names line, column and rule, when the text is no grammar or too large a one. */
mk_grammar *mk_grammar_new(const char *gbnf, size_t size, const char *root, char *error, size_t error_size);
void mk_grammar_free(mk_grammar *g);

/* Back to the beginning of the text. */
void mk_grammar_restart(mk_grammar *g);

/* Whether the text so far is a whole member. */
bool mk_grammar_complete(const mk_grammar *g);

enum { MK_GRAMMAR_NO = 0, MK_GRAMMAR_YES = 1, MK_GRAMMAR_LIMIT = -1 };

/* Goes on by these bytes. NO: no member continues so, and nothing has changed. LIMIT: there are too many ways to
 * read the text; nothing has changed. */
int mk_grammar_feed(mk_grammar *g, const char *bytes, size_t n);
/* The same question without going on. */
int mk_grammar_try(mk_grammar *g, const char *bytes, size_t n);
/* Goes on by as many of the bytes as it can, and returns how many. */
size_t mk_grammar_feed_some(mk_grammar *g, const char *bytes, size_t n);

/* As feed_some, without going on. */
size_t mk_grammar_try_some(mk_grammar *g, const char *bytes, size_t n, bool *complete);
/* The text so far is a member, and no longer one begins with it. */
bool mk_grammar_stuck(const mk_grammar *g);

/* The pieces of a vocabulary in an order that shares beginnings. */
typedef struct mk_words {
    int32_t n;
    int32_t *order;     /* tokens sorted by their bytes */
    uint16_t *common;   /* how many first bytes order[i] shares with order[i - 1] */
    uint32_t *at;       /* token t is bytes[at[t] .. at[t + 1]) */
    char *bytes;
} mk_words;

/* Fills `order` and `common` from the rest. */
void mk_words_sort(mk_words *words);

/* Every token whose piece may come next, into `allowed` (room for all); tokens without bytes never may. Returns how
 * many, or MK_GRAMMAR_LIMIT. */
int32_t mk_grammar_mask(mk_grammar *g, const mk_words *words, int32_t *allowed);

#endif
