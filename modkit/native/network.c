/* Rules as a network of nodes: see network.h for who may do what. Characters become ranges of bytes here, so that
 * whoever walks the network looks at one byte at a time and never decodes. */
#include "network.h"

#include <string.h>

enum { MAX_NODES = 1 << 20 };

static const char no_memory[] = "there is no memory for the grammar";

static int32_t new_node(mk_network *net, mk_node_kind kind, int32_t a, int32_t b) {
    if (net->n_nodes >= MAX_NODES
        || !mk_room((void **) &net->nodes, &net->nodes_room, net->n_nodes + 1, sizeof *net->nodes)) {
        net->wrong = net->wrong != NULL ? net->wrong : "the grammar is too large here: make its repeats smaller";
        return 0;
    }
    net->nodes[net->n_nodes] = (mk_node){.kind = (uint8_t) kind, .a = a, .b = b};
    return net->n_nodes++;
}

bool mk_network_begin(mk_network *net) {
    *net = (mk_network){0};
    new_node(net, MK_AT_EPS, -1, -1);
    return net->nodes != NULL;
}

void mk_network_free(mk_network *net) {
    for (int32_t i = 0; i < net->n_rules; i++) {
        free(net->rules[i].name);
    }
    free(net->nodes);
    free(net->sets);
    free(net->rules);
    free(net->index);
    *net = (mk_network){0};
}

/* ---- parts ---- */

mk_part mk_part_empty(mk_network *net) {
    int32_t n = new_node(net, MK_AT_EPS, -1, -1);
    return (mk_part){n, n};
}

mk_part mk_part_behind(mk_network *net, mk_part x, mk_part y) {
    net->nodes[x.end].a = y.start;
    return (mk_part){x.start, y.end};
}

mk_part mk_part_either(mk_network *net, mk_part x, mk_part y) {
    int32_t end = new_node(net, MK_AT_EPS, -1, -1), start = new_node(net, MK_AT_SPLIT, x.start, y.start);
    net->nodes[x.end].a = end;
    net->nodes[y.end].a = end;
    return (mk_part){start, end};
}

mk_part mk_part_maybe(mk_network *net, mk_part x, mk_part out) {
    return (mk_part){new_node(net, MK_AT_SPLIT, x.start, out.start), x.end};
}

mk_part mk_part_loop(mk_network *net, mk_part x) {
    mk_part out = mk_part_empty(net);
    int32_t loop = new_node(net, MK_AT_SPLIT, x.start, out.start);
    net->nodes[x.end].a = loop;
    return (mk_part){loop, out.end};
}

mk_part mk_part_call(mk_network *net, int32_t rule) {
    mk_part end = mk_part_empty(net);
    return (mk_part){new_node(net, MK_AT_CALL, end.start, rule), end.end};
}

mk_part mk_part_token(mk_network *net, int32_t token, bool others) {
    mk_part end = mk_part_empty(net);
    net->names_tokens = true;
    return (mk_part){new_node(net, others ? MK_AT_NOT_TOKEN : MK_AT_TOKEN, end.start, token), end.end};
}

/* ---- characters, as bytes ---- */

static mk_part byte_range(mk_network *net, int low, int high, mk_part then) {
    int32_t n = new_node(net, MK_AT_RANGE, then.start, -1);
    net->nodes[n].low = (uint8_t) low;
    net->nodes[n].high = (uint8_t) high;
    return (mk_part){n, then.end};
}

mk_part mk_part_byte(mk_network *net, uint8_t byte) {
    return byte_range(net, byte, byte, mk_part_empty(net));
}

int mk_utf8(uint32_t c, uint8_t out[4]) {
    if (c < 0x80) {
        out[0] = (uint8_t) c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t) (0xc0 | c >> 6);
        out[1] = (uint8_t) (0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t) (0xe0 | c >> 12);
        out[1] = (uint8_t) (0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t) (0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t) (0xf0 | c >> 18);
    out[1] = (uint8_t) (0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t) (0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t) (0x80 | (c & 0x3f));
    return 4;
}

/* Adds to `all` the characters low to high, which are written with the same number of bytes: as ranges of bytes one
 * behind the other, cut until only the first bytes differ or the rest is free. */
static void add_range(mk_network *net, uint32_t low, uint32_t high, mk_part *all, bool *any) {
    uint8_t a[4], b[4];
    int n = mk_utf8(low, a);
    mk_part one;
    mk_utf8(high, b);
    for (int i = 1; i < n; i++) {
        uint32_t rest = (1u << (6 * i)) - 1; /* what the last i bytes hold */
        if ((low & ~rest) != (high & ~rest)) {
            if ((low & rest) != 0) {
                add_range(net, low, low | rest, all, any);
                add_range(net, (low | rest) + 1, high, all, any);
                return;
            }
            if ((high & rest) != rest) {
                add_range(net, low, (high & ~rest) - 1, all, any);
                add_range(net, high & ~rest, high, all, any);
                return;
            }
        }
    }
    one = mk_part_empty(net);
    for (int i = n - 1; i >= 0; i--) {
        one = byte_range(net, a[i], b[i], one);
    }
    *all = *any ? mk_part_either(net, *all, one) : one;
    *any = true;
}

