/* Grammars: what they take and what not, where they are wrong, and that no text or grammar is too much. */
#include "grammar.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>

static char reason[400];

static mk_grammar *grammar(const char *gbnf) {
    mk_grammar *g = mk_grammar_new(gbnf, strlen(gbnf), "root", reason, sizeof reason);
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
        {"root ::= <[12]>", "token"},
        {"root ::= ((((\"a\"{1000}){1000}){1000}){1000})", "too large"},
        {"root ::= ((((((\"\"){1000}){1000}){1000}){1000}){1000})", "too large"},
        {"root ::= \xff", "means nothing"},
        {"root ::= \"\xff\"", "UTF-8"},
    };
    char deep[3000];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        mk_grammar *g = mk_grammar_new(all[i].gbnf, strlen(all[i].gbnf), "root", reason, sizeof reason);
        if (g != NULL || strstr(reason, all[i].says) == NULL) {
            fprintf(stderr, "%s: %s\n", all[i].gbnf, g ? "taken" : reason);
            CHECK(!"the mistake is named");
        }
    }
    memset(deep, '(', sizeof deep);
    memcpy(deep, "root ::= ", 9);
    CHECK(mk_grammar_new(deep, sizeof deep, "root", reason, sizeof reason) == NULL && strstr(reason, "nested") != NULL);
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
        g = mk_grammar_new(text, at, "root", reason, sizeof reason);
        good += g != NULL;
        for (int k = 0; g != NULL && k < 20; k++) {
            mk_grammar_feed_some(g, &letters[random_below(&seed, sizeof letters - 1)], 1);
        }
        mk_grammar_free(g);
    }
    CHECK(good > 100);
}

/* The mask against the same question asked token by token. */
static void a_mask_is_what_each_token_says_alone(void) {
    enum { N = 2000 };
    static char bytes[N * 8];
    static uint32_t at[N + 1];
    static int32_t order[N], allowed[N];
    static uint16_t common[N];
    static const char letters[] = "{}\":,[]1ae tru\\-";
    mk_words words = {N, order, common, at, bytes};
    uint64_t seed = 5;
    mk_grammar *g = grammar(json);
    for (int i = 0; i < N; i++) {
        at[i + 1] = at[i];
        for (uint32_t k = random_below(&seed, 6); k > 0; k--) {
            bytes[at[i + 1]++] = letters[random_below(&seed, sizeof letters - 1)];
        }
    }
    mk_words_sort(&words);
    for (int round = 0; round < 60; round++) {
        int32_t n = mk_grammar_mask(g, &words, allowed), expected = 0;
        CHECK(n >= 0);
        for (int i = 0; i < N; i++) {
            expected += at[i + 1] > at[i] && mk_grammar_try(g, bytes + at[i], at[i + 1] - at[i]) == MK_GRAMMAR_YES;
        }
        CHECK(n == expected);
        if (n == 0) {
            CHECK(mk_grammar_complete(g));
            mk_grammar_restart(g);
            continue;
        }
        for (int i = 0; i < n; i++) {
            CHECK(mk_grammar_try(g, bytes + at[allowed[i]], at[allowed[i] + 1] - at[allowed[i]]) == MK_GRAMMAR_YES);
        }
        CHECK(mk_grammar_feed(g, bytes + at[allowed[random_below(&seed, (uint32_t) n)]], 1) == MK_GRAMMAR_YES);
    }
    mk_grammar_free(g);
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(members_are_taken_and_others_are_not);
    RUN(rules_that_call_themselves_first_and_empty_loops_work);
    RUN(an_ambiguous_grammar_stays_quick);
    RUN(a_long_or_deep_text_is_no_matter);
    RUN(a_try_changes_nothing_and_a_no_neither);
    RUN(wrong_grammars_are_told_where);
    RUN(noise_is_never_more_than_an_error);
    RUN(a_mask_is_what_each_token_says_alone);
    return 0;
}
