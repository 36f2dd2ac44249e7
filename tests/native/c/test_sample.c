/* Grammars, probabilities: what the chain chooses is held to what was asked, and told as it was. */
#include "harness.h"

#include <string.h>

static host h;

static uint64_t held(const char *grammar, const char *reply) {
    ask *a = ask_new();
    ask_text(a, "Speak. ");
    ask_reply(a, reply);
    a->grammar = grammar;
    a->max_tokens = 60;
    return host_submit(&h, a);
}

static void a_reply_is_held_to_its_grammar(void) {
    mk_config config = usual_config();
    host_open_ready(&h, &config);
    /* what the model would say fits */
    expect_text(&h, held("root ::= \"yes\" | \"no\"", "yes"), MK_FINISH_STOP, "yes");
    /* it does not: the likeliest token that fits (the lowest byte) is taken, and the script goes on behind it */
    expect_text(&h, held("root ::= \"yes\" | \"no\"", "maybe"), MK_FINISH_STOP, "no");
    expect_text(&h, held("root ::= [a-z]+ \".\"", "Lamp.ends"), MK_FINISH_STOP, "aamp.");
    /* the model would stop: it may not before the text is a member */
    expect_text(&h, held("root ::= \"lamp\" \"!\"", "la"), MK_FINISH_STOP, "lamp!");
    /* and ends by itself where nothing can follow */
    expect_text(&h, held("root ::= \"lamp\"", "lamp and more"), MK_FINISH_STOP, "lamp");
    expect_text(&h, held("root ::= [^x]*", "it may go on or end"), MK_FINISH_STOP, "it may go on or end");
    host_close(&h);
}

static void characters_of_many_bytes_stay_whole(void) {
    static const int32_t odd[] = {0xe2, 0xc3, 0xff, 'b'};
    mk_config config = usual_config();
    ask *a;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_reply_tokens(a, odd, 4);
    a->grammar = "root ::= [\\u20ac]{2} \"b\"";
    expect_text(&h, host_submit(&h, a), MK_FINISH_STOP, "\xe2\x82\xac\xe2\x82\xac" "b");
    host_close(&h);
}

static void a_lazy_grammar_holds_its_islands_only(void) {
    mk_config config = usual_config();
    ask *a;
    host_open_ready(&h, &config);
    for (int i = 0; i < 2; i++) {
        a = ask_new();
        ask_text(a, "Speak. ");
        ask_reply(a, i == 0 ? "Here, {free}. <do:take 1><do:give 2> Bye <do." : "Hm. <do:sell 2x So.");
        a->grammar = "root ::= \"<do:\" (\"give\" | \"take\") \" \" [0-9] \">\"";
        a->triggers[a->n_triggers++] = "<do:";
        a->triggers[a->n_triggers++] = "<do:give";
        a->max_tokens = 80;
        expect_text(&h, host_submit(&h, a), MK_FINISH_STOP,
                    i == 0 ? "Here, {free}. <do:take 1><do:give 2> Bye <do." : "Hm. <do:give 2> So.");
    }
    host_close(&h);
}

static void a_wrong_grammar_is_an_error_and_the_engine_goes_on(void) {
    static const char *const wrong[] = {"", "root ::= ", "root ::= x", "root ::= \"a", "rot ::= \"a\"", "root ::= [z-a]"};
    mk_config config = usual_config();
    uint64_t id;
    ask *a;
    host_open_ready(&h, &config);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        id = held(wrong[i], "x");
        host_until_ended(&h, id);
        CHECK((host_heard(&h, id)->code == MK_CODE_GRAMMAR && host_heard(&h, id)->tokens == 0) || i == 1);
    }
    a = ask_new();
    ask_reply(a, "x");
    a->grammar = "root ::= \"<a>\"";
    a->triggers[a->n_triggers++] = "<b>";
    id = host_submit(&h, a);
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->code == MK_CODE_GRAMMAR && strstr(host_heard(&h, id)->reason, "<b>") != NULL);
    /* more ways to read a text than anybody can follow */
    id = held("root ::= s*\ns ::= a a a a a a a a\na ::= b{0,2000}\nb ::= c{0,9}\nc ::= \"z\" c | \"z\" \"y\"? | \"z\" b \"w\"", "zzzzzzzzzzzzz");
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->finish == MK_FINISH_STOP || host_heard(&h, id)->code == MK_CODE_GRAMMAR);
    /* this vocabulary's tokens are bytes, but for a few: all can be said; a grammar of nothing ends at once */
    expect_text(&h, held("root ::= \"fine\"", "fine"), MK_FINISH_STOP, "fine");
    host_close(&h);
    CHECK(atomic_load(&fake.samplers) == 0);
}

