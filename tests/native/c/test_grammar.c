/* Grammars: what they take and what not, where they are wrong, and that no text or grammar is too much. */
#include "harness.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

static char reason[400];

static mk_grammar *grammar(const char *gbnf) {
    mk_grammar *g = mk_grammar_new(gbnf, strlen(gbnf), "root", NULL, reason, sizeof reason);
    if (g == NULL) {
        fprintf(stderr, "%s\n", reason);
        CHECK(!"the grammar is good");
    }
    return g;
}

/* 2: a member; 1: the beginning of one; 0: neither. */
static int match(mk_grammar *g, const char *text) {
    int result;
    mk_grammar_restart(g);
    result = mk_grammar_feed(g, text, strlen(text));
    CHECK(result != MK_GRAMMAR_LIMIT);
    return result == MK_GRAMMAR_NO ? 0 : mk_grammar_complete(g) ? 2 : 1;
}

static void expect(const char *gbnf, const char *const *members, const char *const *beginnings, const char *const *others) {
    mk_grammar *g = grammar(gbnf);
    for (; *members != NULL; members++) {
        CHECK(match(g, *members) == 2);
    }
    for (; *beginnings != NULL; beginnings++) {
        CHECK(match(g, *beginnings) == 1);
    }
    for (; *others != NULL; others++) {
        CHECK(match(g, *others) == 0);
    }
    mk_grammar_free(g);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(,) NULL})

static const char json[] =
    "root ::= object\n"
    "value ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"
    "object ::= \"{\" ws ( string \":\" ws value (\",\" ws string \":\" ws value)* )? \"}\" ws\n"
    "array ::= \"[\" ws ( value (\",\" ws value)* )? \"]\" ws\n"
    "string ::= \"\\\"\" ( [^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" [0-9a-fA-F]{4}) )* \"\\\"\" ws\n"
    "number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws\n"
    "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n";

static void members_are_taken_and_others_are_not(void) {
    expect("root ::= \"yes\" | \"no\"", LIST("yes", "no"), LIST("", "y", "ye"), LIST("yesno", "x", "No"));
    expect("root ::= [a-c]{2,3} # a comment\n", LIST("ab", "abc"), LIST("", "a"), LIST("abca", "d"));
    expect("root ::= (\"a\" | \"b\")+ \"!\"?", LIST("a", "abba!"), LIST(""), LIST("!", "a!!"));
    expect("root ::= a |\n  b\na ::= \"1\" root?\nb ::= \"2\"", LIST("1", "12", "1112"), LIST(""), LIST("21", "3"));
    expect("root ::= . . ", LIST("ab", "\xe2\x82\xac\xc3\xa9", "\n\n"), LIST("a", "\xe2", "\xe2\x82\xac"), LIST("abc", "\xff"));
    expect("root ::= [^a-z\\]\xc3\xa9]", LIST("A", "\xc3\xa8", "\xe2\x82\xac", "\xf0\x9f\x8e\x8f"), LIST("", "\xc3"),
           LIST("b", "]", "\xc3\xa9", "\xed\xa0\x80"));
    expect("root ::= [\\u00e9-\\u4e2d]", LIST("\xc3\xa9", "\xe0\xa0\x80", "\xe4\xb8\xad", "\xdf\xbf"), LIST("\xe4\xb8"),
           LIST("\xc3\xa8", "\xe4\xb8\xae", "a"));
    expect("root ::= \"\" | \"x\"", LIST("", "x"), LIST(), LIST("xx"));
    expect(json, LIST("{}", "{ \"a\":[1, -2.5e1,true ,null],\"\xe2\x82\xac\\n\\u00e9\":{\"b\":\"\"}}"), LIST("{", "{\"a\"", "{\"a\":1,"),
           LIST("{,", "[", "{\"a\" 1", "{\"a\":01", "{\"\\x", "{\"a\n"));
}

