/* The walk through a grammar: see grammar.h for the contract.
 *
 * Level l is where the text may go on after l more bytes; level 0 is what has been said. Frames are calls under way,
 * shared by all ways of reading the text. A step appends to frames and edges and changes none that are older, so
 * going back to a level is cutting its successors off. */
#include "grammar.h"

#include "gbnf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_ITEMS = 1 << 20,  /* ways to read the text, over all bytes of a token */
    MAX_FRAMES = 1 << 20,
    MAX_WORK = 1 << 18,   /* for one byte, in steps of a few nanoseconds */
    SEEN = 1 << 13,       /* a power of two */
    MAX_SEEN = SEEN / 2,
    COLLECT = 1 << 13,    /* frames, before the dead ones are looked for */
};

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
    mk_network net;
    int32_t root;

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
    if (!mk_room((void **) &g->todo, &g->todo_room, *n_todo + 1, sizeof *g->todo)) {
        return false;
    }
    g->todo[(*n_todo)++] = (item){at, f};
    return true;
}

static bool room_for_frame(mk_grammar *g) {
    return g->n_frames < MAX_FRAMES
           && mk_room((void **) &g->frames, &g->frames_room, g->n_frames + 1, sizeof *g->frames);
}

static bool room_for_edge(mk_grammar *g) {
    return g->n_edges < 4 * MAX_FRAMES && mk_room((void **) &g->edges, &g->edges_room, g->n_edges + 1, sizeof *g->edges);
}

