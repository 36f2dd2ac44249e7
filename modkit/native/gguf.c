#define _POSIX_C_SOURCE 200809L /* fseeko, fileno */
#define _FILE_OFFSET_BITS 64
#include "gguf.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
#  define WIN32_LEAN_AND_MEAN
#  include <windows.h>
#  define seek_to _fseeki64
#  define tell_at _ftelli64
#else
#  include <sys/stat.h>
#  define seek_to fseeko
#  define tell_at ftello
#endif

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, N_TYPES };

static const uint8_t type_size[N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

enum {
    MAX_KEY = 65535,
    MAX_NAME = 63,      /* ggml's tensor names hold 64 bytes with the zero */
    MAX_ENTRIES = 1 << 20,
    MAX_TOKENS = 1 << 24,
    MAX_TYPE = 64,      /* far above the tensor types in use; the exact list is llama.cpp's */
};

/* What the header said, kept until the checks that need two values at once. */
typedef struct {
    uint64_t ids[16];
    int n_ids;
    uint64_t n_scores, n_types;
    uint64_t rope_dimensions, feed_forward, experts, experts_used;
    uint64_t embd_rows, embd_columns; /* token_embd.weight */
    bool has_model;
    bool has_state;      /* keys of a recurrent model: its heads and its feed-forward may be none */
    const char *nothing; /* the first of those numbers that is 0 */
    uint64_t embd_a, embd_b;          /* columns of an adapter's token_embd */
    bool is_adapter, is_lora;
} found;

typedef struct {
    FILE *file;
    uint64_t left; /* bytes of the file not yet read */
    mk_gguf *out;
    found found;
    mk_weights *weights; /* or NULL */
    char last[MAX_NAME + 2]; /* the tensor read last, and where it lies: the next one says where it ends */
    uint64_t last_offset;
    bool adapter; /* what is read should be one */
} reader;

static int fail(reader *r, const char *format, ...) {
    va_list arguments;
    if (r->out->error[0] == '\0') {
        va_start(arguments, format);
        vsnprintf(r->out->error, sizeof r->out->error, format, arguments);
        va_end(arguments);
    }
    return -1;
}

static int take(reader *r, void *data, uint64_t n) {
    if (n > r->left || fread(data, 1, (size_t) n, r->file) != n) {
        return fail(r, "the header is cut short: the file ends after %llu bytes",
                    (unsigned long long) r->out->file_bytes);
    }
    r->left -= n;
    return 0;
}

static int skip(reader *r, uint64_t n) {
    char scratch[512];
    if (n <= sizeof scratch) { /* a seek throws the read buffer away; vocabularies are 100,000 small strings */
        return take(r, scratch, n);
    }
    if (n > r->left || seek_to(r->file, (int64_t) n, SEEK_CUR) != 0) {
        return fail(r, "the header is cut short: it announces %llu more bytes than the file has",
                    (unsigned long long) (n > r->left ? n - r->left : 0));
    }
    r->left -= n;
    return 0;
}

static int take_u32(reader *r, uint32_t *v) {
    uint8_t b[4];
    if (take(r, b, 4) != 0) {
        return -1;
    }
    *v = (uint32_t) b[0] | (uint32_t) b[1] << 8 | (uint32_t) b[2] << 16 | (uint32_t) b[3] << 24;
    return 0;
}

static int take_u64(reader *r, uint64_t *v) {
    uint32_t low, high;
    if (take_u32(r, &low) != 0 || take_u32(r, &high) != 0) {
        return -1;
    }
    *v = (uint64_t) high << 32 | low;
    return 0;
}

/* Reads a string; keeps at most size - 1 bytes of it in `text`, zero-terminated. */
static int take_string(reader *r, char *text, size_t size, uint64_t *length) {
    uint64_t kept;
    if (take_u64(r, length) != 0) {
        return -1;
    }
    if (*length > r->left) {
        return fail(r, "a string in the header is %llu bytes long, more than the file holds",
                    (unsigned long long) *length);
    }
    kept = *length < size - 1 ? *length : size - 1;
    if (take(r, text, kept) != 0) {
        return -1;
    }
    text[kept] = '\0';
    return skip(r, *length - kept);
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A number that llama.cpp will compute with, and the range outside which it fails badly. */
static int keep_number(reader *r, const char *key, uint64_t value) {
    static const struct {
        const char *end;
        size_t offset;
        uint64_t low, high;
        bool in_found;
    } known[] = {
        {".block_count", offsetof(mk_gguf, n_layer), 1, 4096, false},
        {".embedding_length", offsetof(mk_gguf, n_embd), 1, 1 << 20, false},
        {".attention.head_count", offsetof(mk_gguf, n_head), 0, 1 << 16, false},
        {".attention.head_count_kv", offsetof(mk_gguf, n_head_kv), 0, 1 << 16, false},
        {".context_length", offsetof(mk_gguf, context_length), 1, 1 << 28, false},
        {".rope.dimension_count", offsetof(found, rope_dimensions), 1, 1 << 16, true},
        {".attention.key_length", offsetof(mk_gguf, key_length), 1, 1 << 16, false},
        {".feed_forward_length", offsetof(found, feed_forward), 0, 1 << 24, true},
        {".expert_count", offsetof(found, experts), 0, 1 << 14, true},
        {".expert_used_count", offsetof(found, experts_used), 0, 1 << 14, true},
    };
    if (strcmp(key, "general.alignment") == 0) {
        if (value < 8 || value > 1 << 16 || (value & (value - 1)) != 0) {
            return fail(r, "general.alignment is %llu, not a power of two from 8 to 65536",
                        (unsigned long long) value);
        }
        r->out->alignment = (uint32_t) value;
    }
    if (strncmp(key, "tokenizer.ggml.", 15) == 0 && ends_with(key, "_token_id")) {
        if (r->found.n_ids < 16) {
            r->found.ids[r->found.n_ids++] = value;
        }
    }
    if (strcmp(key, "split.no") == 0 || strcmp(key, "split.count") == 0) {
        if (value > 9999) {
            return fail(r, "%s is %llu", key, (unsigned long long) value);
        }
        *(key[6] == 'n' ? &r->out->split_no : &r->out->split_count) = value;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!ends_with(key, known[i].end)) {
            continue;
        }
        if (value < known[i].low || value > known[i].high) {
            return fail(r, "%.100s is %llu, outside %llu to %llu", key, (unsigned long long) value,
                        (unsigned long long) known[i].low, (unsigned long long) known[i].high);
        }
        if (value == 0 && known[i].low == 0 && strstr(key, ".expert") == NULL && r->found.nothing == NULL) {
            r->found.nothing = known[i].end;
        }
        memcpy((known[i].in_found ? (char *) &r->found : (char *) r->out) + known[i].offset, &value, sizeof value);
        break;
    }
    return 0;
}

static int read_array(reader *r, const char *key) {
    uint32_t type;
    uint64_t n, length;
    char scratch[8];
    if (take_u32(r, &type) != 0 || take_u64(r, &n) != 0) {
        return -1;
    }
    if (type >= N_TYPES || type == ARRAY) {
        return fail(r, "%.100s is an array of an unknown type (%u)", key, type);
    }
    if (strcmp(key, "tokenizer.ggml.tokens") == 0) {
        if (type != STRING || n < 1 || n > MAX_TOKENS) {
            return fail(r, "the vocabulary is not a list of 1 to %d strings", (int) MAX_TOKENS);
        }
        r->out->n_vocab = n;
    } else if (strcmp(key, "tokenizer.ggml.scores") == 0) {
        if (type != F32) {
            return fail(r, "tokenizer.ggml.scores is not a list of float32");
        }
        r->found.n_scores = n;
    } else if (strcmp(key, "tokenizer.ggml.token_type") == 0) {
        if (type != I32 && type != U32) {
            return fail(r, "tokenizer.ggml.token_type is not a list of int32");
        }
        r->found.n_types = n;
    }
    if (type != STRING) {
        if (n > r->left / type_size[type]) {
            return fail(r, "%.100s has %llu entries, more than the file holds", key, (unsigned long long) n);
        }
        return skip(r, n * type_size[type]);
    }
    if (n > r->left / 8) {
        return fail(r, "%.100s has %llu strings, more than the file holds", key, (unsigned long long) n);
    }
    for (uint64_t i = 0; i < n; i++) {
        if (take_string(r, scratch, sizeof scratch, &length) != 0) {
            return -1;
        }
    }
    return 0;
}

static int read_value(reader *r, uint64_t index) {
    char key[128], text[64];
    uint64_t length, value = 0;
    uint32_t type;
    if (take_string(r, key, sizeof key, &length) != 0 || take_u32(r, &type) != 0) {
        return -1;
    }
    if (length == 0 || length > MAX_KEY) {
        return fail(r, "metadata key %llu is %llu bytes long", (unsigned long long) index, (unsigned long long) length);
    }
    if (type >= N_TYPES) {
        return fail(r, "%.100s has an unknown type (%u)", key, type);
    }
    r->found.has_state |= strstr(key, ".ssm.") != NULL || strstr(key, ".wkv.") != NULL;
    if (r->adapter && strcmp(key, "adapter.lora.alpha") == 0 && type != F32) {
        return fail(r, "adapter.lora.alpha is not a float32");
    }
    if (r->adapter && type != STRING
        && (strcmp(key, "general.type") == 0 || strcmp(key, "general.architecture") == 0 || strcmp(key, "adapter.type") == 0)) {
        return fail(r, "%s is not a string", key);
    }
    if (type == ARRAY) {
        return read_array(r, key);
    }
    if (type == STRING) {
        if (take_string(r, text, sizeof text, &length) != 0) {
            return -1;
        }
        if (strcmp(key, "general.architecture") == 0) {
            memcpy(r->out->architecture, text, sizeof text);
        }
        r->found.has_model |= strcmp(key, "tokenizer.ggml.model") == 0;
        r->found.is_adapter |= strcmp(key, "general.type") == 0 && strcmp(text, "adapter") == 0;
        r->found.is_lora |= strcmp(key, "adapter.type") == 0 && strcmp(text, "lora") == 0;
        return 0;
    }
    {
        uint8_t b[8] = {0};
        if (take(r, b, type_size[type]) != 0) {
            return -1;
        }
        for (int i = 7; i >= 0; i--) {
            value = value << 8 | b[i];
        }
    }
    if (type == F32 || type == F64 || type == BOOL) {
        return type == BOOL && value > 1 ? fail(r, "%.100s is neither true nor false", key) : 0;
    }
    return keep_number(r, key, value);
}

/* The tensor read last ends where the next one, or the file, does: the format lays them one behind the other. */
static void weigh_last(reader *r, uint64_t end) {
    mk_weights *w = r->weights;
    uint64_t size = end > r->last_offset ? end - r->last_offset : 0;
    char *rest;
    if (w == NULL || r->last[0] == '\0') {
        return;
    }
    if (strncmp(r->last, "blk.", 4) == 0) {
        unsigned long i = strtoul(r->last + 4, &rest, 10);
        if (i < MK_MAX_LAYERS && *rest == '.') {
            *(strstr(rest, "_exps") != NULL || strstr(rest, "_chexps") != NULL ? &w->experts[i] : &w->block[i]) += size;
            return;
        }
    }
    if (strncmp(r->last, "token_embd", 10) == 0) {
        w->input += size;
    } else {
        w->output += size;
        w->has_output |= strncmp(r->last, "output.", 7) == 0;
    }
}

static int read_tensor(reader *r, uint64_t index, uint64_t *end) {
    char name[MAX_NAME + 2];
    uint64_t length, size = 1, dims[4] = {1, 1, 1, 1}, offset;
    uint32_t n_dims, type;
    if (take_string(r, name, sizeof name, &length) != 0 || take_u32(r, &n_dims) != 0) {
        return -1;
    }
    if (length == 0 || length > MAX_NAME || n_dims < 1 || n_dims > 4) {
        return fail(r, "tensor %llu has a name of %llu bytes and %u dimensions", (unsigned long long) index,
                    (unsigned long long) length, n_dims);
    }
    for (uint32_t i = 0; i < n_dims; i++) {
        if (take_u64(r, &dims[i]) != 0) {
            return -1;
        }
        if (dims[i] < 1 || dims[i] > ((uint64_t) 1 << 40) / size) {
            return fail(r, "tensor %s has a dimension of %llu", name, (unsigned long long) dims[i]);
        }
        size *= dims[i];
    }
    if (take_u32(r, &type) != 0 || take_u64(r, &offset) != 0) {
        return -1;
    }
    if (type > MAX_TYPE) {
        return fail(r, "tensor %s has an unknown type (%u)", name, type);
    }
    if (offset > r->out->file_bytes) {
        return fail(r, "tensor %s lies beyond the end of the file", name);
    }
    if (r->adapter) {
        bool usable = type == 0 || type == 1 || type == 8 || type == 30; /* f32, f16, q8_0, bf16 */
        if (!usable || n_dims > 2) {
            return fail(r, "tensor %s of type %u and %u dimensions is none of an adapter", name, type, n_dims);
        }
        r->found.embd_a = strcmp(name, "token_embd.weight.lora_a") == 0 ? dims[0] : r->found.embd_a;
        r->found.embd_b = strcmp(name, "token_embd.weight.lora_b") == 0 ? dims[0] : r->found.embd_b;
    }
    if (strcmp(name, "token_embd.weight") == 0) {
        r->found.embd_columns = dims[0];
        r->found.embd_rows = dims[1];
    }
    *end = offset > *end ? offset : *end;
    weigh_last(r, offset);
    memcpy(r->last, name, sizeof r->last);
    r->last_offset = offset;
    return 0;
}

/* Checks that need more than one value; the numbers are those that llama.cpp divides and indexes by. */
static int check_together(reader *r) {
    const mk_gguf *g = r->out;
    const found *f = &r->found;
    uint64_t head = g->key_length ? g->key_length : g->n_head ? g->n_embd / g->n_head : 0;
    if (g->architecture[0] == '\0') {
        return fail(r, "it names no architecture (general.architecture)");
    }
    if (f->nothing != NULL && !f->has_state) {
        return fail(r, "%s%s is 0, outside 1 to 65536", g->architecture, f->nothing);
    }
    for (int i = 0; i < f->n_ids && g->n_vocab > 0; i++) {
        /* all ones is the writers' way to say "none" */
        if (f->ids[i] >= g->n_vocab && f->ids[i] != 0xffffffffu && f->ids[i] != UINT64_MAX) {
            return fail(r, "special token %llu is not in the vocabulary of %llu", (unsigned long long) f->ids[i],
                        (unsigned long long) g->n_vocab);
        }
    }
    if (g->n_vocab > 0 && ((f->n_scores > 0 && f->n_scores != g->n_vocab) || (f->n_types > 0 && f->n_types != g->n_vocab))) {
        return fail(r, "the vocabulary's lists differ in length: %llu tokens, %llu scores, %llu types",
                    (unsigned long long) g->n_vocab, (unsigned long long) f->n_scores, (unsigned long long) f->n_types);
    }
    if (g->n_head > 0 && g->n_head_kv > 0 && (g->n_head_kv > g->n_head || g->n_head % g->n_head_kv != 0)) {
        return fail(r, "%llu attention heads cannot share %llu key/value heads", (unsigned long long) g->n_head,
                    (unsigned long long) g->n_head_kv);
    }
    if (g->n_head > 0 && g->n_embd > 0 && g->key_length == 0 && g->n_embd % g->n_head != 0) {
        return fail(r, "an embedding of %llu does not divide into %llu heads", (unsigned long long) g->n_embd,
                    (unsigned long long) g->n_head);
    }
    if (head > 0 && f->rope_dimensions > 0 && (f->rope_dimensions > head || f->rope_dimensions % 2 != 0)) {
        return fail(r, "%llu rotary dimensions do not fit heads of %llu", (unsigned long long) f->rope_dimensions,
                    (unsigned long long) head);
    }
    if (f->experts_used > f->experts) {
        return fail(r, "it uses %llu of %llu experts", (unsigned long long) f->experts_used, (unsigned long long) f->experts);
    }
    if (f->embd_rows > 0 && g->n_vocab > 0 && f->embd_rows < g->n_vocab) {
        return fail(r, "the vocabulary has %llu tokens but the embedding only %llu rows", (unsigned long long) g->n_vocab,
                    (unsigned long long) f->embd_rows);
    }
    return 0;
}

static int read_header(reader *r) {
    uint8_t magic[4];
    uint64_t end = 0;
    mk_gguf *out = r->out;
    if (out->file_bytes == 0) {
        return fail(r, "the file is empty");
    }
    if (take(r, magic, 4) != 0 || memcmp(magic, "GGUF", 4) != 0) {
        out->error[0] = '\0';
        return fail(r, "it is not a GGUF file (its first bytes are not \"GGUF\")");
    }
    if (take_u32(r, &out->version) != 0) {
        return -1;
    }
    if (out->version == 0x02000000u || out->version == 0x03000000u) {
        return fail(r, "it was written for a big-endian machine");
    }
    if (out->version != 2 && out->version != 3) {
        return fail(r, "GGUF version %u is not supported (2 and 3 are)", out->version);
    }
    if (take_u64(r, &out->n_tensors) != 0 || take_u64(r, &out->n_values) != 0) {
        return -1;
    }
    if (out->n_tensors > MAX_ENTRIES || out->n_values > MAX_ENTRIES) {
        return fail(r, "it announces %llu tensors and %llu metadata values", (unsigned long long) out->n_tensors,
                    (unsigned long long) out->n_values);
    }
    for (uint64_t i = 0; i < out->n_values; i++) {
        if (read_value(r, i) != 0) {
            return -1;
        }
    }
    for (uint64_t i = 0; i < out->n_tensors; i++) {
        if (read_tensor(r, i, &end) != 0) {
            return -1;
        }
    }
    if (end > r->left) {
        return fail(r, "its tensor data is cut short: %llu bytes are missing at least", (unsigned long long) (end - r->left));
    }
    {
        uint64_t at = out->file_bytes - r->left, padding = (out->alignment - at % out->alignment) % out->alignment;
        weigh_last(r, padding < r->left ? r->left - padding : 0);
    }
    return out->split_count > 1 && out->split_no > 0 ? 0 : check_together(r); /* the first part has the metadata */
}

static FILE *open_utf8(const char *path, mk_gguf *out) {
    FILE *file = NULL;
#if defined(_WIN32)
    wchar_t wide[32768];
    if (MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 32768) > 0) {
        file = _wfopen(wide, L"rb");
    }
#else
    struct stat status; /* asked first: opening a pipe would wait for its other end */
    if (stat(path, &status) != 0) {
        snprintf(out->error, sizeof out->error, "there is no such file");
        return NULL;
    }
    if (!S_ISREG(status.st_mode)) {
        snprintf(out->error, sizeof out->error, S_ISDIR(status.st_mode) ? "it is a folder" : "it is not a regular file");
        return NULL;
    }
    file = fopen(path, "rb");
#endif
    if (file == NULL) {
        snprintf(out->error, sizeof out->error, "it cannot be opened");
    }
    return file;
}

