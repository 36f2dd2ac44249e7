/* Threads, semaphore, clock and thread-local storage on Linux, macOS and Windows.
 *
 * Everything that differs between systems is here and nowhere else. Atomics are C11 <stdatomic.h>
 * (MSVC: /std:c11 /experimental:c11atomics). The semaphore is the only thing that ever sleeps, and
 * posting one never blocks: that is what lets the game's thread wake the worker inside a frame.
 */
#ifndef MK_PLATFORM_H
#define MK_PLATFORM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(_WIN32)
#  define WIN32_LEAN_AND_MEAN
#  include <windows.h>
#  include <process.h>
#  define MK_THREAD_LOCAL __declspec(thread)
typedef HANDLE mk_thread;
typedef HANDLE mk_semaphore;
#else
#  include <errno.h>
#  include <pthread.h>
#  include <time.h>
#  include <unistd.h>
#  define MK_THREAD_LOCAL _Thread_local
typedef pthread_t mk_thread;
#  if defined(__APPLE__)
#    include <dispatch/dispatch.h>
typedef dispatch_semaphore_t mk_semaphore;
#  else
#    include <semaphore.h>
#    include <sys/resource.h>
#    include <sys/syscall.h>
typedef sem_t mk_semaphore;
/* A wait by the wall's clock lasts an hour longer when that clock is set back an hour. glibc can wait by the other
 * one; it shows the function to _GNU_SOURCE alone, which would have to stand before the first header of every file. */
#    if defined(__GLIBC__) && defined(__LP64__)
#      if __GLIBC_PREREQ(2, 30)
#        define MK_WAITS_MONOTONIC
extern int sem_clockwait(sem_t *, clockid_t, const struct timespec *);
#      endif
#    endif
#  endif
#endif

/* A byte into a pipe, for whoever waits at its other end; a full one has woken him already. Any thread, never waits
 * where the descriptor does not. */
static inline void mk_poke(int fd) {
#if defined(_WIN32)
    (void) fd;
#else
    ssize_t n = fd > 0 ? write(fd, "", 1) : 0;
    (void) n;
#endif
}

/* Seconds on a clock that never goes back. */
static inline double mk_now(void) {
#if defined(_WIN32)
    LARGE_INTEGER ticks, frequency;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&frequency);
    return (double) ticks.QuadPart / (double) frequency.QuadPart;
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
#endif
}

/* Seconds that the calling thread has computed; negative where that is not known to better than milliseconds. */
static inline double mk_thread_seconds(void) {
#if defined(_WIN32)
    return -1;
#else
    struct timespec t;
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0 ? (double) t.tv_sec + 1e-9 * (double) t.tv_nsec : -1;
#endif
}

/* Sleeps the calling thread for good; used to park a thread that must never return. */
static inline void mk_park(void) {
    for (;;) {
#if defined(_WIN32)
        Sleep(INFINITE);
#else
        struct timespec hour = {3600, 0};
        nanosleep(&hour, NULL);
#endif
    }
}

static inline int mk_semaphore_init(mk_semaphore *s) {
#if defined(_WIN32)
    *s = CreateSemaphoreW(NULL, 0, 0x7fffffff, NULL);
    return *s == NULL ? -1 : 0;
#elif defined(__APPLE__)
    *s = dispatch_semaphore_create(0);
    return *s == NULL ? -1 : 0;
#else
    return sem_init(s, 0, 0);
#endif
}

static inline void mk_semaphore_free(mk_semaphore *s) {
#if defined(_WIN32)
    CloseHandle(*s);
#elif defined(__APPLE__)
    dispatch_release(*s);
#else
    sem_destroy(s);
#endif
}

/* Never blocks. */
static inline void mk_semaphore_post(mk_semaphore *s) {
#if defined(_WIN32)
    ReleaseSemaphore(*s, 1, NULL);
#elif defined(__APPLE__)
    dispatch_semaphore_signal(*s);
#else
    sem_post(s);
#endif
}

static inline void mk_semaphore_wait(mk_semaphore *s) {
#if defined(_WIN32)
    WaitForSingleObject(*s, INFINITE);
#elif defined(__APPLE__)
    dispatch_semaphore_wait(*s, DISPATCH_TIME_FOREVER);
#else
    while (sem_wait(s) != 0 && errno == EINTR) {
    }
#endif
}

/* True when it was posted; false when the time is over, which may be early. */
static inline bool mk_semaphore_wait_for(mk_semaphore *s, double seconds) {
#if defined(_WIN32)
    return WaitForSingleObject(*s, (DWORD) (seconds * 1e3) + 1) == WAIT_OBJECT_0;
#elif defined(__APPLE__)
    return dispatch_semaphore_wait(*s, dispatch_time(DISPATCH_TIME_NOW, (int64_t) (seconds * 1e9))) == 0;
#else
    struct timespec t;
    long nanoseconds;
#  if defined(MK_WAITS_MONOTONIC)
    clock_gettime(CLOCK_MONOTONIC, &t);
#  else
    clock_gettime(CLOCK_REALTIME, &t);
#  endif
    nanoseconds = t.tv_nsec + (long) ((seconds - (double) (time_t) seconds) * 1e9);
    t.tv_sec += (time_t) seconds + nanoseconds / 1000000000;
    t.tv_nsec = nanoseconds % 1000000000;
#  if defined(MK_WAITS_MONOTONIC)
    return sem_clockwait(s, CLOCK_MONOTONIC, &t) == 0;
#  else
    return sem_timedwait(s, &t) == 0;
#  endif
#endif
}

#if defined(_WIN32)
typedef unsigned(__stdcall *mk_thread_main)(void *);
#  define MK_THREAD_MAIN(name, argument) static unsigned __stdcall name(void *argument)
#  define MK_THREAD_RETURN return 0
#else
typedef void *(*mk_thread_main)(void *);
#  define MK_THREAD_MAIN(name, argument) static void *name(void *argument)
#  define MK_THREAD_RETURN return NULL
#endif

static inline int mk_thread_start(mk_thread *thread, mk_thread_main entry, void *argument) {
#if defined(_WIN32)
    *thread = (HANDLE) _beginthreadex(NULL, 0, entry, argument, 0, NULL);
    return *thread == NULL ? -1 : 0;
#else
    /* llama.cpp's graph building wants more stack than macOS gives a second thread (512 KiB). */
    pthread_attr_t attributes;
    int result;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 8u << 20);
    result = pthread_create(thread, &attributes, entry, argument);
    pthread_attr_destroy(&attributes);
    return result;
#endif
}

/* Makes the calling thread less important, and with it (on Linux) those that it starts: 1 low, 2 lowest. */
static inline void mk_thread_lower(int level) {
    if (level <= 0) {
        return;
    }
#if defined(_WIN32)
    SetThreadPriority(GetCurrentThread(), level == 1 ? THREAD_PRIORITY_BELOW_NORMAL : THREAD_PRIORITY_LOWEST);
#elif defined(__APPLE__)
    pthread_set_qos_class_self_np(level == 1 ? QOS_CLASS_UTILITY : QOS_CLASS_BACKGROUND, 0);
#elif defined(__linux__)
    setpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid), level == 1 ? 5 : 15); /* a thread has its own nice value */
#endif
}

static inline void mk_thread_join(mk_thread thread) {
#if defined(_WIN32)
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
#else
    pthread_join(thread, NULL);
#endif
}

static inline void mk_thread_detach(mk_thread thread) {
#if defined(_WIN32)
    CloseHandle(thread);
#else
    pthread_detach(thread);
#endif
}

#endif
