/* What need not be computed twice: conversations that wait without a slot, beginnings that many share. */
#include "harness.h"

#include <string.h>

enum { MOST_TALKERS = 64, MOST_TOKENS = 2000 };

static host h;

/* A conversation as its owner keeps it: the tokens so far. */
typedef struct talk {
    int32_t tokens[MOST_TOKENS];
    int n, pin, cached; /* of the last turn */
} talk;

static talk talks[MOST_TALKERS];

static void begin(talk *t, int persona, int pin, int kind) {
    ask *a = ask_new();
    ask_filler(a, pin, persona);
    ask_filler(a, 9, kind);
    memcpy(t->tokens, a->tokens, (size_t) a->n * sizeof *a->tokens);
    t->n = a->n;
    t->pin = pin;
}

/* Asks for the next turn; the reply becomes part of the conversation. */
static uint64_t submit_turn(talk *t, const char *reply) {
    ask *a = ask_new();
    ask_tokens(a, t->tokens, t->n);
    ask_reply(a, reply);
    a->keep = true;
    a->pin = t->pin;
    return host_submit(&h, a);
}

static void end_turn(talk *t, uint64_t id, const char *reply) {
    ask *a = ask_new();
    expect_text(&h, id, MK_FINISH_STOP, reply);
    t->cached = host_heard(&h, id)->cached;
    ask_tokens(a, t->tokens, t->n);
    ask_reply(a, reply);
    ask_text(a, reply);
    CHECK(a->n <= MOST_TOKENS);
    memcpy(t->tokens, a->tokens, (size_t) a->n * sizeof *a->tokens);
    t->n = a->n;
}

static void turn(talk *t, const char *reply) {
    end_turn(t, submit_turn(t, reply), reply);
}

static uint64_t prefilled(void) {
    return mk_engine_shared(h.engine)->decoded;
}

/* ---- more conversations than slots ---- */

static void talk_in_turn(int n, int turns) {
    int before[MOST_TALKERS];
    for (int i = 0; i < n; i++) {
        begin(&talks[i], i, 40, i);
    }
    for (int round = 0; round < turns; round++) {
        for (int i = 0; i < n; i++) {
            turn(&talks[i], i % 3 == 0 ? "Yes, it is lit." : "No.");
            CHECK(round == 0 || talks[i].cached == before[i]);
            before[i] = talks[i].n;
        }
    }
}

static void sixty_four_speakers_in_four_slots_prefill_only_what_is_new(void) {
    mk_config config = usual_config();
    host_open_ready(&h, &config);
    talk_in_turn(64, 3);
    CHECK(atomic_load(&fake.restored) >= 2 * 60);
    host_close(&h);
}

static void a_recurrent_models_speakers_come_back_too(void) {
    mk_config config = usual_config();
    fake_options.recurrent = true;
    host_open_ready(&h, &config);
    talk_in_turn(16, 3);
    host_close(&h);
    fake_reset();
}

static void a_model_with_a_sliding_window_goes_on_where_it_was(void) {
    mk_config config = usual_config();
    fake_options.swa = 20;
    host_open_ready(&h, &config);
    talk_in_turn(16, 3);
    host_close(&h);
    fake_reset();
}

static void the_one_unused_for_longest_is_given_up_when_the_budget_is_spent(void) {
    mk_config config = usual_config();
    config.slots = 1;
    config.cache_bytes = 2000; /* about two of them */
    host_open_ready(&h, &config);
    for (int i = 0; i < 5; i++) {
        begin(&talks[i], i, 40, i);
        turn(&talks[i], "No.");
    }
    turn(&talks[3], "No."); /* 4 is in the slot and goes into the store, 3 was there */
    CHECK(talks[3].cached > 0);
    turn(&talks[0], "No.");
    CHECK(talks[0].cached == 0);
    host_close(&h);
}

static void without_a_budget_nothing_is_stored(void) {
    mk_config config = usual_config();
    config.slots = 1;
    config.cache_bytes = 0;
    host_open_ready(&h, &config);
    for (int i = 0; i < 2; i++) {
        begin(&talks[i], i, 40, i);
        turn(&talks[i], "No.");
    }
    turn(&talks[0], "No.");
    CHECK(talks[0].cached == 0 && atomic_load(&fake.saved) == 0);
    host_close(&h);
}

