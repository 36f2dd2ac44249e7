/* Speculation: where the last words were said before, what followed them then is put into the batch behind the next
 * token, and decoded along; elsewhere what a draft model says, if there is one (guess.c). The samplers are then asked
 * as ever, token by token; as long as they choose what was drafted, the next logits are there already. What they did
 * not choose is taken out of the cache, so a reply is the same with drafts as without. Worker thread alone, allocates
 * nothing.
 *
 * A draft pays where a batch of several tokens is not dearer than so many decodes, and the text repeats itself
 * (a memory quoted, a name). Both are learned: the first is the curve, the second how often what followed a match
 * of that length came again. That is seen from every token, drafted or not, so it costs nothing to learn that
 * quotations have begun, or ended. And it is bounded: drafts that fail cost time out of an account that successes
 * fill, and that otherwise grows by half a hundredth of what was decoded; when it is empty, nothing is drafted. What
 * would have been drafted is then watched: it costs nothing, and the account grows and shrinks by what would have come
 * of it. So one quotation that broke off does not end all drafts, and replies that do not quote cannot begin them. */
#include "engine.h"

#include <math.h>
#include <string.h>

enum {
    LEAST_QUOTED = 2, /* a match of fewer tokens that comes true is no quotation yet */
    MOST_MATCH = 16,
    MOST_SEEN = 30,  /* tokens that a trust remembers */
    ASTRAY_AFTER = 3, /* misses in a row, and the reply is taken for one that does not quote, until a hit */
};
/* Of the account, in decodes without drafts: the most that is put aside; that is carried over to another reply, of which
 * what was gained before says little; and that watching may put into it, or take out below zero. */
enum { MOST_SAVED = 6, MOST_CARRIED = 3, MOST_WATCHED = 3 };
/* What a trust is of. A word or two stands somewhere before in every reply, but means a quotation only in those that
 * quote: those of which nothing has come true yet are told from those that have begun to. And a quotation often ends
 * where a line does, however long it was. */
enum { QUOTING, EARLY, ASTRAY, LINE_ENDS };

static const struct {
    int32_t from; /* this length of a match on */
    double early, quoting;
} levels[MK_TRUSTS] = {{1, 0.25, 0.5}, {2, 0.45, 0.65}, {3, 0.6, 0.75},  {4, 0.7, 0.8},
                       {5, 0.8, 0.85}, {7, 0.85, 0.9},  {10, 0.9, 0.93}, {MOST_MATCH, 0.95, 0.97}};

/* The longest place, the latest among equals, where the last tokens stood before; 0 when there is none. */
static int32_t find_match(const int32_t *tokens, int32_t n, int32_t *behind) {
    int32_t best = 0;
    for (int32_t i = n - 2; i >= 0 && best < MOST_MATCH; i--) {
        int32_t length = 0;
        while (length < MOST_MATCH && length <= i && tokens[i - length] == tokens[n - 1 - length]) {
            length++;
        }
        if (length > best) {
            best = length;
            *behind = i + 1;
        }
    }
    return best;
}

static bool ends_line(const mk_engine *e, int32_t token) {
    char piece[64];
    int32_t n = e->table.llama_token_to_piece(e->vocab, token, piece, sizeof piece, 0, false);
    return n == 0 || (n > 0 && memchr(piece, '\n', (size_t) n) != NULL); /* 0: a mark between turns */
}

/* How likely the i-th token at hand comes again, if those before it did. */
static mk_trust *trust_in(mk_engine *e, const mk_slot *slot, int32_t i) {
    bool begun = slot->n_generated > 0; /* else misses and quotes are of another reply */
    int of = i > 0 || (begun && slot->quotes && slot->misses < ASTRAY_AFTER) ? QUOTING : begun && slot->misses >= ASTRAY_AFTER ? ASTRAY : EARLY;
    int level = MK_TRUSTS - 1;
    if (ends_line(e, slot->draft[i])) {
        return &e->trust[LINE_ENDS][0];
    }
    while (level > 0 && levels[level].from > slot->match + i) {
        level--;
    }
    return &e->trust[of][level];
}

