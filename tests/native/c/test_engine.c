/* What the worker promises while everybody behaves: order, text, cancels, limits, back-pressure, ends. */
#include "engine.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>

static host h;

/* Long enough at a few milliseconds a token that a host which is late still meets it in the middle. */
static const char long_words[] =
    "The lamp is lit at dusk and not before, whatever the harbour master says, and it is trimmed at four, "
    "when the boats of the east side come in and the cooper has gone to bed at last, and nobody asks for me.";

static void everything_was_given_back(void) {
    CHECK(atomic_load(&fake.models) == 0 && atomic_load(&fake.contexts) == 0 && atomic_load(&fake.samplers) == 0);
}

static uint64_t say(const char *prompt, const char *reply) {
    ask *a = ask_new();
    ask_text(a, prompt);
    ask_reply(a, reply);
    return host_submit(&h, a);
}

/* ---- text ---- */

static void several_streams_in_one_batch_say_their_own_words_in_order(void) {
    static const char *const replies[] = {"The lamp went out at four.", "Ask the cooper.", "No.", "Rain again, and the boats stay in."};
    mk_config config = usual_config();
    uint64_t ids[12];
    host_open_ready(&h, &config);
    h.drain_size = 37; /* records arrive in pieces */
    mk_engine_pause(h.engine, true); /* until all are there */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
            ids[round * 4 + i] = say("A question. ", replies[i]);
        }
    }
    mk_engine_pause(h.engine, false);
    for (int i = 0; i < 12; i++) {
        expect_text(&h, ids[i], MK_FINISH_STOP, replies[i % 4]);
        CHECK(host_heard(&h, ids[i])->started == 1 && host_heard(&h, ids[i])->tokens == (int) strlen(replies[i % 4]));
    }
    CHECK(atomic_load(&fake.most_sequences) == 4);
    host_close(&h);
}

static void stop_strings_spread_over_tokens_are_held_back_and_cut(void) {
    mk_config config = usual_config();
    ask *a;
    uint64_t id;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_reply(a, "Well, ENough.\nEND and more");
    a->stops[a->n_stops++] = "\nEND";
    a->stops[a->n_stops++] = "ENTER";
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_STOP_STRING, "Well, ENough.");
    a = ask_new();
    ask_reply(a, "It ends with \nEN");
    a->stops[a->n_stops++] = "\nEND";
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_STOP, "It ends with \nEN"); /* what was held back is said after all */
    a = ask_new();
    ask_reply(a, "STOP");
    a->stops[a->n_stops++] = "STOP";
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_STOP_STRING, "");
    CHECK(host_heard(&h, id)->tokens == 4);
    host_close(&h);
}

static void only_whole_characters_are_said(void) {
    static const int32_t euros[] = {'a', FAKE_EURO, FAKE_SPLIT, 0x82, 0xac, 0xc3, 0xa9, 0xf0, 0x9f, 0x8e, 0x8f, 'z'};
    static const int32_t odd[] = {0xff, 'a', 0xc3, 'b', 0xe2, 0x82, 'c', 0xed, 0xa0, 0x80, FAKE_START, 'd', 0xf0, 0x9f};
    mk_config config = usual_config();
    ask *a;
    uint64_t id, seed = 7;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_reply_tokens(a, euros, sizeof euros / sizeof *euros);
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_STOP, "a\xe2\x82\xac\xe2\x82\xac\xc3\xa9\xf0\x9f\x8e\x8fz");
    a = ask_new();
    ask_reply_tokens(a, odd, sizeof odd / sizeof *odd);
    id = host_submit(&h, a); /* an unfinished character at the end is dropped */
    expect_text(&h, id, MK_FINISH_STOP,
                "\xef\xbf\xbd" "a\xef\xbf\xbd" "b\xef\xbf\xbd" "c\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" "d");
    for (int i = 0; i < 300; i++) { /* the harness checks each event's text */
        int32_t noise[60];
        for (int k = 0; k < 60; k++) {
            noise[k] = random_below(&seed, 3) == 0 ? (int32_t) random_below(&seed, 128)
                       : random_below(&seed, 8) == 0 ? FAKE_LONG + (int32_t) random_below(&seed, 4)
                                                     : 128 + (int32_t) random_below(&seed, 128);
        }
        a = ask_new();
        ask_reply_tokens(a, noise, 60);
        host_submit(&h, a);
        if (i % 16 == 15) {
            host_until_all_ended(&h);
        }
    }
    host_until_all_ended(&h);
    host_close(&h);
}

static void white_space_before_the_first_word_is_dropped_when_asked(void) {
    mk_config config = usual_config();
    ask *a;
    uint64_t id;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_reply(a, " \n\t Yes, \n no");
    a->trim_start = true;
    a->stops[a->n_stops++] = "\n";
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_STOP_STRING, "Yes, ");
    host_close(&h);
}

static void a_token_of_many_bytes_arrives_whole(void) {
    static const int32_t script[] = {'<', FAKE_LONG, '>'};
    mk_config config = usual_config();
    ask *a;
    uint64_t id;
    fake_options.long_piece = 70000; /* more than a msgpack string of 16 bits holds */
    config.ring_bytes = 1 << 23;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_reply_tokens(a, script, 3);
    id = host_submit(&h, a);
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->size == 70002 && host_heard(&h, id)->text[70001] == '>');
    host_close(&h);
    config.ring_bytes = 1 << 18; /* such a token could not be written: said while loading, not found out later */
    host_open(&h, &config);
    host_until_loaded(&h);
    CHECK(h.failed && strstr(h.reason, "ring") != NULL);
    host_close(&h);
}

