/* What of the waiting prompts is read in the next batch: how many tokens, and whose. Runs on the worker thread alone,
 * allocates nothing. */
#include "schedule.h"

#include <math.h>

enum {
    FIRST_SLICE = 16, /* while nothing is known of its price */
    LONG = 32,        /* tokens of a slice that need no more: what is saved is not worth the wait of those who speak */
};

/* Seconds that a slice may take for the sake of its price: alone; beside speakers (where many prompts wait, twice that);
 * beside more important ones. */
static const double MOST_ALONE = 0.6, MOST_BESIDE = 0.3, MOST_BENEATH = 0.1;
static const double MOST_FOR_MANY = 0.8; /* for several prompts that have been read whole by then */

/* After a late frame slices take half the time, down to an eighth; each half second without one gives back a fifth. */
static double scale(mk_engine *e) {
    uint64_t late = atomic_load(&e->late_us);
    double now = mk_now();
    if (late != e->late_seen) {
        e->slice_scale = e->slice_scale > 0.125 ? e->slice_scale / 2 : e->slice_scale;
    } else if (e->slice_scale >= 1 || now - e->slice_scaled < 0.5) {
        return e->slice_scale;
    } else {
        e->slice_scale = e->slice_scale * 1.25 < 1 ? e->slice_scale * 1.25 : 1;
    }
    e->late_seen = late;
    e->slice_scaled = now;
    return e->slice_scale;
}

/* Tokens that wait to be read. */
static int32_t all_left(const mk_engine *e) {
    int32_t all = 0;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        all += mk_is_prefilling(&e->slots[i]) ? mk_prefill_left(&e->slots[i]) : 0;
    }
    return all;
}

/* A token of prefill costs no more than a spoken one, of which small batches are known better. */
static double prefill_cost(const mk_engine *e, int32_t n) {
    double seconds = mk_curve_at(&e->prefill_cost, n);
    double spoken = n <= MK_MAX_SLOTS || seconds <= 0 ? mk_curve_at(&e->speaking_cost, n) : 0;
    return seconds <= 0 || (spoken > 0 && spoken < seconds) ? spoken : seconds;
}

double mk_reading_seconds(const mk_engine *e) {
    int32_t left = all_left(e);
    return left > 0 ? prefill_cost(e, left) : 0;
}

/* 8, 16, 24, 32, 48, 64, 96 …: the next of them above n. */
static int32_t longer(int32_t n) {
    int32_t m = 8;
    while (m <= n) {
        m += (m & (m - 1)) != 0 ? m / 3 : m >= 16 ? m / 2 : m;
    }
    return m;
}

/* Where more wait than speak, all wait less in the end if those who speak wait for longer slices. */
static double most_seconds(const mk_company *who) {
    double more = 2.0 * who->reading / (1 + who->speaking);
    return who->speaking == 0 ? MOST_ALONE : MOST_BESIDE * (more < 1 ? 1 : more > 2 ? 2 : more);
}

/* As many tokens as the usual time holds. Where a short slice is dear by the token (a batch of few tokens is, on a
 * CPU, and the speakers' decode goes along with each), it may take up to `most` seconds while each doubling saves a
 * tenth of the price, or a twentieth where many wait: a prompt that is read at half the speed keeps everybody waiting
 * for longer in the end. What a doubling saves is known from the calibration or, where nobody is disturbed by it, tried. */
static int32_t slice(mk_engine *e, const mk_company *who, double most) {
    bool alone = who->speaking == 0;
    double late = scale(e), share = late / e->crowd;
    double seconds = (alone ? e->config.slice_seconds_alone : e->config.slice_seconds) * share;
    double beside = who->decoded > 0 ? mk_curve_at(&e->speaking_cost, who->decoded) : 0, least;
    double power = who->reading > 1 + who->speaking ? 0.93 : 0.85; /* 2 to the power of 0.93 is 2 * 0.95, of 0.85 2 * 0.9 */
    int32_t n = MK_LEAST_SLICE, longest = e->batch_room;
    if (prefill_cost(e, 1) <= 0) {
        return FIRST_SLICE;
    }
    while (n < e->batch_room && prefill_cost(e, n + 1 + n / 16) <= seconds) {
        n += 1 + n / 16;
    }
    if (!alone) {
        double times = most > MOST_BESIDE ? most / MOST_BESIDE : 1;
        longest = n < LONG * late ? (int32_t) (2 * LONG * late * times) : 0;
    }
    least = (prefill_cost(e, n) + beside) * pow(n, -power);
    for (int32_t m = longer(n); m <= longest && m <= e->batch_room && prefill_cost(e, m) <= most * share; m = longer(m)) {
        double price = (prefill_cost(e, m) + beside) * pow(m, -power);
        if (price < least || (alone && !mk_curve_knew(&e->prefill_cost, m))) {
            least = price < least ? price : least;
            n = m;
        }
    }
    return n > e->batch_room ? e->batch_room : n;
}

/* Whose prompt is read first: the one with the least left to read, by weight. A short question need not wait
 * for a long one, and the long one waits only a little longer; whoever has waited gets a share all the same. */
