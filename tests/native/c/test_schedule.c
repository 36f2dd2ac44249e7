/* Who speaks when: decodes cost what a script says, on a clock that only they move, so that what is promised of
 * throughput, fairness, priorities and first words is counted, not measured. */
#include "engine.h"
#include "harness.h"
#include "platform.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(MK_WAITS_MONOTONIC)
/* In the library's place: a wait by the wall's clock would last an hour longer when that is set back an hour, and a
 * paced voice would be silent for it. */
int sem_timedwait(sem_t *s, const struct timespec *until) {
    (void) s;
    (void) until;
    CHECK(!"a wait by the wall's clock");
    return -1;
}
#endif

/* Milliseconds by tokens in a decode, as measured on one core: two quantisations, two builds, and a GPU. */
static const double q8_0[] = {0, 9.9, 37.7, 43.3, 48.4, 60.7, 65.3, 62.9, 60.5, 64, 68, 72, 76, 80, 83, 86, 90.1};
static const double q4_0[] = {0, 6.7, 13.3, 19.3, 14.6, 21.3, 28.3, 28.3, 28.3, 31, 33, 35, 37, 39, 41, 43, 46};
static const double f16[] = {0, 15.8, 30.2, 29.3, 31.9, 34.5, 36.6, 45, 54, 56, 58, 60, 62, 64, 66, 68, 69.7};
static const double xq4_0[] = {0, 8.1, 15.9, 23.2, 24.4, 32.2, 40.3, 44, 48.6, 53, 57, 62, 66, 71, 76, 80, 85};
static const double gpu[] = {0, 10, 10, 10.1, 10.1, 10.2, 10.2, 10.3, 10.3, 10.4, 10.4, 10.5, 10.5, 10.6, 10.6, 10.7, 10.7};
/* One core of a busy old machine, where a slice of 24 tokens takes a quarter of a second. */
static const double slow[] = {0, 48.6, 53.3, 85.9, 74.8, 104, 91.8, 124, 109, 126, 124, 145, 141, 165, 160, 180, 170};
/* A processor on which odd numbers of tokens in F16 are cheap, and four in Q8_0 dearer than as many single ones. */
static const double epyc_q4_0[] = {0, 8.8, 17, 24.7, 26, 34.2, 42.1, 49.6, 50.2, 58.9, 66.5, 73.3, 75.8, 84, 91.7, 99.9, 87.6};
static const double epyc_f16[] = {0, 18.4, 49, 42.9, 63, 51.4, 82.5, 65.4, 98.8, 111, 108, 123, 138, 136, 149, 166, 162};
static const double epyc_q8_0[] = {0, 12.5, 44.8, 58.9, 55.2, 69.5, 65.5, 79.9, 67.9, 83.6, 81.7, 98.4, 96, 113, 110, 124, 121};
static const double *const tables[] = {q8_0, q4_0, f16, xq4_0, gpu};
enum { TABLES = sizeof tables / sizeof *tables, MOST = 1 << 18 };

static double sinks = 1; /* what a token of 64 costs, measured by one of 16 */

/* The price list in use, up to 64 tokens, in seconds. */
static void price_as(double *out, const double *milliseconds) {
    out[0] = 0;
    for (int n = 1; n <= 64; n++) {
        out[n] = 1e-3 * (n <= 16 ? milliseconds[n] : milliseconds[16] * n / 16 * (1 - (1 - sinks) * (n - 16) / 48));
    }
}

/* What the fake saw: each token with logits, by sequence and time; each decode, by number. Written by the
 * worker, read when it is closed or asleep. */
typedef struct seen {
    double at;
    int seq, decode;
    bool alone; /* no prefill beside it */
} seen;
static seen history[MOST];
static _Atomic int n_history;
static _Atomic int n_decodes;
static int in_decode[MOST][64]; /* tokens of each sequence */

static void witness(const mk_batch *b, double begun, double ended) {
    int n = atomic_load(&n_history), prefill = 0;
    (void) begun;
    CHECK(n_decodes < MOST && n + b->n_tokens < MOST);
    memset(in_decode[n_decodes], 0, sizeof in_decode[0]);
    for (int i = 0; i < b->n_tokens; i++) {
        in_decode[n_decodes][b->seq_id[i][0]]++;
        prefill += !b->logits[i];
    }
    for (int i = 0; i < b->n_tokens; i++) {
        if (b->logits[i]) {
            history[n++] = (seen){ended, b->seq_id[i][0], n_decodes, prefill == 0};
        }
    }
    n_decodes++;
    atomic_store(&n_history, n);
}

static host h;
static double prices[65];

/* How many decodes the calibration of so many slots takes. */
static int calibration(uint32_t slots) {
    return slots <= 16 ? 25 : slots < 64 ? 28 : 30;
}

static void open_with_drafts(const double *milliseconds, uint32_t slots, bool unified, int draft) {
    mk_config config = usual_config();
    price_as(prices, milliseconds);
    atomic_store(&fake_prices, prices);
    fake_options.unified = config.unified = unified;
    config.slots = slots;
    config.context = 2048;
    config.clock = fake_clock;
    config.calibrate_seconds = 1000;
    config.slice_seconds = 0.025;
    config.draft = draft;
    config.ring_bytes = 1 << 20;
    atomic_store(&fake.decoded, 0);
    n_decodes = 0;
    atomic_store(&n_history, 0);
    atomic_store(&fake_witness, witness);
    host_open_ready(&h, &config);
    until(&fake.decoded, calibration(slots));
    mk_engine_pause(h.engine, true);
    n_decodes = 0;
    atomic_store(&n_history, 0);
}

static void open_priced(const double *milliseconds, uint32_t slots, bool unified) {
    open_with_drafts(milliseconds, slots, unified, 0);
}

