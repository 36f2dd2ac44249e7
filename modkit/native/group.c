/* Which of the speaking slots get their next token in the next decode. Runs on the worker thread alone, allocates nothing.
 *
 * A batch of all speakers is not the cheapest way to serve them (curve.h): so each decode takes a group around whoever was
 * served least, one of those in which all have a turn at the least cost, and those left out come first next time. */
#include "schedule.h"

#include <math.h>

enum {
    LEAD = 2,       /* tokens that a stream may be ahead of the least served and still count in full */
    FRESH = 4,      /* what the first token of a stream counts */
    MOST_AGAIN = 6, /* decodes of one group in a row */
};

/* Where each group goes several times in a row: seconds in which one is silent meanwhile. */
static const double MOST_SILENCE = 0.15;

/* The further somebody is ahead of the others, the less he counts, but never nothing: where a larger batch is
 * free, nobody waits. */
static double worth(const mk_slot *slot, double least) {
    double ahead = (slot->served - least) * mk_weight(slot);
    double counts = ahead <= LEAD ? 1 : 1 - 0.03 * (ahead - LEAD);
    return mk_is_fresh(slot) ? FRESH : (counts > 0.25 ? counts : 0.25) - 1e-4 * (ahead < 100 ? ahead : 100);
}

static bool comes_before(const mk_slot *a, const mk_slot *b) {
    if (mk_is_fresh(a) != mk_is_fresh(b)) {
        return mk_is_fresh(a);
    }
    return mk_is_fresh(a) && a->skipped != b->skipped ? a->skipped > b->skipped : a->served < b->served;
}

/* Whose turn it is, of slots[from .. from + n), of whom there is one. */
static int32_t first_of(const mk_choice *c, int32_t from, int32_t n) {
    int32_t first = from;
    for (int32_t i = from + 1; i < from + n; i++) {
        first = comes_before(c->slots[i], c->slots[first]) ? i : first;
    }
    return first;
}

/* Slots of one shared cache are computed together whoever they are, so they are put in order of merit;
 * with a cache for each, only neighbours are, so they stay in the order of their sequences. */
static void sort_by_merit(mk_choice *c) {
    for (int32_t i = 1; i < c->n; i++) {
        mk_slot *slot = c->slots[i];
        int32_t k = i;
        for (; k > 0 && comes_before(slot, c->slots[k - 1]); k--) {
            c->slots[k] = c->slots[k - 1];
        }
        c->slots[k] = slot;
    }
}

void mk_run_around(const mk_engine *e, const mk_choice *c, int32_t *low, int32_t *high) {
    *low = *high = c->first;
    if (e->config.unified) {
        *high = c->n - 1; /* in order of merit, the first is at 0 */
        return;
    }
    while (*low > 0 && c->slots[*low - 1]->seq + 1 == c->slots[*low]->seq) {
        --*low;
    }
    while (*high + 1 < c->n && c->slots[*high + 1]->seq == c->slots[*high]->seq + 1) {
        ++*high;
    }
}

/* Where two ways cost the same, the one of fewer decodes: each costs a little more than is measured. */
static double decode_cost(const mk_choice *c, int32_t n) {
    return c->cost[n] + 0.02 * c->cost[1];
}

/* least[k]: what it costs at the least to give the first k of a run of neighbours a turn each, in groups. */
static void round_costs(const mk_choice *c, int32_t n, double *least) {
    least[0] = 0;
    for (int32_t k = 1; k <= n; k++) {
        least[k] = decode_cost(c, k);
        for (int32_t size = 1; size < k; size++) {
            double cost = least[k - size] + decode_cost(c, size);
            least[k] = cost < least[k] ? cost : least[k];
        }
    }
}

/* Where only neighbours can go together, a group that is cheap by itself may leave others apart who are dear then: of
 * eight the six in the middle, and twice two. So what a token of each counts is what it adds to the cheapest round of
 * all. (By these, the dual prices of the linear program, no group is worth more than it costs, and those of the
 * cheapest rounds just as much.) Counted from either end, and the mean of both. */
static void weigh_by_place(mk_choice *c, int32_t low, int32_t high) {
    double least[MK_MAX_SLOTS + 1];
    int32_t n = high - low + 1;
    round_costs(c, n, least);
    for (int32_t k = 0; k < n && least[n] > 0; k++) {
        double adds = (least[k + 1] - least[k] + least[n - k] - least[n - k - 1]) / 2;
        c->counts[low + k] = c->worth[low + k] - 1 + adds / least[n] * n;
    }
    c->round = least[n] / n * c->n;
}