static void share_slice(const mk_engine *e, int32_t budget, int32_t n_prefilling, int32_t *take) {
    int32_t share = budget / (2 * n_prefilling) > MK_LEAST_SLICE ? budget / (2 * n_prefilling) : MK_LEAST_SLICE;
    int32_t room = e->batch_room - e->batch.n_tokens;
    for (int pass = 0; pass < 2; pass++) {
        for (;;) {
            int32_t next = -1, left, n;
            double shortest = 0;
            for (uint32_t i = 0; i < e->config.slots; i++) {
                const mk_slot *slot = &e->slots[i];
                double key = mk_is_prefilling(slot) ? (slot->n_tokens - slot->n_done) / mk_weight(slot) : 0;
                bool open = pass == 1 || (take[i] == 0 && slot->skipped > 0);
                if (mk_is_prefilling(slot) && open && take[i] < mk_prefill_left(slot) && (next < 0 || key < shortest)) {
                    next = (int32_t) i;
                    shortest = key;
                }
            }
            if (next < 0 || room <= 0 || (pass == 1 && budget <= 0)) {
                break;
            }
            left = mk_prefill_left(&e->slots[next]) - take[next];
            n = pass == 0 ? share : budget;
            n = n < left ? n : left;
            n = n < room ? n : room;
            take[next] += n;
            budget -= n;
            room -= n;
        }
    }
}

/* In one shared cache: beside the speakers, parts of several prompts. */
void mk_prefill_add(mk_engine *e, const mk_company *who, uint64_t prefilling) {
    int32_t take[MK_MAX_SLOTS] = {0};
    if (who->reading == 0) {
        return;
    }
    atomic_store(&e->alone, who->speaking == 0 && who->reading == 1 ? prefilling : 0);
    share_slice(e, slice(e, who, most_seconds(who)), who->reading, take);
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (take[i] > 0) {
            mk_batch_add(e, &e->slots[i], take[i]);
            e->forecast.prefill += take[i];
        }
    }
}

/* The prompt that is read next: the one with the least left to read, by weight, and by how long it has waited. */
static int32_t next_prompt(const mk_engine *e) {
    int32_t next = -1;
    double least = 0;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        const mk_slot *slot = &e->slots[i];
        double key = mk_is_prefilling(slot) ? mk_prefill_left(slot) / (mk_weight(slot) * (1 + slot->skipped)) : 0;
        if (mk_is_prefilling(slot) && (next < 0 || key < least)) {
            next = (int32_t) i;
            least = key;
        }
    }
    return next;
}

/* How many tokens of that slot may go with `each` of its neighbours; 0 when it does not read, or is less important than
 * the one that comes first. */
static int32_t goes_with(const mk_engine *e, int32_t i, int32_t each, double weight) {
    const mk_slot *slot = i < 0 || i >= (int32_t) e->config.slots ? NULL : &e->slots[i];
    int32_t left = slot != NULL && mk_is_prefilling(slot) && mk_weight(slot) >= weight ? mk_prefill_left(slot) : 0;
    return left < each ? left : each;
}

/* Of equal parts, each of which has room, the first; by fours, which CPUs compute together, where that is a matter of taste. */
static int32_t part(int32_t whole, int32_t room) {
    int32_t parts = (whole + room - 1) / room, even = (whole + parts - 1) / parts, fours = (even + 3) / 4 * 4;
    return fours <= room ? fours : even;
}

/* How many tokens a run may have for the sake of prompts that are read whole, the first of them if that can be. Who begins
 * together speaks together, in larger groups and to the same end: so a crowd is read in as few slices as can be borne, and
 * in equal ones. */
static int32_t room_for_whole(mk_engine *e, const mk_company *who, int32_t room, int32_t first) {
    double share = who->speaking == 0 ? 1 : (double) who->reading / who->speaking;
    double most = MOST_FOR_MANY * (share > 1 ? 1 : share < 0.6 ? 0.6 : share) * e->slice_scale / e->crowd;
    int32_t n = room + room / 8, all = all_left(e), slices;
    if (who->reading == 1 || prefill_cost(e, 1) <= 0) {
        return n;
    }
    while (n < e->batch_room && prefill_cost(e, n + 1 + n / 64) <= most) {
        n += 1 + n / 64;
    }
    slices = (all + n - 1) / n;
    all = (all + slices - 1) / slices;
    room = room > all ? room : all;
    return room > first || first > n ? room : first;
}

/* With a cache for each, llama.cpp computes as many tokens of neighbours together as all of them have, and what is
 * left of each by itself. So short prompts are read together with their neighbours', the same number of tokens of
 * each: slots[low .. high], `each` of them. */
mk_run mk_run_choose(mk_engine *e, const mk_company *who) {
    int32_t next = next_prompt(e);
    double weight = mk_weight(&e->slots[next]);
    bool beneath = who->heaviest > weight; /* nobody's is 0 */
    int32_t room = slice(e, who, beneath ? MOST_BENEATH : most_seconds(who)), left = e->batch_room - who->decoded; /* at least 1: a slot reads */
    int32_t whole = mk_prefill_left(&e->slots[next]);
    int32_t longest = beneath ? room + room / 8 : room_for_whole(e, who, room, whole);
    mk_run r = {next, next, whole};
    longest = longest < left ? longest : left;
    if (whole > longest) {
        r.each = part(whole, room < left ? room : left);
        longest = room + room / 8 < longest ? room + room / 8 : longest;
    }
    for (;;) {
        int32_t n = r.high - r.low + 1;
        int32_t below = goes_with(e, r.low - 1, r.each, weight), above = goes_with(e, r.high + 1, r.each, weight);
        int32_t more = below > above ? below : above;
        if (more * (n + 1) <= r.each * n || more * (n + 1) > longest) {
            return r;
        }
        r.each = more;
        r.low -= below > above;
        r.high += below <= above;
    }
}

void mk_run_add(mk_engine *e, mk_run r) {
    for (int32_t i = r.low; i <= r.high; i++) {
        mk_batch_add(e, &e->slots[i], r.each);
        e->forecast.prefill += r.each;
    }
}
