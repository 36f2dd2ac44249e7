/* A look at a GGUF header before llama.cpp sees the file.
 *
 * llama.cpp refuses many damaged files by itself, but some make it fail an assertion, divide by
 * zero or read past an array. This reader walks the header with every length checked against the
 * file, and checks the few values that llama.cpp trusts. It allocates nothing that the file asks
 * for. Called by the worker, before loading. Format: ggml/docs/gguf.md of llama.cpp, versions 2, 3.
 */
#ifndef MK_GGUF_H
#define MK_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mk_gguf {
    uint64_t file_bytes, n_tensors, n_values;
    uint32_t version, alignment;
    uint64_t n_layer, n_vocab, n_embd, n_head, n_head_kv, key_length, context_length;
    uint64_t split_no, split_count; /* 0 of 0 where the model is one file */
    char architecture[64];
    char error[256]; /* empty when the header is good; a reason otherwise, without the path */
} mk_gguf;

/* 0 when the header is good, -1 otherwise (the reason is in `out->error`). `path` is UTF-8. */
int mk_gguf_read(const char *path, mk_gguf *out);
/* The same for a LoRA adapter, with what llama.cpp takes for granted in one. */
int mk_gguf_read_adapter(const char *path, mk_gguf *out);

enum { MK_MAX_LAYERS = 4096 };

/* How many bytes of the file belong to what, padding included. */
typedef struct mk_weights {
    uint64_t block[MK_MAX_LAYERS];   /* "blk.N." but for the experts of a mixture */
    uint64_t experts[MK_MAX_LAYERS]; /* "blk.N.…_exps" */
    uint64_t input;                  /* the token embedding; the output too where the model has none of its own */
    uint64_t output;                 /* everything else */
    bool has_output;
} mk_weights;

/* As mk_gguf_read(), and adds the file's tensors to `weights`, which the caller has zeroed. */
int mk_gguf_weigh(const char *path, mk_gguf *out, mk_weights *weights);

#endif