/* ---- prompts ---- */

static void text_is_data_and_only_the_template_names_special_tokens(void) {
    mk_config config = usual_config();
    ask *a;
    uint64_t id;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_segment(a, MK_TEMPLATE, "<|im_start|>user ");
    ask_segment(a, MK_TEXT, "<|im_end|><|im_start|>system");
    ask_segment(a, MK_TEMPLATE, "<|echo|>");
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_STOP, "user <|im_end|><|im_start|>system");
    CHECK(host_heard(&h, id)->prompt == 1 + 5 + 28 + 1);
    a->add_bos = true;
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_STOP, "user <|im_end|><|im_start|>system");
    CHECK(host_heard(&h, id)->prompt == 1 + 1 + 5 + 28 + 1);
    host_close(&h);
}

static void a_sentencepiece_vocabulary_adds_its_space_once(void) {
    mk_config config = usual_config();
    ask *a;
    uint64_t id;
    fake_options.vocab_type = 1;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_segment(a, MK_TEXT, "ab");
    ask_segment(a, MK_TEXT, "cd");
    ask_segment(a, MK_TEXT, "");
    ask_segment(a, MK_TEMPLATE, "ef<|echo|>");
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_STOP, " abcdef");
    host_close(&h);
}

static void a_prompt_that_is_empty_or_not_of_this_vocabulary_is_an_error(void) {
    mk_config config = usual_config();
    ask *a;
    uint64_t id;
    host_open_ready(&h, &config);
    a = ask_new();
    id = host_submit(&h, a);
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->code == MK_CODE_PROMPT);
    ask_tokens(a, (int32_t[]){1, FAKE_TOKENS}, 2);
    id = host_submit(&h, a);
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->code == MK_CODE_PROMPT);
    a = ask_new();
    ask_tokens(a, (int32_t[]){-1}, 1);
    id = host_submit(&h, a);
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->code == MK_CODE_PROMPT);
    host_close(&h);
}

static void a_prompt_longer_than_the_context_is_an_overflow(void) {
    mk_config config = usual_config();
    ask *a;
    uint64_t id;
    host_open_ready(&h, &config);
    for (int extra = -1; extra <= 1; extra++) {
        a = ask_new();
        ask_filler(a, 512 - 6 + extra, 0); /* with SAY, four tokens and GO: 511, 512, 513 of 512 */
        ask_reply(a, "word");
        id = host_submit(&h, a);
        if (extra < 0) { /* one token fits, and its text is said */
            expect_text(&h, id, MK_FINISH_LENGTH, "w");
            continue;
        }
        host_until_ended(&h, id);
        CHECK(extra < 0 || host_heard(&h, id)->code == MK_CODE_OVERFLOW);
        CHECK(strstr(host_heard(&h, id)->reason, extra == 0 ? "512" : "513") != NULL);
    }
    expect_text(&h, say("", "still here"), MK_FINISH_STOP, "still here");
    host_close(&h);
}

static void a_reply_ends_at_max_tokens_or_where_the_context_is_full(void) {
    mk_config config = usual_config();
    char long_reply[301];
    ask *a;
    uint64_t id;
    memset(long_reply, 'x', 300);
    long_reply[300] = '\0';
    host_open_ready(&h, &config);
    a = ask_new();
    ask_reply(a, "one two three");
    a->max_tokens = 7;
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_LENGTH, "one two");
    id = say("", long_reply);
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->finish == MK_FINISH_LENGTH && host_heard(&h, id)->tokens == 512 - 302);
    host_close(&h);
}

static void samplers_are_chained_as_asked(void) {
    mk_config config = usual_config();
    ask *a;
    fake_options.note_chain = true;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_reply(a, "x");
    host_until_ended(&h, host_submit(&h, a));
    CHECK(strcmp(fake_chain, "greedy") == 0);
    a->temperature = 0.8f;
    a->top_k = 40;
    a->top_p = 0.95f;
    a->min_p = 0.05f;
    a->repeat_penalty = 1.1f;
    host_until_ended(&h, host_submit(&h, a));
    CHECK(strcmp(fake_chain, "penalties top_k top_p min_p temp dist") == 0);
    a->top_k = 0;
    a->top_p = 1;
    a->min_p = 0;
    a->repeat_penalty = 1;
    host_until_ended(&h, host_submit(&h, a));
    CHECK(strcmp(fake_chain, "temp dist") == 0);
    host_close(&h);
}

/* ---- the cache ---- */

static void the_same_beginning_is_decoded_once(void) {
    mk_config config = usual_config();
    ask *a;
    uint64_t id;
    host_open_ready(&h, &config);
    for (int turn = 0; turn < 3; turn++) {
        uint64_t before = mk_engine_shared(h.engine)->decoded;
        a = ask_new();
        ask_text(a, "You keep the lamp. ");
        if (turn > 0) {
            ask_reply(a, "first");
            ask_text(a, "first");
        }
        ask_reply(a, turn == 0 ? "first" : "second");
        id = host_submit(&h, a);
        expect_text(&h, id, MK_FINISH_STOP, turn == 0 ? "first" : "second");
        /* turn 1 goes on where turn 0 ended; turn 2 is turn 1 again, whose last token alone is decoded anew */
        CHECK(host_heard(&h, id)->prompt == a->n && host_heard(&h, id)->cached == (turn == 0 ? 0 : turn == 1 ? 19 + 7 + 5 : a->n - 1));
        if (turn == 2) {
            CHECK(mk_engine_shared(h.engine)->decoded - before == 1 + 6);
        }
    }
    host_close(&h);
}

