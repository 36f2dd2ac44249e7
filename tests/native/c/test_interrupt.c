/* Who gives way: an ambient stream is interrupted when somebody more important finds no slot, and says the same as if
 * it had not been, in however many pieces. */
#include "engine.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Tokens a second: first words do not wait for a pace, and whoever is interrupted is far from the end of his reply. */
enum { SLOWLY = 100 };

static host h;

/* Decodes since the last reset, and the one (from 1) that read the last token of a prompt that is its own reply. */
static _Atomic int decodes, first_word;

static void witness(const mk_batch *b, double begun, double ended) {
    int n = atomic_fetch_add(&decodes, 1) + 1;
    (void) begun;
    (void) ended;
    for (int i = 0; i < b->n_tokens; i++) {
        if (b->token[i] == FAKE_ECHO && atomic_load(&first_word) == 0) {
            atomic_store(&first_word, n);
        }
    }
}

static mk_config roomy_config(void) {
    mk_config config = usual_config();
    config.context = 1024;
    return config;
}

static void open_with(const mk_config *config) {
    static double free_of_charge[65];
    atomic_store(&fake_prices, free_of_charge);
    host_open_ready(&h, config);
    atomic_store(&fake_witness, witness);
}

/* From then on nothing is under way, and what is asked for is seen at once when the worker goes on. */
static void pause_and_count(void) {
    mk_engine_pause(h.engine, true);
    while (!atomic_load(&h.engine->sleeping)) {
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    atomic_store(&decodes, 0);
    atomic_store(&first_word, 0);
}

/* Its reply is its prompt, or the beginning of it. */
static uint64_t ask_for(int tokens, int kind, int priority, int words) {
    ask *a = ask_new();
    ask_filler(a, tokens, kind);
    ask_tokens(a, (int32_t[]){FAKE_ECHO}, 1);
    a->priority = priority;
    a->max_tokens = words;
    return host_submit(&h, a);
}

static uint64_t ask_slowly(const char *reply, int kind, int priority) {
    ask *a = ask_new();
    ask_filler(a, 100, kind);
    ask_reply(a, reply);
    a->priority = priority;
    return host_submit(&h, a);
}

static const char long_reply[] =
    "The lamp was lit at dusk, and the tide was high. A ship came in behind the mole, and another one after it; who they were "
    "nobody could say. At four the oil was gone, and the lamp went out, as it does in winter, and the keeper slept.";

static uint64_t decoded(void) {
    return atomic_load((_Atomic uint64_t *) &mk_engine_shared(h.engine)->decoded);
}

/* All that models can be: a KV cache; a state that goes on from its end only; a sliding window; and no store. */
static void nobody_important_waits_for_the_end_of_an_ambient_reply(void) {
    for (int kind = 0; kind < 12; kind++) {
        mk_config config = roomy_config();
        uint64_t talkers[8], newcomer, before, words = 0;
        int slots = kind / 4 == 0 ? 1 : kind / 4 == 1 ? 2 : 8;
        config.slots = (uint32_t) slots;
        fake_options.recurrent = kind % 4 == 1;
        fake_options.swa = kind % 4 == 2 ? 20 : 0;
        config.cache_bytes = kind % 4 == 3 ? 0 : 1 << 20;
        config.draft = kind == 4 ? -4 : 0;
        open_with(&config);
        mk_engine_pace(h.engine, SLOWLY);
        for (int i = 0; i < slots; i++) {
            talkers[i] = ask_slowly(long_reply, i, MK_AMBIENT);
        }
        for (int i = 0; i < slots; i++) {
            host_until_heard(&h, talkers[i], 5);
        }
        pause_and_count();
        before = decoded();
        for (int i = 0; i < slots; i++) {
            CHECK(!host_heard(&h, talkers[i])->ended);
            words += strlen(long_reply) - (uint64_t) host_heard(&h, talkers[i])->tokens;
        }
        newcomer = ask_for(7, 50, kind % 2 == 0 ? MK_PLAYER : MK_NEAR, 1);
        mk_engine_pause(h.engine, false);
        host_until_ended(&h, newcomer);
        CHECK(atomic_load(&first_word) >= 1 && atomic_load(&first_word) <= 3); /* two decodes of others at most went by */
        for (int i = 0; i < slots; i++) {
            CHECK(!host_heard(&h, talkers[i])->ended);
        }
        mk_engine_pace(h.engine, 0);
        for (int i = 0; i < slots; i++) {
            expect_text(&h, talkers[i], MK_FINISH_STOP, long_reply);
            CHECK(host_heard(&h, talkers[i])->started == 1 && host_heard(&h, talkers[i])->cached == 0);
        }
        /* and nothing was computed twice, but where nothing may be stored */
        CHECK(kind % 4 == 3 || atomic_load(&fake.restored) == 1);
        CHECK(kind % 4 == 3 || kind == 4 || decoded() - before <= words + 2 * (uint64_t) slots + 8);
        CHECK(kind % 4 != 3 || decoded() - before > words + 100);
        host_close(&h);
        fake_reset();
    }
}

static void only_the_ambient_give_way(void) {
    mk_config config = roomy_config();
    static const int pairs[][2] = {{MK_NEAR, MK_PLAYER}, {MK_PLAYER, MK_PLAYER}, {MK_AMBIENT, MK_AMBIENT}};
    config.slots = 1;
    open_with(&config);
    atomic_store(&fake.decode_us, 50);
    for (int i = 0; i < 3; i++) {
        uint64_t first = ask_slowly(long_reply, i, pairs[i][0]), second;
        host_until_heard(&h, first, 5);
        second = ask_for(7, 50, pairs[i][1], 5);
        host_until_heard(&h, second, 1);
        CHECK(host_heard(&h, first)->ended);
        host_until_all_ended(&h);
    }
    CHECK(atomic_load(&fake.saved) == 0);
    host_close(&h);
}

/* What cannot begin anyway interrupts nobody. */
static void a_request_that_is_refused_interrupts_nobody(void) {
    mk_config config = roomy_config();
    uint64_t ambient;
    config.slots = 1;
    open_with(&config);
    ambient = ask_slowly(long_reply, 1, MK_AMBIENT);
    atomic_store(&fake.decode_us, 50);
    host_until_heard(&h, ambient, 3);
    host_until_ended(&h, ask_for(1100, 2, MK_PLAYER, 5));
    CHECK(host_heard(&h, h.n_streams)->code == MK_CODE_OVERFLOW);
    expect_text(&h, ambient, MK_FINISH_STOP, long_reply);
    CHECK(atomic_load(&fake.saved) == 0);
    host_close(&h);
}

/* Its characters of several tokens, the beginnings of its stop string, its grammar, the probabilities told: all of it
 * in pieces of a word or two. */
static void a_reply_in_many_pieces_is_the_same_reply(void) {
    static const int32_t words[] = {'T', 'h', 'e', ' ', FAKE_EURO, FAKE_SPLIT, 0x82, 0xac, ' ', 'i', 's', ' ', 'l', 'o', 's', 't', ',', ' ',
                                    'l', 'o', 's', 't', '?', ' ', FAKE_LAMP, 'l', 'o', 's', 't', '!', ' ', 'N', 'o', '.'};
    for (int kind = 0; kind < 9; kind++) {
        mk_config config = roomy_config();
        ask *a = ask_new();
        uint64_t ambient;
        int pieces = 0;
        config.slots = 1;
        fake_options.recurrent = kind % 3 == 1;
        fake_options.swa = kind % 3 == 2 ? 20 : 0;
        open_with(&config);
        ask_filler(a, 60, 1);
        ask_reply_tokens(a, words, sizeof words / sizeof *words);
        a->priority = MK_AMBIENT;
        a->stops[a->n_stops++] = "lost!";
        a->grammar = kind / 3 == 1 ? "root ::= [^#]*" : NULL;
        a->logprobs = kind / 3 == 2 ? 3 : 0;
        mk_engine_pace(h.engine, SLOWLY);
        ambient = host_submit(&h, a);
        while (!host_heard(&h, ambient)->ended) {
            host_until_ended(&h, ask_for(2, 20 + pieces++ % 30, MK_PLAYER, 1));
        }
        expect_text(&h, ambient, MK_FINISH_STOP_STRING, "The \xe2\x82\xac\xe2\x82\xac is lost, lost? the lamp ");
        CHECK(pieces > 2 && (kind / 3 != 2 || host_heard(&h, ambient)->told > 20));
        host_close(&h);
        fake_reset();
    }
}

/* Of a conversation's only turn nothing may leave, so half of the reply does: the prompt is known to be one. */
static uint64_t outgrow_the_context(void) {
    static char words[301];
    ask *a = ask_new();
    for (int i = 0; i < 300; i++) {
        words[i] = (char) ('a' + i * 7 % 26);
    }
    ask_segment(a, MK_TEXT, "You keep the lamp. ");
    ask_segment(a, MK_TEXT, words);
    a->segments[1].turn = true;
    ask_segment(a, MK_TEMPLATE, "<|echo|>");
    a->overflow = MK_DROP;
    a->keep = true;
    a->max_tokens = 400;
    a->priority = MK_AMBIENT;
    return host_submit(&h, a);
}

static void a_context_that_is_full_later_loses_the_same(void) {
    for (int kind = 0; kind < 3; kind++) {
        mk_config config = usual_config();
        const heard *whole, *pieces;
        uint64_t first, second;
        config.slots = 1;
        fake_options.recurrent = kind == 1;
        fake_options.no_shift = kind == 2;
        open_with(&config);
        first = outgrow_the_context();
        host_until_ended(&h, first);
        mk_engine_pace(h.engine, SLOWLY);
        second = outgrow_the_context();
        host_until_heard(&h, second, 5);
        host_until_ended(&h, ask_for(2, 20, MK_PLAYER, 1));
        CHECK(!host_heard(&h, second)->ended);
        mk_engine_pace(h.engine, 0);
        host_until_ended(&h, second);
        whole = host_heard(&h, first);
        pieces = host_heard(&h, second);
        CHECK(whole->left_tokens > 50 && pieces->left_tokens == whole->left_tokens && pieces->left_turns == whole->left_turns);
        CHECK(pieces->finish == whole->finish && pieces->tokens == whole->tokens && strcmp(pieces->text, whole->text) == 0);
        host_close(&h);
        fake_reset();
    }
}

static void a_stream_that_was_interrupted_can_be_cancelled(void) {
    mk_config config = roomy_config();
    uint64_t ambient, player;
    int heard_of;
    config.slots = 1;
    open_with(&config);
    mk_engine_pace(h.engine, SLOWLY);
    for (int i = 0; i < 20; i++) {
        ambient = ask_slowly(long_reply, i, MK_AMBIENT);
        host_until_heard(&h, ambient, 1 + i % 4);
        player = ask_slowly(long_reply, 60, MK_PLAYER);
        host_until_heard(&h, player, 1);
        heard_of = host_heard(&h, ambient)->tokens;
        CHECK(!host_heard(&h, ambient)->ended);
        if (i < 19) {
            mk_engine_cancel(h.engine, ambient);
            host_until_ended(&h, ambient);
            CHECK(host_heard(&h, ambient)->finish == MK_FINISH_CANCELLED && host_heard(&h, ambient)->generated == heard_of);
            mk_engine_cancel(h.engine, player);
            host_until_all_ended(&h);
        }
    }
    host_close(&h); /* with one that still waits to go on */
    CHECK(atomic_load(&fake.samplers) == 0 && atomic_load(&fake.contexts) == 0);
}

/* Many more than there are slots, in mid-prefill, too; those who had begun go on before those who had not. */
static void a_crowd_makes_room_and_comes_back_in_order(void) {
    mk_config config = roomy_config();
    uint64_t crowd[12], players[12];
    config.slots = 4;
    config.queue_length = 32;
    open_with(&config);
    mk_engine_pace(h.engine, SLOWLY);
    for (int i = 0; i < 12; i++) {
        crowd[i] = ask_slowly(long_reply, i, MK_AMBIENT);
    }
    host_until_heard(&h, crowd[0], 2);
    for (int i = 0; i < 12; i++) {
        players[i] = ask_for(30, 20 + i, i % 2 == 0 ? MK_PLAYER : MK_NEAR, 5);
    }
    for (int i = 0; i < 12; i++) {
        host_until_ended(&h, players[i]);
    }
    for (int i = 0; i < 12; i++) {
        CHECK(!host_heard(&h, crowd[i])->ended);
    }
    mk_engine_pace(h.engine, 0);
    for (int i = 0; i < 12; i++) {
        expect_text(&h, crowd[i], MK_FINISH_STOP, long_reply);
    }
    host_close(&h);
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(nobody_important_waits_for_the_end_of_an_ambient_reply);
    RUN(only_the_ambient_give_way);
    RUN(a_request_that_is_refused_interrupts_nobody);
    RUN(a_reply_in_many_pieces_is_the_same_reply);
    RUN(a_context_that_is_full_later_loses_the_same);
    RUN(a_stream_that_was_interrupted_can_be_cancelled);
    RUN(a_crowd_makes_room_and_comes_back_in_order);
    return 0;
}
