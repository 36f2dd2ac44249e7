/* What goes into the next batch: the next tokens of a group of the speaking slots (group.c), with or without drafts, and a
 * part of the waiting prefill (prefill.c); and what it cost. Runs on the worker thread alone, allocates nothing. */
#include "schedule.h"

#include <math.h>

enum { MOST_AHEAD = 6 /* tokens that a stream may be told it is ahead of the least served */ };

/* So much more a draft has to promise than the group without. */
static const double BETTER = 1.06;

/* On a CPU a decode costs what it computes, however long others keep it waiting: a busy machine would drown the
 * differences between batch sizes in noise. */
double mk_clock(const mk_engine *e) {
    double computed = e->config.clock == NULL && e->config.on_cpu ? mk_thread_seconds() : -1;
    return e->config.clock != NULL ? e->config.clock() : computed >= 0 ? computed : mk_now();
}

void mk_schedule_begin(mk_engine *e, mk_slot *slot) {
    slot->served = e->served;
    slot->skipped = 0;
    slot->due = 0;
    mk_draft_begin(e, slot);
}

void mk_batch_add(mk_engine *e, mk_slot *slot, int32_t n) {
    mk_batch *b = &e->batch;
    slot->n_batch = n;
    for (int32_t i = 0; i < n; i++) {
        int32_t at = b->n_tokens++;
        b->token[at] = slot->tokens[slot->n_done + i];
        b->pos[at] = slot->n_done + i;
        b->n_seq_id[at] = 1;
        b->seq_id[at][0] = slot->seq;
        b->logits[at] = slot->n_done + i + 1 == slot->n_tokens;
        if (b->logits[at]) {
            slot->output = at;
        }
    }
}

/* ---- whose pace allows it ---- */

/* Up to a quarter of an interval early, so that streams of one pace come together and can share a batch. */
static bool is_due(mk_engine *e, const mk_slot *slot, double pace, double now) {
    if (pace <= 0 || slot->due <= now + 0.25 / pace) {
        return true;
    }
    e->next_due = e->next_due == 0 || slot->due < e->next_due ? slot->due : e->next_due;
    return false;
}

static void next_is_due(mk_slot *slot, double pace, double now, int32_t tokens) {
    if (pace > 0) {
        slot->due = (slot->due > now - 1 / pace ? slot->due : now) + tokens / pace;
    }
}

/* ---- drafts ---- */

/* Drafts as long as each other, of a run of neighbours with the first in it: so they are computed together. */
typedef struct drafts {
    int32_t from, size, length; /* length 0: none */
    double seconds, rate;       /* by the curve; tokens a second that may be hoped for */
} drafts;

/* What a token takes where somebody goes alone, with as long a draft as is best for him. That is what it is worth to him that
 * one comes true: who has much at hand gains nothing where a neighbour who has little takes him along. */
static double seconds_alone(const mk_engine *e, int32_t n, const double *hopes) {
    double least = 1 / e->forecast.rate;
    int32_t longest = 2 * mk_curve_most(&e->speaking_cost) - 1;
    for (int32_t k = 1; k <= n && k <= longest; k++) {
        least = fmin(least, mk_curve_at(&e->speaking_cost, k + 1) / hopes[k]);
    }
    return least;
}

/* The best such, if it is worth more a second than `wanted`. What it would lose if nothing came true has to be there, by how
 * likely that is: where a batch of four costs three single ones, a sure quotation could not be paid for in advance. `wish`:
 * the best whether that is there or not. */
