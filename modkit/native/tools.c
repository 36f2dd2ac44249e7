/* What tools ask of a vocabulary or a library, in batches: a call into C costs ten times what one token does.
 * Any thread; nothing here touches an engine, and everything that is pointed to belongs to the caller. */
#if !defined(_WIN32)
#  define _GNU_SOURCE /* dladdr */
#  include <dlfcn.h>
#else
#  define WIN32_LEAN_AND_MEAN
#  include <windows.h>
#endif
#include "core.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

int64_t mk_pieces(const mk_table *table, const void *vocab, const int32_t *tokens, int64_t n, bool special, char *out,
                  int64_t room, int32_t *ends) {
    int32_t (*piece)(const void *, int32_t, char *, int32_t, int32_t, bool) = table->llama_token_to_piece;
    uint32_t n_vocab = (uint32_t) table->llama_vocab_n_tokens(vocab);
    int64_t size = 0;
    room = room > INT32_MAX ? INT32_MAX : room;
    for (int64_t i = 0; i < n; i++) {
        int32_t length;
        if ((uint32_t) tokens[i] >= n_vocab) {
            return -1;
        }
        length = piece(vocab, tokens[i], out + size, (int32_t) (room - size), 0, special);
        if (length < 0) { /* the room it wants: from here on everything is only counted */
            char none[1];
            for (; i < n; i++) {
                if ((uint32_t) tokens[i] >= n_vocab) {
                    return -1;
                }
                length = piece(vocab, tokens[i], none, 0, 0, special);
                size += length < 0 ? -length : length;
            }
            return size > INT32_MAX ? -1 : size;
        }
        size += length;
        if (ends != NULL) {
            ends[i] = (int32_t) size;
        }
    }
    return size;
}

int64_t mk_join(const char *pieces, const int32_t *ends, int32_t n_pieces, const int32_t *tokens, int64_t n, char *out,
                int64_t room) {
    int64_t size = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t token = (uint32_t) tokens[i];
        int32_t begin, length;
        if (token >= (uint32_t) n_pieces) {
            return -1;
        }
        begin = token > 0 ? ends[token - 1] : 0;
        length = ends[token] - begin;
        if (size + length + 16 <= room) { /* most are short: a copy of fixed length is a single instruction */
            memcpy(out + size, pieces + begin, 16);
            if (length > 16) {
                memcpy(out + size, pieces + begin, (size_t) length);
            }
        }
        size += length;
    }
    return size + 16;
}

int mk_eog_flags(const mk_table *table, const void *vocab, uint8_t *out, int32_t n) {
    if (n < 0 || n > table->llama_vocab_n_tokens(vocab)) {
        return -1;
    }
    for (int32_t i = 0; i < n; i++) {
        out[i] = table->llama_vocab_is_eog(vocab, i);
    }
    return 0;
}

int mk_code_path(const void *address, char *out, size_t size) {
#if defined(_WIN32)
    HMODULE module;
    wchar_t wide[4096];
    DWORD n;
    if (!GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                            (LPCWSTR) address, &module)) {
        return -1;
    }
    n = GetModuleFileNameW(module, wide, 4096);
    return n > 0 && n < 4096 && WideCharToMultiByte(CP_UTF8, 0, wide, -1, out, (int) size, NULL, NULL) > 0 ? 0 : -1;
#else
    Dl_info found;
    if (dladdr((void *) (uintptr_t) address, &found) == 0 || found.dli_fname == NULL
        || strlen(found.dli_fname) >= size) {
        return -1;
    }
    strcpy(out, found.dli_fname);
    return 0;
#endif
}