static void probabilities_are_told_with_each_token(void) {
    mk_config config = usual_config();
    uint64_t id;
    ask *a;
    host_open_ready(&h, &config);
    for (int n = 1; n <= MK_MAX_LOGPROBS; n += 19) {
        a = ask_new();
        ask_reply(a, "lamp");
        a->logprobs = n;
        a->grammar = n == 1 ? NULL : "root ::= \"lamp\" \"s\"?";
        id = host_submit(&h, a);
        expect_text(&h, id, MK_FINISH_STOP, "lamp");
        CHECK(host_heard(&h, id)->told >= 4 && host_heard(&h, id)->told_n == n && host_heard(&h, id)->told_logprob > -3);
    }
    host_close(&h);
}

/* The fake finds its script's next token by far the likeliest, so the choice that is the script wins by far. */
static void choices_are_weighed_by_their_logits(void) {
    static const char *const choices[][3] = {{"yes", "no", "maybe"}, {"y", "n", "m"}, {"lamp", "lamps", "la"}};
    mk_config config = usual_config();
    for (int recurrent = 0; recurrent < 2; recurrent++) {
        fake_options.recurrent = recurrent == 1;
        host_open_ready(&h, &config);
        for (int i = 0; i < 9; i++) {
            mk_block *block;
            uint64_t id;
            ask *a = ask_new();
            ask_text(a, "Is it so? ");
            ask_reply(a, choices[i / 3][i % 3]);
            id = host_score(&h, a, choices[i / 3], 3, &block);
            expect_text(&h, id, MK_FINISH_STOP, "");
            CHECK(mk_block_rows(block) == 3 && mk_block_columns(block) == 1);
            for (int k = 0; k < 3; k++) {
                CHECK(k == i % 3 || mk_block_data(block)[k] < mk_block_data(block)[i % 3] - 1);
            }
            mk_block_release(block);
        }
        expect_text(&h, held("root ::= \"fine\"", "fine"), MK_FINISH_STOP, "fine");
        host_close(&h);
    }
    CHECK(atomic_load(&fake.samplers) == 0);
}

static void a_choice_that_is_none_is_an_error(void) {
    static const char *const choices[] = {"yes", ""};
    mk_config config = usual_config();
    mk_block *block;
    uint64_t id;
    ask *a;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_reply(a, "yes");
    id = host_score(&h, a, choices, 2, &block);
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->code == MK_CODE_PROMPT);
    mk_block_release(block);
    a = ask_new();
    ask_filler(a, 505, 0);
    ask_reply(a, "yes");
    id = host_score(&h, a, choices, 1, &block);
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->code == MK_CODE_OVERFLOW);
    mk_block_release(block);
    host_close(&h);
}

static void a_chain_is_made_link_by_link(void) {
    static const struct {
        int32_t token;
        float by;
    } biases[] = {{'x', 2}, {FAKE_EOT, -1}}, wrong[] = {{FAKE_TOKENS, 1}};
    const mk_sampler all[] = {
        {.kind = MK_PENALTIES, .ints = {64}, .floats = {1.1f, 0, 0}},
        {.kind = MK_DRY, .ints = {2, 64}, .floats = {0.8f, 1.75f}, .data = "-a\0-b", .size = 6},
        {.kind = MK_LOGIT_BIAS, .data = biases, .size = sizeof biases},
        {.kind = MK_TOP_N_SIGMA, .floats = {1}}, {.kind = MK_TOP_K, .ints = {40}}, {.kind = MK_TYPICAL, .ints = {1}, .floats = {0.9f}},
        {.kind = MK_TOP_P, .ints = {1}, .floats = {0.9f}}, {.kind = MK_MIN_P, .ints = {1}, .floats = {0.05f}},
        {.kind = MK_XTC, .ints = {1}, .floats = {0.5f, 0.1f}}, {.kind = MK_TEMP_EXT, .floats = {0.8f, 0.1f, 1}},
        {.kind = MK_INFILL}, {.kind = MK_TEMP, .floats = {0.8f}},
    };
    static const int32_t choosers[] = {MK_GREEDY, MK_DIST, MK_MIROSTAT, MK_MIROSTAT_2, MK_ADAPTIVE_P};
    static const char *const names[] = {"greedy", "dist", "mirostat", "mirostat_v2", "adaptive_p"};
    mk_config config = usual_config();
    uint64_t id;
    ask *a;
    fake_options.note_chain = true;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_reply(a, "x");
    a->samplers = all;
    a->n_samplers = sizeof all / sizeof *all;
    host_until_ended(&h, host_submit(&h, a));
    CHECK(strcmp(fake_chain, "penalties dry-a-b logit_bias top_n_sigma top_k typical top_p min_p xtc temp_ext infill temp dist") == 0);
    for (int i = 0; i < 5; i++) {
        a->samplers = &(mk_sampler){.kind = choosers[i], .ints = {100}, .floats = {5, 0.1f}};
        a->n_samplers = 1;
        host_until_ended(&h, host_submit(&h, a));
        CHECK(strcmp(fake_chain, names[i]) == 0);
    }
    a->samplers = &(mk_sampler){.kind = MK_LOGIT_BIAS, .data = wrong, .size = sizeof wrong};
    id = host_submit(&h, a);
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->code == MK_CODE_OPTION && strstr(host_heard(&h, id)->reason, "vocabulary") != NULL);
    a->samplers = &(mk_sampler){.kind = 99};
    id = host_submit(&h, a);
    host_until_ended(&h, id);
    CHECK(host_heard(&h, id)->code == MK_CODE_OPTION);
    host_close(&h);
    CHECK(atomic_load(&fake.samplers) == 0);
}