static bool try_for(int tokens, int priority) {
    ask *a = ask_new();
    ask_filler(a, tokens, (int) h.n_streams % 5);
    ask_tokens(a, (int32_t[]){FAKE_ECHO}, 1); /* the reply is the prompt */
    a->priority = priority;
    return host_try(&h, a) == 0;
}

static uint64_t ask_for(int tokens, int priority) {
    CHECK(try_for(tokens, priority));
    return h.n_streams;
}

/* From the moment when all n sequences have spoken to the one when the first stops for good. */
static void span(int n, int *first, int *last) {
    int count[64] = {0}, total[64] = {0}, begun = 0;
    *first = *last = -1;
    for (int i = 0; i < atomic_load(&n_history); i++) {
        total[history[i].seq]++;
    }
    for (int i = 0; i < atomic_load(&n_history) && *last < 0; i++) {
        int seq = history[i].seq;
        begun += ++count[seq] == 1;
        *first = begun == n && *first < 0 ? i : *first;
        *last = count[seq] == total[seq] ? i : *last;
    }
    CHECK(*first >= 0 && *last > *first);
}

static double rate_together(int n) {
    int first, last;
    span(n, &first, &last);
    return (last - first) / (history[last].at - history[first].at);
}

/* The least share of its due that any stream got in any second. */
static double least_share(int n, const double *weights) {
    int first, last, from;
    double least = 1e9, all = 0;
    span(n, &first, &last);
    for (int i = 0; i < n; i++) {
        all += weights[i];
    }
    from = first;
    for (int to = first; to <= last; to++) {
        int count[64] = {0};
        if (history[to].at - history[from].at < 1) {
            continue;
        }
        for (int i = from; i < to; i++) {
            count[history[i].seq]++;
        }
        for (int seq = 0; seq < n; seq++) {
            double share = count[seq] / ((to - from) * weights[seq] / all);
            least = share < least ? share : least;
        }
        from += (to - from) / 8 + 1;
    }
    return least;
}

static const double equal[64] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};

