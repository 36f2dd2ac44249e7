#include "text.h"

#include <stdlib.h>
#include <string.h>

void mk_text_reset(mk_text *t, const mk_stop *stops, int32_t n_stops, bool trim_start) {
    t->used = 0;
    t->stops = stops;
    t->n_stops = n_stops;
    t->trim_start = trim_start;
}

char *mk_text_room(mk_text *t, size_t more) {
    if (t->capacity - t->used < more) {
        size_t capacity = (t->used + more) * 2;
        char *grown = realloc(t->bytes, capacity);
        if (grown == NULL) {
            return NULL;
        }
        t->bytes = grown;
        t->capacity = capacity;
    }
    return t->bytes + t->used;
}

/* Length of the well-formed character at s (RFC 3629 table: no overlong forms, no surrogates),
 * 0 when the n bytes are a good beginning of one, -k when the first k bytes can never be one. */
static int utf8_length(const unsigned char *s, size_t n) {
    unsigned char low = 0x80, high = 0xbf;
    int length;
    if (s[0] < 0x80) {
        return 1;
    }
    if (s[0] < 0xc2 || s[0] > 0xf4) {
        return -1;
    }
    length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] == 0xe0) {
        low = 0xa0;
    } else if (s[0] == 0xed) {
        high = 0x9f;
    } else if (s[0] == 0xf0) {
        low = 0x90;
    } else if (s[0] == 0xf4) {
        high = 0x8f;
    }
    for (int i = 1; i < length; i++) {
        if ((size_t) i >= n) {
            return 0;
        }
        if (s[i] < low || s[i] > high) {
            return -i;
        }
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

/* Replaces bytes that can never become a character; returns the length of the whole characters. */
static size_t whole_characters(mk_text *t) {
    size_t at = 0;
    while (at < t->used) {
        int n = utf8_length((const unsigned char *) t->bytes + at, t->used - at);
        if (n == 0) {
            break;
        }
        if (n < 0) {
            size_t bad = (size_t) -n;
            if (bad < 3 && mk_text_room(t, 3 - bad) == NULL) {
                break;
            }
            memmove(t->bytes + at + 3, t->bytes + at + bad, t->used - at - bad);
            memcpy(t->bytes + at, "\xef\xbf\xbd", 3);
            t->used = t->used - bad + 3;
            n = 3;
        }
        at += (size_t) n;
    }
    return at;
}

static void trim(mk_text *t) {
    size_t n = 0;
    if (!t->trim_start) {
        return;
    }
    while (n < t->used && (t->bytes[n] == ' ' || (t->bytes[n] >= '\t' && t->bytes[n] <= '\r'))) {
        n++;
    }
    if (n < t->used) {
        t->trim_start = false;
    }
    mk_text_consume(t, n);
}

size_t mk_text_ready(mk_text *t, bool *stopped) {
    size_t whole, hold = 0, first = SIZE_MAX;
    *stopped = false;
    trim(t);
    whole = whole_characters(t);
    for (int32_t i = 0; i < t->n_stops; i++) {
        size_t length = (size_t) t->stops[i].length;
        for (size_t at = 0; at < t->used && at < first; at++) {
            size_t rest = t->used - at;
            if (memcmp(t->bytes + at, t->stops[i].text, rest < length ? rest : length) != 0) {
                continue;
            }
            if (rest >= length) {
                first = at;
            } else if (rest > hold) {
                hold = rest; /* a stop string may have begun here */
            }
            break;
        }
    }
    if (first != SIZE_MAX) {
        /* A longer stop string may have begun before this one, but this one is complete: it wins. */
        *stopped = true;
        return first < whole ? first : whole;
    }
    return t->used - hold < whole ? t->used - hold : whole;
}

size_t mk_text_flush(mk_text *t) {
    trim(t);
    return whole_characters(t);
}

void mk_text_consume(mk_text *t, size_t n) {
    memmove(t->bytes, t->bytes + n, t->used - n);
    t->used -= n;
}

size_t mk_text_clean(char *out, size_t room, const char *text, size_t size) {
    size_t used = 0;
    for (size_t at = 0; at < size;) {
        int n = utf8_length((const unsigned char *) text + at, size - at);
        size_t length = n > 0 ? (size_t) n : 1;
        if (used + length > room) {
            break;
        }
        memcpy(out + used, n > 0 ? text + at : "?", length);
        used += length;
        at += length;
    }
    return used;
}