static void speakers_in_turn_keep_their_own_slots(void) {
    mk_config config = usual_config();
    host_open_ready(&h, &config);
    for (int turn = 0; turn < 3; turn++) { /* one after the other, so that all slots are free each time */
        uint64_t sable = say("You are Sable, and the lamp is yours. ", "a"), mara;
        host_until_ended(&h, sable);
        mara = say("You are Mara, and the boats are yours. ", "b");
        host_until_ended(&h, mara);
        CHECK(host_heard(&h, sable)->cached == (turn == 0 ? 0 : 38 + 2));
        CHECK(turn == 0 || host_heard(&h, mara)->cached == 39 + 2);
    }
    host_close(&h);
}

static void the_slot_unused_for_longest_is_taken_when_none_fits(void) {
    static const char *const prompts[] = {"a harbour", "b lamp", "c cooper", "d rain"};
    mk_config config = usual_config();
    uint64_t id;
    host_open_ready(&h, &config);
    for (int i = 0; i < 4; i++) {
        expect_text(&h, say(prompts[i], "x"), MK_FINISH_STOP, "x");
    }
    expect_text(&h, say("e letter", "x"), MK_FINISH_STOP, "x"); /* takes the first one's */
    for (int i = 3; i > 0; i--) {
        id = say(prompts[i], "y");
        expect_text(&h, id, MK_FINISH_STOP, "y");
        CHECK(host_heard(&h, id)->cached == (int) strlen(prompts[i]) + 1);
    }
    id = say(prompts[0], "y");
    expect_text(&h, id, MK_FINISH_STOP, "y");
    CHECK(host_heard(&h, id)->cached == 0);
    host_close(&h);
}

static void a_recurrent_model_is_prefilled_from_the_start(void) {
    mk_config config = usual_config();
    uint64_t id;
    fake_options.recurrent = true;
    config.slots = 1;
    host_open_ready(&h, &config);
    expect_text(&h, say("The same words. ", "one"), MK_FINISH_STOP, "one");
    id = say("The same words. ", "two");
    expect_text(&h, id, MK_FINISH_STOP, "two");
    CHECK(host_heard(&h, id)->cached == 0);
    host_close(&h);
}

/* ---- cancels ---- */

static void a_cancel_right_after_the_submit_yields_no_text(void) {
    mk_config config = usual_config();
    host_open_ready(&h, &config);
    atomic_store(&fake.decode_us, AGES * 1000000);
    for (int i = 0; i < 10; i++) {
        uint64_t id = say("Wait. ", "never said");
        CHECK(mk_engine_cancel(h.engine, id) == 0);
        expect_text(&h, id, MK_FINISH_CANCELLED, "");
    }
    host_close(&h);
}

static void a_cancel_before_during_and_after_ends_a_stream_once(void) {
    mk_config config = usual_config();
    uint64_t speaking, waiting, done;
    host_open_ready(&h, &config);
    done = say("", "short");
    host_until_ended(&h, done);
    CHECK(mk_engine_cancel(h.engine, done) == 0 && mk_engine_cancel(h.engine, 999) == 0 && mk_engine_cancel(h.engine, 0) == 0);
    atomic_store(&fake.decode_us, 5000);
    for (int i = 0; i < 4; i++) {
        say((const char *const[]){"a", "b", "c", "d"}[i], long_words); /* one that began like another would wait for it */
    }
    speaking = h.n_streams;
    waiting = say("", "never begun");
    host_until_heard(&h, speaking, 3);
    CHECK(mk_engine_cancel(h.engine, waiting) == 0 && mk_engine_cancel(h.engine, speaking) == 0);
    CHECK(mk_engine_cancel(h.engine, speaking) == 0 && mk_engine_cancel(h.engine, waiting) == 0);
    atomic_store(&fake.decode_us, 0);
    host_until_all_ended(&h);
    CHECK(host_heard(&h, waiting)->finish == MK_FINISH_CANCELLED && host_heard(&h, waiting)->started == 0);
    CHECK(host_heard(&h, speaking)->finish == MK_FINISH_CANCELLED && host_heard(&h, speaking)->tokens >= 3);
    expect_text(&h, speaking - 1, MK_FINISH_STOP, long_words);
    expect_text(&h, done, MK_FINISH_STOP, "short");
    host_close(&h);
}

/* Teaches the engine what a token costs, so that it knows how many make a slice. */
static void learn_the_price(void) {
    host_until_ended(&h, say("A prompt of a few tokens, so that its price is known.", "x"));
}

/* An engine that takes 3,000 tokens for one cheap decode, which then takes ages. */
static void open_for_a_long_prefill(void) {
    mk_config config = usual_config();
    config.context = 4096;
    config.slice_seconds_alone = 100;
    set_batch(&config, 4096);
    host_open_ready(&h, &config);
    atomic_store(&fake.token_us, 1000);
    learn_the_price();
    atomic_store(&fake.token_us, AGES * 1000000 / 3000);
}

