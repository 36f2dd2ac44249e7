#include "grammar.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NODES = 1 << 20,
    MAX_STEPS = 1 << 23,   /* of the parser, repeats written out */
    MAX_DEPTH = 200,       /* of parentheses */
    MAX_REPEAT = 100000,
    MAX_ITEMS = 1 << 20,   /* ways to read the text, over all bytes of a token */
    MAX_FRAMES = 1 << 20,
    MAX_WORK = 1 << 18,    /* for one byte, in steps of a few nanoseconds */
    MAX_MASK_WORK = 1 << 27, /* for all tokens of a vocabulary */
    SEEN = 1 << 13,        /* a power of two */
    MAX_SEEN = SEEN / 2,
    COLLECT = 1 << 13,     /* frames, before the dead ones are looked for */
};

typedef enum { EPS, SPLIT, RANGE, SET, CALL, RET } kind;

/* EPS a; SPLIT a b; RANGE low..high then a; SET b (a set of bytes below 128) then a; CALL rule b, go on at a. */
typedef struct node {
    uint8_t kind, low, high;
    int32_t a, b;
} node;

typedef struct rule {
    char *name;
    int32_t start;   /* -1: named, not defined */
    size_t used_at;  /* where it was first named */
} rule;

typedef struct item {
    int32_t node, frame;
} item;

/* A call under way: all callers that wait for this rule from this place on. */
typedef struct frame {
    int32_t edges; /* first, -1 for none */
    bool returned; /* in the step under way */
} frame;

typedef struct edge {
    int32_t node, frame, next;
} edge;

/* After so many bytes of the text being tried. Level 0 is what has been said. */
typedef struct level {
    int32_t begin, end;
    int32_t frames, edges;
    bool complete;
} level;

typedef struct seen {
    uint64_t key;
    uint32_t step;
} seen;

struct mk_grammar {
    node *nodes;
    int32_t n_nodes, nodes_room;
    uint64_t (*sets)[2];
    int32_t n_sets, sets_room;
    rule *rules;
    int32_t n_rules, rules_room;
    int32_t *index; /* rules by name: a hash table, -1 for empty */
    int32_t index_room, root;

    item *items;
    int32_t items_room;
    frame *frames;
    int32_t n_frames, frames_room;
    edge *edges;
    int32_t n_edges, edges_room, live;
    level *levels;
    int32_t levels_room;
    seen *seen;
    uint32_t step;
    item *todo;
    int32_t todo_room;
    int32_t *called; /* by rule: its frame in this step */
    uint32_t *called_in;
    int64_t work; /* left for this byte */
};

