/* The event ring: one producer (the worker), one consumer (whoever ticks), no lock, no allocation.
 *
 * The ring holds msgpack records one after another. `head` counts bytes ever written, `tail` bytes
 * ever read; both only grow. A record is published whole: the producer writes its bytes, then moves
 * `head` with release order, so a consumer that has seen `head` sees every byte before it. The
 * producer checks mk_ring_free() first and waits when the consumer does not keep up; a write here
 * never waits and never overwrites.
 */
#ifndef MK_RING_H
#define MK_RING_H

#include "platform.h"

#include <string.h>

typedef struct mk_ring {
    uint8_t *bytes;
    uint32_t capacity; /* a power of two */
    uint64_t cursor;   /* the producer's own: end of the record being written */
    _Atomic uint64_t *head, *tail;
} mk_ring;

static inline uint32_t mk_ring_free(const mk_ring *r) {
    return r->capacity - (uint32_t) (r->cursor - atomic_load_explicit(r->tail, memory_order_acquire));
}

static inline void mk_ring_put(mk_ring *r, const void *data, uint32_t size) {
    uint32_t at = (uint32_t) r->cursor & (r->capacity - 1);
    uint32_t first = r->capacity - at < size ? r->capacity - at : size;
    memcpy(r->bytes + at, data, first);
    memcpy(r->bytes, (const uint8_t *) data + first, size - first);
    r->cursor += size;
}

static inline void mk_ring_publish(mk_ring *r) {
    atomic_store_explicit(r->head, r->cursor, memory_order_release);
}

/* Consumer: copies at most `size` bytes out and frees their room; returns how many. */
static inline uint32_t mk_ring_take(mk_ring *r, void *data, uint32_t size) {
    uint64_t tail = atomic_load_explicit(r->tail, memory_order_relaxed);
    uint64_t ready = atomic_load_explicit(r->head, memory_order_acquire) - tail;
    uint32_t n = ready < size ? (uint32_t) ready : size;
    uint32_t at = (uint32_t) tail & (r->capacity - 1);
    uint32_t first = r->capacity - at < n ? r->capacity - at : n;
    memcpy(data, r->bytes + at, first);
    memcpy((uint8_t *) data + first, r->bytes, n - first);
    atomic_store_explicit(r->tail, tail + n, memory_order_release);
    return n;
}

/* ---- msgpack, only what events need (the format's own specification names the bytes) ---- */

static inline void mk_put_head(mk_ring *r, uint8_t tag, uint64_t value, int width) {
    uint8_t b[9] = {tag};
    for (int i = 0; i < width; i++) {
        b[1 + i] = (uint8_t) (value >> (8 * (width - 1 - i)));
    }
    mk_ring_put(r, b, (uint32_t) width + 1);
}

static inline void mk_put_array(mk_ring *r, uint32_t n) { /* n < 16 */
    mk_put_head(r, (uint8_t) (0x90 | n), 0, 0);
}

static inline void mk_put_uint(mk_ring *r, uint64_t v) {
    if (v < 0x80) {
        mk_put_head(r, (uint8_t) v, 0, 0);
    } else if (v <= 0xff) {
        mk_put_head(r, 0xcc, v, 1);
    } else if (v <= 0xffff) {
        mk_put_head(r, 0xcd, v, 2);
    } else if (v <= 0xffffffffu) {
        mk_put_head(r, 0xce, v, 4);
    } else {
        mk_put_head(r, 0xcf, v, 8);
    }
}

static inline void mk_put_double(mk_ring *r, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    mk_put_head(r, 0xcb, bits, 8);
}

static inline void mk_put_string(mk_ring *r, const char *text, uint32_t size) {
    if (size < 32) {
        mk_put_head(r, (uint8_t) (0xa0 | size), 0, 0);
    } else if (size <= 0xff) {
        mk_put_head(r, 0xd9, size, 1);
    } else if (size <= 0xffff) {
        mk_put_head(r, 0xda, size, 2);
    } else {
        mk_put_head(r, 0xdb, size, 4);
    }
    mk_ring_put(r, text, size);
}

#endif
