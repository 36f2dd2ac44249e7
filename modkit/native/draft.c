/* Speculation without a second model: where the last words were said before, what followed them then is put
 * into the batch behind the next token, and decoded along. The samplers are then asked as ever, token by token;
 * as long as they choose what was drafted, the next logits are there already. What they did not choose is taken
 * out of the cache, so a reply is the same with drafts as without. Worker thread alone, allocates nothing.
 *
 * A draft pays where a batch of several tokens is not dearer than so many decodes, and the text repeats itself
 * (a memory quoted, a name). Both are learned: the first is the curve, the second the share of drafted tokens
 * that were chosen. And it is bounded: drafts that fail cost time out of an account that successes fill, and
 * that otherwise grows by less than a hundredth of what was decoded; when it is empty, nothing is drafted. */
#include "engine.h"

enum { LEAST_MATCH = 2, MOST_MATCH = 8 };

/* The longest place, the latest among equals, where the last tokens stood before; 0 when there is none. */
static int32_t find_match(const int32_t *tokens, int32_t n, int32_t *behind) {
    int32_t best = 0;
    for (int32_t i = n - 2; i >= LEAST_MATCH - 1 && best < MOST_MATCH; i--) {
        int32_t length = 0;
        while (length < MOST_MATCH && length <= i && tokens[i - length] == tokens[n - 1 - length]) {
            length++;
        }
        if (length > best) {
            best = length;
            *behind = i + 1;
        }
    }
    return best < LEAST_MATCH ? 0 : best;
}

static int trust_of(int32_t match) {
    return match <= 2 ? 0 : match <= 4 ? 1 : 2;
}

static int32_t least(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* What the batch, the context, the reply and the ring have room for; so far from the context's end that it is
 * never full in the middle of a draft. */
static int32_t most_tokens(mk_engine *e, const mk_slot *slot) {
    uint32_t record = e->record_room + mk_told_room(slot), room = mk_ring_free(&e->ring), used = e->config.slots * record;
    int32_t most = least(e->config.draft < 0 ? -e->config.draft : e->config.draft, MK_MAX_DRAFT);
    most = least(most, e->batch_room - 1);
    most = least(most, (int32_t) e->info.context - slot->n_tokens - 2);
    most = least(most, slot->job->ask.max_tokens - slot->n_generated - 1);
    most = least(most, room < used ? 0 : (int32_t) ((room - used) / record));
    return most > 0 ? most : 0;
}

/* Of n tokens at hand, how many make the most tokens a second; 0 when none do better than `rate`. */
static int32_t best_length(mk_engine *e, int32_t n, double trust, double rate) {
    double expected = 1, power = 1, best = 1.04 * rate;
    int32_t length = 0;
    for (int32_t k = 1; k <= n; k++) {
        double cost = mk_curve_at(&e->speaking_cost, k + 1), loss = cost - 1 / rate;
        power *= trust;
        expected += power;
        if (expected / cost > best && loss <= e->draft_account && k + 1 <= 2 * mk_curve_most(&e->speaking_cost)) {
            best = expected / cost;
            length = k;
        }
    }
    return length;
}

/* A size whose price is not known, or was learned long ago, is tried within the time set aside for learning. */
static int32_t unknown_length(mk_engine *e, int32_t n, double rate) {
    for (int32_t k = 1; k <= n; k = 2 * k + 1) {
        double loss = mk_curve_at(&e->speaking_cost, k + 1) - 1 / rate;
        if (!mk_curve_knows(&e->speaking_cost, k + 1, MK_STALE)) {
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

void mk_draft(mk_engine *e, mk_slot *slot, double rate) {
    int32_t n = slot->n_tokens, behind = 0, match, most;
    slot->n_draft = 0;
    if (e->config.draft == 0 || slot->score != NULL || slot->job->ask.logprobs > 0) {
        return; /* a choice is being weighed, or each token is told with others, for which there is room once a step */
    }
    if (e->whole_only || e->whole_states || !(rate > 0)) {
        return; /* such a model cannot take back a token */
    }
    most = most_tokens(e, slot);
    match = most > 0 ? find_match(slot->tokens, n, &behind) : 0;
    if (match == 0) {
        return;
    }
    if (!e->drafted) {
        e->drafted = true;
        e->draft_account = 2 / rate;
        e->trust[0] = 0.4, e->trust[1] = 0.6, e->trust[2] = 0.8;
    }
    most = most < n - behind ? most : n - behind;
    slot->match = match;
    slot->n_draft = best_length(e, most, e->trust[trust_of(match)], rate);
    if (e->config.draft < 0) {
        slot->n_draft = most;
    } else if (slot->n_draft == 0) {
        slot->n_draft = unknown_length(e, most, rate);
    }
    for (int32_t i = 0; i < slot->n_draft; i++) {
        slot->draft[i] = slot->tokens[behind + i];
    }
}

/* What it brought, against what the same time would have brought without. */
static void learn(mk_engine *e, const mk_slot *slot, int32_t accepted) {
    double *trust = &e->trust[trust_of(slot->match)], most = 10 / e->forecast.rate;
    for (int32_t i = 0; i < slot->n_draft && i <= accepted; i++) {
        *trust += 0.06 * ((i < accepted) - *trust);
    }
    /* by the curve, not by the clock: what else the machine did meanwhile is no fault of the draft */
    e->draft_account += (accepted + 1) / e->forecast.rate - mk_curve_at(&e->speaking_cost, slot->n_draft + 1);
    e->draft_account = e->draft_account < most ? e->draft_account : most;
    mk_count(&e->shared.drafted, (uint64_t) slot->n_draft);
    mk_count(&e->shared.accepted, (uint64_t) accepted);
}

int32_t mk_say(mk_engine *e, mk_slot *slot) {
    const mk_job *job = slot->job;
    int32_t accepted = 0, first = slot->output, n = slot->n_draft;
    uint32_t room = (e->config.slots + 1) * e->record_room; /* a step keeps room for one token of each slot */
    mk_speak(e, slot);
    while (accepted < n && slot->job == job && mk_ring_free(&e->ring) >= room && slot->tokens[slot->n_tokens - 1] == slot->draft[accepted]) {
        slot->n_done++; /* the token just said is in the cache already */
        slot->output = first + ++accepted;
        mk_speak(e, slot);
    }
    if (n > 0) {
        mk_slot_truncate(e, slot, slot->n_done);
        learn(e, slot, accepted);
        slot->n_draft = 0;
    }
    return accepted;
}
