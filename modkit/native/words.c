/* Which tokens of a vocabulary a grammar allows next: see words.h. The walk goes back only to where one piece differs
 * from the one before, and skips all that share a beginning which leads nowhere. */
#include "words.h"

#include <string.h>

enum { MAX_MASK_WORK = 1 << 27 }; /* for all tokens, in steps of a few nanoseconds */

static int piece_order(const mk_words *p, int32_t x, int32_t y) {
    size_t n = p->at[x + 1] - p->at[x], m = p->at[y + 1] - p->at[y];
    int order = memcmp(p->bytes + p->at[x], p->bytes + p->at[y], n < m ? n : m);
    return order != 0 ? order : n < m ? -1 : n > m ? 1 : x < y ? -1 : x > y;
}

/* A heap sort: qsort has no place for the words, and a vocabulary is sorted once. */
static void sift(const mk_words *p, int32_t root, int32_t n) {
    for (int32_t child; (child = 2 * root + 1) < n; root = child) {
        int32_t token = p->order[root];
        child += child + 1 < n && piece_order(p, p->order[child], p->order[child + 1]) < 0;
        if (piece_order(p, token, p->order[child]) >= 0) {
            return;
        }
        p->order[root] = p->order[child];
        p->order[child] = token;
    }
}

void mk_words_sort(mk_words *p) {
    for (int32_t i = 0; i < p->n; i++) {
        p->order[i] = i;
    }
    for (int32_t i = p->n / 2 - 1; i >= 0; i--) {
        sift(p, i, p->n);
    }
    for (int32_t i = p->n - 1; i > 0; i--) {
        int32_t token = p->order[0];
        p->order[0] = p->order[i];
        p->order[i] = token;
        sift(p, 0, i);
    }
    for (int32_t i = 0; i < p->n; i++) {
        const char *x, *y = p->bytes + p->at[p->order[i]];
        size_t n = p->at[p->order[i] + 1] - p->at[p->order[i]], m, k = 0;
        if (i == 0) {
            p->common[i] = 0;
            continue;
        }
        x = p->bytes + p->at[p->order[i - 1]];
        m = p->at[p->order[i - 1] + 1] - p->at[p->order[i - 1]];
        while (k < n && k < m && k < UINT16_MAX && x[k] == y[k]) {
            k++;
        }
        p->common[i] = (uint16_t) k;
    }
    for (int32_t byte = 0, i = 0; byte <= 256; byte++) {
        for (; i < p->n; i++) {
            const char *piece = p->bytes + p->at[p->order[i]];
            if (p->at[p->order[i] + 1] > p->at[p->order[i]] && (uint8_t) *piece >= byte) {
                break;
            }
        }
        p->from[byte] = i;
    }
}

int32_t mk_words_allowed(const mk_words *words, mk_grammar *g, int32_t *allowed) {
    int32_t n = 0;
    size_t known = (size_t) -1; /* so many first bytes of the piece looked at last are known to lead nowhere */
    int64_t work = MAX_MASK_WORK;
    bool names = mk_grammar_names_tokens(g);
    for (int32_t i = 0; i < words->n; i++) {
        int32_t token = words->order[i];
        const char *bytes = words->bytes + words->at[token];
        size_t size = words->at[token + 1] - words->at[token], k = words->common[i];
        bool named = names && mk_grammar_takes_token(g, token, size > 0);
        if (k < known && size > 0) {
            known = (size_t) -1;
            for (; k < size; k++) {
                int result = mk_grammar_step(g, (int32_t) k, (uint8_t) bytes[k], &work);
                if (result == MK_GRAMMAR_LIMIT || work < 0) {
                    return MK_GRAMMAR_LIMIT;
                }
                if (result == MK_GRAMMAR_NO) {
                    known = k + 1;
                    if (k == 0 && !names) { /* nor does any other piece that begins so */
                        i = words->from[(uint8_t) *bytes + 1] - 1;
                    }
                    break;
                }
            }
            named = named || k == size;
        }
        if (named) {
            allowed[n++] = token;
        }
    }
    return n;
}