/* Follows everything that eats no byte from what is in `todo`, and makes level `l` of it. false: beyond a limit. */
static bool close_level(mk_grammar *g, int32_t l, int32_t begin, int32_t n_todo) {
    level *out = &g->levels[l];
    int32_t n = begin, n_seen = n_todo;
    out->complete = false;
    while (n_todo > 0) {
        item i = g->todo[--n_todo];
        const mk_node *at = &g->net.nodes[i.node];
        int32_t before = n_todo;
        bool good = true;
        if (--g->work < 0 || n_seen > MAX_SEEN) {
            return false;
        }
        switch (at->kind) {
        case MK_AT_EPS:
            good = add(g, &n_todo, at->a, i.frame);
            break;
        case MK_AT_SPLIT:
            good = add(g, &n_todo, at->b, i.frame) && add(g, &n_todo, at->a, i.frame);
            break;
        case MK_AT_CALL: {
            int32_t start = g->net.rules[at->b].start, f;
            if (g->net.nodes[at->a].kind == MK_AT_RET) { /* nothing to come back to: its callers wait */
                good = add(g, &n_todo, start, i.frame);
                break;
            }
            if (g->called_in[at->b] != g->step) {
                if (!room_for_frame(g)) {
                    return false;
                }
                g->called_in[at->b] = g->step;
                g->called[at->b] = g->n_frames;
                g->frames[g->n_frames++] = (frame){-1, false};
            }
            f = g->called[at->b];
            if (!room_for_edge(g)) {
                return false;
            }
            g->edges[g->n_edges] = (edge){at->a, i.frame, g->frames[f].edges};
            g->frames[f].edges = g->n_edges++;
            good = add(g, &n_todo, start, f) && (!g->frames[f].returned || add(g, &n_todo, at->a, i.frame));
            break;
        }
        case MK_AT_RET:
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
            if (n >= MAX_ITEMS || !mk_room((void **) &g->items, &g->items_room, n + 1, sizeof *g->items)) {
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
        memset(g->called_in, 0, (size_t) g->net.n_rules * sizeof *g->called_in);
        g->step = 1;
    }
}

static bool start(mk_grammar *g) {
    int32_t n_todo = 0;
    if (g->seen == NULL) {
        g->seen = calloc(SEEN, sizeof *g->seen);
        g->called = calloc((size_t) g->net.n_rules, sizeof *g->called);
        g->called_in = calloc((size_t) g->net.n_rules, sizeof *g->called_in);
    }
    if (!g->seen || !g->called || !g->called_in
        || !mk_room((void **) &g->levels, &g->levels_room, 64, sizeof *g->levels)
        || !mk_room((void **) &g->frames, &g->frames_room, 64, sizeof *g->frames)) {
        return false;
    }
    g->frames[0] = (frame){-1, false};
    g->n_frames = 1;
    g->n_edges = 0;
    g->live = 0;
    next_step(g);
    g->work = MAX_WORK;
    return add(g, &n_todo, g->net.rules[g->root].start, 0) && close_level(g, 0, 0, n_todo);
}

mk_grammar *mk_grammar_new(const char *gbnf, size_t size, const char *root, const mk_token_names *names, char *error,
                           size_t error_size) {
    mk_grammar *g = calloc(1, sizeof *g);
    if (g == NULL || !mk_network_begin(&g->net)) {
        snprintf(error, error_size, "there is no memory for the grammar");
        free(g);
        return NULL;
    }
    g->root = mk_gbnf_read(&g->net, gbnf, size, root, names, error, error_size);
    if (g->root >= 0 && start(g)) {
        return g;
    }
    if (g->root >= 0) {
        snprintf(error, error_size, "line 1, column 1: no memory for the grammar, or there are too many ways to begin");
    }
    mk_grammar_free(g);
    return NULL;
}

void mk_grammar_free(mk_grammar *g) {
    if (g == NULL) {
        return;
    }
    mk_network_free(&g->net);
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

void mk_grammar_restart(mk_grammar *g) {
    start(g); /* it went well the first time, with the same room */
}

bool mk_grammar_complete(const mk_grammar *g) {
    return g->levels[0].complete;
}

static bool takes(const mk_node *n, int32_t token, bool has_text) {
    return n->kind == MK_AT_TOKEN ? n->b == token : n->kind == MK_AT_NOT_TOKEN && n->b != token && has_text;
}

static bool eats(const mk_grammar *g, const mk_node *n, int32_t byte) {
    if (n->kind == MK_AT_RANGE) {
        return byte >= n->low && byte <= n->high;
    }
    return n->kind == MK_AT_SET && byte < 128 && (g->net.sets[n->b][byte / 64] >> byte % 64 & 1) != 0;
}

bool mk_grammar_names_tokens(const mk_grammar *g) {
    const level *said = &g->levels[0];
    for (int32_t i = g->net.names_tokens ? said->begin : said->end; i < said->end; i++) {
        uint8_t kind = g->net.nodes[g->items[i].node].kind;
        if (kind == MK_AT_TOKEN || kind == MK_AT_NOT_TOKEN) {
            return true;
        }
    }
    return false;
}

bool mk_grammar_takes_token(const mk_grammar *g, int32_t token, bool has_text) {
    const level *said = &g->levels[0];
    for (int32_t i = g->net.names_tokens ? said->begin : said->end; i < said->end; i++) {
        if (takes(&g->net.nodes[g->items[i].node], token, has_text)) {
            return true;
        }
    }
    return false;
}

/* To level l + 1: from level l by a byte (none: -1), and from level 0 by a token (none: -1), of which the byte is then
 * the last one. Frames and edges of level 0 are older than those of level l, so both can stand in one level. */
static int advance(mk_grammar *g, int32_t l, int32_t byte, int32_t token, bool has_text) {
    level from, said;
    int32_t n_todo = 0;
    if (!mk_room((void **) &g->levels, &g->levels_room, l + 2, sizeof *g->levels)) {
        return MK_GRAMMAR_LIMIT;
    }
    from = g->levels[l];
    said = g->levels[0];
    g->n_frames = from.frames;
    g->n_edges = from.edges;
    next_step(g);
    g->work = MAX_WORK;
    for (int32_t i = from.begin; byte >= 0 && i < from.end; i++) {
        const mk_node *n = &g->net.nodes[g->items[i].node];
        if (eats(g, n, byte) && (n_todo >= MAX_SEEN || !add(g, &n_todo, n->a, g->items[i].frame))) {
            return MK_GRAMMAR_LIMIT;
        }
    }
    for (int32_t i = said.begin; token >= 0 && i < said.end; i++) {
        const mk_node *n = &g->net.nodes[g->items[i].node];
        if (takes(n, token, has_text) && (n_todo >= MAX_SEEN || !add(g, &n_todo, n->a, g->items[i].frame))) {
            return MK_GRAMMAR_LIMIT;
        }
    }
    if (n_todo == 0) {
        return MK_GRAMMAR_NO;
    }
    return close_level(g, l + 1, from.end, n_todo) ? MK_GRAMMAR_YES : MK_GRAMMAR_LIMIT;
}

int mk_grammar_step(mk_grammar *g, int32_t l, uint8_t byte, int64_t *work) {
    int result = advance(g, l, byte, -1, true);
    *work -= MAX_WORK - g->work + 1;
    return result;
}

static int run(mk_grammar *g, const char *bytes, size_t n, size_t *eaten) {
    for (size_t i = 0; i < n; i++) {
        int result = advance(g, (int32_t) i, (uint8_t) bytes[i], -1, true);
        if (result != MK_GRAMMAR_YES) {
            *eaten = i;
            return result;
        }
    }
    *eaten = n;
    return MK_GRAMMAR_YES;
}

/* A token is read as its bytes and, where the grammar names it, as itself: all ways of both stand at *reached. */
static int run_token(mk_grammar *g, int32_t token, const char *bytes, size_t n, size_t *reached) {
    int result;
    if (!mk_grammar_takes_token(g, token, n > 0)) {
        return n == 0 ? MK_GRAMMAR_NO : run(g, bytes, n, reached);
    }
    if (n > 0) {
        result = run(g, bytes, n - 1, reached);
        if (result == MK_GRAMMAR_LIMIT) {
            return result;
        }
        if (result == MK_GRAMMAR_YES) {
            *reached = n;
            return advance(g, (int32_t) n - 1, (uint8_t) bytes[n - 1], token, true);
        }
    }
    *reached = 1;
    return advance(g, 0, -1, token, n > 0);
}

int mk_grammar_try(mk_grammar *g, const char *bytes, size_t n) {
    size_t eaten;
    return run(g, bytes, n, &eaten);
}

int mk_grammar_try_token(mk_grammar *g, int32_t token, const char *bytes, size_t n) {
    size_t reached;
    return run_token(g, token, bytes, n, &reached);
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

int mk_grammar_feed_token(mk_grammar *g, int32_t token, const char *bytes, size_t n) {
    size_t reached = 0;
    int result = run_token(g, token, bytes, n, &reached);
    if (result == MK_GRAMMAR_YES) {
        settle(g, reached);
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