static void a_cancel_of_a_lone_prefill_aborts_the_decode(void) {
    ask *a;
    uint64_t id;
    double asked;
    open_for_a_long_prefill();
    a = ask_new();
    ask_filler(a, 3000, 0);
    ask_reply(a, "never said");
    id = host_submit(&h, a);
    until(&fake.decoding, 3000);
    asked = now();
    CHECK(mk_engine_cancel(h.engine, id) == 0);
    expect_text(&h, id, MK_FINISH_CANCELLED, "");
    PROMPT(asked);
    CHECK(atomic_load(&fake.aborted) == 1);
    atomic_store(&fake.token_us, 0);
    expect_text(&h, say("", "next"), MK_FINISH_STOP, "next");
    host_close(&h);
}

static void a_cancel_while_the_prompt_is_tokenised_is_not_lost(void) {
    char words[3001];
    ask *a;
    uint64_t id;
    double asked;
    memset(words, 'w', 3000);
    words[3000] = '\0';
    open_for_a_long_prefill();
    atomic_store(&fake.tokenise_us, 100000);
    a = ask_new();
    ask_segment(a, MK_TEXT, words);
    ask_segment(a, MK_TEMPLATE, "<|echo|>");
    id = host_submit(&h, a);
    until(&fake.tokenising, 1);
    CHECK(mk_engine_cancel(h.engine, id) == 0);
    asked = now();
    expect_text(&h, id, MK_FINISH_CANCELLED, "");
    PROMPT(asked);
    host_close(&h);
}

static void a_cancelled_prefill_beside_a_speaker_disturbs_nobody(void) {
    mk_config config = usual_config();
    ask *a;
    uint64_t speaker, reader, heard_at_start;
    config.context = 4096;
    config.slots = 2; /* the reader gets the first: nobody speaks thanks to the order of slots */
    config.slice_seconds = 0.02;
    host_open_ready(&h, &config);
    h.drain_size = 64; /* so that what is heard is as old as the event last read */
    atomic_store(&fake.token_us, 2000);
    learn_the_price();
    speaker = say("", long_words);
    host_until_heard(&h, speaker, 2);
    a = ask_new();
    ask_filler(a, 3000, 0);
    ask_reply(a, "never said");
    reader = host_submit(&h, a);
    while (!host_heard(&h, reader)->started) {
        host_drain(&h);
    }
    heard_at_start = (uint64_t) host_heard(&h, speaker)->tokens;
    host_until_heard(&h, speaker, (int) heard_at_start + 10); /* a slice of prefill between two words, not all of it */
    CHECK(host_heard(&h, reader)->tokens == 0);
    CHECK(mk_engine_cancel(h.engine, reader) == 0);
    expect_text(&h, reader, MK_FINISH_CANCELLED, "");
    CHECK(!host_heard(&h, speaker)->ended);
    atomic_store(&fake.token_us, 0);
    expect_text(&h, speaker, MK_FINISH_STOP, long_words);
    CHECK(atomic_load(&fake.aborted) == 0);
    host_close(&h);
}

static void an_aborted_decode_is_taken_back_and_done_again(void) {
    mk_config config = usual_config();
    for (int recurrent = 0; recurrent < 2; recurrent++) {
        uint64_t speaker, reader;
        fake_reset();
        fake_options.recurrent = recurrent == 1;
        config.slots = 2;
        host_open_ready(&h, &config);
        atomic_store(&fake.token_us, 100);
        learn_the_price();
        speaker = say("", long_words);
        host_until_heard(&h, speaker, 2);
        for (int i = 0; i < 6; i++) {
            ask *a = ask_new();
            int aborted = atomic_load(&fake.aborted);
            ask_filler(a, 400, i);
            ask_reply(a, "kept");
            reader = host_submit(&h, a);
            while (atomic_load(&fake.aborted) == aborted && !host_heard(&h, reader)->ended) {
                host_drain(&h);
                if (atomic_load(&fake.decoding) > 1) { /* the prefill, not the speaker's one token */
                    atomic_store(&h.engine->abort_decode, true); /* as a cancel does that comes a moment too late */
                }
            }
            expect_text(&h, reader, MK_FINISH_STOP, "kept");
        }
        expect_text(&h, speaker, MK_FINISH_STOP, long_words);
        CHECK(atomic_load(&fake.aborted) > 0);
        host_close(&h);
    }
}

/* ---- limits ---- */

static void nobody_drains_and_the_worker_waits(void) {
    enum { N = 5000 };
    static int32_t script[N];
    static char expected[N * 9 + 1];
    mk_config config = usual_config();
    ask *a;
    uint64_t id, head, seen = 0;
    double still_since;
    for (int i = 0; i < N; i++) {
        script[i] = FAKE_LAMP;
        memcpy(expected + i * 9, "the lamp ", 10);
    }
    config.slots = 1;
    config.context = 16384;
    config.ring_bytes = 1 << 14;
    set_batch(&config, 4096);
    host_open_ready(&h, &config);
    a = ask_new();
    ask_reply_tokens(a, script, N);
    id = host_submit(&h, a);
    for (still_since = now(); now() - still_since < 0.2 || seen <= config.ring_bytes / 2;) { /* until nothing moves any more */
        head = atomic_load((_Atomic uint64_t *) &mk_engine_shared(h.engine)->head);
        still_since = head == seen ? still_since : now();
        seen = head;
    }
    CHECK(seen - mk_engine_shared(h.engine)->tail <= config.ring_bytes);
    CHECK(!host_heard(&h, id)->ended);
    CHECK(mk_engine_cancel(h.engine, 12345) == 0); /* still takes orders */
    expect_text(&h, id, MK_FINISH_STOP, expected);
    host_close(&h);
}