/* The best group of that size, or of any size for 0, with the first in it. */
static void best_group(mk_choice *c, int32_t low, int32_t high, int32_t size) {
    double best = -INFINITY;
    for (int32_t from = low; from <= c->first; from++) {
        double sum = 0;
        for (int32_t to = from; to <= high; to++) {
            int32_t n = to - from + 1;
            double rate;
            sum += c->counts[to];
            rate = sum / decode_cost(c, n);
            if (to >= c->first && (size == 0 || n == size) && rate > best) {
                best = rate;
                c->from = from;
                c->size = n;
            }
        }
    }
}

/* Now and then another size than the best known is tried, within the time set aside for that: else an
 * estimate that was wrong, or is no longer right, would keep a better size out for good. */
static void explore(mk_engine *e, mk_choice *c, int32_t low, int32_t high) {
    double unit = c->cost[c->size] / c->size, least = e->credit;
    int32_t size = 0;
    for (int32_t n = 1; n <= high - low + 1; n++) {
        double extra = c->cost[n] - n * unit;
        if (n != c->size && !mk_curve_knows(&e->speaking_cost, n) && extra < least) {
            least = extra;
            size = n;
        }
    }
    if (size > 0 && e->credit > 0) {
        e->credit -= least > 0 ? least : 0;
        e->forecast.exploring = true;
        best_group(c, low, high, size);
    }
}

/* A first token waits for one decode of others at most, once it could be computed; then it goes, whatever it costs. */
static bool take_overdue(mk_choice *c) {
    int32_t n = 0;
    for (int32_t i = 0; i < c->n; i++) {
        if (mk_is_fresh(c->slots[i]) && c->slots[i]->skipped > 0) {
            c->slots[n++] = c->slots[i];
        }
    }
    c->from = 0;
    c->size = n;
    c->first = -1;
    return n > 0;
}

/* Another group than the last makes llama.cpp build its graph anew, which a short decode feels (3 in a hundred). So where a
 * round of all is short, each group goes a few times before the next: that of the last decode, if it may and is there. */
static bool go_again(mk_engine *e, mk_choice *c) {
    bool may = e->again.size > 0 && e->again.size <= c->n && e->again.seconds >= 0.5 * c->cost[e->again.size];
    for (int32_t from = 0; may && from + e->again.size <= c->n; from++) {
        int32_t to = from + e->again.size - 1;
        if (c->slots[from]->seq == e->again.low && c->slots[to]->seq == e->again.low + to - from) {
            c->from = from;
            c->size = e->again.size;
            c->first = first_of(c, from, c->size);
            return true;
        }
    }
    e->again.seconds = 0;
    return false;
}

static void may_go_again(mk_engine *e, const mk_choice *c) {
    double weight = mk_weight(c->slots[0]);
    double cost = c->cost[c->size], silent = fmax(cost, c->round - cost); /* the others, or these */
    double times = c->round > 0 && c->size < c->n ? fmin(MOST_SILENCE / silent, MOST_AGAIN) : 1;
    for (int32_t i = 0; i < c->n; i++) {
        times = mk_weight(c->slots[i]) != weight || mk_is_fresh(c->slots[i]) ? 1 : times;
    }
    e->again = (mk_again){c->slots[c->from]->seq, c->size, fmax(1, floor(times)) * cost};
}

void mk_group_choose(mk_engine *e, mk_choice *c) {
    int32_t low, high;
    double least = e->served;
    if (take_overdue(c)) {
        e->again.seconds = 0;
        return;
    }
    if (e->config.unified) {
        sort_by_merit(c);
    }
    for (int32_t i = 0; i < c->n; i++) {
        c->worth[i] = c->counts[i] = worth(c->slots[i], least);
        c->cost[i + 1] = mk_curve_at(&e->speaking_cost, i + 1);
    }
    c->first = first_of(c, 0, c->n);
    if (!mk_is_fresh(c->slots[c->first]) && go_again(e, c)) {
        return;
    }
    mk_run_around(e, c, &low, &high);
    c->from = low;
    c->size = high - low + 1;
    if (c->cost[1] > 0) {
        if (!e->config.unified) {
            weigh_by_place(c, low, high);
        }
        best_group(c, low, high, 0);
        may_go_again(e, c);
        explore(e, c, low, high);
    }
}
