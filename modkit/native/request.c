/* What a request asks, made ready: the prompt's segments as tokens.
 * Runs on the worker thread alone. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

/* Tokenises one segment behind the n tokens in `out`; returns the new count, or -1.
 * SentencePiece vocabularies put a space before whatever a call begins with; inside a prompt that
 * space would be one too many, so a segment is tokenised behind a newline that is taken off again. */
static int32_t tokenise_segment(mk_engine *e, const mk_segment *s, int32_t *out, int32_t n, int32_t room, bool bos) {
    bool special = s->kind == MK_TEMPLATE;
    int32_t newline[8], got, n_newline;
    char *joined;
    if (e->info.vocab_type != 1 || n == 0 || s->length == 0) {
        got = e->table.llama_tokenize(e->vocab, s->data, s->length, out + n, room - n, bos, special);
        return got < 0 ? -1 : n + got;
    }
    n_newline = e->table.llama_tokenize(e->vocab, "\n", 1, newline, 8, false, false);
    joined = malloc((size_t) s->length + 1);
    if (joined == NULL || n_newline < 0) {
        free(joined);
        return -1;
    }
    joined[0] = '\n';
    memcpy(joined + 1, s->data, (size_t) s->length);
    got = e->table.llama_tokenize(e->vocab, joined, s->length + 1, out + n, room - n, false, special);
    free(joined);
    if (got < n_newline || memcmp(out + n, newline, (size_t) n_newline * sizeof *newline) != 0) {
        got = e->table.llama_tokenize(e->vocab, s->data, s->length, out + n, room - n, false, special);
        return got < 0 ? -1 : n + got;
    }
    memmove(out + n, out + n + n_newline, (size_t) (got - n_newline) * sizeof *out);
    return n + got - n_newline;
}

/* The tokens of a text that goes on behind a prompt; how many, or -1. */
int32_t mk_tokenise_more(mk_engine *e, const mk_segment *s, int32_t *out, int32_t room) {
    int32_t n;
    if (e->info.vocab_type != 1) {
        return tokenise_segment(e, s, out, 0, room, false);
    }
    out[0] = 0; /* something before it, so that the vocabulary puts no space there */
    n = tokenise_segment(e, s, out, 1, room, false);
    if (n > 0) {
        memmove(out, out + 1, (size_t) (n - 1) * sizeof *out);
    }
    return n < 0 ? n : n - 1;
}

/* The prompt's tokens in a block that the caller frees; NULL with *n = 0 when it cannot be tokenised. */
int32_t *mk_tokenise(mk_engine *e, mk_job *job, int32_t *n) {
    size_t room = 16;
    int32_t *tokens;
    bool bos = job->ask.add_bos && e->info.add_bos;
    for (int32_t i = 0; i < job->ask.n_segments; i++) {
        room += (size_t) job->segments[i].length + 8; /* a token is at least one byte */
    }
    *n = job->n_turns = 0;
    tokens = room < INT32_MAX ? malloc(room * sizeof *tokens) : NULL;
    if (tokens == NULL) {
        return NULL;
    }
    for (int32_t i = 0; i < job->ask.n_segments && *n >= 0; i++) {
        const mk_segment *s = &job->segments[i];
        if (s->turn) {
            job->turns[job->n_turns++] = *n;
        }
        if (s->kind == MK_TOKENS) {
            const int32_t *ids = s->data;
            for (int32_t k = 0; k < s->length; k++) {
                if (ids[k] < 0 || ids[k] >= e->info.n_vocab) {
                    *n = -1;
                    break;
                }
                tokens[(*n)++] = ids[k];
            }
        } else {
            *n = tokenise_segment(e, s, tokens, *n, (int32_t) room, bos && i == 0);
        }
        job->last_turn_end = s->turn ? *n : job->last_turn_end;
    }
    if (*n <= 0) {
        *n = 0;
        free(tokens);
        return NULL;
    }
    return tokens;
}
