/* Blocks: results too large for the ring. Made by the host, filled by the worker, let go by both; whoever is last frees
 * it. The host may look inside once the record that ends its request was read. */
#include "engine.h"

#include <stdlib.h>

mk_block *mk_block_new(void) {
    mk_block *b = calloc(1, sizeof *b);
    if (b != NULL) {
        atomic_store(&b->holders, 1);
    }
    return b;
}

void mk_block_hold(mk_block *b) {
    if (b != NULL) {
        atomic_fetch_add(&b->holders, 1);
    }
}

void mk_block_release(mk_block *b) {
    if (b != NULL && atomic_fetch_sub(&b->holders, 1) == 1) {
        free(b->data);
        free(b->rows_of);
        free(b);
    }
}

float *mk_block_data(mk_block *b) {
    return b->data;
}

int64_t mk_block_rows(const mk_block *b) {
    return b->rows;
}

int32_t mk_block_columns(const mk_block *b) {
    return b->columns;
}

int32_t mk_block_trimmed(const mk_block *b) {
    return b->trimmed;
}

const int32_t *mk_block_rows_of(const mk_block *b) {
    return b->rows_of;
}

bool mk_block_room(mk_block *b, int64_t rows) {
    if (rows > b->room) {
        int64_t room = rows > 2 * b->room ? rows : 2 * b->room;
        float *data = realloc(b->data, (size_t) room * (size_t) b->columns * sizeof *data);
        if (data == NULL) {
            return false;
        }
        b->data = data;
        b->room = room;
    }
    return true;
}