static int read_file(const char *path, mk_gguf *out, mk_weights *weights, bool adapter) {
    reader r = {.out = out, .weights = weights, .adapter = adapter};
    int result;
    memset(out, 0, sizeof *out);
    out->alignment = 32;
    r.file = open_utf8(path, out);
    if (r.file == NULL) {
        return -1;
    }
    if (seek_to(r.file, 0, SEEK_END) != 0 || tell_at(r.file) < 0) {
        fclose(r.file);
        return fail(&r, "it cannot be read");
    }
    out->file_bytes = r.left = (uint64_t) tell_at(r.file);
    rewind(r.file);
    result = read_header(&r);
    fclose(r.file);
    if (result == 0 && adapter && !(r.found.is_adapter && r.found.is_lora)) {
        return fail(&r, "it is not a LoRA adapter (general.type and adapter.type say so)");
    }
    if (result == 0 && r.found.embd_a != r.found.embd_b) {
        return fail(&r, "the two parts of token_embd.weight do not fit each other");
    }
    return result;
}

int mk_gguf_read(const char *path, mk_gguf *out) {
    return read_file(path, out, NULL, false);
}

int mk_gguf_weigh(const char *path, mk_gguf *out, mk_weights *weights) {
    return read_file(path, out, weights, false);
}

int mk_gguf_read_adapter(const char *path, mk_gguf *out) {
    return read_file(path, out, NULL, true);
}
