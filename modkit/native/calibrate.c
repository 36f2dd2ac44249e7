/* What a batch of each size costs, tried while nobody asks for anything yet: right after the load, within a
 * budget of time, a decode at a time; a request ends it (mk_engine_submit aborts the decode under way). It
 * also reads the model's pages in, which the first reply would have to wait for. Worker thread alone. */
#include "engine.h"

/* The first, unmeasured, reads the pages in; then each size twice, the most useful first. Negative: tokens of a
 * prompt, of which the last alone has logits; once each, for what a longer slice saves shows without a repeat. */
static const int32_t sizes[] = {1, 1, 2, 4,  1, -32, 2, 4,  8,  -64, 3,  8,  3, 6, 5,
                                7, 5, 7, 16, 6, -128, 16, 12, 32, 12, 32, 10, 24, 64, 64};

static bool may(const mk_engine *e) {
    if (e->memory == NULL || e->config.calibrate_seconds <= 0 || e->calibration >= sizeof sizes / sizeof *sizes
        || e->calibrated >= e->config.calibrate_seconds) {
        return false;
    }
    for (uint32_t i = 0; i < e->config.slots; i++) {
        if (e->slots[i].job != NULL || e->slots[i].n_done > 0) {
            return false; /* nobody's cache is touched for this */
        }
    }
    return true;
}

/* n tokens with logits: of as many sequences, or of one where there are not so many. Or a prompt of -n. */
static bool fill(mk_engine *e, int32_t size) {
    mk_batch *b = &e->batch;
    bool prompt = size < 0;
    int32_t n = prompt ? -size : size;
    bool spread = !prompt && n <= (int32_t) e->config.slots;
    int32_t most = (int32_t) e->config.slots > MK_MAX_DRAFT ? (int32_t) e->config.slots : MK_MAX_DRAFT + 1;
    if ((n > most && !prompt) || n > e->batch_room || n > (int32_t) e->info.context) {
        return false;
    }
    b->n_tokens = n;
    for (int32_t i = 0; i < n; i++) {
        b->token[i] = i % e->info.n_vocab;
        b->pos[i] = spread ? 0 : i;
        b->n_seq_id[i] = 1;
        b->seq_id[i][0] = spread ? i : 0;
        b->logits[i] = !prompt || i == n - 1;
    }
    return true;
}

bool mk_calibrate(mk_engine *e) {
    int32_t size, slots, result;
    double seconds, begun;
    if (!may(e)) {
        return false;
    }
    size = sizes[e->calibration++];
    slots = size < 0 ? 1 : size < (int32_t) e->config.slots ? size : (int32_t) e->config.slots;
    if (!fill(e, size)) {
        return true;
    }
    atomic_store(&e->calibrating, true);
    if (!mk_queue_is_empty(e)) { /* it came before the flag was up, and did not know that it may abort */
        atomic_store(&e->calibrating, false);
        e->calibration--;
        return true;
    }
    mk_library_enter(e);
    e->measuring = true; /* it is for nobody, so what it complains of is nothing to read of */
    begun = mk_clock(e);
    result = e->table.llama_decode(e->context, e->batch);
    e->table.llama_synchronize(e->context);
    seconds = mk_clock(e) - begun;
    atomic_store(&e->calibrating, false);
    for (int32_t i = 0; i < slots; i++) {
        mk_slot_truncate(e, &e->slots[i], 0);
    }
    e->measuring = false;
    mk_library_leave(e);
    e->calibrated += seconds;
    if (result == 0 && e->calibration > 1) {
        mk_curve_learn(size < 0 ? &e->prefill_cost : &e->speaking_cost, size < 0 ? -size : size, seconds);
    } else if (result != 0 && result != 2) {
        e->calibrated = e->config.calibrate_seconds; /* such a batch cannot be had: what remains is learned from life */
    }
    return true;
}
