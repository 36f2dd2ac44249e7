/* A grammar that text is held to, byte by byte.
 *
 * GBNF (gbnf.c) is compiled to a network of byte ranges, choices and calls (network.c), and walked with a stack that
 * is shared between all ways of reading the text (a graph-structured stack, as generalised LL parsers have it): the
 * work for a byte is bounded whatever the grammar, ambiguous and left-recursive ones included, and a text is never
 * "too deep". llama.cpp's own grammar sampler keeps every stack apart, throws when it is asked for what it cannot do
 * and ends the process with some inputs; that is why it is not used.
 *
 * No state is shared: a grammar belongs to the thread that uses it. No allocation per token once buffers have grown.
 */
#ifndef MK_GRAMMAR_H
#define MK_GRAMMAR_H

#include "gbnf.h"

typedef struct mk_grammar mk_grammar;

/* NULL with a reason that names line, column and rule, when the text is no grammar or too large a one. `names` looks
 * up the tokens that it names; NULL refuses them. */
mk_grammar *mk_grammar_new(const char *gbnf, size_t size, const char *root, const mk_token_names *names, char *error,
                           size_t error_size);
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

/* The same questions for a whole token with these bytes (none: a control token), which the grammar may also name. */
int mk_grammar_try_token(mk_grammar *g, int32_t token, const char *bytes, size_t n);
int mk_grammar_feed_token(mk_grammar *g, int32_t token, const char *bytes, size_t n);
/* Whether the grammar names any token here, and whether it names this one. */
bool mk_grammar_names_tokens(const mk_grammar *g);
bool mk_grammar_takes_token(const mk_grammar *g, int32_t token, bool has_text);

/* For words.c, which tries many texts that begin alike: from level l, which this or 0 made, by one byte to level l + 1.
 * What it cost is taken from *work. */
int mk_grammar_step(mk_grammar *g, int32_t l, uint8_t byte, int64_t *work);

#endif