static int by_low(const void *x, const void *y) {
    const mk_range *a = x, *b = y;
    return a->low < b->low ? -1 : a->low > b->low;
}

mk_part mk_part_characters(mk_network *net, mk_range *ranges, int32_t n, bool others) {
    static const mk_range plain[] = {{0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
    uint64_t set[2] = {0, 0};
    uint32_t next = 0; /* first character that no range has had yet */
    mk_part all = {0, 0};
    bool any = false;
    qsort(ranges, (size_t) n, sizeof *ranges, by_low);
    for (int32_t i = 0; i <= n; i++) {
        uint32_t low, high;
        if (others) {
            low = next;
            high = i < n ? ranges[i].low : 0x110000;
            if (i < n && ranges[i].high + 1 > next) {
                next = ranges[i].high + 1;
            }
            if (high == 0 || low > high - 1) {
                continue;
            }
            high--;
        } else {
            if (i == n) {
                break;
            }
            low = ranges[i].low > next ? ranges[i].low : next;
            high = ranges[i].high;
            if (low > high) {
                continue;
            }
            next = high + 1;
        }
        for (uint32_t c = low; c <= high && c < 0x80; c++) {
            set[c / 64] |= (uint64_t) 1 << c % 64;
        }
        for (int k = 0; k < 4 && net->wrong == NULL; k++) {
            uint32_t from = low > plain[k].low ? low : plain[k].low, to = high < plain[k].high ? high : plain[k].high;
            if (from <= to) {
                add_range(net, from, to, &all, &any);
            }
        }
    }
    if (set[0] != 0 || set[1] != 0) {
        mk_part end = mk_part_empty(net);
        int32_t start;
        if (!mk_room((void **) &net->sets, &net->sets_room, net->n_sets + 1, sizeof *net->sets)) {
            net->wrong = no_memory;
            return end;
        }
        memcpy(net->sets[net->n_sets], set, sizeof set);
        start = new_node(net, MK_AT_SET, end.start, net->n_sets++);
        all = any ? mk_part_either(net, (mk_part){start, end.end}, all) : (mk_part){start, end.end};
        any = true;
    }
    if (!any) {
        net->wrong = "this class has no character";
        return mk_part_empty(net);
    }
    return all;
}

/* ---- rules by name ---- */

static uint32_t hash(const char *name, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (unsigned char) name[i]) * 16777619u;
    }
    return h;
}

int32_t mk_network_rule(mk_network *net, const char *name, size_t n, size_t at) {
    if (2 * (net->n_rules + 1) > net->index_room) {
        int32_t size = net->index_room * 2 > 64 ? net->index_room * 2 : 64;
        int32_t *index = malloc((size_t) size * sizeof *index);
        if (index == NULL) {
            net->wrong = no_memory;
            return 0;
        }
        memset(index, 0xff, (size_t) size * sizeof *index);
        for (int32_t i = 0; i < net->n_rules; i++) {
            uint32_t key = hash(net->rules[i].name, strlen(net->rules[i].name));
            while (index[key & (uint32_t) (size - 1)] >= 0) {
                key++;
            }
            index[key & (uint32_t) (size - 1)] = i;
        }
        free(net->index);
        net->index = index;
        net->index_room = size;
    }
    for (uint32_t key = hash(name, n);; key++) {
        int32_t *place = &net->index[key & (uint32_t) (net->index_room - 1)];
        mk_rule *r;
        if (*place >= 0) {
            r = &net->rules[*place];
            if (strlen(r->name) == n && memcmp(r->name, name, n) == 0) {
                return *place;
            }
            continue;
        }
        if (!mk_room((void **) &net->rules, &net->rules_room, net->n_rules + 1, sizeof *net->rules)) {
            net->wrong = no_memory;
            return 0;
        }
        r = &net->rules[net->n_rules];
        r->name = malloc(n + 1);
        if (r->name == NULL) {
            net->wrong = no_memory;
            return 0;
        }
        memcpy(r->name, name, n);
        r->name[n] = '\0';
        r->start = -1;
        r->used_at = at;
        *place = net->n_rules;
        return net->n_rules++;
    }
}

void mk_network_define(mk_network *net, int32_t rule, mk_part all) {
    int32_t ret = new_node(net, MK_AT_RET, -1, -1); /* may move the nodes */
    net->nodes[all.end].a = ret;
    net->rules[rule].start = all.start;
}

/* The first node from n on that does something. What was passed points there from now on, so that a text of a million
 * empty parts is walked once. */
static int32_t past_empty(mk_network *net, int32_t n) {
    int32_t end = n;
    while (end >= 0 && net->nodes[end].kind == MK_AT_EPS) {
        end = net->nodes[end].a;
    }
    while (n != end) {
        int32_t next = net->nodes[n].a;
        net->nodes[n].a = end;
        n = next;
    }
    return end;
}

void mk_network_link(mk_network *net) {
    for (int32_t i = 0; i < net->n_nodes; i++) {
        mk_node *n = &net->nodes[i];
        n->a = past_empty(net, n->a);
        n->b = n->kind == MK_AT_SPLIT ? past_empty(net, n->b) : n->b;
    }
    for (int32_t i = 0; i < net->n_rules; i++) {
        net->rules[i].start = past_empty(net, net->rules[i].start);
    }
}
