/* text.c against a reference that is slow and plain: it looks at the whole reply each time. */
#include "harness.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM = 4096 };

typedef struct bytes {
    unsigned char at[ROOM];
    size_t n;
} bytes;

/* ---- the reference ---- */

/* Could these bytes go on to become one character? Tries all that could follow, in steps that meet every rule. */
static bool begins_a_character(const unsigned char *s, size_t n) {
    static const unsigned char next[] = {0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf};
    unsigned char whole[4];
    for (size_t length = n + 1; length <= 4; length++) {
        size_t tries = 1;
        for (size_t i = n; i < length; i++) {
            tries *= sizeof next;
        }
        for (size_t k = 0; k < tries; k++) {
            size_t code = k;
            memcpy(whole, s, n);
            for (size_t i = n; i < length; i++, code /= sizeof next) {
                whole[i] = next[code % sizeof next];
            }
            if (whole[0] >= 0xc0 && is_utf8((const char *) whole, length)) {
                return true;
            }
        }
    }
    return false;
}

/* The reply's characters, U+FFFD for each longest run that could have begun one; an unfinished one at
 * the end is left as it is, behind *whole. */
static void decode(const bytes *in, bytes *out, size_t *whole) {
    size_t at = 0;
    out->n = 0;
    while (at < in->n) {
        size_t length = 0, left = in->n - at, run = 1;
        for (size_t k = 1; k <= 4 && k <= left && length == 0; k++) {
            length = is_utf8((const char *) in->at + at, k) ? k : 0;
        }
        while (length == 0 && run < left && begins_a_character(in->at + at, run + 1)) {
            run++;
        }
        if (length == 0 && run == left && begins_a_character(in->at + at, run)) {
            *whole = out->n;
            memcpy(out->at + out->n, in->at + at, left);
            out->n += left;
            return;
        }
        memcpy(out->at + out->n, length > 0 ? (const void *) (in->at + at) : "\xef\xbf\xbd", length > 0 ? length : 3);
        out->n += length > 0 ? length : 3;
        at += length > 0 ? length : run;
    }
    *whole = out->n;
}

/* What may have been shown of a reply so far; *stopped when a stop string is in it. */
static size_t shown(const bytes *reply, const mk_stop *stops, int n_stops, bool trim, bytes *text, bool *stopped) {
    static bytes in;
    size_t whole, limit;
    in.n = 0;
    for (size_t i = 0; i < reply->n; i++) {
        if (!trim || strchr(" \t\n\v\f\r", reply->at[i]) == NULL || reply->at[i] == '\0') {
            trim = false;
            in.at[in.n++] = reply->at[i];
        }
    }
    decode(&in, text, &whole);
    limit = whole;
    *stopped = false;
    for (size_t at = 0; at < text->n && !*stopped; at++) {
        for (int i = 0; i < n_stops; i++) {
            size_t length = (size_t) stops[i].length;
            if (at + length <= text->n && memcmp(text->at + at, stops[i].text, length) == 0) {
                *stopped = true;
                limit = at < whole ? at : whole;
            }
        }
    }
    for (size_t at = 0; at < limit && !*stopped; at++) {
        for (int i = 0; i < n_stops; i++) {
            if (text->n - at < (size_t) stops[i].length && memcmp(text->at + at, stops[i].text, text->n - at) == 0) {
                limit = at;
            }
        }
    }
    return limit;
}

/* ---- one reply, token by token ---- */

static int random_piece(uint64_t *seed, unsigned char *out) {
    static const char *const pieces[] = {"a", "b", "ab", " ", "\n", "\xc3\xa9", "\xe2\x82", "\xac", "\xf0\x9f", "\x8e\x8f", "\xff",
                                         "\xed\xa0", "\xe0\x80", "\xf4\x90", "aab\xc3", "\xa9" "b", "\n\n", "", "\xf0\x9f\x8e\x8f"};
    const char *piece = pieces[random_below(seed, sizeof pieces / sizeof *pieces)];
    if (random_below(seed, 6) == 0) {
        out[0] = (unsigned char) random_below(seed, 256);
        return 1;
    }
    memcpy(out, piece, strlen(piece));
    return (int) strlen(piece);
}