/* Room for at least n things; false when memory is out. */
static bool room(void **array, int32_t *have, int32_t n, size_t size) {
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

/* ---- from text to nodes ---- */

typedef struct parser {
    mk_grammar *g;
    const char *text;
    size_t size, at;
    const char *rule; /* being read, NULL between them */
    size_t rule_length;
    char *error;
    size_t error_size;
    int32_t depth, steps;
    bool failed;
} parser;

typedef struct part {
    int32_t start, end; /* `end` is an EPS that leads nowhere yet */
} part;

static void complain(parser *p, size_t at, const char *format, ...) {
    size_t line = 1, column = 1;
    char what[240];
    va_list arguments;
    if (p->failed) {
        return;
    }
    p->failed = true;
    for (size_t i = 0; i < at && i < p->size; i++) {
        column += ((unsigned char) p->text[i] & 0xc0) != 0x80;
        if (p->text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    snprintf(p->error, p->error_size, "line %zu, column %zu%s%.*s%s: %s", line, column, p->rule ? " in rule '" : "",
             (int) (p->rule_length < 40 ? p->rule_length : 40), p->rule ? p->rule : "", p->rule ? "'" : "", what);
}

static int32_t new_node(parser *p, kind k, int32_t a, int32_t b) {
    mk_grammar *g = p->g;
    if (g->n_nodes >= MAX_NODES || !room((void **) &g->nodes, &g->nodes_room, g->n_nodes + 1, sizeof *g->nodes)) {
        complain(p, p->at, "the grammar is too large here: make its repeats smaller");
        return 0;
    }
    g->nodes[g->n_nodes] = (node){.kind = (uint8_t) k, .a = a, .b = b};
    return g->n_nodes++;
}

static part empty(parser *p) {
    int32_t n = new_node(p, EPS, -1, -1);
    return (part){n, n};
}

/* y behind x */
static part behind(parser *p, part x, part y) {
    p->g->nodes[x.end].a = y.start;
    return (part){x.start, y.end};
}

static part either(parser *p, part x, part y) {
    int32_t end = new_node(p, EPS, -1, -1), start = new_node(p, SPLIT, x.start, y.start);
    p->g->nodes[x.end].a = end;
    p->g->nodes[y.end].a = end;
    return (part){start, end};
}

static part byte_range(parser *p, int low, int high, part then) {
    int32_t n = new_node(p, RANGE, then.start, -1);
    p->g->nodes[n].low = (uint8_t) low;
    p->g->nodes[n].high = (uint8_t) high;
    return (part){n, then.end};
}

static int utf8(uint32_t c, uint8_t *out) {
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
static void add_range(parser *p, uint32_t low, uint32_t high, part *all, bool *any) {
    uint8_t a[4], b[4];
    int n = utf8(low, a);
    part one;
    utf8(high, b);
    for (int i = 1; i < n; i++) {
        uint32_t rest = (1u << (6 * i)) - 1; /* what the last i bytes hold */
        if ((low & ~rest) != (high & ~rest)) {
            if ((low & rest) != 0) {
                add_range(p, low, low | rest, all, any);
                add_range(p, (low | rest) + 1, high, all, any);
                return;
            }
            if ((high & rest) != rest) {
                add_range(p, low, (high & ~rest) - 1, all, any);
                add_range(p, high & ~rest, high, all, any);
                return;
            }
        }
    }
    one = empty(p);
    for (int i = n - 1; i >= 0; i--) {
        one = byte_range(p, a[i], b[i], one);
    }
    *all = *any ? either(p, *all, one) : one;
    *any = true;
}

typedef struct range {
    uint32_t low, high;
} range;

static int by_low(const void *x, const void *y) {
    const range *a = x, *b = y;
    return a->low < b->low ? -1 : a->low > b->low;
}

/* The characters in n ranges (sorted here), or all others. */
static part characters(parser *p, range *ranges, int32_t n, bool others) {
    static const range plain[] = {{0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
    uint64_t set[2] = {0, 0};
    uint32_t next = 0; /* first character that no range has had yet */
    part all = {0, 0};
    bool any = false;
    mk_grammar *g = p->g;
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
        for (int k = 0; k < 4 && !p->failed; k++) {
            uint32_t from = low > plain[k].low ? low : plain[k].low, to = high < plain[k].high ? high : plain[k].high;
            if (from <= to) {
                add_range(p, from, to, &all, &any);
            }
        }
    }
    if (set[0] != 0 || set[1] != 0) {
        part end = empty(p);
        int32_t start;
        if (!room((void **) &g->sets, &g->sets_room, g->n_sets + 1, sizeof *g->sets)) {
            complain(p, p->at, "there is no memory for the grammar");
            return end;
        }
        memcpy(g->sets[g->n_sets], set, sizeof set);
        start = new_node(p, SET, end.start, g->n_sets++);
        all = any ? either(p, (part){start, end.end}, all) : (part){start, end.end};
        any = true;
    }
    if (!any) {
        complain(p, p->at, "this class has no character");
        return empty(p);
    }
    return all;
}

static int peek(const parser *p, size_t ahead) {
    return p->at + ahead < p->size ? (unsigned char) p->text[p->at + ahead] : -1;
}

static bool in_name(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

static void space(parser *p, bool newlines) {
    for (;;) {
        int c = peek(p, 0);
        if (c == '#') {
            while (peek(p, 0) != '\n' && peek(p, 0) != '\r' && peek(p, 0) >= 0) {
                p->at++;
            }
        } else if (c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r'))) {
            p->at++;
        } else {
            return;
        }
    }
}

static uint32_t hash(const char *name, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (unsigned char) name[i]) * 16777619u;
    }
    return h;
}

/* The rule of this name, made when it is new. */
static int32_t rule_named(parser *p, const char *name, size_t n) {
    mk_grammar *g = p->g;
    if (2 * (g->n_rules + 1) > g->index_room) {
        int32_t size = g->index_room * 2 > 64 ? g->index_room * 2 : 64;
        int32_t *index = malloc((size_t) size * sizeof *index);
        if (index == NULL) {
            complain(p, p->at, "there is no memory for the grammar");
            return 0;
        }
        memset(index, 0xff, (size_t) size * sizeof *index);
        for (int32_t i = 0; i < g->n_rules; i++) {
            uint32_t at = hash(g->rules[i].name, strlen(g->rules[i].name));
            while (index[at & (uint32_t) (size - 1)] >= 0) {
                at++;
            }
            index[at & (uint32_t) (size - 1)] = i;
        }
        free(g->index);
        g->index = index;
        g->index_room = size;
    }
    for (uint32_t at = hash(name, n);; at++) {
        int32_t *place = &g->index[at & (uint32_t) (g->index_room - 1)];
        rule *r;
        if (*place >= 0) {
            r = &g->rules[*place];
            if (strlen(r->name) == n && memcmp(r->name, name, n) == 0) {
                return *place;
            }
            continue;
        }
        if (!room((void **) &g->rules, &g->rules_room, g->n_rules + 1, sizeof *g->rules)) {
            complain(p, p->at, "there is no memory for the grammar");
            return 0;
        }
        r = &g->rules[g->n_rules];
        r->name = malloc(n + 1);
        if (r->name == NULL) {
            complain(p, p->at, "there is no memory for the grammar");
            return 0;
        }
        memcpy(r->name, name, n);
        r->name[n] = '\0';
        r->start = -1;
        r->used_at = p->at;
        *place = g->n_rules;
        return g->n_rules++;
    }
}

/* One character of a text or a class, escapes read. */
static uint32_t character(parser *p) {
    static const char escapes[] = "trn\\\"[]-", meant[] = "\t\r\n\\\"[]-";
    size_t at = p->at;
    int c = peek(p, 0), n;
    uint32_t value;
    if (c < 0) {
        complain(p, at, "the grammar ends inside a text or a class");
        return 0;
    }
    if (c == '\\') {
        const char *found;
        c = peek(p, 1);
        found = c > 0 ? strchr(escapes, c) : NULL;
        p->at += 2;
        if (found != NULL) {
            return (unsigned char) meant[found - escapes];
        }
        n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        value = 0;
        for (int i = 0; i < n; i++, p->at++) {
            int d = peek(p, 0);
            int digit = d >= '0' && d <= '9' ? d - '0' : d >= 'a' && d <= 'f' ? d - 'a' + 10 : d >= 'A' && d <= 'F' ? d - 'A' + 10 : -1;
            if (digit < 0) {
                complain(p, at, "'\\%c' needs %d hexadecimal digits", c, n);
                return 0;
            }
            value = value * 16 + (uint32_t) digit;
        }
        if (n == 0) {
            complain(p, at, "this escape is unknown");
        }
    } else {
        n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
        value = n == 1 ? (uint32_t) c : (uint32_t) c & (0xffu >> (n + 1));
        for (int i = 1; i < n; i++) {
            int next = peek(p, (size_t) i);
            n = next >= 0x80 && next < 0xc0 ? n : 0;
            value = value << 6 | ((uint32_t) next & 0x3f);
        }
        if (n == 0) {
            complain(p, at, "this is not UTF-8");
        }
        p->at += (size_t) (n > 0 ? n : 1);
    }
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
        complain(p, at, "U+%04X is no character", value);
        return 0;
    }
    return value;
}

static part literal(parser *p) {
    size_t start = p->at++;
    part all = empty(p);
    while (!p->failed && peek(p, 0) != '"') {
        uint8_t bytes[4];
        int n;
        if (peek(p, 0) < 0 || peek(p, 0) == '\n') {
            complain(p, start, "this text is never closed; write a line's end as \\n");
            break;
        }
        n = utf8(character(p), bytes);
        for (int i = 0; i < n; i++) {
            all = behind(p, all, byte_range(p, bytes[i], bytes[i], empty(p)));
        }
    }
    p->at++;
    return all;
}

static part class(parser *p) {
    size_t start = p->at++;
    range *ranges = NULL;
    int32_t n = 0, have = 0;
    bool others = peek(p, 0) == '^';
    part all;
    p->at += others;
    while (!p->failed && peek(p, 0) != ']') {
        size_t here = p->at;
        range r;
        if (peek(p, 0) < 0 || peek(p, 0) == '\n') {
            complain(p, start, "this '[' is never closed; write ']' inside as \\]");
            break;
        }
        r.low = r.high = character(p);
        if (peek(p, 0) == '-' && peek(p, 1) != ']') {
            p->at++;
            r.high = character(p);
        }
        if (r.high < r.low) {
            complain(p, here, "this range runs backwards");
        }
        if (!room((void **) &ranges, &have, n + 1, sizeof *ranges)) {
            complain(p, here, "there is no memory for the grammar");
            break;
        }
        ranges[n++] = r;
    }
    if (n == 0) {
        complain(p, start, "this class is empty; '.' is any character");
    }
    all = p->failed ? empty(p) : characters(p, ranges, n, others);
    free(ranges);
    p->at++;
    return all;
}

static part alternatives(parser *p, bool nested);

static part group(parser *p) {
    size_t start = p->at++;
    part all;
    if (++p->depth > MAX_DEPTH) {
        complain(p, start, "parentheses are nested more than %d deep; name the inner parts as rules", MAX_DEPTH);
        return empty(p);
    }
    space(p, true);
    all = alternatives(p, true);
    if (peek(p, 0) != ')') {
        complain(p, peek(p, 0) < 0 ? start : p->at, "this '(' is not closed");
    }
    p->at++;
    p->depth--;
    return all;
}

/* Something that can be repeated: a text, a class, a name, a group, any character. */
static part single(parser *p) {
    int c = peek(p, 0);
    if (++p->steps > MAX_STEPS) {
        complain(p, p->at, "the grammar is too large here: make its repeats smaller");
        return empty(p);
    }
    if (c == '"') {
        return literal(p);
    }
    if (c == '[') {
        return class(p);
    }
    if (c == '(') {
        return group(p);
    }
    if (c == '.') {
        p->at++;
        return characters(p, &(range){0, 0x10ffff}, 1, false);
    }
    if (in_name(c)) {
        size_t start = p->at;
        part end = empty(p);
        while (in_name(peek(p, 0))) {
            p->at++;
        }
        return (part){new_node(p, CALL, end.start, rule_named(p, p->text + start, p->at - start)), end.end};
    }
    complain(p, p->at, "a token of the vocabulary cannot be named here: write its text in quotes");
    return empty(p);
}

static int32_t number(parser *p) {
    int32_t value = 0;
    if (peek(p, 0) < '0' || peek(p, 0) > '9') {
        complain(p, p->at, "a number is missing here");
    }
    while (peek(p, 0) >= '0' && peek(p, 0) <= '9') {
        value = value > MAX_REPEAT ? value : value * 10 + (peek(p, 0) - '0');
        p->at++;
    }
    if (value > MAX_REPEAT) {
        complain(p, p->at, "a part is repeated at most %d times", MAX_REPEAT);
    }
    return value;
}

/* {2}, {2,}, {2,5}, *, + or ?: how often, most = -1 for no end. */
static void counts(parser *p, int32_t *least, int32_t *most) {
    int c = peek(p, 0);
    size_t at = p->at++;
    *least = c == '+';
    *most = c == '?' ? 1 : -1;
    if (c != '{') {
        return;
    }
    space(p, true);
    *least = *most = number(p);
    space(p, true);
    if (peek(p, 0) == ',') {
        p->at++;
        space(p, true);
        *most = peek(p, 0) >= '0' && peek(p, 0) <= '9' ? number(p) : -1;
        space(p, true);
    }
    if (peek(p, 0) != '}') {
        complain(p, p->at, "'}' is missing here: a repeat is written {3}, {1,3} or {1,}");
    }
    p->at++;
    if (*most >= 0 && *most < *least) {
        complain(p, at, "this repeat asks for at least more than at most");
    }
}

/* The single that is written at `start` once more, as nodes of its own. */
static part again(parser *p, size_t start) {
    size_t back = p->at;
    part one;
    if (p->failed) {
        return empty(p);
    }
    p->at = start;
    one = single(p);
    p->at = back;
    return one;
}

static part repeated(parser *p, size_t start, int32_t least, int32_t most) {
    part all = empty(p), out = empty(p);
    for (int32_t i = 0; i < least && !p->failed; i++) {
        all = behind(p, all, again(p, start));
    }
    if (most < 0) { /* a loop */
        part one = again(p, start);
        int32_t loop = new_node(p, SPLIT, one.start, out.start);
        p->g->nodes[one.end].a = loop;
        return behind(p, all, (part){loop, out.end});
    }
    for (int32_t i = least; i < most && !p->failed; i++) {
        part one = again(p, start);
        all = behind(p, all, (part){new_node(p, SPLIT, one.start, out.start), one.end});
    }
    return behind(p, all, out);
}

static part sequence(parser *p, bool nested) {
    part all = empty(p);
    while (!p->failed) {
        int c = peek(p, 0);
        size_t start = p->at;
        part one;
        if (c != '"' && c != '[' && c != '(' && c != '.' && c != '<' && c != '!' && !in_name(c)) {
            if (c == '*' || c == '+' || c == '?' || c == '{') {
                complain(p, start, "'%c' has nothing before it to repeat", c);
            }
            break;
        }
        one = single(p);
        space(p, nested);
        c = peek(p, 0);
        if (!p->failed && (c == '*' || c == '+' || c == '?' || c == '{')) {
            int32_t least, most;
            counts(p, &least, &most);
            one = p->failed ? one : repeated(p, start, least, most);
            space(p, nested);
            c = peek(p, 0);
            if (c == '*' || c == '+' || c == '?' || c == '{') {
                complain(p, p->at, "a repeat of a repeat: put the inner one in parentheses");
            }
        }
        all = behind(p, all, one);
    }
    return all;
}

static part alternatives(parser *p, bool nested) {
    part all = sequence(p, nested);
    while (!p->failed && peek(p, 0) == '|') {
        p->at++;
        space(p, true);
        if (++p->steps > MAX_STEPS) {
            complain(p, p->at, "the grammar is too large here: make its repeats smaller");
        }
        all = either(p, all, sequence(p, nested));
    }
    return all;
}

static void read_rule(parser *p) {
    mk_grammar *g = p->g;
    size_t start = p->at;
    int32_t r, ret;
    part all;
    int c;
    p->rule = NULL;
    p->rule_length = 0;
    while (in_name(peek(p, 0))) {
        p->at++;
    }
    if (p->at == start) {
        complain(p, start, "a rule's name is expected here (letters, digits and '-')");
        return;
    }
    r = rule_named(p, p->text + start, p->at - start);
    p->rule = p->text + start;
    p->rule_length = p->at - start;
    space(p, false);
    if (peek(p, 0) != ':' || peek(p, 1) != ':' || peek(p, 2) != '=') {
        complain(p, p->at, "'::=' is missing here");
        return;
    }
    if (!p->failed && g->rules[r].start >= 0) {
        complain(p, start, "this rule is defined twice");
        return;
    }
    p->at += 3;
    space(p, true);
    all = alternatives(p, false);
    c = peek(p, 0);
    if (c >= 0 && c != '\n' && c != '\r') {
        complain(p, p->at, c == ')' ? "this ')' closes nothing" : "this means nothing here; texts stand in quotes");
    }
    ret = new_node(p, RET, -1, -1);
    if (!p->failed) {
        g->nodes[all.end].a = ret;
        g->rules[r].start = all.start;
    }
    space(p, true);
}

static int32_t past_empty(const mk_grammar *g, int32_t n) {
    for (int32_t i = 0; n >= 0 && g->nodes[n].kind == EPS && i < MAX_NODES; i++) {
        n = g->nodes[n].a;
    }
    return n;
}

static bool start(mk_grammar *g);

mk_grammar *mk_grammar_new(const char *gbnf, size_t size, const char *root, char *error, size_t error_size) {
    mk_grammar *g = calloc(1, sizeof *g);
    parser p = {.g = g, .text = gbnf, .size = size, .error = error, .error_size = error_size};
    if (g == NULL) {
        snprintf(error, error_size, "there is no memory for the grammar");
        return NULL;
    }
    new_node(&p, EPS, -1, -1); /* node 0 is what a failed parser links to */
    space(&p, true);
    while (!p.failed && p.at < p.size) {
        read_rule(&p);
    }
    p.rule = NULL;
    p.rule_length = 0;
    for (int32_t i = 0; i < g->n_rules && !p.failed; i++) {
        if (g->rules[i].start < 0) {
            complain(&p, g->rules[i].used_at, "the rule '%.60s' is not defined", g->rules[i].name);
        }
    }
    if (!p.failed) {
        int32_t before = g->n_rules;
        g->root = rule_named(&p, root, strlen(root));
        if (!p.failed && g->root == before) {
            complain(&p, 0, "there is no rule '%.60s' to start from", root);
        }
    }
    for (int32_t i = 0; i < g->n_nodes && !p.failed; i++) {
        node *n = &g->nodes[i];
        n->a = past_empty(g, n->a);
        n->b = n->kind == SPLIT ? past_empty(g, n->b) : n->b;
    }
    for (int32_t i = 0; i < g->n_rules && !p.failed; i++) {
        g->rules[i].start = past_empty(g, g->rules[i].start);
    }
    if (!p.failed && !start(g)) {
        complain(&p, 0, "there is no memory for the grammar, or there are too many ways to begin");
    }
    if (p.failed) {
        mk_grammar_free(g);
        return NULL;
    }
    return g;
}

void mk_grammar_free(mk_grammar *g) {
    if (g == NULL) {
        return;
    }
    for (int32_t i = 0; i < g->n_rules; i++) {
        free(g->rules[i].name);
    }
    free(g->nodes);
    free(g->sets);
    free(g->rules);
    free(g->index);
    free(g->items);
    free(g->frames);
    free(g->edges);
    free(g->levels);
    free(g->seen);
    free(g->todo);
    free(g->called);
    free(g->called_in);
    free(g);
}

/* ---- one step: where the text may go on ---- */

static bool add(mk_grammar *g, int32_t *n_todo, int32_t at, int32_t f) {
    uint64_t key = (uint64_t) (uint32_t) at << 32 | (uint32_t) f;
    for (uint64_t place = (key * 0x9e3779b97f4a7c15ull) >> 40;; place++) {
        seen *s = &g->seen[place & (SEEN - 1)];
        if (s->step != g->step) {
            *s = (seen){key, g->step};
            break;
        }
        if (s->key == key) {
            return true;
        }
    }
    if (!room((void **) &g->todo, &g->todo_room, *n_todo + 1, sizeof *g->todo)) {
        return false;
    }
    g->todo[(*n_todo)++] = (item){at, f};
    return true;
}

/* Follows everything that eats no byte from what is in `todo`, and makes level `l` of it. false: beyond a limit. */
static bool close_level(mk_grammar *g, int32_t l, int32_t begin, int32_t n_todo) {
    level *out = &g->levels[l];
    int32_t n = begin, n_seen = n_todo;
    out->complete = false;
    while (n_todo > 0) {
        item i = g->todo[--n_todo];
        const node *at = &g->nodes[i.node];
        int32_t before = n_todo;
        bool good = true;
        if (--g->work < 0 || n_seen > MAX_SEEN) {
            return false;
        }
        switch (at->kind) {
        case EPS:
            good = add(g, &n_todo, at->a, i.frame);
            break;
        case SPLIT:
            good = add(g, &n_todo, at->b, i.frame) && add(g, &n_todo, at->a, i.frame);
            break;
        case CALL: {
            int32_t start = g->rules[at->b].start, f;
            if (g->nodes[at->a].kind == RET) { /* nothing to come back to: the caller's callers wait instead */
                good = add(g, &n_todo, start, i.frame);
                break;
            }
            if (g->called_in[at->b] != g->step) {
                if (g->n_frames >= MAX_FRAMES || !room((void **) &g->frames, &g->frames_room, g->n_frames + 1, sizeof *g->frames)) {
                    return false;
                }
                g->called_in[at->b] = g->step;
                g->called[at->b] = g->n_frames;
                g->frames[g->n_frames++] = (frame){-1, false};
            }
            f = g->called[at->b];
            if (g->n_edges >= 4 * MAX_FRAMES || !room((void **) &g->edges, &g->edges_room, g->n_edges + 1, sizeof *g->edges)) {
                return false;
            }
            g->edges[g->n_edges] = (edge){at->a, i.frame, g->frames[f].edges};
            g->frames[f].edges = g->n_edges++;
            good = add(g, &n_todo, start, f) && (!g->frames[f].returned || add(g, &n_todo, at->a, i.frame));
            break;
        }
        case RET:
            if (i.frame == 0) {
                out->complete = true;
                break;
            }
            g->frames[i.frame].returned = true;
            for (int32_t e = g->frames[i.frame].edges; e >= 0 && good; e = g->edges[e].next) {
                good = --g->work >= 0 && add(g, &n_todo, g->edges[e].node, g->edges[e].frame);
            }
            break;
        default:
            if (n >= MAX_ITEMS || !room((void **) &g->items, &g->items_room, n + 1, sizeof *g->items)) {
                return false;
            }
            g->items[n++] = i;
        }
        if (!good) {
            return false;
        }
        n_seen += n_todo > before ? n_todo - before : 0;
    }
    out->begin = begin;
    out->end = n;
    out->frames = g->n_frames;
    out->edges = g->n_edges;
    return true;
}

static void next_step(mk_grammar *g) {
    if (++g->step == 0) { /* after four thousand million steps: the marks of old ones mean nothing any more */
        memset(g->seen, 0, SEEN * sizeof *g->seen);
        memset(g->called_in, 0, (size_t) g->n_rules * sizeof *g->called_in);
        g->step = 1;
    }
}

static bool start(mk_grammar *g) {
    int32_t n_todo = 0;
    if (g->seen == NULL) {
        g->seen = calloc(SEEN, sizeof *g->seen);
        g->called = calloc((size_t) g->n_rules, sizeof *g->called);
        g->called_in = calloc((size_t) g->n_rules, sizeof *g->called_in);
    }
    if (!g->seen || !g->called || !g->called_in || !room((void **) &g->levels, &g->levels_room, 64, sizeof *g->levels)
        || !room((void **) &g->frames, &g->frames_room, 64, sizeof *g->frames)) {
        return false;
    }
    g->frames[0] = (frame){-1, false};
    g->n_frames = 1;
    g->n_edges = 0;
    g->live = 0;
    next_step(g);
    g->work = MAX_WORK;
    return add(g, &n_todo, g->rules[g->root].start, 0) && close_level(g, 0, 0, n_todo);
}

void mk_grammar_restart(mk_grammar *g) {
    start(g); /* it went well the first time, with the same room */
}

bool mk_grammar_complete(const mk_grammar *g) {
    return g->levels[0].complete;
}

/* From level l by one byte to level l + 1. */
static int advance(mk_grammar *g, int32_t l, uint8_t byte) {
    const level *from = &g->levels[l];
    int32_t n_todo = 0, begin = from->end, end = from->end;
    if (!room((void **) &g->levels, &g->levels_room, l + 2, sizeof *g->levels)) {
        return MK_GRAMMAR_LIMIT;
    }
    from = &g->levels[l];
    g->n_frames = from->frames;
    g->n_edges = from->edges;
    next_step(g);
    g->work = MAX_WORK;
    for (int32_t i = from->begin; i < end; i++) {
        const node *n = &g->nodes[g->items[i].node];
        bool eats = n->kind == RANGE ? byte >= n->low && byte <= n->high
                                     : byte < 128 && (g->sets[n->b][byte / 64] >> byte % 64 & 1) != 0;
        if (eats && (n_todo >= MAX_SEEN || !add(g, &n_todo, n->a, g->items[i].frame))) {
            return MK_GRAMMAR_LIMIT;
        }
    }
    if (n_todo == 0) {
        return MK_GRAMMAR_NO;
    }
    return close_level(g, l + 1, begin, n_todo) ? MK_GRAMMAR_YES : MK_GRAMMAR_LIMIT;
}

static int run(mk_grammar *g, const char *bytes, size_t n, size_t *eaten) {
    for (size_t i = 0; i < n; i++) {
        int result = advance(g, (int32_t) i, (uint8_t) bytes[i]);
        if (result != MK_GRAMMAR_YES) {
            *eaten = i;
            return result;
        }
    }
    *eaten = n;
    return MK_GRAMMAR_YES;
}

int mk_grammar_try(mk_grammar *g, const char *bytes, size_t n) {
    size_t eaten;
    return run(g, bytes, n, &eaten);
}

/* Drops the frames that nothing waits for any more. */
static void collect(mk_grammar *g) {
    level *now = &g->levels[0];
    int32_t *moved = malloc((size_t) g->n_frames * sizeof *moved), n = 0, n_edges = 0, n_todo = 0;
    int32_t *todo = malloc((size_t) g->n_frames * sizeof *todo);
    frame *frames = malloc((size_t) g->n_frames * sizeof *frames);
    edge *edges = malloc(((size_t) g->n_edges + 1) * sizeof *edges);
    if (moved == NULL || todo == NULL || frames == NULL || edges == NULL) { /* later, then */
        free(moved);
        free(todo);
        free(frames);
        free(edges);
        return;
    }
    memset(moved, 0xff, (size_t) g->n_frames * sizeof *moved);
    moved[0] = n++;
    todo[n_todo++] = 0;
    for (int32_t i = now->begin; i < now->end; i++) {
        int32_t f = g->items[i].frame;
        if (moved[f] < 0) {
            moved[f] = n++;
            todo[n_todo++] = f;
        }
    }
    while (n_todo > 0) {
        int32_t f = todo[--n_todo];
        frame *out = &frames[moved[f]];
        out->returned = false;
        out->edges = -1;
        for (int32_t e = g->frames[f].edges; e >= 0; e = g->edges[e].next) {
            int32_t up = g->edges[e].frame;
            if (moved[up] < 0) {
                moved[up] = n++;
                todo[n_todo++] = up;
            }
            edges[n_edges] = (edge){g->edges[e].node, moved[up], out->edges};
            out->edges = n_edges++;
        }
    }
    for (int32_t i = now->begin; i < now->end; i++) {
        g->items[i].frame = moved[g->items[i].frame];
    }
    memcpy(g->frames, frames, (size_t) n * sizeof *frames);
    memcpy(g->edges, edges, (size_t) n_edges * sizeof *edges);
    g->n_frames = g->live = now->frames = n;
    g->n_edges = now->edges = n_edges;
    free(moved);
    free(todo);
    free(frames);
    free(edges);
}

/* Level n becomes what has been said. */
static void settle(mk_grammar *g, size_t n) {
    level *to = &g->levels[0];
    if (n == 0) {
        return;
    }
    *to = g->levels[n];
    memmove(g->items, g->items + to->begin, (size_t) (to->end - to->begin) * sizeof *g->items);
    to->end -= to->begin;
    to->begin = 0;
    if (to->frames > COLLECT && to->frames > 2 * g->live) {
        g->n_frames = to->frames;
        g->n_edges = to->edges;
        collect(g);
    }
}

int mk_grammar_feed(mk_grammar *g, const char *bytes, size_t n) {
    size_t eaten;
    int result = run(g, bytes, n, &eaten);
    if (result == MK_GRAMMAR_YES) {
        settle(g, n);
    }
    return result;
}

size_t mk_grammar_feed_some(mk_grammar *g, const char *bytes, size_t n) {
    size_t eaten;
    run(g, bytes, n, &eaten);
    settle(g, eaten);
    return eaten;
}

size_t mk_grammar_try_some(mk_grammar *g, const char *bytes, size_t n, bool *complete) {
    size_t eaten;
    run(g, bytes, n, &eaten);
    *complete = g->levels[eaten].complete;
    return eaten;
}

bool mk_grammar_stuck(const mk_grammar *g) {
    return g->levels[0].complete && g->levels[0].begin == g->levels[0].end;
}

int32_t mk_grammar_mask(mk_grammar *g, const mk_words *words, int32_t *allowed) {
    int32_t n = 0;
    size_t known = (size_t) -1; /* so many first bytes of the piece looked at last are known to lead nowhere */
    int64_t work = MAX_MASK_WORK;
    for (int32_t i = 0; i < words->n; i++) {
        int32_t token = words->order[i];
        const char *bytes = words->bytes + words->at[token];
        size_t size = words->at[token + 1] - words->at[token], k = words->common[i];
        if (k >= known || size == 0) {
            continue;
        }
        known = (size_t) -1;
        for (; k < size; k++) {
            int result = advance(g, (int32_t) k, (uint8_t) bytes[k]);
            work -= MAX_WORK - g->work + 1;
            if (result == MK_GRAMMAR_LIMIT || work < 0) {
                return MK_GRAMMAR_LIMIT;
            }
            if (result == MK_GRAMMAR_NO) {
                known = k + 1;
                break;
            }
        }
        if (k == size) {
            allowed[n++] = token;
        }
    }
    return n;
}

/* ---- a vocabulary in order ---- */

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
}