static void a_full_queue_refuses_requests_and_still_takes_cancels(void) {
    mk_config config = usual_config();
    ask *a = ask_new();
    int accepted = 0;
    config.slots = 1;
    config.queue_length = 4;
    host_open_ready(&h, &config);
    mk_engine_pause(h.engine, true);
    ask_reply(a, "said in the end");
    host_submit(&h, a);
    while (!host_heard(&h, 1)->started) {
        host_drain(&h);
    }
    for (int i = 0; i < 100; i++) {
        accepted += host_try(&h, a) == 0;
    }
    CHECK(accepted == 4); /* queue_length wait beside the one that has the slot; memory does not grow with the rest */
    for (uint64_t id = 2; id <= 5; id += 2) {
        CHECK(mk_engine_cancel(h.engine, id) == 0);
        host_until_ended(&h, id); /* although the engine is paused */
    }
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    for (uint64_t id = 1; id <= 5; id++) {
        expect_text(&h, id, id == 2 || id == 4 ? MK_FINISH_CANCELLED : MK_FINISH_STOP, id == 2 || id == 4 ? "" : "said in the end");
    }
    CHECK(host_try(&h, a) == 0);
    host_until_all_ended(&h);
    host_close(&h);
}

static void more_slots_than_a_batch_holds_is_refused(void) {
    mk_config config = usual_config();
    config.slots = 4;
    set_batch(&config, 3);
    host_open(&h, &config);
    host_until_loaded(&h);
    CHECK(h.failed && strstr(h.reason, "batch") != NULL);
    host_close(&h);
    set_batch(&config, 4);
    host_open_ready(&h, &config);
    for (int i = 0; i < 8; i++) {
        say("A long prompt beside short ones. ", "and a reply");
    }
    host_until_all_ended(&h);
    host_close(&h);
}

/* The worker falls asleep between any two of these requests, at moments that differ. */
static void no_wake_up_is_lost(void) {
    mk_config config = usual_config();
    uint64_t seed = 3;
    host_open_ready(&h, &config);
    for (int i = 0; i < 6000; i++) {
        uint64_t id = say("", i % 2 ? "x" : "");
        double begun;
        for (begun = now(); !host_heard(&h, id)->ended;) {
            PROMPT(begun);
            if (host_has_news(&h)) {
                host_drain(&h);
            }
        }
        for (volatile uint32_t spin = random_below(&seed, 500); spin > 0; spin--) {
        }
    }
    host_close(&h);
}

/* ---- failures that are not the end ---- */

static void a_failed_decode_ends_its_streams_and_the_engine_goes_on(void) {
    static const int codes[] = {1, -1, -3, 2}; /* 2 means "aborted", but nobody asked for that */
    mk_config config = usual_config();
    config.unified = true; /* so that the two are in one batch wherever their slots lie */
    host_open_ready(&h, &config);
    for (int i = 0; i < 4; i++) {
        char expected[16];
        uint64_t first, second;
        atomic_store(&fake.decode_us, 5000);
        first = say("One. ", long_words);
        second = say("Two. ", long_words);
        host_until_heard(&h, second, 2);
        host_until_heard(&h, first, 2);
        atomic_store(&fake.fail, codes[i]);
        host_until_all_ended(&h);
        snprintf(expected, sizeof expected, "code %d", codes[i]);
        CHECK(host_heard(&h, first)->code == MK_CODE_DECODE && host_heard(&h, second)->code == MK_CODE_DECODE);
        CHECK(strstr(host_heard(&h, first)->reason, expected) != NULL);
        CHECK(codes[i] == 2 || strstr(host_heard(&h, first)->reason, "bad mood") != NULL);
        expect_text(&h, say("One. ", "works again"), MK_FINISH_STOP, "works again");
    }
    host_close(&h);
}

static void a_failed_load_says_why(void) {
    mk_config config = usual_config();
    for (int i = 0; i < 6; i++) {
        static const char *const reasons[] = {"not a GGUF", "no such file", "tensor \"x\" missing", "bad mood?", "encoder", "no vocabulary"};
        mk_config c = config;
        fake_reset();
        fake_options.complaint = i == 2 ? "tensor \"x\" missing\n" : "bad mood? \xff\xfe\xe2\x82";
        fake_options.refuse_load = i == 2 || i == 3;
        fake_options.encoder = i == 4;
        fake_options.n_vocab = i == 5 ? 0 : fake_options.n_vocab;
        if (i == 0) {
            c.model_path = scratch_file("text.gguf");
            write_file(c.model_path, "Hello, I am not a model.", 24);
        } else if (i == 1) {
            c.model_path = scratch_file("missing.gguf");
        }
        host_open(&h, &c);
        host_until_loaded(&h);
        CHECK(h.failed && strstr(h.reason, reasons[i]) != NULL);
        CHECK(mk_engine_death(h.engine) == NULL);
        host_close(&h);
        everything_was_given_back();
    }
    fake_reset();
    fake_options.refuse_context = true;
    host_open(&h, &config);
    host_until_loaded(&h);
    CHECK(h.failed && strstr(h.reason, "context of 4 x 512") != NULL && strstr(h.reason, "not enough memory") != NULL);
    host_close(&h);
}

static void the_log_is_handed_on_when_asked(void) {
    mk_config config = usual_config();
    config.log_level = 2;
    host_open_ready(&h, &config);
    CHECK(h.logs == 2 && strcmp(h.log, "pieces") == 0);
    host_close(&h);
    config.log_level = 3;
    host_open_ready(&h, &config);
    CHECK(h.logs == 0);
    host_close(&h);
}