static void rules_that_call_themselves_first_and_empty_loops_work(void) {
    expect("root ::= root \"+\" [0-9] | [0-9]", LIST("1", "1+2", "1+2+3+4"), LIST("", "1+"), LIST("+", "12"));
    expect("root ::= (\"a\"*)*", LIST("", "a", "aaaa"), LIST(), LIST("b"));
    expect("root ::= x x x\nx ::= \"\" | \"a\" x", LIST("", "a", "aaaaaaa"), LIST(), LIST("b"));
    expect("root ::= a \"c\"\na ::= b\nb ::= a | \"b\" | \"\"", LIST("c", "bc"), LIST("", "b"), LIST("bb"));
}

static void an_ambiguous_grammar_stays_quick(void) {
    mk_grammar *g = grammar("root ::= s\ns ::= s s | \"a\" s \"b\" | \"a\" s \"c\" | \"a\" | \"\"");
    for (int i = 0; i < 300; i++) { /* as many ways to read it as there are atoms */
        CHECK(mk_grammar_feed(g, "a", 1) != MK_GRAMMAR_NO);
    }
    mk_grammar_free(g);
    g = grammar("root ::= \"a\"? \"a\"? \"a\"? \"a\"? \"a\"? \"a\"? \"a\"? \"a\"? \"a\"? \"a\"? (\"a\"* \"a\"*)* \"b\"");
    for (int i = 0; i < 5000; i++) {
        CHECK(mk_grammar_feed(g, "a", 1) == MK_GRAMMAR_YES);
    }
    CHECK(mk_grammar_feed(g, "b", 1) == MK_GRAMMAR_YES && mk_grammar_complete(g));
    mk_grammar_free(g);
}

static void a_long_or_deep_text_is_no_matter(void) {
    mk_grammar *g = grammar(json);
    for (int i = 0; i < 100000; i++) {
        CHECK(mk_grammar_feed(g, "{\"a\":", 5) == MK_GRAMMAR_YES);
    }
    CHECK(mk_grammar_feed(g, "1", 1) == MK_GRAMMAR_YES);
    for (int i = 0; i < 100000; i++) {
        CHECK(!mk_grammar_complete(g) && mk_grammar_feed(g, "}", 1) == MK_GRAMMAR_YES);
    }
    CHECK(mk_grammar_complete(g) && mk_grammar_feed(g, "}", 1) == MK_GRAMMAR_NO);
    mk_grammar_restart(g);
    CHECK(mk_grammar_feed(g, "{\"", 2) == MK_GRAMMAR_YES);
    for (int i = 0; i < 200000; i++) {
        CHECK(mk_grammar_feed(g, "word ", 5) == MK_GRAMMAR_YES);
    }
    CHECK(mk_grammar_feed(g, "\":1}", 4) == MK_GRAMMAR_YES && mk_grammar_complete(g));
    mk_grammar_free(g);
}

static int32_t find(void *context, const char *text, size_t n) {
    (void) context;
    return n == 7 && memcmp(text, "<think>", 7) == 0 ? 3 : n == 8 && memcmp(text, "</think>", 8) == 0 ? 4 : -1;
}

static const mk_token_names names = {find, NULL, 10};

static mk_grammar *with_tokens(const char *gbnf) {
    mk_grammar *g = mk_grammar_new(gbnf, strlen(gbnf), "root", &names, reason, sizeof reason);
    CHECK(g != NULL);
    return g;
}

static void repeats_are_repeated(void) {
    expect("root ::= \"a\"{2}{3}", LIST("aaaaaa"), LIST("", "aaaa"), LIST("aaaaaaa"));
    expect("root ::= \"ab\"{2}? [c]", LIST("c", "ababc"), LIST("ab", "abab"), LIST("abc", "ababababc"));
    expect("root ::= (\"a\" | \"b\")+{2} {1} \"!\"", LIST("ab!", "aab!"), LIST("a"), LIST("a!", "!"));
    expect("root ::= [a]?*+ \"b\"", LIST("b", "aaab"), LIST("aa"), LIST("ba"));
    expect("root ::= \"a\"{0}{5} \"b\"", LIST("b"), LIST(""), LIST("a"));
}