/* Paused, and everything that was asked for is taken. */
static void until_it_sleeps(void) {
    while (!atomic_load(&h.engine->sleeping)) {
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
}

static void n_speak_together(int n, int tokens) {
    for (int i = 0; i < n; i++) {
        ask_for(tokens, MK_NEAR);
    }
    until_it_sleeps(); /* else some begin a decode before the others, and are ahead of them by then */
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    for (int i = 1; i <= n; i++) {
        CHECK(host_heard(&h, (uint64_t) i)->finish == MK_FINISH_STOP && host_heard(&h, (uint64_t) i)->tokens == tokens);
    }
}

/* The most tokens a second that any way to cut n speakers into groups, over and over, gives. */
static double best_rate(int n) {
    double best = 0;
    for (int size = 1; size <= n; size++) {
        best = size / prices[size] > best ? size / prices[size] : best;
    }
    return best;
}

/* Seconds of the cheapest round in which each of n neighbours has one turn, in groups of neighbours. */
static double cheapest_round(int n) {
    double least[65] = {0};
    for (int k = 1; k <= n; k++) {
        least[k] = prices[k];
        for (int size = 1; size < k; size++) {
            least[k] = least[k - size] + prices[size] < least[k] ? least[k - size] + prices[size] : least[k];
        }
    }
    return least[n];
}

static void the_group_that_costs_least_by_the_token_speaks(void) {
    static const int casts[] = {2, 3, 4, 6, 8, 16};
    for (int t = 0; t < TABLES; t++) {
        for (int i = 0; i < (int) (sizeof casts / sizeof *casts); i++) {
            for (int unified = 0; unified < 2; unified++) {
                int n = casts[i];
                double rate;
                open_priced(tables[t], (uint32_t) n, unified);
                n_speak_together(n, 250);
                rate = rate_together(n);
                CHECK(rate > 0.97 / prices[1]);         /* as fast as one after another */
                CHECK(rate > 0.97 * n / prices[n]);     /* and as all together, as servers do it */
                CHECK(rate > 0.97 * (unified ? best_rate(n) : n / cheapest_round(n)));
                CHECK(least_share(n, equal) > 0.5);
                host_close(&h);
            }
        }
    }
}

/* Prices that nobody would think of. */
static void fair_and_fast_whatever_the_prices(void) {
    uint64_t seed = 20261121;
    for (int round = 0; round < 60; round++) {
        double odd[17] = {0};
        int n = 2 + (int) random_below(&seed, 12);
        for (int i = 1; i <= 16; i++) {
            odd[i] = 2 + random_below(&seed, 100) + (double) i * random_below(&seed, 12);
        }
        open_priced(odd, (uint32_t) n, round % 2 == 1);
        n_speak_together(n, 200);
        CHECK(rate_together(n) > 0.94 / prices[1] && rate_together(n) > 0.94 * n / prices[n]);
        CHECK(least_share(n, equal) > 0.5);
        host_close(&h);
    }
}

/* Seconds in which n who are asked at once have all said as much. */
static double until_all_are_done(const double *milliseconds, int n, int tokens) {
    double begun;
    open_priced(milliseconds, (uint32_t) n, false);
    for (int i = 0; i < n; i++) {
        ask *a = ask_new();
        ask_filler(a, 2, 3 * i);
        ask_tokens(a, (int32_t[]){FAKE_DICE}, 1);
        a->max_tokens = tokens;
        CHECK(host_try(&h, a) == 0);
    }
    until_it_sleeps();
    begun = fake_clock();
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    begun = fake_clock() - begun;
    host_close(&h);
    return begun;
}

/* To the last word of the last: a group that leaves others apart, who cannot go together then, is not cheap. */
static void the_last_is_done_when_the_cheapest_rounds_are(void) {
    uint64_t seed = 20261129;
    for (int t = 0; t <= TABLES; t++) {
        for (int n = 2; n <= 16; n++) {
            double all = until_all_are_done(t < TABLES ? tables[t] : slow, n, 120);
            CHECK(all < 1.04 * (120 * cheapest_round(n) + fake_price(2 * n)));
        }
    }
    for (int round = 0; round < 60; round++) {
        double odd[17] = {0};
        int n = 2 + (int) random_below(&seed, 7); /* sizes that were all calibrated */
        double all;
        for (int i = 1; i <= 16; i++) {
            odd[i] = 2 + random_below(&seed, 100) + (double) i * random_below(&seed, 12);
        }
        all = until_all_are_done(odd, n, 200);
        CHECK(all < 1.04 * (200 * cheapest_round(n) + fake_price(2 * n)));
    }
}

/* Four who speak one by one: each a few times before the next, but none is silent for longer than a fifth of a second. */
static void one_by_one_is_not_word_by_word(void) {
    double last[4] = {0};
    int changes = 0;
    open_priced(q8_0, 4, false);
    n_speak_together(4, 200);
    for (int i = 40; i < n_history; i++) { /* all have begun */
        changes += history[i].seq != history[i - 1].seq;
        CHECK(i < 60 || history[i].at - last[history[i].seq] < 0.2);
        last[history[i].seq] = history[i].at;
    }
    CHECK(changes < 0.35 * n_history);
    host_close(&h);
}

/* Decodes of one token until the price of so many is asked for again. */
static int known_for(mk_curve *c, int32_t n) {
    int decodes = 0;
    while (mk_curve_knows(c, n)) {
        mk_curve_learn(c, 1, 0.01);
        decodes++;
    }
    return decodes;
}

/* What was seen once may have been chance; what was so each time is hardly worth a look. */
static void a_price_is_asked_for_the_less_the_surer_it_is(void) {
    mk_curve c = {{0}, {0}, {0}, {0}, 0};
    int once, twice, often = 0;
    mk_curve_learn(&c, 1, 0.01);
    CHECK(!mk_curve_knows(&c, 4) && !mk_curve_knew(&c, 4));
    mk_curve_learn(&c, 4, 0.05);
    once = known_for(&c, 4);
    mk_curve_learn(&c, 4, 0.051);
    mk_curve_learn(&c, 4, 0.05); /* at once, which makes nothing surer */
    twice = known_for(&c, 4);
    CHECK(once == MK_STALE / 4 && twice == MK_STALE && mk_curve_knew(&c, 4));
    for (int i = 0; i < 20; i++) {
        mk_curve_learn(&c, 4, 0.05);
        often = known_for(&c, 4);
    }
    CHECK(often == 8 * MK_STALE);
    mk_curve_learn(&c, 4, 0.02);
    CHECK(known_for(&c, 4) == twice); /* it has changed: nothing is sure */
    mk_curve_learn(&c, 5, 0.06);
    mk_curve_learn(&c, 5, 0.03); /* the first time there was something else; that is nothing to do with other sizes */
    CHECK(mk_curve_at(&c, 5) == 0.03 && mk_curve_at(&c, 1) == 0.01);
}

/* The machine turns out other than at the load: the choice follows. */
static void prices_that_change_are_learned_anew(void) {
    for (int way = 0; way < 2; way++) {
        static double later[65];
        int n = 4, half, last;
        double begun;
        open_priced(way ? q8_0 : q4_0, 4, false);
        price_as(later, way ? q4_0 : q8_0);
        for (int i = 0; i < n; i++) {
            ask_for(900, MK_NEAR);
        }
        atomic_store(&fake_prices, later);
        mk_engine_pause(h.engine, false);
        host_until_all_ended(&h);
        span(n, &half, &last);
        half += (last - half) / 4 * 3; /* by then */
        begun = history[half].at;
        for (int i = 1; i <= 64; i++) {
            prices[i] = later[i];
        }
        CHECK((last - half) / (history[last].at - begun) > 0.9 * best_rate(4));
        host_close(&h);
    }
}

static void priorities_are_shares_where_time_is_short(void) {
    double line[17], share[8] = {4, 2, 2, 1, 1, 1, 1, 1}; /* the more important begin first, so they get the first slots */
    int first, last, count[8] = {0};
    for (int i = 0; i <= 16; i++) {
        line[i] = 10 * i; /* a group costs what its members cost in turn: nothing is to be had for nothing */
    }
    open_priced(line, 8, false);
    for (int i = 0; i < 8; i++) {
        ask_for(400, share[i] == 4 ? MK_PLAYER : share[i] == 2 ? MK_NEAR : MK_AMBIENT);
    }
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    span(8, &first, &last);
    for (int i = first; i < last; i++) {
        count[history[i].seq]++;
    }
    for (int i = 0; i < 8; i++) {
        double got = (double) count[i] / (last - first) * 13 / share[i];
        CHECK(got > 0.85 && got < 1.2);
    }
    CHECK(least_share(8, share) > 0.5);
    host_close(&h);
    /* and where a larger batch costs nothing, nobody is held back */
    open_priced(gpu, 8, false);
    for (int i = 0; i < 8; i++) {
        ask_for(300, share[i] == 4 ? MK_PLAYER : share[i] == 2 ? MK_NEAR : MK_AMBIENT);
    }
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    CHECK(rate_together(8) > 0.95 * best_rate(8));
    host_close(&h);
}

static void the_player_does_not_queue_behind_the_crowd(void) {
    uint64_t player;
    open_priced(q4_0, 2, false);
    atomic_store(&fake.decode_us, 1000); /* so that the crowd is not through before the player asks */
    for (int i = 0; i < 10; i++) {
        ask_for(40, MK_AMBIENT);
    }
    mk_engine_pause(h.engine, false);
    host_until_heard(&h, 1, 1);
    mk_engine_pause(h.engine, true);
    player = ask_for(10, MK_PLAYER);
    mk_engine_pause(h.engine, false);
    host_until_ended(&h, player);
    CHECK(h.n_ended < 6);
    host_until_all_ended(&h);
    host_close(&h);
}

/* A request whose prompt is what was read before, so that only its last token is left to read. */
static void ask_again(int tokens, int kind, int words) {
    ask *a = ask_new();
    ask_filler(a, tokens, kind);
    ask_tokens(a, (int32_t[]){FAKE_ECHO}, 1);
    a->max_tokens = words;
    host_submit(&h, a);
}

/* Eight speak, then others begin. `old` are the sequences that spoke shortly before decode number `mark`. */
static int eight_speak_and_others_begin(int newcomers, int tokens, bool known, bool *old) {
    int mark;
    for (int i = 0; known && i < newcomers; i++) {
        ask_again(tokens + i, 50 + i, 1);
    }
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    atomic_store(&fake.decode_us, 50); /* so that they are not through before the others ask */
    for (int i = 0; i < 8; i++) {
        ask_for(600, MK_NEAR);
    }
    for (uint64_t id = h.n_streams; id + 8 > h.n_streams; id--) {
        host_until_heard(&h, id, 20);
    }
    mk_engine_pause(h.engine, true);
    until_it_sleeps(); /* nobody asks yet, so the decode under way keeps nobody waiting */
    mark = atomic_load(&n_decodes);
    for (int i = 0; i < newcomers; i++) {
        ask_again(tokens + i, 50 + i, 3);
    }
    atomic_store(&fake.decode_us, 0);
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    for (int i = 1; i <= 20; i++) {
        for (int seq = 0; seq < 64; seq++) {
            old[seq] = old[seq] || in_decode[mark - i][seq] > 0;
        }
    }
    return mark;
}

/* From the moment it asks, two decodes at most go by without it: the one that is put together, and one more. */
static void a_first_word_waits_for_two_decodes_of_others_at_most(void) {
    static const struct {
        int newcomers, tokens;
        bool known;
    } kinds[] = {{1, 5, false}, {1, 400, false}, {1, 60, true}, {8, 30, true}, {3, 20, false}};
    for (int i = 0; i < TABLES * (int) (sizeof kinds / sizeof *kinds); i++) {
        int kind = i / TABLES, mark, found = 0;
        bool old[64] = {false};
        open_priced(tables[i % TABLES], 16, i % 2 == 1);
        mark = eight_speak_and_others_begin(kinds[kind].newcomers, kinds[kind].tokens, kinds[kind].known, old);
        for (int seq = 0; seq < 16; seq++) {
            int missed = 0, first = -1;
            for (int k = 0; k < n_history && first < 0; k++) {
                first = history[k].seq == seq && history[k].decode >= mark && !old[seq] ? history[k].decode : -1;
            }
            for (int d = mark; d <= first; d++) {
                missed += in_decode[d][seq] == 0;
            }
            CHECK(missed <= 2);
            found += first >= 0;
        }
        CHECK(found == kinds[kind].newcomers);
        host_close(&h);
    }
}

static void a_request_ends_the_calibration(void) {
    mk_config config = usual_config();
    double asked;
    config.calibrate_seconds = 1e9;
    atomic_store(&fake.decode_us, AGES * 1000000);
    host_open_ready(&h, &config);
    until(&fake.decoding, 1);
    asked = now();
    ask_for(10, MK_NEAR);
    until(&fake.aborted, 1);
    atomic_store(&fake.decode_us, 0); /* the reply's own decode may have begun already: an age, but for the cancel */
    PROMPT(asked);
    mk_engine_cancel(h.engine, 1);
    host_until_all_ended(&h);
    PROMPT(asked);
    ask_for(10, MK_NEAR);
    host_until_all_ended(&h);
    CHECK(host_heard(&h, 2)->finish == MK_FINISH_STOP);
    host_close(&h);
}

/* ---- drafts ---- */

/* How many tokens were drafted so far, or how many of them were said. */
static uint64_t drafted_and_said(bool said) {
    mk_shared *shared = mk_engine_shared(h.engine);
    return atomic_load((_Atomic uint64_t *) (said ? &shared->accepted : &shared->drafted));
}

/* Of a prompt that is its own reply, so that two tokens tell what follows, or of a reply in three letters thrown
 * by dice, so that they tell nothing. Returns tokens a second. */
static double say_with_drafts(const double *milliseconds, int n, bool repeats, int draft) {
    double rate;
    open_with_drafts(milliseconds, (uint32_t) n, false, draft);
    for (int i = 0; i < n; i++) {
        ask *a = ask_new();
        ask_filler(a, 600, i);
        ask_tokens(a, (int32_t[]){repeats ? FAKE_ECHO : FAKE_DICE}, 1);
        a->max_tokens = 600;
        host_submit(&h, a);
    }
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    for (int i = 1; i <= n; i++) {
        CHECK(host_heard(&h, (uint64_t) i)->finish == MK_FINISH_LENGTH && host_heard(&h, (uint64_t) i)->tokens == 600);
    }
    rate = rate_together(n);
    CHECK(draft > 0 || drafted_and_said(false) == 0);
    host_close(&h);
    return rate;
}

static void drafts_pay_or_are_left_out(void) {
    for (int t = 0; t < TABLES; t++) {
        for (int n = 1; n <= 4; n += 3) {
            double without = say_with_drafts(tables[t], n, true, 0), with = say_with_drafts(tables[t], n, true, MK_MAX_DRAFT);
            double lost = say_with_drafts(tables[t], n, false, MK_MAX_DRAFT) / say_with_drafts(tables[t], n, false, 0);
            CHECK(with > 0.98 * without && lost > 0.98);
            CHECK(n > 1 || tables[t] == q8_0 || tables[t] == xq4_0 || with > 1.25 * without);
        }
    }
}

/* Three tokens at most are drafted: who did so alone would say four in the time in which four neighbours say four
 * without; together they say up to sixteen. */
static void drafts_of_neighbours_are_computed_together(void) {
    static const double *const some[] = {q4_0, f16, gpu};
    for (int t = 0; t < 3; t++) {
        CHECK(say_with_drafts(some[t], 4, true, 3) > (t == 0 ? 1.15 : 1.5) * say_with_drafts(some[t], 4, true, 0));
        CHECK(say_with_drafts(some[t], 4, false, 3) > 0.98 * say_with_drafts(some[t], 4, false, 0));
    }
}

/* A line of the prompt quoted, then the end: a draft that went on into the next line would be lost each time. */
static void a_draft_ends_where_quoted_lines_do(void) {
    char text[40], reply[40];
    open_with_drafts(q4_0, 1, false, MK_MAX_DRAFT);
    mk_engine_pause(h.engine, false);
    for (int i = 0; i < 60; i++) {
        ask *a = ask_new();
        uint64_t id;
        for (int line = 0; line < 6; line++) {
            snprintf(text, sizeof text, "%c%d. the lamp of %c%c went out\n", 'a' + line, i, 'a' + (7 * i + line) % 26, 'a' + (3 * i + line) % 26);
            ask_text(a, text);
            if (line == i % 6) {
                snprintf(reply, sizeof reply, "%s", text + 2);
                reply[strlen(reply) - 1] = '\0';
            }
        }
        ask_reply(a, reply);
        id = host_submit(&h, a);
        expect_text(&h, id, MK_FINISH_STOP, reply);
    }
    CHECK(drafted_and_said(false) > 300 && drafted_and_said(true) > 0.97 * (double) drafted_and_said(false));
    host_close(&h);
}

/* Lines in letters thrown by dice, said again from the first on: a quotation each. Of each `every`-th, half stands once more
 * behind it and goes on otherwise there, so that its quotation breaks off in the middle. */
static ask *ask_for_quotations(uint64_t seed, int every, int max_tokens) {
    uint64_t dice = seed;
    ask *a = ask_new();
    char line[32], other[32];
    for (int i = 0; i < 18; i++) {
        for (int k = 0; k < 30; k++) {
            line[k] = (char) ('a' + random_below(&dice, 26));
            other[k] = k < 15 ? line[k] : (char) ('a' + random_below(&dice, 26));
        }
        line[30] = other[30] = '\n';
        line[31] = other[31] = '\0';
        ask_text(a, line);
        if (i % every == 0) {
            ask_text(a, other);
        }
    }
    ask_tokens(a, (int32_t[]){FAKE_ECHO}, 1);
    a->max_tokens = max_tokens;
    return a;
}

/* Of such replies, at once or one after another: the seconds in which nobody's prompt was read. */
static double seconds_of_quotations(const double *milliseconds, uint64_t seed, int n, bool together, int every, int draft) {
    double seconds = 0;
    open_with_drafts(milliseconds, together ? (uint32_t) n : 1, false, draft);
    mk_engine_pause(h.engine, false);
    for (int i = 0; i < n; i++) {
        uint64_t id = host_submit(&h, ask_for_quotations(seed + (uint64_t) i, every, 700));
        if (!together) {
            host_until_ended(&h, id);
        }
    }
    host_until_all_ended(&h);
    for (int i = 1; i <= n; i++) {
        CHECK(host_heard(&h, (uint64_t) i)->tokens == 700);
    }
    for (int i = 1; i < atomic_load(&n_history); i++) {
        seconds += history[i].alone ? history[i].at - history[i - 1].at : 0;
    }
    host_close(&h);
    return seconds;
}

/* Where four tokens cost three single ones, a quotation that breaks off costs what two others bring: the account that drafts
 * are paid from is empty after one. Watching fills it again. */
static void quotations_that_break_off_do_not_end_all_drafts(void) {
    static const double *const some[] = {q4_0, f16, epyc_q4_0, epyc_f16, epyc_q8_0};
    for (int t = 0; t < 5; t++) {
        for (int every = 1; every <= 3; every += 2) {
            double without = seconds_of_quotations(some[t], 1, 8, false, every, 0);
            CHECK(seconds_of_quotations(some[t], 1, 8, false, every, MK_MAX_DRAFT) < without / 1.4);
        }
    }
}

/* A batch of his own may serve one best, and a short draft beside his neighbour's worse than none. */
static void who_quotes_loses_nothing_by_another_who_does(void) {
    static const double *const some[] = {q4_0, q8_0, f16, epyc_q4_0, epyc_f16, epyc_q8_0};
    for (int t = 0; t < 6; t++) {
        for (int n = 2; n <= 4; n += 2) {
            for (int every = 1; every <= 3; every += 2) {
                double together = 0, in_turn = 0;
                for (uint64_t seed = 1; seed <= 12; seed += 4) {
                    together += seconds_of_quotations(some[t], seed, n, true, every, MK_MAX_DRAFT);
                    in_turn += seconds_of_quotations(some[t], seed, n, false, every, MK_MAX_DRAFT);
                }
                CHECK(together < in_turn);
            }
        }
    }
}

/* The same words with drafts and without: at the end of the reply, of max_tokens, of the context, with stops. */
static void drafts_change_nothing_of_what_is_said(void) {
    static const char long_reply[] =
        "The lamp, the lamp, the lamp is lit. The lamp is out; the lamp, the lamp, and ever the lamp, the lamp, the lamp is lit.";
    for (int draft = -MK_MAX_DRAFT; draft <= MK_MAX_DRAFT; draft += 5) {
        uint64_t ids[5];
        ask *a;
        open_with_drafts(gpu, 2, draft % 2 == 0, draft);
        for (int i = 0; i < 5; i++) {
            a = ask_new();
            ask_text(a, "She said: the lamp, the lamp, the lamp is lit. The lamp is out.");
            ask_reply(a, "The lamp, the lamp, the lamp is lit. The lamp is out; the lamp, the lamp!");
            a->max_tokens = i == 1 ? 30 : 10000;
            if (i == 2) {
                a->stops[a->n_stops++] = "lamp is out";
            }
            if (i == 3) {
                ask_filler(a, 1720, 9);
                ask_reply(a, long_reply);
            }
            ids[i] = host_submit(&h, a);
        }
        mk_engine_pause(h.engine, false);
        expect_text(&h, ids[0], MK_FINISH_STOP, "The lamp, the lamp, the lamp is lit. The lamp is out; the lamp, the lamp!");
        expect_text(&h, ids[1], MK_FINISH_LENGTH, "The lamp, the lamp, the lamp i");
        expect_text(&h, ids[2], MK_FINISH_STOP_STRING, "The lamp, the lamp, the lamp is lit. The ");
        host_until_ended(&h, ids[3]);
        CHECK(host_heard(&h, ids[3])->finish == MK_FINISH_LENGTH && host_heard(&h, ids[3])->tokens > 50);
        CHECK(strncmp(long_reply, host_heard(&h, ids[3])->text, host_heard(&h, ids[3])->size) == 0);
        expect_text(&h, ids[4], MK_FINISH_STOP, "The lamp, the lamp, the lamp is lit. The lamp is out; the lamp, the lamp!");
        CHECK(draft == 0 || drafted_and_said(true) > 20);
        host_close(&h);
    }
}

/* ---- a good neighbour ---- */

static void nobody_is_faster_than_the_pace(void) {
    double begun;
    open_priced(q4_0, 4, false);
    mk_engine_pace(h.engine, 200);
    begun = now();
    n_speak_together(4, 60);
    CHECK(now() - begun > 57.0 / 200);
    /* streams of one pace find together: most decodes are groups */
    CHECK(n_decodes < 4 * 60 * 3 / 4);
    mk_engine_pace(h.engine, 0.01); /* the next token is due in a minute and more */
    ask_for(10, MK_NEAR);
    host_until_heard(&h, 5, 1);
    mk_engine_cancel(h.engine, 5);
    host_until_ended(&h, 5);
    ask_for(10, MK_NEAR);
    host_until_heard(&h, 6, 1);
    mk_engine_pace(h.engine, 0);
    host_until_ended(&h, 6);
    CHECK(host_heard(&h, 6)->tokens == 10);
    host_close(&h);
}

/* Half a millisecond a token: the most tokens of one prompt in a decode while eight speak. */
static int longest_slice(int late_frames, bool unified) {
    double line[17];
    bool old[64] = {false};
    int mark, most = 0;
    for (int i = 0; i <= 16; i++) {
        line[i] = 0.5 * i;
    }
    open_priced(line, 16, unified);
    for (int i = 0; i < late_frames; i++) {
        mk_engine_late(h.engine, 0.004);
    }
    mark = eight_speak_and_others_begin(1, 900, false, old);
    for (int d = mark; d < n_decodes; d++) {
        for (int seq = 0; seq < 16; seq++) {
            most = !old[seq] && in_decode[d][seq] > most ? in_decode[d][seq] : most;
        }
    }
    host_close(&h);
    return most;
}

static void prefill_keeps_to_its_slice(void) {
    for (int unified = 0; unified < 2; unified++) {
        int most = longest_slice(0, unified);
        CHECK(most >= 30 && most <= 55); /* 25 ms, some of it for the speakers */
    }
}

/* Seconds until eight who begin at once have each read a prompt and said as many tokens. */
static double eight_begin_at_once(const double *milliseconds, int tokens) {
    double begun;
    open_priced(milliseconds, 8, false);
    begun = fake_clock();
    n_speak_together(8, tokens);
    begun = fake_clock() - begun;
    host_close(&h);
    return begun;
}

/* Seconds from a question of so many tokens to the first word of its answer, beside somebody who speaks. */
static double first_word_of_a_newcomer(const double *milliseconds, int tokens) {
    int mark;
    double asked;
    open_priced(milliseconds, 8, false);
    atomic_store(&fake.decode_us, 50);
    ask_for(900, MK_NEAR);
    mk_engine_pause(h.engine, false);
    host_until_heard(&h, 1, 20);
    mk_engine_pause(h.engine, true);
    while (!atomic_load(&h.engine->sleeping)) {
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    mark = atomic_load(&n_history);
    asked = fake_clock();
    ask_again(tokens, 77, 3);
    atomic_store(&fake.decode_us, 0);
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    while (history[mark].seq == history[0].seq) {
        mark++;
    }
    asked = history[mark].at - asked;
    host_close(&h);
    return asked;
}

/* Against reading it all in one batch, as servers do, and then speaking in one. */
static void prompts_are_read_about_as_fast_as_in_one_batch(void) {
    for (int t = 0; t < TABLES; t++) {
        for (int tenths = 10; tenths > 5; tenths -= 2) {
            double eight, newcomer;
            sinks = 0.1 * tenths;
            eight = eight_begin_at_once(tables[t], 60);
            newcomer = first_word_of_a_newcomer(tables[t], 200);
            CHECK(eight < 1.1 * (fake_price(8 * 61) + 60 * prices[8]));
            CHECK(newcomer < 1.7 * fake_price(201)); /* the speaker's tokens among it */
        }
    }
    sinks = 1;
}

/* Where replies are short, the prompts of a crowd are most of the work: again against one batch of them all. */
static void a_crowd_is_read_in_longer_slices(void) {
    sinks = 0.73;
    CHECK(eight_begin_at_once(slow, 24) < 1.03 * (fake_price(8 * 25) + 24 * prices[8]));
    CHECK(eight_begin_at_once(q8_0, 24) < 1.03 * (fake_price(8 * 25) + 24 * prices[8]));
    sinks = 1;
}

/* Sequences whose whole prompt of so many tokens was in that decode. */
static int read_in(int decode, int tokens) {
    int n = 0;
    for (int seq = 0; seq < 64; seq++) {
        n += in_decode[decode][seq] == tokens;
    }
    return n;
}

/* As many at a time as eight tenths of a second hold, and as many each time; so nobody is left to end alone. */
static void who_is_asked_together_begins_together(void) {
    static const struct {
        int n, first, second;
    } crowds[] = {{2, 2, 0}, {4, 4, 0}, {6, 3, 3}, {8, 4, 4}};
    sinks = 0.73;
    for (int i = 0; i < (int) (sizeof crowds / sizeof *crowds); i++) {
        open_priced(slow, (uint32_t) crowds[i].n, false);
        n_speak_together(crowds[i].n, 23);
        CHECK(read_in(0, 24) == crowds[i].first && read_in(1, 24) == crowds[i].second);
        CHECK(read_in(1, 1) == 0 || crowds[i].second == 0); /* who has said a first word waits for the others' */
        CHECK(read_in(2, 1) == crowds[i].n && read_in(n_decodes - 1, 1) == crowds[i].n);
        host_close(&h);
    }
    sinks = 1;
}

/* A crowd that asks before anything was measured might keep everybody waiting for any time. */
static void a_crowd_is_read_in_short_slices_until_prices_are_known(void) {
    mk_config config = usual_config();
    int tokens = 0;
    price_as(prices, slow);
    atomic_store(&fake_prices, prices);
    config.clock = fake_clock;
    config.slots = 4;
    config.context = 2048;
    config.calibrate_seconds = 0;
    host_open_ready(&h, &config);
    mk_engine_pause(h.engine, true);
    n_decodes = 0;
    atomic_store(&n_history, 0);
    atomic_store(&fake_witness, witness);
    n_speak_together(4, 100);
    for (int seq = 0; seq < 4; seq++) {
        tokens += in_decode[0][seq];
    }
    CHECK(tokens > 0 && tokens <= 18);
    host_close(&h);
}

/* The player's question does not wait for what the ambient ones ask. */
static void who_is_more_important_is_read_alone(void) {
    open_priced(slow, 4, false);
    for (int i = 0; i < 4; i++) {
        ask_for(11, i == 2 ? MK_PLAYER : MK_AMBIENT);
    }
    until_it_sleeps();
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    CHECK(read_in(0, 12) == 1 && in_decode[0][history[0].seq] == 12);
    for (int i = 1; i <= 4; i++) {
        CHECK(host_heard(&h, (uint64_t) i)->finish == MK_FINISH_STOP);
    }
    host_close(&h);
}

/* In the same frame, one after another, with what a host does in between. */
static void a_prompt_waits_for_those_of_the_same_frame(void) {
    bool together = false;
    for (int attempt = 0; attempt < 20 && !together; attempt++) { /* another program may have the processor for a while */
        open_priced(slow, 4, false);
        mk_engine_pause(h.engine, false);
        for (int i = 0; i < 4; i++) {
            ask_for(15, MK_NEAR);
            nanosleep(&(struct timespec){0, 300000}, NULL);
        }
        host_until_all_ended(&h);
        together = read_in(0, 16) == 4;
        host_close(&h);
    }
    CHECK(together);
}

/* Seconds until those of eight old acquaintances have each said forty tokens; how many of their prompts were in no cache. */
static double speak_again(const int *who, int n, int *lost) {
    double begun = fake_clock();
    mk_engine_pause(h.engine, true);
    for (int i = 0; i < n; i++) {
        ask_again(60, 50 + who[i], 40);
    }
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    *lost = 0;
    for (uint64_t id = h.n_streams; id + (uint64_t) n > h.n_streams; id--) {
        CHECK(host_heard(&h, id)->tokens == 40);
        *lost += host_heard(&h, id)->cached < 60; /* of 61 */
    }
    return fake_clock() - begun;
}

static void eight_get_acquainted(const double *milliseconds) {
    open_priced(milliseconds, 8, false);
    for (int i = 0; i < 8; i++) {
        ask_again(60, 50 + i, 3);
    }
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
}

/* Whoever was silent in between: a change of places costs less than to be computed one by one. */
static void those_who_speak_become_neighbours(void) {
    static const int scattered[][4] = {{0, 2, 4, 6}, {1, 3, 5, 7}, {7, 0, 5, 2}, {6, 1, 4, 3}};
    for (int t = 0; t < TABLES; t++) {
        int lost, before;
        double together;
        eight_get_acquainted(tables[t]);
        together = speak_again((int[]){0, 1, 2, 3}, 4, &lost);
        CHECK(lost == 0);
        for (int i = 0; i < 4; i++) {
            CHECK(speak_again(scattered[i], 4, &lost) < 1.05 * together && lost == 0);
        }
        before = atomic_load(&fake.saved); /* they have become neighbours for good */
        CHECK(speak_again((int[]){4, 1, 6, 3}, 4, &lost) < 1.05 * together && lost == 0);
        CHECK(atomic_load(&fake.saved) == before);
        host_close(&h);
    }
}

static void a_state_that_is_refused_costs_a_prefill(void) {
    int lost, more;
    eight_get_acquainted(slow);
    atomic_store(&fake.refuse_state, 1);
    speak_again((int[]){0, 4}, 2, &lost);
    CHECK(atomic_load(&fake.refuse_state) == 0);
    speak_again((int[]){1, 2, 3, 5, 6, 7}, 6, &more);
    CHECK(lost + more == 1);
    host_close(&h);
}

static void late_frames_shorten_the_slices(void) {
    int usual = longest_slice(0, false), shorter = longest_slice(1, false);
    CHECK(shorter >= 4 && shorter < 0.75 * usual);
}

static void the_worker_is_as_modest_as_it_was_told(void) {
#ifdef __linux__
    for (int level = 0; level < 3; level++) {
        mk_config config = usual_config();
        int before = getpriority(PRIO_PROCESS, 0);
        config.thread_priority = level;
        host_open_ready(&h, &config);
        ask_for(3, MK_NEAR);
        host_until_all_ended(&h);
        CHECK(atomic_load(&fake.nice) == (level == 0 ? before : level == 1 ? 5 : 15) && getpriority(PRIO_PROCESS, 0) == before);
        host_close(&h);
    }
#endif
}

/* 64 slots, prices that change, all priorities, cancels at any moment: a hundred thousand decodes. */
static void a_hundred_thousand_steps(void) {
    static const struct {
        int slots, steps;
        bool unified;
    } rounds[] = {{64, 4000, true}, {8, 58000, false}, {16, 40000, true}};
    static double lists[TABLES][65];
    uint64_t seed = 20261122;
    int steps = 0;
    for (int t = 0; t < TABLES; t++) {
        price_as(lists[t], tables[t]);
    }
    for (int round = 0; round < 3; round++) {
        mk_config config = usual_config();
        atomic_store(&fake_prices, lists[round]);
        fake_options.unified = config.unified = rounds[round].unified;
        config.slots = (uint32_t) rounds[round].slots;
        config.context = 256;
        config.clock = fake_clock;
        config.calibrate_seconds = 0.5;
        config.draft = round == 1 ? -4 : MK_MAX_DRAFT;
        config.slice_seconds = 0.025;
        config.ring_bytes = 1 << 20;
        config.queue_length = 128;
        atomic_store(&fake.decoded, 0);
        host_open_ready(&h, &config);
        while (atomic_load(&fake.decoded) < rounds[round].steps) {
            uint32_t dice = random_below(&seed, 100);
            if (h.n_streams - h.n_ended < 90 && dice < 50) {
                try_for(1 + (int) random_below(&seed, random_below(&seed, 8) == 0 ? 240 : 60), (int) random_below(&seed, 3));
            } else if (dice < 60) {
                mk_engine_cancel(h.engine, h.n_streams - random_below(&seed, h.n_streams < 90 ? (uint32_t) h.n_streams + 1 : 90));
            } else if (dice < 62) {
                mk_engine_pause(h.engine, random_below(&seed, 4) == 0);
            } else if (dice == 62) {
                atomic_store(&fake_prices, lists[random_below(&seed, TABLES)]);
            } else {
                mk_engine_pause(h.engine, false);
                host_drain(&h);
            }
        }
        steps += atomic_load(&fake.decoded);
        mk_engine_pause(h.engine, false);
        host_until_all_ended(&h);
        for (uint64_t id = 1; id <= h.n_streams; id++) {
            const heard *s = host_heard(&h, id);
            CHECK(s->ended == 1 && s->finish >= 0);
            CHECK(s->finish != MK_FINISH_STOP || s->tokens == s->prompt - 1);
        }
        host_close(&h);
    }
    CHECK(steps >= 100000);
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(the_group_that_costs_least_by_the_token_speaks);
    RUN(fair_and_fast_whatever_the_prices);
    RUN(the_last_is_done_when_the_cheapest_rounds_are);
    RUN(one_by_one_is_not_word_by_word);
    RUN(a_price_is_asked_for_the_less_the_surer_it_is);
    RUN(prices_that_change_are_learned_anew);
    RUN(priorities_are_shares_where_time_is_short);
    RUN(the_player_does_not_queue_behind_the_crowd);
    RUN(a_first_word_waits_for_two_decodes_of_others_at_most);
    RUN(prefill_keeps_to_its_slice);
    RUN(a_request_ends_the_calibration);
    RUN(drafts_pay_or_are_left_out);
    RUN(drafts_of_neighbours_are_computed_together);
    RUN(a_draft_ends_where_quoted_lines_do);
    RUN(quotations_that_break_off_do_not_end_all_drafts);
    RUN(who_quotes_loses_nothing_by_another_who_does);
    RUN(drafts_change_nothing_of_what_is_said);
    RUN(nobody_is_faster_than_the_pace);
    RUN(prompts_are_read_about_as_fast_as_in_one_batch);
    RUN(a_crowd_is_read_in_longer_slices);
    RUN(who_is_asked_together_begins_together);
    RUN(a_crowd_is_read_in_short_slices_until_prices_are_known);
    RUN(who_is_more_important_is_read_alone);
    RUN(a_prompt_waits_for_those_of_the_same_frame);
    RUN(those_who_speak_become_neighbours);
    RUN(a_state_that_is_refused_costs_a_prefill);
    RUN(late_frames_shorten_the_slices);
    RUN(the_worker_is_as_modest_as_it_was_told);
    RUN(a_hundred_thousand_steps);
    return 0;
}
