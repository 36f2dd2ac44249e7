/* However a header is damaged, the reader answers 0, or -1 with a reason. */
#define _GNU_SOURCE /* memfd_create */
#include "gguf.h"
#include "harness.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint8_t good[2000];
static size_t size;

/* Reads these bytes as a file; 0 or -1. The file lives in memory where the system has such files: a
 * disk takes a millisecond for each of 20,000. */
static int read_bytes(const uint8_t *bytes, size_t n, mk_gguf *out) {
    static char path[700];
    static int file = -1;
    int result;
    if (path[0] == '\0') {
        snprintf(path, sizeof path, "%s", scratch_file("mutant.gguf"));
#if defined(__linux__)
        file = memfd_create("mutant", 0);
        CHECK(file >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
#endif
    }
    if (file >= 0) {
        CHECK(ftruncate(file, (off_t) n) == 0 && pwrite(file, bytes, n, 0) == (ssize_t) n);
    } else {
        write_file(path, bytes, n);
    }
    memset(out, 0xa5, sizeof *out);
    result = mk_gguf_read(path, out);
    CHECK(result == 0 || result == -1);
    CHECK(memchr(out->error, '\0', sizeof out->error) != NULL);
    CHECK((result == 0) == (out->error[0] == '\0'));
    CHECK(memchr(out->architecture, '\0', sizeof out->architecture) != NULL);
    return result;
}

static void a_good_header_is_read(void) {
    mk_gguf g;
    CHECK(read_bytes(good, size, &g) == 0);
    CHECK(g.version == 3 && g.n_tensors == 2 && g.n_values == 13 && g.file_bytes == size && g.alignment == 32);
    CHECK(g.n_layer == 4 && g.n_vocab == 4 && g.n_embd == 64 && g.n_head == 4 && g.n_head_kv == 2);
    CHECK(g.context_length == 2048 && strcmp(g.architecture, "llama") == 0);
}

static void a_file_cut_anywhere_is_refused(void) {
    mk_gguf g;
    for (size_t n = 0; n + 40 < size; n++) { /* the last 40 bytes are data, of which 32 are needed */
        CHECK(read_bytes(good, n, &g) == -1);
    }
    CHECK(read_bytes(good, size - 9, &g) == -1);
}

static void a_mutated_header_is_read_or_refused(void) {
    uint64_t seed = 1;
    int refused = 0;
    mk_gguf g;
    for (int i = 0; i < 20000; i++) {
        static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff};
        uint8_t bytes[sizeof good];
        size_t n = size;
        memcpy(bytes, good, size);
        for (uint32_t k = random_below(&seed, 4) + 1; k > 0; k--) {
            size_t at = random_below(&seed, (uint32_t) n), run = 1 + random_below(&seed, 8);
            for (size_t j = at; j < n && j < at + run; j++) {
                bytes[j] = random_below(&seed, 2) ? telling[random_below(&seed, 5)] : (uint8_t) random_below(&seed, 256);
            }
        }
        if (random_below(&seed, 8) == 0) { /* a piece is missing, so everything behind it means something else */
            size_t at = random_below(&seed, (uint32_t) n), gone = 1 + random_below(&seed, 16);
            gone = gone > n - at ? n - at : gone;
            memmove(bytes + at, bytes + at + gone, n - at - gone);
            n -= gone;
        }
        refused += read_bytes(bytes, n, &g) != 0;
    }
    CHECK(refused > 10000 && refused < 20000);
}

/* The fields that llama.cpp trusts, each set to a value that it does not survive. */
static void values_that_cannot_be_are_named(void) {
    static const struct {
        const char *key;
        uint32_t value;
        const char *reason;
    } all[] = {
        {"llama.block_count", 0, "block_count is 0"},
        {"llama.attention.head_count", 0, "head_count is 0"},
        {"llama.attention.head_count_kv", 3, "cannot share"},
        {"llama.attention.head_count", 5, "cannot share"},
        {"llama.embedding_length", 62, "does not divide"},
        {"llama.embedding_length", 0xffffffff, "embedding_length"},
        {"llama.rope.dimension_count", 17, "rotary"},
        {"tokenizer.ggml.bos_token_id", 4, "special token 4"},
        {"general.alignment", 3, "alignment"},
        {"general.alignment", 0, "alignment"},
    };
    mk_gguf g;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        uint8_t bytes[sizeof good];
        size_t n = strlen(all[i].key), at = 0;
        memcpy(bytes, good, size);
        while (memcmp(bytes + at, all[i].key, n) != 0 || bytes[at - 8] != n) {
            CHECK(++at + n < size);
        }
        for (int k = 0; k < 4; k++) {
            bytes[at + n + 4 + (size_t) k] = (uint8_t) (all[i].value >> (8 * k));
        }
        CHECK(read_bytes(bytes, size, &g) == -1 && strstr(g.error, all[i].reason) != NULL);
    }
}

static void what_is_no_file_is_refused(void) {
    mk_gguf g;
    char path[700];
    CHECK(mk_gguf_read(scratch_file("nothing-here"), &g) == -1 && strstr(g.error, "no such file") != NULL);
    CHECK(mk_gguf_read(scratch_file("."), &g) == -1 && strstr(g.error, "folder") != NULL);
    CHECK(mk_gguf_read("/dev/zero", &g) == -1 && strstr(g.error, "regular") != NULL);
    CHECK(read_bytes(good, 0, &g) == -1 && strstr(g.error, "empty") != NULL);
    snprintf(path, sizeof path, "%s", scratch_file("plain.txt"));
    write_file(path, "a few words", 11);
    CHECK(mk_gguf_read(path, &g) == -1 && strstr(g.error, "not a GGUF") != NULL);
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    size = gguf_build(good);
    RUN(a_good_header_is_read);
    RUN(a_file_cut_anywhere_is_refused);
    RUN(a_mutated_header_is_read_or_refused);
    RUN(values_that_cannot_be_are_named);
    RUN(what_is_no_file_is_refused);
    return 0;
}