/* As mk_engine_close() does, but what the worker still says can be read. */
static void end_the_worker(void) {
    atomic_store(&h.engine->closing, true);
    atomic_store(&h.engine->abort_decode, true);
    mk_wake(h.engine);
    for (double begun = now(); state_of(&h) != MK_ENDED;) {
        PROMPT(begun);
    }
    while (host_drain(&h) > 0) {
    }
}

static void what_is_stopped_on_request_is_no_error_in_the_log(void) {
    mk_config config = usual_config();
    config.log_level = 1;
    config.calibrate_seconds = 1e9;
    atomic_store(&fake.decode_us, AGES * 1000000);
    host_open_ready(&h, &config); /* a calibration, by a request */
    until(&fake.decoding, 1);
    say("", "next");
    while (!host_heard(&h, 1)->started) {
        host_drain(&h);
    }
    until(&fake.decoding, 1);
    mk_engine_cancel(h.engine, 1); /* a prefill, by a cancel */
    host_until_all_ended(&h);
    CHECK(atomic_load(&fake.aborted) == 2 && h.errors == 0 && h.warnings == 0);
    host_close(&h);
    host_open_ready(&h, &config); /* a calibration, by the end of the engine */
    until(&fake.decoding, 1);
    end_the_worker();
    CHECK(atomic_load(&fake.aborted) > 3 && h.errors == 0 && h.warnings == 0 && h.logs > 0);
    host_close(&h);
    config.warm_up = true; /* the warm-up and the load, too */
    host_open(&h, &config);
    until(&fake.decoding, 1);
    end_the_worker();
    CHECK(h.errors == 0 && h.warnings == 0);
    host_close(&h);
    atomic_store(&fake.decode_us, 0);
    config.warm_up = false;
    config.calibrate_seconds = 0;
    host_open_ready(&h, &config); /* and what fails by itself still is one */
    atomic_store(&fake.fail, -3);
    host_until_ended(&h, say("", "next"));
    CHECK(h.errors == 1);
    host_close(&h);
}

static void what_a_model_cannot_do_is_said_once_in_the_log(void) {
    mk_config config = usual_config();
    config.log_level = 2;
    for (int kind = 0; kind < 3; kind++) {
        fake_options.recurrent = kind == 1;
        fake_options.swa = kind == 2 ? 20 : 0;
        host_open_ready(&h, &config);
        CHECK(h.warnings == (kind == 1 ? 2 : 0) && h.logs == (kind == 0 ? 2 : kind == 1 ? 4 : 3));
        CHECK(kind != 1 || strncmp(h.log, "Fake: recurrent: its context cannot be shifted", 46) == 0);
        CHECK(kind != 2 || strncmp(h.log, "Fake: sliding window of 20 tokens", 33) == 0);
        host_until_ended(&h, say("The same beginning, but ", "for its end."));
        host_until_ended(&h, say("The same beginning, and ", "another end."));
        CHECK(h.warnings == (kind == 1 ? 2 : 0));
        host_close(&h);
        fake_reset();
    }
}

static void the_model_is_described_once_loaded(void) {
    mk_config config = usual_config();
    const mk_info *info;
    fake_options.chat_template = "{{ messages }}";
    host_open_ready(&h, &config);
    info = mk_engine_info(h.engine);
    CHECK(info->n_vocab == FAKE_TOKENS && info->context == 512 && info->add_bos && strcmp(info->name, "Fake") == 0);
    CHECK(strcmp(info->bos, "<s>") == 0 && strcmp(info->eos, "<|im_end|>") == 0);
    CHECK(strcmp(info->chat_template, "{{ messages }}") == 0 );
    host_close(&h);
}

/* ---- where the model lies ---- */

/* A GPU of that many MiB; "auto". The fake's KV cache takes 2 MiB a layer, computing 1 MiB. */
static mk_config with_gpu(uint64_t mib) {
    mk_config config = usual_config();
    int32_t all = 999;
    memcpy((char *) &config.model_params + config.at_gpu_layers, &all, sizeof all);
    config.auto_layers = config.kv_on_gpu = true;
    config.n_devices = 1;
    strcpy(config.devices[0].name, "GPU0");
    config.devices[0].free = mib << 20;
    config.min_context = 128;
    config.log_level = 2;
    return config;
}

static void as_many_layers_as_fit_go_to_the_gpu(void) {
    mk_config config = with_gpu(1000);
    const mk_plan *plan;
    const mk_buffer *buffers;
    host_open_ready(&h, &config);
    plan = mk_engine_plan(h.engine);
    CHECK(atomic_load(&fake.gpu_layers) == 5 && plan->layers == 5 && plan->steps[0] == '\0'); /* four and the output */
    CHECK(plan->kv_gpu >= 8u << 20 && plan->kv_gpu < 9u << 20 && plan->compute_gpu == 1u << 20);
    CHECK(mk_engine_buffers(h.engine, &buffers) == 1 && strcmp(buffers[0].name, "GPU0") == 0);
    CHECK(strcmp(buffers[0].kind, "compute") == 0 && buffers[0].bytes == 5u << 18);
    host_close(&h);
    config.vram_budget = 6 << 20;
    host_open_ready(&h, &config);
    plan = mk_engine_plan(h.engine);
    CHECK(atomic_load(&fake.gpu_layers) == 3 && plan->context == 512 && strstr(plan->steps, "3 are on the GPU") != NULL);
    CHECK(plan->weights_gpu + plan->kv_gpu + plan->compute_gpu <= config.vram_budget);
    host_close(&h);
    config.vram_budget = 0;
    config.vram_margin = (1000u << 20) - (6 << 20);
    host_open_ready(&h, &config);
    CHECK(atomic_load(&fake.gpu_layers) == 3);
    host_close(&h);
}

