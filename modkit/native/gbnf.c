/* GBNF → network. One pass over the text, on the thread that calls; the text may be any bytes and is not kept.
 *
 * What llama.cpp reads is read here, and meant the same: names, texts, classes, groups, repeats of repeats, tokens
 * by number (`<[12]>`) or by name (`<think>`), and all others (`!<think>`). Rules that are defined twice, which
 * llama.cpp takes silently, are refused. */
#include "gbnf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_STEPS = 1 << 23, /* repeats written out */
    MAX_DEPTH = 200,     /* of parentheses */
    MAX_REPEAT = 100000,
    MAX_CHAIN = 8,       /* repeats of repeats */
};

typedef struct parser {
    mk_network *net;
    const mk_token_names *names;
    const char *text;
    size_t size, at;
    const char *rule; /* being read, NULL between them */
    size_t rule_length;
    char *error;
    size_t error_size;
    int32_t depth, steps;
    bool failed;
} parser;

/* How often, most = -1 for no end. */
typedef struct count {
    int32_t least, most;
} count;

static void complain(parser *p, size_t at, const char *format, ...) {
    size_t line = 1, column = 1;
    char what[240];
    va_list arguments;
    if (p->failed) {
        return;
    }
    p->failed = true;
    for (size_t i = 0; i < at && i < p->size; i++) {
        column += ((unsigned char) p->text[i] & 0xc0) != 0x80;
        if (p->text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    snprintf(p->error, p->error_size, "line %zu, column %zu%s%.*s%s: %s", line, column, p->rule ? " in rule '" : "",
             (int) (p->rule_length < 40 ? p->rule_length : 40), p->rule ? p->rule : "", p->rule ? "'" : "", what);
}

/* Whether anything was wrong until here, in the text or in what was built of it. */
static bool failed(parser *p) {
    if (!p->failed && p->net->wrong != NULL) {
        complain(p, p->at, "%s", p->net->wrong);
    }
    return p->failed;
}

static int peek(const parser *p, size_t ahead) {
    return p->at + ahead < p->size ? (unsigned char) p->text[p->at + ahead] : -1;
}

static bool in_name(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

static void space(parser *p, bool newlines) {
    for (;;) {
        int c = peek(p, 0);
        if (c == '#') {
            while (peek(p, 0) != '\n' && peek(p, 0) != '\r' && peek(p, 0) >= 0) {
                p->at++;
            }
        } else if (c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r'))) {
            p->at++;
        } else {
            return;
        }
    }
}

/* One character of a text or a class, escapes read. */
static uint32_t character(parser *p) {
    static const char escapes[] = "trn\\\"[]-", meant[] = "\t\r\n\\\"[]-";
    size_t at = p->at;
    int c = peek(p, 0), n;
    uint32_t value;
    if (c < 0) {
        complain(p, at, "the grammar ends inside a text or a class");
        return 0;
    }
    if (c == '\\') {
        const char *found;
        c = peek(p, 1);
        found = c > 0 ? strchr(escapes, c) : NULL;
        p->at += 2;
        if (found != NULL) {
            return (unsigned char) meant[found - escapes];
        }
        n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        value = 0;
        for (int i = 0; i < n; i++, p->at++) {
            int d = peek(p, 0);
            int digit = d >= '0' && d <= '9'   ? d - '0'
                        : d >= 'a' && d <= 'f' ? d - 'a' + 10
                        : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                               : -1;
            if (digit < 0) {
                complain(p, at, "'\\%c' needs %d hexadecimal digits", c, n);
                return 0;
            }
            value = value * 16 + (uint32_t) digit;
        }
        if (n == 0) {
            complain(p, at, "this escape is unknown");
        }
    } else {
        n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
        value = n == 1 ? (uint32_t) c : (uint32_t) c & (0xffu >> (n + 1));
        for (int i = 1; i < n; i++) {
            int next = peek(p, (size_t) i);
            n = next >= 0x80 && next < 0xc0 ? n : 0;
            value = value << 6 | ((uint32_t) next & 0x3f);
        }
        if (n == 0) {
            complain(p, at, "this is not UTF-8");
        }
        p->at += (size_t) (n > 0 ? n : 1);
    }
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
        complain(p, at, "U+%04X is no character", value);
        return 0;
    }
    return value;
}

static mk_part literal(parser *p) {
    size_t start = p->at++;
    mk_part all = mk_part_empty(p->net);
    while (!failed(p) && peek(p, 0) != '"') {
        uint8_t bytes[4];
        int n;
        if (peek(p, 0) < 0 || peek(p, 0) == '\n') {
            complain(p, start, "this text is never closed; write a line's end as \\n");
            break;
        }
        n = mk_utf8(character(p), bytes);
        for (int i = 0; i < n; i++) {
            all = mk_part_behind(p->net, all, mk_part_byte(p->net, bytes[i]));
        }
    }
    p->at++;
    return all;
}

static mk_part class(parser *p) {
    size_t start = p->at++;
    mk_range *ranges = NULL;
    int32_t n = 0, have = 0;
    bool others = peek(p, 0) == '^';
    mk_part all;
    p->at += others;
    while (!failed(p) && peek(p, 0) != ']') {
        size_t here = p->at;
        mk_range r;
        if (peek(p, 0) < 0 || peek(p, 0) == '\n') {
            complain(p, start, "this '[' is never closed; write ']' inside as \\]");
            break;
        }
        r.low = r.high = character(p);
        if (peek(p, 0) == '-' && peek(p, 1) != ']') {
            p->at++;
            r.high = character(p);
        }
        if (r.high < r.low) {
            complain(p, here, "this range runs backwards");
        }
        if (!mk_room((void **) &ranges, &have, n + 1, sizeof *ranges)) {
            complain(p, here, "there is no memory for the grammar");
            break;
        }
        ranges[n++] = r;
    }
    if (n == 0) {
        complain(p, start, "this class is empty; '.' is any character");
    }
    all = failed(p) ? mk_part_empty(p->net) : mk_part_characters(p->net, ranges, n, others);
    free(ranges);
    p->at++;
    return all;
}

static mk_part alternatives(parser *p, bool nested);

static mk_part group(parser *p) {
    size_t start = p->at++;
    mk_part all;
    if (++p->depth > MAX_DEPTH) {
        complain(p, start, "parentheses are nested more than %d deep; name the inner parts as rules", MAX_DEPTH);
        return mk_part_empty(p->net);
    }
    space(p, true);
    all = alternatives(p, true);
    if (peek(p, 0) != ')') {
        complain(p, peek(p, 0) < 0 ? start : p->at, "this '(' is not closed");
    }
    p->at++;
    p->depth--;
    return all;
}

/* The number in `<[12]>`; -1 when it is not written so. */
static int32_t token_number(const char *text, size_t n) {
    int32_t value = 0;
    if (n < 5 || n > 12 || text[n - 2] != ']') {
        return -1;
    }
    for (size_t i = 2; i < n - 2; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

/* A token of the vocabulary as a whole, by number or by name; with '!' any other. */
static mk_part token(parser *p) {
    size_t start = p->at, from;
    bool others = peek(p, 0) == '!';
    int32_t found;
    p->at += others;
    from = p->at;
    if (peek(p, 0) != '<') {
        complain(p, start, "'!' stands before a token, as in !<[12]>");
        return mk_part_empty(p->net);
    }
    while (peek(p, 0) != '>' && peek(p, 0) != '\n' && peek(p, 0) >= 0) {
        p->at++;
    }
    if (peek(p, 0) != '>') {
        complain(p, start, "this token is never closed with '>'");
        return mk_part_empty(p->net);
    }
    p->at++;
    if (p->names == NULL) {
        complain(p, start, "a token is named here, and there is no vocabulary to look it up in");
        return mk_part_empty(p->net);
    }
    if (p->text[from + 1] == '[') {
        found = token_number(p->text + from, p->at - from);
        if (found < 0 || found >= p->names->n_tokens) {
            complain(p, start, "a token is written <[12]>, and this vocabulary has the numbers 0 to %d",
                     (int) p->names->n_tokens - 1);
        }
    } else {
        found = p->names->find(p->names->context, p->text + from, p->at - from);
        if (found < 0) {
            complain(p, start, "this is no single token of the vocabulary: write it in quotes");
        }
    }
    return mk_part_token(p->net, found, others);
}

/* Something that can be repeated: a text, a class, a name, a group, any character, a token. */
static mk_part single(parser *p) {
    int c = peek(p, 0);
    if (++p->steps > MAX_STEPS) {
        complain(p, p->at, "the grammar is too large here: make its repeats smaller");
        return mk_part_empty(p->net);
    }
    if (c == '"') {
        return literal(p);
    }
    if (c == '[') {
        return class(p);
    }
    if (c == '(') {
        return group(p);
    }
    if (c == '.') {
        p->at++;
        return mk_part_characters(p->net, &(mk_range){0, 0x10ffff}, 1, false);
    }
    if (in_name(c)) {
        size_t start = p->at;
        while (in_name(peek(p, 0))) {
            p->at++;
        }
        return mk_part_call(p->net, mk_network_rule(p->net, p->text + start, p->at - start, start));
    }
    return token(p);
}

static int32_t number(parser *p) {
    int32_t value = 0;
    if (peek(p, 0) < '0' || peek(p, 0) > '9') {
        complain(p, p->at, "a number is missing here");
    }
    while (peek(p, 0) >= '0' && peek(p, 0) <= '9') {
        value = value > MAX_REPEAT ? value : value * 10 + (peek(p, 0) - '0');
        p->at++;
    }
    if (value > MAX_REPEAT) {
        complain(p, p->at, "a part is repeated at most %d times", MAX_REPEAT);
    }
    return value;
}

/* {2}, {2,}, {2,5}, *, + or ? */
static count how_often(parser *p) {
    int c = peek(p, 0);
    size_t at = p->at++;
    count found = {c == '+', c == '?' ? 1 : -1};
    if (c != '{') {
        return found;
    }
    space(p, true);
    found.least = found.most = number(p);
    space(p, true);
    if (peek(p, 0) == ',') {
        p->at++;
        space(p, true);
        found.most = peek(p, 0) >= '0' && peek(p, 0) <= '9' ? number(p) : -1;
        space(p, true);
    }
    if (peek(p, 0) != '}') {
        complain(p, p->at, "'}' is missing here: a repeat is written {3}, {1,3} or {1,}");
    }
    p->at++;
    if (found.most >= 0 && found.most < found.least) {
        complain(p, at, "this repeat asks for at least more than at most");
    }
    return found;
}

static mk_part repeated(parser *p, size_t start, const count *counts, int n);

/* The single that is written at `start`, repeated n times over, once more: as nodes of its own. */
static mk_part again(parser *p, size_t start, const count *counts, int n) {
    size_t back = p->at;
    mk_part one;
    if (failed(p)) {
        return mk_part_empty(p->net);
    }
    if (n > 0) {
        return repeated(p, start, counts, n);
    }
    p->at = start;
    one = single(p);
    p->at = back;
    return one;
}

/* The last of n repeats, of what the others before it make. */
static mk_part repeated(parser *p, size_t start, const count *counts, int n) {
    count last = counts[--n];
    mk_part all = mk_part_empty(p->net), out;
    for (int32_t i = 0; i < last.least && !failed(p); i++) {
        all = mk_part_behind(p->net, all, again(p, start, counts, n));
    }
    if (last.most < 0) {
        return mk_part_behind(p->net, all, mk_part_loop(p->net, again(p, start, counts, n)));
    }
    out = mk_part_empty(p->net);
    for (int32_t i = last.least; i < last.most && !failed(p); i++) {
        all = mk_part_behind(p->net, all, mk_part_maybe(p->net, again(p, start, counts, n), out));
    }
    return mk_part_behind(p->net, all, out);
}

static bool repeats(int c) {
    return c == '*' || c == '+' || c == '?' || c == '{';
}

static mk_part sequence(parser *p, bool nested) {
    mk_part all = mk_part_empty(p->net);
    while (!failed(p)) {
        int c = peek(p, 0), n = 0;
        size_t start = p->at;
        count counts[MAX_CHAIN];
        mk_part one;
        if (c != '"' && c != '[' && c != '(' && c != '.' && c != '<' && c != '!' && !in_name(c)) {
            if (repeats(c)) {
                complain(p, start, "'%c' has nothing before it to repeat", c);
            }
            break;
        }
        one = single(p);
        space(p, nested);
        while (!failed(p) && repeats(peek(p, 0))) {
            if (n == MAX_CHAIN) {
                complain(p, p->at, "a repeat of a repeat goes %d deep; name the inner part as a rule", MAX_CHAIN);
                break;
            }
            counts[n++] = how_often(p);
            space(p, nested);
        }
        if (n > 0 && !failed(p)) {
            one = repeated(p, start, counts, n);
        }
        all = mk_part_behind(p->net, all, one);
    }
    return all;
}

static mk_part alternatives(parser *p, bool nested) {
    mk_part all = sequence(p, nested);
    while (!failed(p) && peek(p, 0) == '|') {
        p->at++;
        space(p, true);
        if (++p->steps > MAX_STEPS) {
            complain(p, p->at, "the grammar is too large here: make its repeats smaller");
        }
        all = mk_part_either(p->net, all, sequence(p, nested));
    }
    return all;
}

static void read_rule(parser *p) {
    size_t start = p->at;
    int32_t r;
    mk_part all;
    int c;
    p->rule = NULL;
    p->rule_length = 0;
    while (in_name(peek(p, 0))) {
        p->at++;
    }
    if (p->at == start) {
        complain(p, start, "a rule's name is expected here (letters, digits and '-')");
        return;
    }
    r = mk_network_rule(p->net, p->text + start, p->at - start, start);
    p->rule = p->text + start;
    p->rule_length = p->at - start;
    space(p, false);
    if (peek(p, 0) != ':' || peek(p, 1) != ':' || peek(p, 2) != '=') {
        complain(p, p->at, "'::=' is missing here");
        return;
    }
    if (!failed(p) && p->net->rules[r].start >= 0) {
        complain(p, start, "this rule is defined twice");
        return;
    }
    p->at += 3;
    space(p, true);
    all = alternatives(p, false);
    c = peek(p, 0);
    if (c >= 0 && c != '\n' && c != '\r') {
        complain(p, p->at, c == ')' ? "this ')' closes nothing" : "this means nothing here; texts stand in quotes");
    }
    if (!failed(p)) {
        mk_network_define(p->net, r, all);
    }
    space(p, true);
}

int32_t mk_gbnf_read(mk_network *net, const char *gbnf, size_t size, const char *root, const mk_token_names *names,
                     char *error, size_t error_size) {
    parser p = {.net = net, .names = names, .text = gbnf, .size = size, .error = error, .error_size = error_size};
    int32_t n_rules, first;
    space(&p, true);
    while (!failed(&p) && p.at < p.size) {
        read_rule(&p);
    }
    p.rule = NULL;
    p.rule_length = 0;
    for (int32_t i = 0; i < net->n_rules && !failed(&p); i++) {
        if (net->rules[i].start < 0) {
            complain(&p, net->rules[i].used_at, "the rule '%.60s' is not defined", net->rules[i].name);
        }
    }
    if (failed(&p)) {
        return -1;
    }
    n_rules = net->n_rules;
    first = mk_network_rule(net, root, strlen(root), 0);
    if (!failed(&p) && first == n_rules) {
        complain(&p, 0, "there is no rule '%.60s' to start from", root);
    }
    if (failed(&p)) {
        return -1;
    }
    mk_network_link(net);
    return first;
}