static void begin(mk_engine *e) {
    e->drafted = true;
    e->draft_account = MOST_CARRIED * e->forecast.plain;
    for (int i = 0; i < MK_TRUSTS; i++) {
        e->trust[QUOTING][i].share = levels[i].quoting;
        e->trust[EARLY][i].share = levels[i].early;
        e->trust[ASTRAY][i].share = levels[i].early / 2;
    }
    e->trust[LINE_ENDS][0].share = 0.4;
}

void mk_draft_begin(mk_engine *e, mk_slot *slot) {
    double most = mk_curve_at(&e->speaking_cost, 1);
    most = MOST_CARRIED * (most > e->draft_plain ? most : e->draft_plain);
    e->draft_account = e->draft_account < most ? e->draft_account : most;
    slot->watch.length = 0;
}

/* So many tokens would have been drafted, for so many seconds of the slot's own, had the account allowed it. */
void mk_draft_watch(mk_engine *e, mk_slot *slot, int32_t length, double seconds) {
    if (slot->watch.length == 0) {
        slot->watch = (mk_watch){length, 0, seconds, e->forecast.rate};
    }
}

/* The token just said would have come true, or not: what the whole draft would have brought is booked at its end. */
static void watch(mk_engine *e, mk_slot *slot, bool right) {
    double most = MOST_WATCHED * e->draft_plain, account = e->draft_account, gained;
    mk_watch *w = &slot->watch;
    if (w->length == 0 || slot->match == 0) { /* or nothing was looked for this time: a prompt was read beside it */
        w->length = 0;
        return;
    }
    w->right += right;
    if (right && w->right < w->length) {
        return;
    }
    gained = (w->right + 1) / w->rate - w->seconds;
    e->draft_account = gained > 0 ? fmin(account + gained, fmax(account, most)) : fmax(account + gained, fmin(account, -most));
    w->length = 0;
}