static void a_shorter_context_is_tried_before_the_cpu(void) {
    mk_config config = with_gpu(1000);
    config.vram_budget = (1 << 20) - 1; /* computing alone takes more */
    host_open_ready(&h, &config);
    CHECK(atomic_load(&fake.gpu_layers) == -1 && mk_engine_info(h.engine)->context == 512);
    CHECK(strstr(mk_engine_plan(h.engine)->steps, "trying 256") != NULL);
    CHECK(strstr(mk_engine_plan(h.engine)->steps, "runs on the CPU") != NULL);
    CHECK(h.logs > 0);
    host_close(&h);
}

static void a_cache_that_no_buffer_holds_is_not_even_measured(void) {
    mk_config config = with_gpu(1000);
    fake_options.one_buffer = 200 << 10; /* the header speaks of keys of 256 KiB */
    host_open_ready(&h, &config);
    CHECK(mk_engine_info(h.engine)->context == 256 && atomic_load(&fake.gpu_layers) == 5);
    host_close(&h);
    config.auto_layers = false;
    host_open(&h, &config);
    host_until_loaded(&h);
    CHECK(h.failed && h.failed_code == MK_FAILED_MEMORY);
    host_close(&h);
}

static void what_fits_nowhere_is_out_of_memory(void) {
    mk_config config = with_gpu(1000);
    int32_t layers = 4;
    config.auto_layers = false;
    memcpy((char *) &config.model_params + config.at_gpu_layers, &layers, sizeof layers);
    config.vram_budget = 5 << 20;
    host_open(&h, &config);
    host_until_loaded(&h);
    CHECK(h.failed && h.failed_code == MK_FAILED_MEMORY && strstr(h.reason, "GPU memory") != NULL);
    host_close(&h);
    config = usual_config();
    config.ram_free = 4 << 20;
    host_open(&h, &config);
    host_until_loaded(&h);
    CHECK(h.failed && h.failed_code == MK_FAILED_MEMORY && strstr(h.reason, "the computer's memory") != NULL);
    CHECK(atomic_load(&fake.models) == 0 && atomic_load(&fake.contexts) == 0);
    host_close(&h);
}

static void a_plan_is_made_without_loading(void) {
    mk_config config = with_gpu(6);
    config.purpose = MK_FOR_FIT;
    host_open_ready(&h, &config);
    CHECK(mk_engine_plan(h.engine)->layers == 3 && atomic_load(&fake.gpu_layers) == 0 && atomic_load(&fake.measured) > 0);
    host_close(&h);
    config.imagine = true;
    host_open_ready(&h, &config);
    CHECK(mk_engine_plan(h.engine)->layers == 3 && mk_engine_plan(h.engine)->compute_gpu == 1u << 19);
    host_close(&h);
}

static void a_model_that_is_only_looked_at_needs_no_context(void) {
    mk_config config = usual_config();
    config.purpose = MK_FOR_LOOKS;
    fake_options.encoder = true;
    host_open_ready(&h, &config);
    CHECK(atomic_load(&fake.models) == 1 && atomic_load(&fake.contexts) == 0);
    CHECK(mk_engine_vocab(h.engine) == mk_engine_model(h.engine) && mk_engine_info(h.engine)->n_vocab == FAKE_TOKENS);
    host_close(&h);
    CHECK(atomic_load(&fake.models) == 0);
}

static uint32_t quantise_calls;

static uint32_t quantise(const char *from, const char *to, const void *params) {
    CHECK(strstr(from, "good.gguf") != NULL && strcmp(to, "out.gguf") == 0 && params == &quantise_calls);
    return quantise_calls++;
}

static void quantising_is_done_on_the_worker_and_its_failure_said(void) {
    mk_config config = usual_config();
    uint32_t (*function)(const char *, const char *, const void *) = quantise;
    config.purpose = MK_FOR_QUANTISE;
    memcpy(&config.quantise, &function, sizeof function);
    config.quantise_params = &quantise_calls;
    config.output = "out.gguf";
    host_open_ready(&h, &config);
    host_close(&h);
    host_open(&h, &config);
    host_until_loaded(&h);
    CHECK(h.failed && strstr(h.reason, "quantise") != NULL);
    host_close(&h);
}

static void the_pool_the_warm_up_and_the_counters_are_as_asked(void) {
    mk_config config = usual_config();
    uint64_t id;
    host_open_ready(&h, &config);
    CHECK(atomic_load(&fake.warm_ups) == 0 && atomic_load(&fake.pools) == 0);
    host_close(&h);
    fake_pool(&config);
    config.warm_up = config.perf = true;
    host_open_ready(&h, &config);
    CHECK(atomic_load(&fake.warm_ups) == 1 && atomic_load(&fake.pools) == 1);
    id = say("", "warm");
    host_until_ended(&h, id);
    CHECK(strcmp(host_heard(&h, id)->text, "warm") == 0);
    CHECK(mk_engine_shared(h.engine)->perf_ms[1] == 3 && mk_engine_shared(h.engine)->perf_n[0] == 5);
    host_close(&h);
    CHECK(atomic_load(&fake.pools) == 0);
}

/* ---- pause and close ---- */