static void a_million_empty_parts_are_passed_once(void) {
    mk_grammar *g = grammar("root ::= (\"\"{900}){900} \"a\"");
    CHECK(match(g, "a") == 2);
    mk_grammar_free(g);
}

static void tokens_are_named_by_number_and_by_text(void) {
    mk_grammar *g = with_tokens("root ::= <think> (!</think>)* </think> \"ok\" <[7]>?");
    CHECK(mk_grammar_try(g, "<think>", 7) == MK_GRAMMAR_NO && mk_grammar_try_token(g, 5, "<think>", 7) == MK_GRAMMAR_NO);
    CHECK(mk_grammar_feed_token(g, 3, "", 0) == MK_GRAMMAR_YES && !mk_grammar_complete(g));
    CHECK(mk_grammar_try_token(g, 5, "", 0) == MK_GRAMMAR_NO);
    for (int i = 0; i < 1000; i++) {
        CHECK(mk_grammar_feed_token(g, 5 + i % 4, "any \xf0", 5) == MK_GRAMMAR_YES);
    }
    CHECK(mk_grammar_try_token(g, 1, "ok", 2) == MK_GRAMMAR_YES && mk_grammar_feed_token(g, 4, "</think>", 8) == MK_GRAMMAR_YES);
    CHECK(mk_grammar_try_token(g, 7, "", 0) == MK_GRAMMAR_NO && mk_grammar_feed_token(g, 1, "ok", 2) == MK_GRAMMAR_YES);
    CHECK(mk_grammar_complete(g) && !mk_grammar_stuck(g) && mk_grammar_feed_token(g, 7, "", 0) == MK_GRAMMAR_YES);
    CHECK(mk_grammar_stuck(g));
    mk_grammar_free(g);
}

/* A token is its bytes and itself: both ways go on, and the one that was wrong ends where it shows. */
static void a_token_is_read_as_text_and_as_itself(void) {
    mk_grammar *g = with_tokens("root ::= \"lam\" \"p\" \"!\" | <[2]> \"?\" | <[2]> <[2]> \".\" | x\nx ::= <[6]> x \"b\" | \"a\"");
    CHECK(mk_grammar_try(g, "lamp?", 5) == MK_GRAMMAR_NO && mk_grammar_try_token(g, 1, "lamp?", 5) == MK_GRAMMAR_NO);
    CHECK(mk_grammar_feed_token(g, 2, "lamp", 4) == MK_GRAMMAR_YES);
    CHECK(mk_grammar_try(g, "!", 1) == MK_GRAMMAR_YES && mk_grammar_try(g, "?", 1) == MK_GRAMMAR_YES && mk_grammar_try(g, ".", 1) == 0);
    CHECK(mk_grammar_feed_token(g, 2, "lamp", 4) == MK_GRAMMAR_YES && mk_grammar_try(g, ".", 1) == MK_GRAMMAR_YES);
    mk_grammar_restart(g);
    CHECK(mk_grammar_feed_token(g, 2, "lost", 4) == MK_GRAMMAR_YES && mk_grammar_try(g, "!", 1) == MK_GRAMMAR_NO);
    mk_grammar_restart(g);
    for (int i = 0; i < 5000; i++) {
        CHECK(mk_grammar_feed_token(g, 6, "deep", 4) == MK_GRAMMAR_YES);
    }
    CHECK(mk_grammar_feed_token(g, 1, "a", 1) == MK_GRAMMAR_YES);
    for (int i = 0; i < 5000; i++) {
        CHECK(!mk_grammar_complete(g) && mk_grammar_feed(g, "b", 1) == MK_GRAMMAR_YES);
    }
    CHECK(mk_grammar_stuck(g));
    mk_grammar_free(g);
}

