/* The baseline: llama_decode and greedy sampling in a plain C loop, with nothing beside it.
 *
 * Compiled twice. As a program it opens the library itself; the parameter structs, which modkit checked,
 * come in a file of two blobs of 512 bytes:
 *     plain_loop LIBRARY PARAMS MODEL PROMPT TOKENS
 * As a shared object (-DPLAIN_SHARED) one call of plain_loop() does the same with addresses that the
 * caller looked up, for libraries that only a Python process can open.
 * Either way the loop is the same function, and nothing runs beside it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct blob {
    uint64_t bytes[64]; /* larger than the struct behind it, which is safe where such structs travel in memory */
} blob;

typedef struct batch {
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos;
    int32_t *n_seq_id;
    int32_t **seq_id;
    int8_t *logits;
} batch;

typedef struct chain_params {
    bool no_perf;
} chain_params;

#define FUNCTIONS(X)                                                                                       \
    X(void *, llama_model_load_from_file, (const char *, blob))                                            \
    X(void *, llama_init_from_model, (void *, blob))                                                       \
    X(const void *, llama_model_get_vocab, (const void *) )                                                \
    X(void *, llama_get_memory, (const void *) )                                                           \
    X(void, llama_memory_clear, (void *, bool))                                                            \
    X(int32_t, llama_tokenize, (const void *, const char *, int32_t, int32_t *, int32_t, bool, bool))      \
    X(bool, llama_vocab_is_eog, (const void *, int32_t))                                                   \
    X(batch, llama_batch_get_one, (int32_t *, int32_t))                                                    \
    X(int32_t, llama_decode, (void *, batch))                                                              \
    X(void *, llama_sampler_chain_init, (chain_params))                                                    \
    X(void, llama_sampler_chain_add, (void *, void *) )                                                    \
    X(void *, llama_sampler_init_greedy, (void) )                                                          \
    X(int32_t, llama_sampler_sample, (void *, void *, int32_t))

#define POINTER(result, name, arguments) result(*name) arguments;
typedef struct table {
    FUNCTIONS(POINTER)
} table;

#define NAME(result, name, arguments) #name,
static const char *const names[] = {FUNCTIONS(NAME) NULL};

typedef struct result {
    int32_t n_tokens;
    double tokens_per_second; /* first token excluded */
    int64_t faults;           /* page faults while these tokens were made */
    int64_t rss_kib;
    int32_t tokens[4096];
} result;

const char *plain_name(int index) {
    return names[index];
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static int64_t page_faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (int64_t) usage.ru_minflt + usage.ru_majflt;
}

static int64_t rss_kib(void) {
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL) {
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_maxrss;
    }
    while (fgets(line, sizeof line, status) != NULL && sscanf(line, "VmRSS: %ld", &kib) != 1) {
    }
    fclose(status);
    return kib;
}

static int generate(const table *t, void *context, const void *vocab, const char *prompt, int32_t n, result *out) {
    int32_t prompt_tokens[512], token;
    int32_t n_prompt = t->llama_tokenize(vocab, prompt, (int32_t) strlen(prompt), prompt_tokens, 512, true, false);
    void *sampler = t->llama_sampler_chain_init((chain_params){true});
    double begun;
    int64_t faults_before = page_faults();
    t->llama_sampler_chain_add(sampler, t->llama_sampler_init_greedy());
    t->llama_memory_clear(t->llama_get_memory(context), true);
    out->n_tokens = 0;
    if (n_prompt <= 0 || t->llama_decode(context, t->llama_batch_get_one(prompt_tokens, n_prompt)) != 0) {
        return 3;
    }
    token = t->llama_sampler_sample(sampler, context, -1);
    begun = now();
    while (!t->llama_vocab_is_eog(vocab, token)) {
        out->tokens[out->n_tokens++] = token;
        if (out->n_tokens >= n) {
            break;
        }
        if (t->llama_decode(context, t->llama_batch_get_one(&token, 1)) != 0) {
            return 4;
        }
        token = t->llama_sampler_sample(sampler, context, -1);
    }
    out->tokens_per_second = (out->n_tokens - 1) / (now() - begun);
    out->faults = page_faults() - faults_before;
    out->rss_kib = rss_kib();
    return 0;
}