static void a_prompt_that_will_not_go_on_is_not_stored(void) {
    mk_config config = usual_config();
    config.slots = 1;
    host_open_ready(&h, &config);
    for (int i = 0; i < 4; i++) {
        ask *a = ask_new();
        ask_filler(a, 100, i);
        ask_reply(a, "No.");
        expect_text(&h, host_submit(&h, a), MK_FINISH_STOP, "No.");
    }
    CHECK(atomic_load(&fake.saved) == 0);
    host_close(&h);
}

static void a_state_that_is_refused_costs_a_prefill_and_no_more(void) {
    mk_config config = usual_config();
    config.slots = 1;
    host_open_ready(&h, &config);
    for (int i = 0; i < 2; i++) {
        begin(&talks[i], i, 40, i);
        turn(&talks[i], "No.");
    }
    atomic_store(&fake.refuse_state, 1);
    turn(&talks[0], "Yes.");
    CHECK(talks[0].cached == 0);
    turn(&talks[1], "Yes.");
    CHECK(talks[1].cached > 0);
    host_close(&h);
}

/* ---- one persona, many conversations ---- */

static void a_persona_is_computed_once(void) {
    mk_config config = usual_config();
    uint64_t before;
    for (int kind = 0; kind < 3; kind++) {
        fake_options.recurrent = kind == 1;
        fake_options.swa = kind == 2 ? 20 : 0;
        host_open_ready(&h, &config);
        for (int i = 0; i < 12; i++) {
            begin(&talks[i], 7, 300, i);
            before = prefilled();
            turn(&talks[i], "No.");
            CHECK(talks[i].cached == (i == 0 ? 0 : 300));
            CHECK(i == 0 || prefilled() - before < 20);
        }
        host_close(&h);
        fake_reset();
    }
}

/* Those who come while the persona is being computed wait for it, and copy it. */
static void a_persona_is_computed_once_for_all_who_come_together(void) {
    mk_config config = usual_config();
    for (int kind = 0; kind < 3; kind++) {
        uint64_t ids[8], before;
        fake_options.recurrent = kind == 1;
        config.cache_bytes = kind == 2 ? 0 : 1 << 20; /* without a store, the slots share among themselves */
        config.slots = 8;
        host_open_ready(&h, &config);
        atomic_store(&fake.token_us, 20);
        before = prefilled();
        for (int i = 0; i < 8; i++) {
            begin(&talks[i], 7, 300, i);
            ids[i] = submit_turn(&talks[i], "No, it is not.");
        }
        for (int i = 0; i < 8; i++) {
            end_turn(&talks[i], ids[i], "No, it is not.");
            CHECK(i == 0 || talks[i].cached >= 300);
        }
        CHECK(prefilled() - before < 300 + 8 * 60);
        CHECK(kind != 2 || atomic_load(&fake.copied) == 7);
        host_close(&h);
        fake_reset();
    }
}

/* The one who computed the persona is cancelled: another computes it, and the others wait for that one. */
static void a_persona_whose_first_speaker_is_cancelled_is_computed_by_the_next(void) {
    mk_config config = usual_config();
    uint64_t ids[4];
    host_open_ready(&h, &config);
    atomic_store(&fake.token_us, 200);
    for (int i = 0; i < 4; i++) {
        begin(&talks[i], 7, 300, i);
        ids[i] = submit_turn(&talks[i], "No.");
    }
    until(&fake.decodes, 2);
    mk_engine_cancel(h.engine, ids[0]);
    atomic_store(&fake.token_us, 0);
    host_until_ended(&h, ids[0]);
    for (int i = 1; i < 4; i++) {
        end_turn(&talks[i], ids[i], "No.");
    }
    host_close(&h);
    fake_reset();
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(sixty_four_speakers_in_four_slots_prefill_only_what_is_new);
    RUN(a_recurrent_models_speakers_come_back_too);
    RUN(a_model_with_a_sliding_window_goes_on_where_it_was);
    RUN(the_one_unused_for_longest_is_given_up_when_the_budget_is_spent);
    RUN(without_a_budget_nothing_is_stored);
    RUN(a_prompt_that_will_not_go_on_is_not_stored);
    RUN(a_state_that_is_refused_costs_a_prefill_and_no_more);
    RUN(a_persona_is_computed_once);
    RUN(a_persona_is_computed_once_for_all_who_come_together);
    RUN(a_persona_whose_first_speaker_is_cancelled_is_computed_by_the_next);
    return 0;
}