static void a_try_changes_nothing_and_a_no_neither(void) {
    mk_grammar *g = grammar("root ::= \"lamp\" | \"late\"");
    CHECK(mk_grammar_try(g, "lamp", 4) == MK_GRAMMAR_YES && mk_grammar_feed(g, "lax", 3) == MK_GRAMMAR_NO);
    CHECK(mk_grammar_feed(g, "la", 2) == MK_GRAMMAR_YES && mk_grammar_try(g, "te", 2) == MK_GRAMMAR_YES);
    CHECK(mk_grammar_feed_some(g, "mps", 3) == 2 && mk_grammar_complete(g));
    mk_grammar_free(g);
}

static void wrong_grammars_are_told_where(void) {
    static const struct {
        const char *gbnf, *says;
    } all[] = {
        {"", "no rule 'root'"},
        {"roo ::= \"a\"", "no rule 'root'"},
        {"root ::= x", "line 1, column"},
        {"root ::= \"a", "line 1, column 10 in rule 'root': this text is never closed"},
        {"root ::= [a", "never closed"},
        {"root ::= []", "empty"},
        {"root ::= [^\\x00-\\U0010FFFF]", "no character"},
        {"root ::= [z-a]", "backwards"},
        {"root ::= (\"a\"", "not closed"},
        {"root ::= \"a\")", "closes nothing"},
        {"root ::= *", "nothing before it"},
        {"root ::= \"a\"{2,1}", "at least more than at most"},
        {"root ::= \"a\"{", "a number"},
        {"root ::= \"a\"{1", "'}'"},
        {"root ::= \"a\"{99999999999}", "at most"},
        {"root ::= \"\\q\"", "escape"},
        {"root ::= \"\\uD800\"", "no character"},
        {"root ::= \"\\u12\"", "hexadecimal"},
        {"root = \"a\"", "'::='"},
        {"\n\nroot ::= \"a\"\nroot ::= \"b\"", "line 4, column 1"},
        {"root ::= \"a\"\n| \"b\"", "line 2"},
        {"root ::= <[12]>", "no vocabulary"},
        {"root ::= ((((\"a\"{1000}){1000}){1000}){1000})", "too large"},
        {"root ::= ((((((\"\"){1000}){1000}){1000}){1000}){1000})", "too large"},
        {"root ::= \xff", "means nothing"},
        {"root ::= \"\xff\"", "UTF-8"},
    };
    char deep[3000];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        mk_grammar *g = mk_grammar_new(all[i].gbnf, strlen(all[i].gbnf), "root", NULL, reason, sizeof reason);
        if (g != NULL || strstr(reason, all[i].says) == NULL) {
            fprintf(stderr, "%s: %s\n", all[i].gbnf, g ? "taken" : reason);
            CHECK(!"the mistake is named");
        }
    }
    memset(deep, '(', sizeof deep);
    memcpy(deep, "root ::= ", 9);
    CHECK(mk_grammar_new(deep, sizeof deep, "root", NULL, reason, sizeof reason) == NULL && strstr(reason, "nested") != NULL);
}

