#include "curve.h"

#include <math.h>

enum { MOST_SURE = 4 };
static const double SURPRISE = 1.2; /* a price other than expected */

static const int32_t sizes[MK_KNOTS] = {
    1,   2,   3,   4,   5,   6,   7,   8,   9,    10,   11,   12,   13,   14,   15,   16,   20,  24,
    28,  32,  40,  48,  56,  64,  80,  96,  112,  128,  160,  192,  224,  256,  320,  384,  448, 512,
    640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192,
};

/* The knot nearest to n, which is 1 or more. */
static int32_t knot(int32_t n) {
    int32_t i = n <= 16 ? n - 1 : 15;
    while (i + 1 < MK_KNOTS && sizes[i] < n) {
        i++;
    }
    return i > 15 && sizes[i] - n > n - sizes[i - 1] ? i - 1 : i;
}

double mk_curve_at(const mk_curve *c, int32_t n) {
    int32_t below = knot(n), above;
    while (below >= 0 && (sizes[below] > n || c->seconds[below] <= 0)) {
        below--;
    }
    above = below < 0 ? 0 : below + 1;
    while (above < MK_KNOTS && (sizes[above] <= n || c->seconds[above] <= 0)) {
        above++;
    }
    above = above == MK_KNOTS ? -1 : above;
    if (below < 0) { /* fewer tokens than ever: between "as dear" and "as dear a token" */
        return above < 0 ? 0 : c->seconds[above] * (1 + (double) n / sizes[above]) / 2;
    }
    if (above < 0) { /* more tokens than ever: a little cheaper by the token, so that it is tried */
        return c->seconds[below] * (0.15 + 0.85 * n / sizes[below]);
    }
    return c->seconds[below]
           + (c->seconds[above] - c->seconds[below]) * (n - sizes[below]) / (sizes[above] - sizes[below]);
}

static bool is_hearsay(const mk_curve *c, int32_t i) {
    return c->hearsay[i] > 1.25 || c->hearsay[i] < 0.8;
}

/* Decodes for which what is known of a size holds. A single sample may be anything. */
static uint32_t holds_for(const mk_curve *c, int32_t i) {
    return c->sure[i] == 0 ? MK_STALE / 4 : (uint32_t) MK_STALE << (c->sure[i] - 1);
}

bool mk_curve_knew(const mk_curve *c, int32_t n) {
    int32_t i = knot(n);
    return c->seconds[i] > 0 && !is_hearsay(c, i);
}

bool mk_curve_knows(const mk_curve *c, int32_t n) {
    int32_t i = knot(n);
    return mk_curve_knew(c, n) && c->decodes - c->seen[i] < holds_for(c, i);
}

int32_t mk_curve_most(const mk_curve *c) {
    int32_t i = MK_KNOTS;
    while (i > 0 && c->seconds[i - 1] <= 0) {
        i--;
    }
    return i == 0 ? 0 : sizes[i - 1];
}

/* Whatever else the machine does makes a decode slower, never faster: so a fast sample counts more than a
 * slow one, and the faster of the first two is it, for what a size takes the first time is often more. Else half of what
 * a size's estimate moved by is taken over by all others: a machine that has become busy, or a conversation that has become
 * long, makes all of them dearer. That is a guess: a size that it has moved far is measured as if for the first time. */
void mk_curve_learn(mk_curve *c, int32_t n, double seconds) {
    int32_t at = knot(n < 1 ? 1 : n);
    double sample = n < 1 ? 0 : seconds * sizes[at] / n, old = c->seconds[at], moved;
    bool late = c->decodes - c->seen[at] >= holds_for(c, at) / 2, first = old <= 0 || is_hearsay(c, at), second;
    if (!(sample > 0)) {
        return;
    }
    c->seen[at] = ++c->decodes;
    c->hearsay[at] = 1;
    second = !first && c->sure[at] == 0;
    if (first) {
        c->sure[at] = 0;
    } else if (second || old > SURPRISE * sample) {
        c->sure[at] = 1;
    } else if (sample > SURPRISE * old) { /* or something else ran meanwhile */
        c->sure[at] -= c->sure[at] > 1;
    } else {
        c->sure[at] += late && c->sure[at] < MOST_SURE;
    }
    if (first || (second && sample < old)) {
        c->seconds[at] = sample;
        return;
    }
    sample = sample > 4 * old ? 4 * old : sample;
    c->seconds[at] += (sample - old) * (sample < old ? 0.7 : 0.1);
    moved = sqrt(c->seconds[at] / old); /* a root, so that ups and downs of one size leave no trace in the others */
    for (int32_t i = 0; i < MK_KNOTS; i++) {
        c->seconds[i] *= i == at ? 1 : moved;
        c->hearsay[i] *= i == at ? 1 : moved;
    }
}
