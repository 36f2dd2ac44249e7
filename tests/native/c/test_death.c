/* A failed assertion in the library ends one engine, never the process. Dead engines leak by design: a
 * parked thread may still point into them. So these tests live apart from those that count what is left. */
#include "harness.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static host h;

static const char long_words[] =
    "some words are said before the end, and there are enough of them that a host which is late by half a "
    "second still meets the speaker in the middle of them, whatever else the machine has to do that day";

static uint64_t say(const char *reply) {
    ask *a = ask_new();
    ask_text(a, "A prompt of some length. ");
    ask_reply(a, reply);
    return host_submit(&h, a);
}

static void until_dead(void) {
    for (double begun = now(); state_of(&h) != MK_DEAD;) {
        PROMPT(begun);
        host_drain(&h);
    }
}

/* A thread of the dead engine's pool that fails late may take a new engine with it, because nothing says
 * whose it is; the one after that works. */
static void a_new_engine_works(void) {
    mk_config config = usual_config();
    for (int i = 0; i < 20; i++) {
        uint64_t id;
        host_open(&h, &config);
        id = say("alive");
        while (state_of(&h) != MK_DEAD && !host_heard(&h, id)->ended) {
            host_drain(&h);
        }
        if (state_of(&h) != MK_DEAD) {
            CHECK(mk_engine_death(h.engine) == NULL);
            expect_text(&h, id, MK_FINISH_STOP, "alive");
            host_close(&h);
            return;
        }
        host_close(&h);
    }
    CHECK(!"a new engine works");
}

static void the_host_goes_on_and_a_new_engine_works(const char *message) {
    double begun = now();
    ask *a = ask_new();
    int refused = 0;
    CHECK(mk_engine_death(h.engine) != NULL && strstr(mk_engine_death(h.engine), message) != NULL);
    ask_reply(a, "nobody answers");
    for (int i = 0; i < 1000; i++) { /* memory is bounded here, too */
        refused += host_try(&h, a) != 0;
        mk_engine_cancel(h.engine, 1);
    }
    CHECK(refused >= 1000 - 64);
    host_drain(&h);
    mk_engine_pause(h.engine, true);
    mk_engine_pause(h.engine, false);
    host_close(&h);
    PROMPT(begun);
    fake_reset();
    a_new_engine_works();
}

static void die_in_a_decode(int how, const char *message) {
    mk_config config = usual_config();
    uint64_t id;
    void (*(*set)(void (*)(void)))(void) = fake_set_terminate;
    memcpy(&config.set_terminate, &set, sizeof set);
    host_open_ready(&h, &config);
    atomic_store(&fake.decode_us, 5000);
    id = say(long_words);
    say(long_words);
    host_until_heard(&h, id, 3);
    atomic_store(&fake.assertion, how);
    until_dead();
    CHECK(!host_heard(&h, id)->ended && host_heard(&h, id)->tokens >= 3);
    the_host_goes_on_and_a_new_engine_works(message);
}

static void an_assertion_asked_for_by_a_test(void) {
    mk_config config = usual_config();
    host_open_ready(&h, &config);
    CHECK(mk_engine_fail_assertion(h.engine) == 0);
    until_dead();
    the_host_goes_on_and_a_new_engine_works("an assertion that a test asked for");
}

static void an_assertion_on_the_worker(void) {
    die_in_a_decode(FAKE_ASSERT_WORKER, "n_tokens < n_ctx");
}

static void an_assertion_on_a_thread_of_the_pool(void) {
    die_in_a_decode(FAKE_ASSERT_POOL, "a NaN");
}

static void an_assertion_on_all_threads_at_once(void) {
    for (int i = 0; i < 5; i++) {
        die_in_a_decode(FAKE_ASSERT_EVERYWHERE, "");
    }
}

static void a_cpp_exception_that_nobody_caught(void) {
    die_in_a_decode(FAKE_TERMINATE, "exception");
}

static void *fail(void *unused) {
    (void) unused;
    fake_fail_assertion("on a thread that no engine knows");
    return NULL;
}

static void a_late_failure_of_the_same_pool_is_parked_too(void) {
    mk_config config = usual_config();
    int before = atomic_load(&fake.assertions);
    pthread_t thread;
    host_open_ready(&h, &config);
    mk_engine_fail_assertion(h.engine);
    until_dead();
    host_close(&h);
    CHECK(pthread_create(&thread, NULL, fail, NULL) == 0 && pthread_detach(thread) == 0);
    until(&fake.assertions, before + 2);
    a_new_engine_works();
}

static void an_assertion_while_loading(void) {
    mk_config config = usual_config();
    atomic_store(&fake.assertion_in_load, 1);
    host_open(&h, &config);
    until_dead();
    CHECK(!h.loaded && !h.failed);
    the_host_goes_on_and_a_new_engine_works("tensor != NULL");
}

static void an_assertion_while_closing(void) {
    mk_config config = usual_config();
    double begun;
    host_open_ready(&h, &config);
    atomic_store(&fake.decode_us, AGES * 1000000);
    atomic_store(&fake.assertion, FAKE_ASSERT_WHEN_ABORTED);
    say("never said");
    until(&fake.decoding, 1);
    begun = now();
    host_close(&h);
    PROMPT(begun);
    atomic_store(&fake.decoding, 0); /* the parked decode never came back */
}

/* A thread of nobody's pool cannot know whose it is, so every engine inside the library dies; one that is
 * closed at that moment must not be freed under the thread that looks. */
static void an_assertion_beside_an_engine_that_closes(void) {
    mk_config config = usual_config();
    for (int i = 0; i < 20; i++) {
        host other;
        fake_reset();
        host_open_ready(&h, &config);
        host_open_ready(&other, &config);
        say("words");
        atomic_store(&fake.assertion, FAKE_ASSERT_POOL);
        say("words");
        host_close(&other);
        until_dead();
        host_close(&h);
    }
}

/* In a child, made before any other thread is: this process has to die. */
static void an_assertion_that_is_nobodys_aborts_as_ever(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        mk_config config = usual_config();
        pthread_t thread;
        host_open_ready(&h, &config); /* idle: it is outside the library */
        if (pthread_create(&thread, NULL, fail, NULL) == 0) {
            pthread_join(thread, NULL);
        }
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(an_assertion_that_is_nobodys_aborts_as_ever);
    RUN(an_assertion_asked_for_by_a_test);
    RUN(an_assertion_on_the_worker);
    RUN(an_assertion_on_a_thread_of_the_pool);
    RUN(an_assertion_on_all_threads_at_once);
    RUN(a_cpp_exception_that_nobody_caught);
    RUN(a_late_failure_of_the_same_pool_is_parked_too);
    RUN(an_assertion_while_loading);
    RUN(an_assertion_while_closing);
    RUN(an_assertion_beside_an_engine_that_closes);
    return 0;
}