static void wrong_tokens_are_told_where(void) {
    static const char *const all[][2] = {
        {"root ::= <nobody>", "line 1, column 10 in rule 'root': this is no single token"},
        {"root ::= \"a\" !<[10]>", "column 14 in rule 'root': a token is written <[12]>, and this vocabulary has the numbers 0 to 9"},
        {"root ::= <[x]>", "a token is written"},
        {"root ::= <[]>", "a token is written"},
        {"root ::= <[99999999999999]>", "a token is written"},
        {"root ::= <think", "never closed"},
        {"root ::= <\n>", "never closed"},
        {"root ::= !\"a\"", "'!' stands before a token"},
        {"root ::= <", "never closed"},
        {"root ::= <>", "no single token"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CHECK(mk_grammar_new(all[i][0], strlen(all[i][0]), "root", &names, reason, sizeof reason) == NULL);
        if (strstr(reason, all[i][1]) == NULL) {
            fprintf(stderr, "%s: %s\n", all[i][0], reason);
            CHECK(!"the mistake is named");
        }
    }
}

static void noise_is_never_more_than_an_error(void) {
    static const char letters[] = "root::=ab\"[](){}*+?|.^-\\x0u \n,1<#_";
    uint64_t seed = 11;
    int good = 0;
    for (int i = 0; i < 30000; i++) {
        char text[80];
        size_t n = random_below(&seed, 60), at = 0;
        mk_grammar *g;
        at += (size_t) snprintf(text, sizeof text, "root ::= ");
        for (size_t k = 0; k < n; k++) {
            text[at++] = letters[random_below(&seed, sizeof letters - 1)];
        }
        g = mk_grammar_new(text, at, "root", i % 2 ? &names : NULL, reason, sizeof reason);
        good += g != NULL;
        for (int k = 0; g != NULL && k < 20; k++) {
            mk_grammar_feed_token(g, k % 10, &letters[random_below(&seed, sizeof letters - 3)], (size_t) k % 3);
            mk_grammar_feed_some(g, &letters[random_below(&seed, sizeof letters - 1)], 1);
        }
        mk_grammar_free(g);
    }
    CHECK(good > 100);
}

/* The mask against the same question asked token by token. */
static void mask_of(const char *gbnf) {
    enum { N = 2000 };
    static char bytes[N * 8];
    static uint32_t at[N + 1];
    static int32_t order[N], allowed[N];
    static uint16_t common[N];
    static const char letters[] = "{}\":,[]1ae tru\\-";
    mk_words words = {.n = N, .order = order, .common = common, .at = at, .bytes = bytes};
    uint64_t seed = 5;
    mk_grammar *g = with_tokens(gbnf);
    for (int i = 0; i < N; i++) {
        at[i + 1] = at[i];
        for (uint32_t k = random_below(&seed, 6); k > 0; k--) {
            bytes[at[i + 1]++] = letters[random_below(&seed, sizeof letters - 1)];
        }
    }
    mk_words_sort(&words);
    for (int round = 0; round < 60; round++) {
        int32_t n = mk_words_allowed(&words, g, allowed), expected = 0, next;
        CHECK(n >= 0);
        for (int i = 0; i < N; i++) {
            expected += mk_grammar_try_token(g, i, bytes + at[i], at[i + 1] - at[i]) == MK_GRAMMAR_YES;
        }
        CHECK(n == expected);
        if (n == 0) {
            CHECK(mk_grammar_complete(g));
            mk_grammar_restart(g);
            continue;
        }
        for (int i = 0; i < n; i++) {
            CHECK(mk_grammar_try_token(g, allowed[i], bytes + at[allowed[i]], at[allowed[i] + 1] - at[allowed[i]]) == MK_GRAMMAR_YES);
        }
        next = allowed[random_below(&seed, (uint32_t) n)];
        CHECK(mk_grammar_feed_token(g, next, bytes + at[next], at[next + 1] - at[next]) == MK_GRAMMAR_YES);
    }
    mk_grammar_free(g);
}

static void a_mask_is_what_each_token_says_alone(void) {
    char mixed[1200];
    mask_of(json);
    snprintf(mixed, sizeof mixed, "root ::= ([a-z{]{1,3} | <[3]> | !<[5]> \"\\\"\" | object)*\n%s", strchr(json, '\n') + 1);
    mask_of(mixed);
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(members_are_taken_and_others_are_not);
    RUN(rules_that_call_themselves_first_and_empty_loops_work);
    RUN(an_ambiguous_grammar_stays_quick);
    RUN(a_long_or_deep_text_is_no_matter);
    RUN(repeats_are_repeated);
    RUN(a_million_empty_parts_are_passed_once);
    RUN(tokens_are_named_by_number_and_by_text);
    RUN(a_token_is_read_as_text_and_as_itself);
    RUN(a_try_changes_nothing_and_a_no_neither);
    RUN(wrong_grammars_are_told_where);
    RUN(wrong_tokens_are_told_where);
    RUN(noise_is_never_more_than_an_error);
    RUN(a_mask_is_what_each_token_says_alone);
    return 0;
}