/* One short reply to warm up (pages of the model, the allocator), then the one that counts. */
static int measure(const table *t, blob model_params, blob context_params, const char *model_path,
                   const char *prompt, int32_t n, result *out) {
    void *model = t->llama_model_load_from_file(model_path, model_params);
    void *context = model == NULL ? NULL : t->llama_init_from_model(model, context_params);
    int failed;
    if (context == NULL) {
        return 2;
    }
    failed = generate(t, context, t->llama_model_get_vocab(model), prompt, 16, out);
#ifndef PLAIN_SHARED
    fputs("warm\n", stderr); /* for a host that plays frames beside the reply that counts */
#endif
    return failed ? failed : generate(t, context, t->llama_model_get_vocab(model), prompt, n, out);
}

#ifdef PLAIN_SHARED

/* `functions` are in the order of plain_name(), `params` the two blobs. */
int plain_loop(void *const *functions, const char *params, const char *model, const char *prompt, int32_t n,
               result *out) {
    table t;
    blob blobs[2];
    memcpy(&t, functions, sizeof t);
    memcpy(blobs, params, sizeof blobs);
    return measure(&t, blobs[0], blobs[1], model, prompt, n, out);
}

#else

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void quiet(int level, const char *text, void *unused) {
    (void) level;
    (void) text;
    (void) unused;
}

static void *address(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (found == NULL) {
        fprintf(stderr, "%s is missing\n", name);
        exit(1);
    }
    return found;
}

/* Builds with a library per backend register none by themselves; they lie beside the library. */
static void load_backends(void *library, const char *path) {
    size_t (*count)(void);
    void (*load)(const char *);
    char folder[4096];
    *(void **) &count = address(library, "ggml_backend_dev_count");
    *(void **) &load = address(library, "ggml_backend_load_all_from_path");
    snprintf(folder, sizeof folder, "%s", path);
    if (count() == 0 && strrchr(folder, '/') != NULL) {
        *strrchr(folder, '/') = '\0';
        load(folder);
    }
}

int main(int argc, char **argv) {
    static result out;
    void *library;
    table t;
    blob params[2];
    FILE *file;
    void (*log_set)(void (*)(int, const char *, void *), void *);
    void (*backend_init)(void);
    int failed;
    if (argc != 6 || atoi(argv[5]) < 2 || atoi(argv[5]) > 4096) {
        fprintf(stderr, "usage: plain_loop LIBRARY PARAMS MODEL PROMPT TOKENS (2 to 4096)\n");
        return 2;
    }
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    for (int i = 0; names[i] != NULL; i++) {
        ((void **) &t)[i] = address(library, names[i]);
    }
    file = fopen(argv[2], "rb");
    if (file == NULL || fread(params, sizeof params, 1, file) != 1) {
        fprintf(stderr, "%s cannot be read\n", argv[2]);
        return 1;
    }
    fclose(file);
    *(void **) &log_set = address(library, "llama_log_set");
    *(void **) &backend_init = address(library, "llama_backend_init");
    log_set(quiet, NULL);
    backend_init();
    load_backends(library, argv[1]);
    failed = measure(&t, params[0], params[1], argv[3], argv[4], atoi(argv[5]), &out);
    if (failed) {
        fprintf(stderr, "the loop failed at step %d\n", failed);
        return 1;
    }
    printf("{\"tokens_per_second\": %.4f, \"faults\": %lld, \"rss_kib\": %lld, \"tokens\": [", out.tokens_per_second,
           (long long) out.faults, (long long) out.rss_kib);
    for (int i = 0; i < out.n_tokens; i++) {
        printf("%s%d", i ? ", " : "", out.tokens[i]);
    }
    printf("]}\n");
    fflush(stdout);
    _exit(0); /* nothing is freed: what a library does at exit is not measured here */
}

#endif