static void one_reply(uint64_t *seed, mk_text *t) {
    static const char *const words[] = {"a", "ab", "aab", "bab", "\n", "\n\n", "\xc3\xa9", "\xc3\xa9" "a", "abab\xf0\x9f\x8e\x8f", " b", "\xef\xbf\xbd" "b"};
    static bytes reply, text, said;
    mk_stop stops[3];
    int n_stops = (int) random_below(seed, 4);
    bool trim = random_below(seed, 3) == 0, stopped = false, should_stop = false;
    size_t limit = 0;
    for (int i = 0; i < n_stops; i++) { /* rare enough that replies go on for a while */
        const char *word = words[random_below(seed, sizeof words / sizeof *words)];
        stops[i] = (mk_stop){word, (int32_t) strlen(word)};
    }
    mk_text_reset(t, stops, n_stops, trim);
    reply.n = said.n = 0;
    for (uint32_t k = random_below(seed, 40); k > 0 && !stopped; k--) {
        unsigned char piece[8];
        int length = random_piece(seed, piece);
        size_t n;
        char *room = mk_text_room(t, 8);
        CHECK(room != NULL);
        memcpy(room, piece, (size_t) length);
        t->used += (size_t) length;
        memcpy(reply.at + reply.n, piece, (size_t) length);
        reply.n += (size_t) length;
        n = mk_text_ready(t, &stopped);
        memcpy(said.at + said.n, t->bytes, n);
        said.n += n;
        CHECK(is_utf8(t->bytes, n));
        mk_text_consume(t, stopped ? t->used : n);
        limit = shown(&reply, stops, n_stops, trim, &text, &should_stop);
        CHECK(stopped == should_stop);
        CHECK(said.n == limit && memcmp(said.at, text.at, limit) == 0);
    }
    if (!stopped) { /* the end: everything whole is said */
        size_t n = mk_text_flush(t), whole;
        memcpy(said.at + said.n, t->bytes, n);
        said.n += n;
        shown(&reply, NULL, 0, trim, &text, &should_stop);
        for (whole = text.n; whole > 0 && !is_utf8((const char *) text.at, whole); whole--) {
        }
        CHECK(said.n == whole && memcmp(said.at, text.at, whole) == 0);
    }
}

static void text_is_what_the_plain_reference_says(void) {
    uint64_t seed = 99;
    mk_text t = {0};
    for (int i = 0; i < 10000; i++) {
        one_reply(&seed, &t);
    }
    CHECK(t.capacity < 4096); /* it was not the buffer that grew with the replies */
    free(t.bytes);
}

static void foreign_text_is_made_valid(void) {
    static const char good[] = "a \xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\x8f";
    uint64_t seed = 5;
    char out[64];
    CHECK(mk_text_clean(out, sizeof out, good, strlen(good)) == strlen(good) && memcmp(out, good, strlen(good)) == 0);
    CHECK(mk_text_clean(out, sizeof out, "a\xff" "b\xe2\x82", 5) == 5 && memcmp(out, "a?b??", 5) == 0);
    CHECK(mk_text_clean(out, 3, "ab\xe2\x82\xac", 5) == 2); /* never half a character */
    for (int i = 0; i < 20000; i++) {
        char noise[40];
        size_t n = random_below(&seed, 41), got, room = random_below(&seed, 41);
        for (size_t k = 0; k < n; k++) {
            noise[k] = (char) (random_below(&seed, 2) ? random_below(&seed, 256) : 0xe0 + random_below(&seed, 21));
        }
        got = mk_text_clean(out, room, noise, n);
        CHECK(got <= room && is_utf8(out, got));
    }
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(text_is_what_the_plain_reference_says);
    RUN(foreign_text_is_made_valid);
    return 0;
}