static int32_t least(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* Not where the model cannot take back a token; nor where a choice is weighed, or each token is told with others. */
static bool may_draft(const mk_engine *e, const mk_slot *slot) {
    return !e->whole_only && !e->whole_states && slot->score == NULL && slot->job->ask.logprobs == 0;
}

/* How many tokens may be drafted: what the batch, the context, the reply and the ring have room for; so far from the
 * context's end that it is never full in the middle of a draft. */
int32_t mk_draft_room(mk_engine *e, const mk_slot *slot) {
    uint32_t record = e->record_room + mk_told_room(slot), room = mk_ring_free(&e->ring), used = e->config.slots * record;
    int32_t most = least(e->config.draft < 0 ? -e->config.draft : e->config.draft, MK_MAX_DRAFT);
    if (!may_draft(e, slot)) {
        return 0;
    }
    most = least(most, e->batch_room - 1);
    most = least(most, (int32_t) e->info.context - slot->n_tokens - 2);
    most = least(most, slot->job->ask.max_tokens - slot->n_generated - 1);
    most = least(most, room < used ? 0 : (int32_t) ((room - used) / record));
    return most > 0 ? most : 0;
}

/* What followed the last words where they stood before: at most `room` tokens of it into slot->draft, how many is
 * returned; 0 where they stood nowhere. */
int32_t mk_draft_find(mk_engine *e, mk_slot *slot, int32_t room) {
    int32_t n = slot->n_tokens, behind = 0;
    slot->match = may_draft(e, slot) ? find_match(slot->tokens, n, &behind) : 0;
    if (slot->match == 0) {
        return 0;
    }
    if (!e->drafted) {
        begin(e);
    }
    for (int32_t i = 0; i == 0 || i < room; i++) { /* the first is learned from even if it is not tried */
        int32_t from = behind + i;
        slot->draft[i] = from < n ? slot->tokens[from] : slot->draft[from - n]; /* a circle goes on as it went */
    }
    return room;
}

/* hopes[k], k up to n: how many tokens are said, the next one and as many of k drafted as come true. Each that does
 * makes the match longer, and the next one likelier. */
void mk_draft_hope(mk_engine *e, const mk_slot *slot, int32_t n, double *hopes) {
    double power = 1;
    hopes[0] = 1;
    for (int32_t k = 1; k <= n; k++) {
        power *= trust_in(e, slot, k - 1)->share;
        hopes[k] = hopes[k - 1] + power;
    }
}

/* A size whose price is not known, or was learned long ago, is tried within the time set aside for learning. */
int32_t mk_draft_try(mk_engine *e, const mk_slot *slot, int32_t n, double rate) {
    if (n == 0 || trust_in(e, slot, 0)->share <= 0.5) {
        return 0;
    }
    for (int32_t k = 1; k <= n; k = 2 * k + 1) {
        double loss = mk_curve_at(&e->speaking_cost, k + 1) - 1 / rate;
        if (!mk_curve_knows(&e->speaking_cost, k + 1)) {
            if (loss > e->credit) {
                return 0;
            }
            e->credit -= loss > 0 ? loss : 0;
            e->forecast.exploring = true;
            return k;
        }
    }
    return 0;
}

/* What a draft brought, against what the same time would have brought without: by the curve, not by the clock, for
 * what else the machine did meanwhile is no fault of the draft. */
static void book(mk_engine *e, int32_t drafted, int32_t accepted, bool guessed) {
    double most = MOST_SAVED * e->forecast.plain, gained;
    mk_count(&e->shared.drafted, (uint64_t) drafted);
    mk_count(&e->shared.accepted, (uint64_t) accepted);
    gained = (accepted + 1) / e->forecast.rate - e->forecast.each;
    if (guessed) {
        mk_guess_book(e, gained - e->forecast.drafting);
        return;
    }
    e->draft_account = e->draft_account + gained < most ? e->draft_account + gained : most;
}

/* Says one more token; true when it is the one that was drafted, or would have been. */
static bool say_one(mk_engine *e, mk_slot *slot, const mk_job *job, int32_t i) {
    mk_trust *trust = slot->match > 0 && (i == 0 || i < slot->n_draft) ? trust_in(e, slot, i) : NULL;
    int32_t misses = slot->n_generated == 0 ? 0 : slot->misses;
    bool right, guessed = slot->guessed, quotes = slot->n_generated > 0 && slot->quotes;
    mk_speak(e, slot);
    right = (trust != NULL || (guessed && i < slot->n_draft)) && slot->job == job
            && slot->tokens[slot->n_tokens - 1] == slot->draft[i];
    if (guessed && i < slot->n_draft && slot->job == job) {
        mk_guess_learn(e, slot->sure[i], right);
    }
    if (trust != NULL) {
        mk_trust_learn(trust, right, MOST_SEEN);
        misses = right ? 0 : misses + 1;
    }
    if (slot->n_draft > 0) {
        slot->watch.length = 0;
    } else {
        watch(e, slot, right);
    }
    slot->misses = misses;
    slot->quotes = quotes || (trust != NULL && right && slot->match + i >= LEAST_QUOTED);
    return right;
}

int32_t mk_say(mk_engine *e, mk_slot *slot) {
    const mk_job *job = slot->job;
    int32_t accepted = 0, first = slot->output, n = slot->n_draft;
    uint32_t room = (e->config.slots + 1) * e->record_room; /* a step keeps room for one token of each slot */
    bool right = say_one(e, slot, job, 0);
    while (accepted < n && right && mk_ring_free(&e->ring) >= room) {
        slot->n_done++; /* the token just said is in the cache already */
        slot->output = first + ++accepted;
        right = say_one(e, slot, job, accepted);
    }
    if (n > 0) {
        mk_slot_truncate(e, slot, slot->n_done);
        book(e, n, accepted, slot->guessed);
    }
    slot->n_draft = slot->match = 0;
    slot->guessed = false;
    return accepted;
}
