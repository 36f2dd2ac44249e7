/* From token pieces to text that may be shown: whole UTF-8 characters, stop strings held back.
 *
 * Pieces are bytes: a token may end in the middle of a character, and a stop string may be spread
 * over several tokens. mk_text keeps the undecided tail. Used by the worker alone; no allocation
 * once the buffer has its size (a vocabulary's longest piece).
 */
#ifndef MK_TEXT_H
#define MK_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MK_MAX_STOPS = 16, MK_MAX_STOP_BYTES = 256 };

typedef struct mk_stop {
    const char *text;
    int32_t length;
} mk_stop;

typedef struct mk_text {
    char *bytes;      /* owned: undecided bytes, then room for the next piece */
    size_t used, capacity;
    const mk_stop *stops; /* borrowed from the request */
    int32_t n_stops;
    bool trim_start;  /* drop white space until the first other character */
} mk_text;

void mk_text_reset(mk_text *t, const mk_stop *stops, int32_t n_stops, bool trim_start);

/* Makes room for `more` bytes behind the undecided ones; NULL when memory is out. The caller writes
 * a piece there and adds its length to `used`. */
char *mk_text_room(mk_text *t, size_t more);

/* How many leading bytes of the buffer may be shown now. Broken UTF-8 has been replaced by U+FFFD.
 * Sets *stopped when a stop string was met: the bytes before it are then final and the rest is void. */
size_t mk_text_ready(mk_text *t, bool *stopped);

/* At the end of a reply: everything that is left and whole (an unfinished character is dropped). */
size_t mk_text_flush(mk_text *t);

void mk_text_consume(mk_text *t, size_t n);

/* Copies what is well-formed of a foreign text (a log line, bytes of a damaged file) and '?' for the
 * rest, at most `room` bytes; returns how many. Readers of msgpack refuse strings that are not UTF-8. */
size_t mk_text_clean(char *out, size_t room, const char *text, size_t size);

#endif