static drafts best_drafts(mk_engine *e, const mk_choice *c, int32_t low, int32_t high, const int32_t *n,
                          double (*hopes)[MK_MAX_DRAFT + 1], const double *worth, double wanted, drafts *wish) {
    int32_t outputs = (int32_t) e->config.slots > MK_MAX_DRAFT ? (int32_t) e->config.slots : MK_MAX_DRAFT + 1;
    int32_t known = 2 * mk_curve_most(&e->speaking_cost);
    drafts best = {0, 0, 0, 0, 0};
    double wished = wanted;
    double astray = n[c->first] > 0 ? 2 - hopes[c->first][1] : 1; /* that not even the next token comes true */
    for (int32_t k = 1; k <= n[c->first]; k++) {
        for (int32_t from = c->first; from >= low && n[from] >= k; from--) {
            double sum = 0, hoped = 0;
            for (int32_t to = from; to <= high && n[to] >= k; to++) {
                int32_t size = to - from + 1, total = size * (k + 1);
                double seconds;
                drafts d;
                if (total > outputs || total > known) {
                    break;
                }
                seconds = mk_curve_at(&e->speaking_cost, total);
                sum += worth[to] * hopes[to][k];
                hoped += hopes[to][k];
                if (to < c->first) {
                    continue;
                }
                d = (drafts){from, size, k, seconds, hoped / seconds};
                if (sum / seconds > wished) {
                    wished = sum / seconds;
                    *wish = d;
                }
                if (sum / seconds > wanted && astray * (seconds - size / e->forecast.rate) <= e->draft_account) {
                    wanted = sum / seconds;
                    best = d;
                }
            }
        }
    }
    return best;
}

static void take_drafts(mk_engine *e, mk_choice *c, drafts d) {
    for (int32_t i = d.from; i < d.from + d.size; i++) {
        c->slots[i]->n_draft = d.length;
    }
    c->from = d.from;
    c->size = d.size;
    e->forecast.each = d.seconds / d.size;
}

/* Instead of these, what a draft model says behind the next token of the one whose turn it is, if that promises more. */
static drafts or_guesses(mk_engine *e, mk_choice *c, drafts d, int32_t room) {
    mk_slot *slot = c->slots[c->first];
    double wanted = fmax(d.rate, BETTER * e->forecast.rate);
    slot->n_draft = d.length;
    e->forecast.drafting = mk_guess(e, slot, room, wanted);
    if (e->forecast.drafting > 0) { /* what was at hand is overwritten */
        d = (drafts){c->first, 1, slot->n_draft, mk_curve_at(&e->speaking_cost, slot->n_draft + 1), 0};
    }
    return d;
}

/* Where the one whose turn it is, alone or with some beside him, says more in the time with drafts than the group does
 * without, that is done instead. */
static void consider_drafts(mk_engine *e, mk_choice *c) {
    int32_t low, high, room = 0, n[MK_MAX_SLOTS];
    double hopes[MK_MAX_SLOTS][MK_MAX_DRAFT + 1], worth[MK_MAX_SLOTS], plain = 0;
    drafts d, wish = {0, 0, 0, 0, 0};
    if (e->config.draft == 0 || c->first < 0 || (c->cost[1] <= 0 && e->config.draft >= 0) || e->forecast.exploring) {
        return;
    }
    e->forecast.plain = c->cost[1] > 0 ? c->cost[c->size] : 1;
    e->forecast.rate = c->size / e->forecast.plain;
    e->draft_plain = e->forecast.plain;
    mk_run_around(e, c, &low, &high);
    for (int32_t i = low; i <= high; i++) {
        int32_t most = mk_draft_room(e, c->slots[i]);
        room = i == c->first ? most : room;
        n[i] = mk_draft_find(e, c->slots[i], most);
        mk_draft_hope(e, c->slots[i], n[i], hopes[i]);
        worth[i] = c->worth[i] * seconds_alone(e, n[i], hopes[i]);
    }
    for (int32_t i = c->from; i < c->from + c->size; i++) {
        plain += worth[i];
    }
    if (e->config.draft < 0) {
        d = (drafts){c->first, 1, n[c->first], mk_curve_at(&e->speaking_cost, n[c->first] + 1), 1};
    } else {
        d = best_drafts(e, c, low, high, n, hopes, worth, BETTER * plain / c->cost[c->size], &wish);
        if (d.length == 0 && wish.length > 0) {
            mk_draft_watch(e, c->slots[c->first], wish.length, wish.seconds / wish.size);
        }
        d.length = d.length > 0 ? d.length : mk_draft_try(e, c->slots[c->first], n[c->first], e->forecast.rate);
        if (e->forecast.exploring) {
            d = (drafts){c->first, 1, d.length, mk_curve_at(&e->speaking_cost, d.length + 1), 0};
        }
    }
    if (e->guesser != NULL && !e->forecast.exploring) {
        d = or_guesses(e, c, d, room);
    }
    if (d.length > 0) {
        take_drafts(e, c, d);
    }
}

