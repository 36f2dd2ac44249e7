/* Who sits beside whom. With a cache for each sequence llama.cpp computes only those together whose numbers follow each
 * other: a cast of whom some speak and others are silent in between would be computed one by one, at half the speed or
 * less. So a conversation that goes on where its neighbours are silent first changes places with a silent one beside
 * those who speak. Nothing is lost by it, both keep their caches. Runs on the worker thread alone. */
#include "disk.h"
#include "engine.h"

enum {
    ROUNDS = 24,           /* tokens of a reply within which the change has to pay */
    MOST_BYTES = 256 << 20 /* that are held in memory meanwhile */
};

static bool is_taken(const mk_engine *e, int32_t seat) {
    return seat >= 0 && seat < (int32_t) e->config.slots && e->slots[seat].job != NULL;
}

/* How many would be neighbours with one more in that seat. */
static int32_t neighbours(const mk_engine *e, int32_t seat) {
    int32_t low = seat, high = seat;
    while (is_taken(e, low - 1)) {
        low--;
    }
    while (is_taken(e, high + 1)) {
        high++;
    }
    return high - low + 1;
}

/* Seconds a token that may be saved by being computed with others, some of whom may be still to come. */
static double gain(const mk_engine *e) {
    double alone = mk_curve_at(&e->speaking_cost, 1), least = alone;
    int32_t most = 2;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        most += e->slots[i].job != NULL ? 2 : 0;
    }
    most = most < (int32_t) e->config.slots ? most : (int32_t) e->config.slots;
    for (int32_t n = 2; n <= most; n++) {
        double each = mk_curve_at(&e->speaking_cost, n) / n;
        least = each < least ? each : least;
    }
    return alone - least;
}

/* What llama.cpp refuses is lost: that costs a prefill later, no more. */
static void lay_down(mk_engine *e, mk_slot *slot, mk_bytes *bytes) {
    e->table.llama_memory_seq_rm(e->memory, slot->seq, -1, -1);
    if (slot->n_done > 0 && e->table.llama_state_seq_set_data(e->context, bytes->data, bytes->size, slot->seq) != bytes->size) {
        e->table.llama_memory_seq_rm(e->memory, slot->seq, -1, -1);
        slot->n_done = 0;
    }
    mk_state_drop(e, bytes);
}

static size_t size_of(const mk_engine *e, const mk_slot *slot) {
    return slot->n_done > 0 ? e->table.llama_state_seq_get_size(e->context, slot->seq) : 0;
}

/* What is kept of a silent conversation. */
static void hand_over(mk_slot *to, const mk_slot *from) {
    to->tokens = from->tokens;
    to->n_tokens = from->n_tokens;
    to->n_done = from->n_done;
    to->set = from->set;
    to->keep = from->keep;
    to->pin = from->pin;
    to->last_used = from->last_used;
}

static bool change(mk_engine *e, mk_slot *a, mk_slot *b, size_t size) {
    double begun = mk_now(), each;
    mk_bytes *of_a = a->n_done > 0 ? mk_state_of(e, a, size) : NULL, *of_b = b->n_done > 0 ? mk_state_of(e, b, size) : NULL;
    mk_slot was = *a;
    if ((a->n_done > 0 && of_a == NULL) || (b->n_done > 0 && of_b == NULL)) {
        mk_state_drop(e, of_a);
        mk_state_drop(e, of_b);
        return false;
    }
    hand_over(a, b);
    hand_over(b, &was);
    lay_down(e, a, of_b);
    lay_down(e, b, of_a);
    each = size > 0 ? (mk_now() - begun) / (double) size : 0;
    e->seconds_a_byte += size > 1 << 20 ? 0.5 * (each - e->seconds_a_byte) : 0;
    return true;
}

/* The slot, or another with what was in it: where it has the most neighbours who speak, if the way there is worth it. */
mk_slot *mk_seat(mk_engine *e, mk_slot *slot) {
    mk_slot *best = slot;
    int32_t most = neighbours(e, slot->seq);
    size_t own, least = 0;
    double worth;
    if (e->config.unified || e->copying || e->guesser != NULL) { /* a draft model's cache would stay behind */
        return slot;
    }
    worth = gain(e) * ROUNDS;
    own = worth > 0 ? size_of(e, slot) : 0;
    for (uint32_t i = 0; i < e->config.slots && worth > 0; i++) {
        mk_slot *other = &e->slots[i];
        int32_t n = other->job == NULL ? neighbours(e, other->seq) : 0;
        if (n >= most && n > 1 && other != slot) {
            size_t both = own + size_of(e, other);
            bool better = n > most || (best != slot && both < least);
            if (better && both <= MOST_BYTES && 2 * e->seconds_a_byte * (double) both < worth) {
                most = n;
                least = both;
                best = other;
            }
        }
    }
    return best != slot && change(e, slot, best, least) ? best : slot;
}
