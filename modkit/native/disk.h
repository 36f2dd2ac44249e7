/* States of sequences on disk: one file each, written and read by a thread of its own, which yields to
 * everything else, so that no speaker waits for a disk.
 *
 * The worker gives orders and takes answers; both queues have one producer and one consumer. An order's
 * saved state (its tokens, name and size, which never change) and bytes stay alive until its answer was taken.
 *
 * A file is a header (see disk.c), the tokens and llama.cpp's bytes, tagged with a secret key of this user:
 * llama.cpp trusts what it reads back, so nothing that this user's modkit did not write is ever given to it.
 */
#ifndef MK_DISK_H
#define MK_DISK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* llama.cpp's bytes of one state. Shared by the store and a write under way: the last to let go frees it. */
typedef struct mk_bytes {
    _Atomic int32_t owners;
    size_t size, room; /* of the state; of `data` */
    uint8_t data[];
} mk_bytes;
mk_bytes *mk_bytes_new(size_t room); /* owned once, its size as if full; NULL when memory is out */
void mk_bytes_drop(mk_bytes *bytes); /* NULL is fine */
bool mk_bytes_let_go(mk_bytes *bytes); /* true to the last owner: nobody has it now, and it is not freed */

struct mk_saved;
typedef struct mk_disk mk_disk;

enum { MK_DISK_WRITE = 1, MK_DISK_READ, MK_DISK_REMOVE };

typedef struct mk_order {
    int kind;
    struct mk_saved *saved;
    mk_bytes *bytes; /* to write; or what was read, NULL when it cannot be trusted */
    uint8_t name[16];
    char error[200]; /* of the answer; empty when it went well */
} mk_order;

/* What the disk needs to know of the engine; the strings must live as long as the disk. */
typedef struct mk_disk_config {
    const char *folder, *model_path, *salt;
    const uint8_t *key;
    uint64_t most_bytes;  /* of one state */
    int32_t most_tokens;
    void (*wake)(void *data); /* there is an answer; any thread */
    void *data;
} mk_disk_config;

/* NULL when memory or threads are out. */
mk_disk *mk_disk_open(const mk_disk_config *config);
/* Calls `found` for every good file of this model in the folder, and `bad` with a sentence for each that
 * cannot be trusted. `tokens` is the callee's to free. Before the first order. */
void mk_disk_index(mk_disk *d, void (*found)(void *data, int32_t *tokens, int32_t n, uint64_t size, bool persona),
                   void (*bad)(void *data, const char *sentence), void *data);
void mk_disk_name(const mk_disk *d, const int32_t *tokens, int32_t n, uint8_t out[16]);
/* False when too much is under way already; then nothing was taken over. */
bool mk_disk_order(mk_disk *d, const mk_order *order);
bool mk_disk_answer(mk_disk *d, mk_order *out);
bool mk_disk_has_answer(const mk_disk *d);
/* Finishes the writes of personas, leaves the rest; every order has its answer then, and no more are taken. */
void mk_disk_stop(mk_disk *d);
void mk_disk_free(mk_disk *d); /* once stopped and without answers */

#endif