static void add_draft(mk_engine *e, mk_slot *slot) {
    mk_batch *b = &e->batch;
    for (int32_t i = 0; i < slot->n_draft; i++) {
        int32_t at = b->n_tokens++;
        b->token[at] = slot->draft[i];
        b->pos[at] = slot->n_tokens + i;
        b->n_seq_id[at] = 1;
        b->seq_id[at][0] = slot->seq;
        b->logits[at] = 1;
    }
}

/* ---- the batch ---- */

/* Time does not stand still for who has not spoken yet: nobody has something to catch up from before. And nobody
 * pays for long for having been the neighbour of all the others for a while. */
static void keep_accounts(mk_engine *e) {
    double least = -1;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        const mk_slot *slot = &e->slots[i];
        if (mk_is_speaking(slot) && !mk_is_fresh(slot) && (least < 0 || slot->served < least)) {
            least = slot->served;
        }
    }
    e->served = least > e->served ? least : e->served;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        mk_slot *slot = &e->slots[i];
        double most = e->served + (slot->job != NULL ? MOST_AHEAD / mk_weight(slot) : 0);
        slot->served = slot->served < e->served ? e->served : slot->served > most ? most : slot->served;
    }
}

static void add_speakers(mk_engine *e, const mk_choice *c, double pace, double now) {
    int32_t before = e->batch.n_tokens;
    for (int32_t i = 0; i < c->size; i++) {
        mk_slot *slot = c->slots[c->from + i];
        mk_batch_add(e, slot, 1);
        slot->served += 1 / mk_weight(slot);
        next_is_due(slot, pace, now, 1);
        add_draft(e, slot);
    }
    e->forecast.speaking = e->batch.n_tokens - before;
}

/* The order keeps a speaker's one token from being computed with the first of each of its neighbours' prompts, which
 * would make two dear batches of a cheap one and a slice: only a sequence one above the last joins in. */
static void add_apart(mk_engine *e, const mk_choice *c, mk_run r, double pace, double now) {
    bool above = c->size > 0 && c->slots[c->from]->seq > e->slots[r.high].seq;
    if (above) {
        add_speakers(e, c, pace, now);
    }
    mk_run_add(e, r);
    if (!above) {
        add_speakers(e, c, pace, now);
    }
    atomic_store(&e->alone, c->size == 0 && r.low == r.high ? e->slots[r.low].job->ask.id : 0);
}

/* Who has just said a first word waits once for about as many who say theirs after the next slice: then all go on
 * together, in larger groups and to the same end. */
static bool stand_back(mk_engine *e, const mk_choice *c, const mk_company *who) {
    int32_t joining = 0;
    mk_run r;
    if (who->reading == 0 || c->n == 0 || c->n != who->speaking || e->config.unified) {
        return false;
    }
    for (int32_t i = 0; i < c->n; i++) {
        if (c->slots[i]->n_generated != 1) {
            return false;
        }
    }
    r = mk_run_choose(e, who);
    for (int32_t i = r.low; i <= r.high; i++) {
        joining += e->slots[i].n_done + r.each == e->slots[i].n_tokens;
    }
    return 2 * joining > who->speaking && who->heaviest <= mk_weight(&e->slots[r.low]);
}

