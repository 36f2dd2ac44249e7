/* What a grammar is once it is read: rules as a network of byte ranges, choices and calls, and how one is built.
 *
 * A network is built by one thread and does not change after mk_network_link; whoever builds it frees it. While it is
 * built nothing needs to be checked at each step: the first thing that goes wrong is kept in `wrong`, and what is
 * added from then on leads nowhere but is harmless.
 */
#ifndef MK_NETWORK_H
#define MK_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef enum {
    MK_AT_EPS,
    MK_AT_SPLIT,
    MK_AT_RANGE,
    MK_AT_SET,
    MK_AT_TOKEN,
    MK_AT_NOT_TOKEN,
    MK_AT_CALL,
    MK_AT_RET,
} mk_node_kind;

/* EPS a; SPLIT a b; RANGE low..high then a; SET b (a set of bytes below 128) then a; TOKEN b (of the vocabulary, as a
 * whole) or NOT_TOKEN b (another one that has text) then a; CALL rule b, go on at a; RET. */
typedef struct mk_node {
    uint8_t kind, low, high;
    int32_t a, b;
} mk_node;

typedef struct mk_rule {
    char *name;
    int32_t start;  /* -1: named, not defined */
    size_t used_at; /* where it was first named */
} mk_rule;

typedef struct mk_network {
    mk_node *nodes; /* node 0 is what a failed part links to */
    int32_t n_nodes, nodes_room;
    uint64_t (*sets)[2];
    int32_t n_sets, sets_room;
    mk_rule *rules;
    int32_t n_rules, rules_room;
    int32_t *index; /* rules by name: a hash table, -1 for empty */
    int32_t index_room;
    bool names_tokens;
    const char *wrong; /* static text, NULL while all is well */
} mk_network;

/* Something to read, from `start` to `end`, an EPS that leads nowhere yet. */
typedef struct mk_part {
    int32_t start, end;
} mk_part;

/* Characters, both ends included. */
typedef struct mk_range {
    uint32_t low, high;
} mk_range;

bool mk_network_begin(mk_network *net);     /* false: there is no memory at all */
void mk_network_free(mk_network *net); /* what is inside, not the struct */

mk_part mk_part_empty(mk_network *net);
mk_part mk_part_behind(mk_network *net, mk_part x, mk_part y); /* y behind x */
mk_part mk_part_either(mk_network *net, mk_part x, mk_part y);
mk_part mk_part_maybe(mk_network *net, mk_part x, mk_part out); /* x, or at once to the start of `out` */
mk_part mk_part_loop(mk_network *net, mk_part x);
mk_part mk_part_byte(mk_network *net, uint8_t byte);
mk_part mk_part_call(mk_network *net, int32_t rule);
mk_part mk_part_token(mk_network *net, int32_t token, bool others);
/* The characters in n ranges (sorted here), or all others. */
mk_part mk_part_characters(mk_network *net, mk_range *ranges, int32_t n, bool others);

/* The rule of this name, made when it is new. */
int32_t mk_network_rule(mk_network *net, const char *name, size_t n, size_t at);
void mk_network_define(mk_network *net, int32_t rule, mk_part all);
/* Shortens every way past the empty nodes: the last step, when all rules are defined and nothing is wrong. */
void mk_network_link(mk_network *net);

/* A character as UTF-8; returns how many bytes. */
int mk_utf8(uint32_t c, uint8_t out[4]);

/* Room for at least n things; false when memory is out. */
static inline bool mk_room(void **array, int32_t *have, int32_t n, size_t size) {
    if (n > *have) {
        int32_t more = *have * 2 > n ? *have * 2 : n + 64;
        void *larger = realloc(*array, (size_t) more * size);
        if (larger == NULL) {
            return false;
        }
        *array = larger;
        *have = more;
    }
    return true;
}

#endif
