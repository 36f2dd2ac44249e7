/* Files as every system has them: paths are UTF-8, a rename takes the place of what is there. Any thread. */
#ifndef MK_FILES_H
#define MK_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* NULL when it cannot be opened or is not a regular file. mode: "rb" or "wb" (a new file is the user's alone). */
FILE *mk_file_open(const char *path, const char *mode);
uint64_t mk_file_size(FILE *file); /* 0 when it cannot be told; leaves the place at the start */
bool mk_file_seek(FILE *file, uint64_t at);
bool mk_file_rename(const char *from, const char *to);
void mk_file_remove(const char *path);
/* Calls `each` with the name of every entry of the folder, in no order, until it returns false. */
void mk_file_list(const char *folder, bool (*each)(void *data, const char *name), void *data);
/* The calling thread yields to everything else. */
void mk_low_priority(void);

/* SipHash-2-4 with 128 bits: with a secret key, nobody else can make bytes that have a given tag. */
typedef struct mk_tag {
    uint64_t v[4], length;
    uint8_t rest[8];
} mk_tag;
void mk_tag_begin(mk_tag *t, const uint8_t key[16]);
void mk_tag_add(mk_tag *t, const void *bytes, size_t n);
void mk_tag_end(mk_tag *t, uint8_t out[16]);

#endif
