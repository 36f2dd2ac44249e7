/* GBNF, llama.cpp's notation of grammars, into a network; see gbnf.c. */
#ifndef MK_GBNF_H
#define MK_GBNF_H

#include "network.h"

/* Where a grammar's token names are looked up. `find` gives the number of the token with exactly this text, or -1;
 * it is asked while the grammar is read and never after. */
typedef struct mk_token_names {
    int32_t (*find)(void *context, const char *text, size_t n);
    void *context;
    int32_t n_tokens;
} mk_token_names;

/* Fills a network that has begun and returns the number of the rule `root`; -1 with a reason that names line, column
 * and rule. `names` may be NULL: a grammar that names tokens is then refused. */
int32_t mk_gbnf_read(mk_network *net, const char *gbnf, size_t size, const char *root, const mk_token_names *names,
                     char *error, size_t error_size);

#endif