static void a_paused_engine_decodes_nothing_until_it_is_resumed(void) {
    mk_config config = usual_config();
    uint64_t id, later;
    int decodes;
    host_open_ready(&h, &config);
    atomic_store(&fake.decode_us, 5000);
    id = say("", long_words);
    host_until_heard(&h, id, 3);
    mk_engine_pause(h.engine, true);
    later = say("", "patience");
    while (!host_heard(&h, later)->started) { /* the worker has seen the pause */
        host_drain(&h);
    }
    decodes = atomic_load(&fake.decodes);
    for (double begun = now(); now() - begun < 0.05;) {
        host_drain(&h);
    }
    CHECK(atomic_load(&fake.decodes) == decodes && !host_heard(&h, id)->ended);
    mk_engine_pause(h.engine, false);
    atomic_store(&fake.decode_us, 0);
    expect_text(&h, id, MK_FINISH_STOP, long_words);
    expect_text(&h, later, MK_FINISH_STOP, "patience");
    host_close(&h);
}

static void close_promptly(void) {
    double begun = now();
    host_close(&h);
    PROMPT(begun);
    everything_was_given_back();
}

static void close_is_prompt_wherever_the_worker_is(void) {
    mk_config config = usual_config();
    host_open(&h, &config); /* perhaps before the worker ran at all */
    close_promptly();

    fake_options.load_us = AGES * 1000000;
    host_open(&h, &config);
    until(&fake.loading, 1);
    CHECK(state_of(&h) == MK_LOADING);
    close_promptly();
    fake_options.load_us = 0;

    open_for_a_long_prefill(); /* with requests waiting behind it */
    for (int i = 0; i < 10; i++) {
        ask *a = ask_new();
        ask_filler(a, 3000, 0);
        ask_reply(a, "never said");
        host_submit(&h, a);
    }
    until(&fake.decoding, 3000);
    close_promptly();
    atomic_store(&fake.token_us, 0);

    host_open_ready(&h, &config); /* paused, with streams begun, requests waiting and commands in the queue */
    mk_engine_pause(h.engine, true);
    for (int i = 0; i < 20; i++) {
        say("", long_words);
        mk_engine_cancel(h.engine, (uint64_t) i);
    }
    close_promptly();

    config.ring_bytes = 1 << 15;
    config.context = 4096;
    host_open_ready(&h, &config); /* nobody drains */
    for (int i = 0; i < 4; i++) {
        ask *a = ask_new();
        ask_filler(a, 2000, i);
        ask_reply_tokens(a, a->tokens, 1500);
        host_submit(&h, a);
    }
    close_promptly();
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(several_streams_in_one_batch_say_their_own_words_in_order);
    RUN(stop_strings_spread_over_tokens_are_held_back_and_cut);
    RUN(only_whole_characters_are_said);
    RUN(white_space_before_the_first_word_is_dropped_when_asked);
    RUN(a_token_of_many_bytes_arrives_whole);
    RUN(text_is_data_and_only_the_template_names_special_tokens);
    RUN(a_sentencepiece_vocabulary_adds_its_space_once);
    RUN(a_prompt_that_is_empty_or_not_of_this_vocabulary_is_an_error);
    RUN(a_prompt_longer_than_the_context_is_an_overflow);
    RUN(a_reply_ends_at_max_tokens_or_where_the_context_is_full);
    RUN(samplers_are_chained_as_asked);
    RUN(the_same_beginning_is_decoded_once);
    RUN(speakers_in_turn_keep_their_own_slots);
    RUN(the_slot_unused_for_longest_is_taken_when_none_fits);
    RUN(a_recurrent_model_is_prefilled_from_the_start);
    RUN(a_cancel_right_after_the_submit_yields_no_text);
    RUN(a_cancel_before_during_and_after_ends_a_stream_once);
    RUN(a_cancel_of_a_lone_prefill_aborts_the_decode);
    RUN(a_cancel_while_the_prompt_is_tokenised_is_not_lost);
    RUN(a_cancelled_prefill_beside_a_speaker_disturbs_nobody);
    RUN(an_aborted_decode_is_taken_back_and_done_again);
    RUN(nobody_drains_and_the_worker_waits);
    RUN(a_full_queue_refuses_requests_and_still_takes_cancels);
    RUN(more_slots_than_a_batch_holds_is_refused);
    RUN(no_wake_up_is_lost);
    RUN(a_failed_decode_ends_its_streams_and_the_engine_goes_on);
    RUN(a_failed_load_says_why);
    RUN(the_log_is_handed_on_when_asked);
    RUN(what_is_stopped_on_request_is_no_error_in_the_log);
    RUN(what_a_model_cannot_do_is_said_once_in_the_log);
    RUN(the_model_is_described_once_loaded);
    RUN(as_many_layers_as_fit_go_to_the_gpu);
    RUN(a_shorter_context_is_tried_before_the_cpu);
    RUN(a_cache_that_no_buffer_holds_is_not_even_measured);
    RUN(what_fits_nowhere_is_out_of_memory);
    RUN(a_plan_is_made_without_loading);
    RUN(a_model_that_is_only_looked_at_needs_no_context);
    RUN(quantising_is_done_on_the_worker_and_its_failure_said);
    RUN(the_pool_the_warm_up_and_the_counters_are_as_asked);
    RUN(a_paused_engine_decodes_nothing_until_it_is_resumed);
    RUN(close_is_prompt_wherever_the_worker_is);
    everything_was_given_back();
    return 0;
}
