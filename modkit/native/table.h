/* llama.cpp as the worker sees it: the functions that it calls, each a pointer in a table that the caller fills by name,
 * and the few structs whose fields it touches. Parameter structs travel as opaque blobs. */
#ifndef MK_TABLE_H
#define MK_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Larger than any params struct in use. Passing more bytes than the callee's own struct is safe where
 * structs of this size travel by reference or wholly in memory: x86-64 System V, Windows x64, AArch64. */
typedef struct mk_blob {
    uint64_t bytes[64];
} mk_blob;

/* llama_batch, the one struct whose fields the worker touches (checked by modkit.native.layout). */
typedef struct mk_batch {
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos;
    int32_t *n_seq_id;
    int32_t **seq_id;
    int8_t *logits;
} mk_batch;

typedef struct mk_chain_params {
    bool no_perf;
} mk_chain_params;

/* llama_perf_context_data: milliseconds, and tokens. */
typedef struct mk_perf {
    double start_ms, load_ms, prompt_ms, reply_ms;
    int32_t n_prompt, n_reply, n_reused;
} mk_perf;

/* ggml_init_params. */
typedef struct mk_ggml_params {
    size_t size;
    void *memory;
    bool no_alloc;
} mk_ggml_params;

/* X(result, name, arguments): the functions the worker needs, each a pointer in mk_table. */
#define MK_FUNCTIONS(X)                                                                                                \
    X(void *, llama_model_load_from_file, (const char *, mk_blob))                                                     \
    X(void, llama_model_free, (void *) )                                                                               \
    X(void *, llama_init_from_model, (void *, mk_blob))                                                                \
    X(void, llama_free, (void *) )                                                                                     \
    X(const void *, llama_model_get_vocab, (const void *) )                                                            \
    X(void *, llama_get_memory, (const void *) )                                                                       \
    X(int32_t, llama_model_n_ctx_train, (const void *) )                                                               \
    X(int32_t, llama_model_n_layer, (const void *) )                                                                   \
    X(int32_t, llama_model_n_embd, (const void *) )                                                                    \
    X(uint64_t, llama_model_size, (const void *) )                                                                     \
    X(uint64_t, llama_model_n_params, (const void *) )                                                                 \
    X(int32_t, llama_model_desc, (const void *, char *, size_t))                                                       \
    X(int32_t, llama_model_meta_val_str, (const void *, const char *, char *, size_t))                                 \
    X(const char *, llama_model_chat_template, (const void *, const char *) )                                          \
    X(bool, llama_model_has_encoder, (const void *) )                                                                  \
    X(bool, llama_model_has_decoder, (const void *) )                                                                  \
    X(uint32_t, llama_n_ctx, (const void *) )                                                                          \
    X(uint32_t, llama_n_batch, (const void *) )                                                                        \
    X(int, llama_vocab_type, (const void *) )                                                                          \
    X(int32_t, llama_vocab_n_tokens, (const void *) )                                                                  \
    X(const char *, llama_vocab_get_text, (const void *, int32_t))                                                     \
    X(int32_t, llama_vocab_bos, (const void *) )                                                                       \
    X(int32_t, llama_vocab_eos, (const void *) )                                                                       \
    X(int32_t, llama_vocab_eot, (const void *) )                                                                       \
    X(bool, llama_vocab_get_add_bos, (const void *) )                                                                  \
    X(bool, llama_vocab_is_eog, (const void *, int32_t))                                                               \
    X(int32_t, llama_tokenize, (const void *, const char *, int32_t, int32_t *, int32_t, bool, bool))                  \
    X(int32_t, llama_token_to_piece, (const void *, int32_t, char *, int32_t, int32_t, bool))                          \
    X(int32_t, llama_decode, (void *, mk_batch))                                                                       \
    X(bool, llama_memory_seq_rm, (void *, int32_t, int32_t, int32_t))                                                  \
    X(void, llama_memory_clear, (void *, bool))                                                                        \
    X(int32_t, llama_memory_seq_pos_min, (void *, int32_t))                                                            \
    X(void, llama_memory_seq_cp, (void *, int32_t, int32_t, int32_t, int32_t))                                         \
    X(void, llama_memory_seq_add, (void *, int32_t, int32_t, int32_t, int32_t))                                        \
    X(bool, llama_memory_can_shift, (void *) )                                                                         \
    X(void *, llama_adapter_lora_init, (void *, const char *) )                                                        \
    X(int32_t, llama_set_adapters_lora, (void *, void **, size_t, float *) )                                           \
    X(int32_t, llama_set_adapter_cvec, (void *, const float *, size_t, int32_t, int32_t, int32_t))                     \
    X(size_t, llama_state_seq_get_size, (void *, int32_t))                                                             \
    X(size_t, llama_state_seq_get_data, (void *, uint8_t *, size_t, int32_t))                                          \
    X(size_t, llama_state_seq_set_data, (void *, const uint8_t *, size_t, int32_t))                                    \
    X(bool, llama_model_is_recurrent, (const void *) )                                                                 \
    X(bool, llama_model_is_hybrid, (const void *) )                                                                    \
    X(int32_t, llama_model_n_swa, (const void *) )                                                                     \
    X(int, llama_pooling_type, (const void *) )                                                                        \
    X(int32_t, llama_model_n_embd_out, (const void *) )                                                                \
    X(float *, llama_get_embeddings_ith, (void *, int32_t))                                                            \
    X(float *, llama_get_embeddings_seq, (void *, int32_t))                                                            \
    X(int32_t, llama_vocab_sep, (const void *) )                                                                       \
    X(bool, llama_vocab_get_add_eos, (const void *) )                                                                  \
    X(bool, llama_vocab_get_add_sep, (const void *) )                                                                  \
    X(float *, llama_get_logits_ith, (void *, int32_t))                                                                \
    X(void, llama_sampler_apply, (void *, void *) )                                                                    \
    X(void, llama_sampler_accept, (void *, int32_t))                                                                   \
    X(void *, llama_sampler_chain_init, (mk_chain_params))                                                             \
    X(void, llama_sampler_chain_add, (void *, void *) )                                                                \
    X(void *, llama_sampler_init_greedy, (void) )                                                                      \
    X(void *, llama_sampler_init_dist, (uint32_t))                                                                     \
    X(void *, llama_sampler_init_top_k, (int32_t))                                                                     \
    X(void *, llama_sampler_init_top_p, (float, size_t))                                                               \
    X(void *, llama_sampler_init_min_p, (float, size_t))                                                               \
    X(void *, llama_sampler_init_temp, (float))                                                                        \
    X(void *, llama_sampler_init_typical, (float, size_t))                                                             \
    X(void *, llama_sampler_init_temp_ext, (float, float, float))                                                      \
    X(void *, llama_sampler_init_top_n_sigma, (float))                                                                 \
    X(void *, llama_sampler_init_xtc, (float, float, size_t, uint32_t))                                                \
    X(void *, llama_sampler_init_mirostat, (int32_t, uint32_t, float, float, int32_t))                                 \
    X(void *, llama_sampler_init_mirostat_v2, (uint32_t, float, float))                                                \
    X(void *, llama_sampler_init_adaptive_p, (float, float, uint32_t))                                                 \
    X(void *, llama_sampler_init_dry, (const void *, float, float, int32_t, int32_t, const char **, size_t))           \
    X(void *, llama_sampler_init_logit_bias, (int32_t, int32_t, const void *) )                                        \
    X(void *, llama_sampler_init_infill, (const void *) )                                                              \
    X(void *, llama_sampler_init_penalties, (int32_t, int32_t, float, float, float))                                   \
    X(void *, llama_model_load_from_splits, (const char **, size_t, mk_blob))                                          \
    X(void, llama_set_warmup, (void *, bool))                                                                          \
    X(void, llama_synchronize, (void *) )                                                                              \
    X(void, llama_attach_threadpool, (void *, void *, void *) )                                                        \
    X(mk_perf, llama_perf_context, (const void *) )                                                                    \
    X(void *, ggml_init, (mk_ggml_params))                                                                             \
    X(void, ggml_free, (void *) )                                                                                      \
    X(size_t, ggml_tensor_overhead, (void) )                                                                           \
    X(void *, ggml_new_tensor_1d, (void *, int, int64_t))                                                              \
    X(void *, ggml_backend_dev_by_name, (const char *) )                                                               \
    X(bool, ggml_backend_dev_supports_op, (void *, const void *) )                                                     \
    X(int32_t, llama_sampler_sample, (void *, void *, int32_t))                                                        \
    X(void, llama_sampler_free, (void *) )                                                                             \
    X(void *, ggml_set_abort_callback, (void (*)(const char *)))                                                       \
    X(void, llama_log_set, (void (*)(int, const char *, void *), void *) )                                             \
    X(void, ggml_abort, (const char *, int, const char *, ...))

#define MK_MEMBER(result, name, arguments) result(*name) arguments;
typedef struct mk_table {
    MK_FUNCTIONS(MK_MEMBER)
} mk_table;
#undef MK_MEMBER

/* The table's entries by index, so that a caller fills it by name; NULL past the end. */
const char *mk_table_name(int index);
int mk_table_set(mk_table *table, int index, void *function);
size_t mk_table_size(void);

#endif
