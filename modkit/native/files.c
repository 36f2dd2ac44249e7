#define _DEFAULT_SOURCE /* fseeko, fileno, setpriority */
#define _FILE_OFFSET_BITS 64
#include "files.h"

#include <string.h>

#if defined(_WIN32)
#  define WIN32_LEAN_AND_MEAN
#  include <windows.h>

static bool widen(const char *path, wchar_t *out, int room) {
    return MultiByteToWideChar(CP_UTF8, 0, path, -1, out, room) > 0;
}

FILE *mk_file_open(const char *path, const char *mode) {
    wchar_t wide[2048], how[4];
    return widen(path, wide, 2048) && widen(mode, how, 4) ? _wfopen(wide, how) : NULL;
}

bool mk_file_rename(const char *from, const char *to) {
    wchar_t a[2048], b[2048];
    return widen(from, a, 2048) && widen(to, b, 2048) && MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING);
}

void mk_file_remove(const char *path) {
    wchar_t wide[2048];
    if (widen(path, wide, 2048)) {
        DeleteFileW(wide);
    }
}

void mk_file_list(const char *folder, bool (*each)(void *, const char *), void *data) {
    wchar_t wide[2048];
    char name[800];
    WIN32_FIND_DATAW found;
    HANDLE search;
    size_t n;
    if (!widen(folder, wide, 2040)) {
        return;
    }
    n = wcslen(wide);
    memcpy(wide + n, L"\\*", 3 * sizeof *wide);
    search = FindFirstFileW(wide, &found);
    if (search == INVALID_HANDLE_VALUE) {
        return;
    }
    do {
        if (WideCharToMultiByte(CP_UTF8, 0, found.cFileName, -1, name, sizeof name, NULL, NULL) > 0 && !each(data, name)) {
            break;
        }
    } while (FindNextFileW(search, &found));
    FindClose(search);
}

void mk_low_priority(void) {
    SetThreadPriority(GetCurrentThread(), THREAD_PRIORITY_BELOW_NORMAL);
}

#  define seek_to _fseeki64
#  define tell_at _ftelli64
#else
#  include <dirent.h>
#  include <fcntl.h>
#  include <sys/resource.h>
#  include <sys/stat.h>
#  include <unistd.h>

FILE *mk_file_open(const char *path, const char *mode) {
    bool write = mode[0] == 'w';
    struct stat status;
    FILE *file;
    /* never waits for a pipe's other end, and what is written is for this user's eyes */
    int descriptor = open(path, write ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY | O_NONBLOCK, 0600);
    if (descriptor < 0) {
        return NULL;
    }
    if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) || (file = fdopen(descriptor, mode)) == NULL) {
        close(descriptor);
        return NULL;
    }
    return file;
}

bool mk_file_rename(const char *from, const char *to) {
    return rename(from, to) == 0;
}

void mk_file_remove(const char *path) {
    unlink(path);
}

void mk_file_list(const char *folder, bool (*each)(void *, const char *), void *data) {
    DIR *entries = opendir(folder);
    struct dirent *entry;
    while (entries != NULL && (entry = readdir(entries)) != NULL && each(data, entry->d_name)) {
    }
    if (entries != NULL) {
        closedir(entries);
    }
}

void mk_low_priority(void) {
#  if defined(__linux__)
    setpriority(PRIO_PROCESS, 0, 10); /* on Linux: of this thread */
#  endif
}

#  define seek_to fseeko
#  define tell_at ftello
#endif

bool mk_file_seek(FILE *file, uint64_t at) {
    return at < (uint64_t) 1 << 62 && seek_to(file, (int64_t) at, SEEK_SET) == 0;
}

uint64_t mk_file_size(FILE *file) {
    int64_t size = seek_to(file, 0, SEEK_END) == 0 ? (int64_t) tell_at(file) : 0;
    return seek_to(file, 0, SEEK_SET) == 0 && size > 0 ? (uint64_t) size : 0;
}

/* ---- SipHash-2-4, after Aumasson and Bernstein ---- */

static uint64_t turned(uint64_t x, int by) {
    return x << by | x >> (64 - by);
}

static void rounds(uint64_t v[4], int n) {
    for (int i = 0; i < n; i++) {
        v[0] += v[1];
        v[1] = turned(v[1], 13) ^ v[0];
        v[0] = turned(v[0], 32);
        v[2] += v[3];
        v[3] = turned(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = turned(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = turned(v[1], 17) ^ v[2];
        v[2] = turned(v[2], 32);
    }
}

static uint64_t little_endian(const uint8_t *bytes) {
    uint64_t x = 0;
    for (int i = 7; i >= 0; i--) {
        x = x << 8 | bytes[i];
    }
    return x;
}

static void put_little_endian(uint8_t *bytes, uint64_t x) {
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t) (x >> (8 * i));
    }
}

void mk_tag_begin(mk_tag *t, const uint8_t key[16]) {
    uint64_t k0 = little_endian(key), k1 = little_endian(key + 8);
    memset(t, 0, sizeof *t);
    t->v[0] = k0 ^ 0x736f6d6570736575u;
    t->v[1] = k1 ^ 0x646f72616e646f6du ^ 0xee;
    t->v[2] = k0 ^ 0x6c7967656e657261u;
    t->v[3] = k1 ^ 0x7465646279746573u;
}

static void word(mk_tag *t, const uint8_t *bytes) {
    uint64_t m = little_endian(bytes);
    t->v[3] ^= m;
    rounds(t->v, 2);
    t->v[0] ^= m;
}

void mk_tag_add(mk_tag *t, const void *bytes, size_t n) {
    const uint8_t *at = bytes;
    size_t held = t->length % 8;
    t->length += n;
    while (n > 0 && held > 0) {
        t->rest[held++] = *at++;
        n--;
        if (held == 8) {
            word(t, t->rest);
            held = 0;
        }
    }
    for (; n >= 8; n -= 8, at += 8) {
        word(t, at);
    }
    if (n > 0) {
        memcpy(t->rest, at, n);
    }
}

void mk_tag_end(mk_tag *t, uint8_t out[16]) {
    uint8_t last[8] = {0};
    memcpy(last, t->rest, t->length % 8);
    last[7] = (uint8_t) t->length;
    word(t, last);
    t->v[2] ^= 0xee;
    rounds(t->v, 4);
    put_little_endian(out, t->v[0] ^ t->v[1] ^ t->v[2] ^ t->v[3]);
    t->v[1] ^= 0xdd;
    rounds(t->v, 4);
    put_little_endian(out + 8, t->v[0] ^ t->v[1] ^ t->v[2] ^ t->v[3]);
}