static uint64_t thinking(const char *reply, bool opened, int budget) {
    ask *a = ask_new();
    ask_text(a, "Speak. ");
    ask_reply(a, reply);
    a->open = "<think>";
    a->close = "</think>";
    a->thinking = opened;
    a->budget = budget;
    a->trim_start = true;
    a->stops[a->n_stops++] = "STOP";
    return host_submit(&h, a);
}

static void thoughts_are_told_from_the_reply(void) {
    static const struct {
        const char *says, *reply, *thought;
        bool opened;
    } all[] = {
        {"<think>\nHm. STOP here?</think>\n\nYes. <b>STOP no", "Yes. <b>", "Hm. STOP here?", false},
        {"the lamp</think>Out.", "Out.", "the lamp", true},
        {"No thought at all <thin", "No thought at all <thin", "", false},
        {"<think></think>", "", "", false},
        {"<think>never ends </thi", "", "never ends ", false},
        {"A <think>b</think>c<think>d</think>e", "A ce", "bd", false},
    };
    mk_config config = usual_config();
    host_open_ready(&h, &config);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        uint64_t id = thinking(all[i].says, all[i].opened, -1);
        expect_text(&h, id, strstr(all[i].reply, "<b>") ? MK_FINISH_STOP_STRING : MK_FINISH_STOP, all[i].reply);
        CHECK(strcmp(host_heard(&h, id)->thought, all[i].thought) == 0);
    }
    host_close(&h);
}

/* The fake goes on with its script at the place that the number of tokens says: behind what was put in its mouth. */
static void a_thought_ends_when_its_budget_is_used_up(void) {
    mk_config config = usual_config();
    uint64_t id;
    host_open_ready(&h, &config);
    id = thinking("<think>0123456789abcdefghijklmnopqrstuvwxyz", false, 5);
    expect_text(&h, id, MK_FINISH_STOP, "ghijklmnopqrstuvwxyz"); /* "\n</think>\n\n" took the place of eleven */
    CHECK(strcmp(host_heard(&h, id)->thought, "01234\n") == 0);
    id = thinking("0123456789abcdefgh", true, 0);
    expect_text(&h, id, MK_FINISH_STOP, "bcdefgh");
    host_close(&h);
    CHECK(atomic_load(&fake.samplers) == 0);
}

static void a_grammar_holds_the_reply_and_not_the_thought(void) {
    mk_config config = usual_config();
    ask *a;
    uint64_t id;
    host_open_ready(&h, &config);
    a = ask_new();
    ask_text(a, "Speak. ");
    ask_reply(a, "freely</think>maybe");
    a->open = "<think>";
    a->close = "</think>";
    a->thinking = true;
    a->grammar = "root ::= \"yes\" | \"no\"";
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_STOP, "no");
    CHECK(strcmp(host_heard(&h, id)->thought, "freely") == 0);
    host_close(&h);
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(a_reply_is_held_to_its_grammar);
    RUN(characters_of_many_bytes_stay_whole);
    RUN(a_lazy_grammar_holds_its_islands_only);
    RUN(a_wrong_grammar_is_an_error_and_the_engine_goes_on);
    RUN(choices_are_weighed_by_their_logits);
    RUN(a_choice_that_is_none_is_an_error);
    RUN(a_chain_is_made_link_by_link);
    RUN(thoughts_are_told_from_the_reply);
    RUN(a_thought_ends_when_its_budget_is_used_up);
    RUN(a_grammar_holds_the_reply_and_not_the_thought);
    RUN(probabilities_are_told_with_each_token);
    return 0;
}