void mk_batch_fill(mk_engine *e) {
    mk_choice c = {.n = 0};
    mk_company who = {0, 0, 0, 0};
    double pace = atomic_load(&e->pace), now = pace > 0 ? mk_now() : 0;
    uint64_t prefilling = 0;
    e->batch.n_tokens = 0;
    e->next_due = 0;
    e->forecast = (mk_forecast){0};
    atomic_store(&e->alone, 0);
    mk_adapters_choose(e);
    keep_accounts(e);
    for (uint32_t i = 0; i < e->config.slots; i++) {
        mk_slot *slot = &e->slots[i];
        slot->output = -1;
        slot->n_batch = 0;
        slot->n_draft = slot->match = 0;
        slot->guessed = false; /* a decode that was aborted told nobody what became of its draft */
        who.heaviest = mk_is_speaking(slot) && mk_weight(slot) > who.heaviest ? mk_weight(slot) : who.heaviest;
        who.speaking += mk_is_speaking(slot);
        if (mk_is_speaking(slot) && (mk_is_fresh(slot) || is_due(e, slot, pace, now))) {
            c.slots[c.n++] = slot;
        } else if (mk_is_prefilling(slot)) {
            prefilling = slot->job->ask.id;
            who.reading++;
        }
    }
    e->again.seconds = who.reading > 0 ? 0 : e->again.seconds;
    c.n = stand_back(e, &c, &who) ? 0 : c.n;
    if (c.n > 0) {
        mk_group_choose(e, &c);
        if (who.reading == 0) {
            consider_drafts(e, &c);
        }
        e->forecast.speaking_is_one = e->config.unified || c.slots[c.from + c.size - 1]->seq - c.slots[c.from]->seq == c.size - 1;
    }
    who.decoded = c.size;
    if (who.reading > 0 && !e->config.unified) {
        add_apart(e, &c, mk_run_choose(e, &who), pace, now);
    } else {
        add_speakers(e, &c, pace, now);
        mk_prefill_add(e, &who, prefilling);
    }
    for (uint32_t i = 0; i < e->config.slots; i++) {
        e->slots[i].skipped += e->slots[i].n_batch == 0;
    }
}

/* Drafted tokens count like others, in the shares and for the pace. */
void mk_schedule_said(mk_engine *e, mk_slot *slot, int32_t drafted) {
    double pace = atomic_load(&e->pace);
    if (drafted > 0 && slot->job != NULL) {
        slot->served += drafted / mk_weight(slot);
        slot->due += pace > 0 ? drafted / pace : 0;
    }
}

/* ---- what it cost ---- */

void mk_learn(mk_engine *e, double seconds, double wall) {
    const mk_forecast *forecast = &e->forecast;
    if (e->config.clock == NULL && e->config.on_cpu && seconds > 0) {
        double now = wall / seconds < 1 ? 1 : wall / seconds > 8 ? 8 : wall / seconds;
        e->crowd += 0.05 * (now - e->crowd);
    }
    e->credit += e->credit < 0.5 ? 0.01 * seconds : 0;
    e->again.seconds -= seconds;
    if (e->draft_account < 2 * mk_curve_at(&e->speaking_cost, 1)) {
        e->draft_account += 0.005 * seconds;
    }
    mk_guess_allow(e, seconds);
    if (forecast->prefill == 0 && forecast->speaking_is_one) {
        if (forecast->exploring) { /* it may have been dearer than was thought */
            double more = seconds - mk_curve_at(&e->speaking_cost, forecast->speaking);
            e->credit -= more > 0 ? more : 0;
        }
        mk_curve_learn(&e->speaking_cost, forecast->speaking, seconds);
    } else if (forecast->speaking == 0 && forecast->prefill > 0) {
        mk_curve_learn(&e->prefill_cost, forecast->prefill, seconds);
    } else if (forecast->prefill >= MK_LEAST_SLICE && e->config.unified) {
        mk_curve_learn(&e->prefill_cost, forecast->prefill + forecast->speaking, seconds);
    } else if (forecast->prefill >= MK_LEAST_SLICE && forecast->speaking_is_one) {
        double read = seconds - mk_curve_at(&e->speaking_cost, forecast->speaking);
        mk_curve_learn(&e->prefill_cost, forecast->prefill, read > 0.3 * seconds ? read : 0.3 * seconds);
    }
}
