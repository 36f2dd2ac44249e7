/* Two engines at once, driven at random from one host thread: submits, cancels, drains, pauses, failures.
 * Every request ends exactly once (the harness checks it as it reads), and what was said is the script. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { OPERATIONS = 20000, MAX_REPLY = 24, SLOTS = 8, MOST_ALIVE = 36 };

typedef struct expected {
    char reply[MAX_REPLY + 1];
    bool too_long;
} expected;

static host hosts[2];
static expected *asked[2];
static uint64_t seed = 20261120;
static int refused;
static const char prompt_words[] = "You keep the lamp of a harbour town, and answer in a few plain words. ";

static void submit(int which) {
    host *h = &hosts[which];
    ask *a = ask_new();
    expected *x = &asked[which][h->n_streams];
    uint32_t n = random_below(&seed, MAX_REPLY + 1);
    for (uint32_t i = 0; i < n; i++) {
        x->reply[i] = (char) ('a' + random_below(&seed, 26));
    }
    x->reply[n] = '\0';
    x->too_long = random_below(&seed, 100) == 0;
    for (int i = 0; i < (int) random_below(&seed, sizeof prompt_words); i++) { /* some beginnings are shared */
        ask_tokens(a, (int32_t[]){prompt_words[i]}, 1);
    }
    ask_filler(a, x->too_long ? 256 : (int) random_below(&seed, 80), (int) random_below(&seed, 3));
    ask_reply(a, x->reply);
    a->keep = random_below(&seed, 2) == 0;
    a->pin = random_below(&seed, 2) == 0 ? (int) random_below(&seed, 20) : -1;
    a->adapters = (int) random_below(&seed, 3);
    a->overflow = !x->too_long && random_below(&seed, 2) == 0 ? MK_DROP : MK_REFUSE; /* the script stays */
    refused += host_try(h, a) != 0;
}

static void one_operation(int which) {
    host *h = &hosts[which];
    uint32_t dice = random_below(&seed, 100);
    int before = refused;
    if (dice < 35) {
        submit(which);
    } else if (dice < 60) {
        mk_engine_cancel(h->engine, random_below(&seed, (uint32_t) h->n_streams + 2));
    } else if (dice < 75) { /* one of the latest: more likely to be alive */
        mk_engine_cancel(h->engine, h->n_streams - random_below(&seed, h->n_streams < 12 ? (uint32_t) h->n_streams + 1 : 12));
    } else if (dice < 95) {
        h->drain_size = 1 + random_below(&seed, 3000);
        host_drain(h);
    } else if (dice < 99) {
        mk_engine_pause(h->engine, random_below(&seed, 4) == 0);
    } else {
        static const int codes[] = {1, -1, -3, 2};
        atomic_store(&fake.fail, codes[random_below(&seed, 4)]);
    }
    /* the dice are faster than the worker: let it come along */
    for (bool wait = refused > before; wait || h->n_streams - h->n_ended > MOST_ALIVE; wait = false) {
        mk_engine_pause(h->engine, false);
        if (host_drain(h) == 0) {
            nanosleep(&(struct timespec){0, 20000}, NULL);
        }
    }
}

/* Cancelled: a beginning of the reply. Stopped: all of it. Failed: nothing is promised but the end. */
static void check_what_was_said(int which, int *ends) {
    host *h = &hosts[which];
    for (uint64_t id = 1; id <= h->n_streams; id++) {
        const heard *s = host_heard(h, id);
        const expected *x = &asked[which][id - 1];
        CHECK(s->ended == 1 && (s->size == 0 || strncmp(s->text, x->reply, s->size) == 0));
        CHECK(s->finish != MK_FINISH_STOP || s->size == strlen(x->reply));
        CHECK(s->finish == MK_FINISH_STOP || s->finish == MK_FINISH_CANCELLED || s->code == MK_CODE_DECODE
              || (s->code == MK_CODE_OVERFLOW && x->too_long));
        CHECK(!x->too_long || s->finish == MK_FINISH_CANCELLED || s->code == MK_CODE_OVERFLOW);
        ends[s->finish == MK_FINISH_STOP ? 0 : s->finish == MK_FINISH_CANCELLED ? 1 : s->code == MK_CODE_OVERFLOW ? 2 : 3]++;
    }
}

static void every_request_ends_once(void) {
    mk_config config = usual_config();
    int ends[4] = {0};
    config.slots = SLOTS;
    config.cache_bytes = 20000; /* some sequences: states come and go */
    config.context = 200;
    config.ring_bytes = 1 << 15; /* small enough to be full now and then */
    config.queue_length = 32;
    config.slice_seconds = config.slice_seconds_alone = 0.0005;
    set_batch(&config, 64);
    config.cache_salt = "stress";
    config.disk_bytes = 60000;
    mkdir(scratch_file("stress"), 0700);
    for (int which = 0; which < 2; which++) {
        config.cache_folder = which == 1 ? NULL : scratch_file("stress");
        fake_options.recurrent = which == 1;
        asked[which] = calloc(OPERATIONS, sizeof *asked[which]);
        CHECK(asked[which] != NULL);
        host_open_ready(&hosts[which], &config);
        for (int i = 0; i < 2; i++) { /* two sets of adapters: here, control vectors */
            float control[3 * 64] = {(float) i};
            CHECK(mk_engine_adapters(hosts[which].engine, &(mk_adapters){.control = control, .n_control = 3 * 64}) == 0);
        }
    }
    for (int i = 0; i < OPERATIONS; i++) {
        one_operation((int) random_below(&seed, 2));
    }
    atomic_store(&fake.fail, 0);
    for (int which = 0; which < 2; which++) {
        mk_engine_pause(hosts[which].engine, false);
    }
    for (int which = 0; which < 2; which++) {
        host *h = &hosts[which];
        h->drain_size = 4096;
        host_until_all_ended(h);
        for (int i = 0; i < 100; i++) {
            host_drain(h); /* and nothing comes after */
        }
        check_what_was_said(which, ends);
        host_close(h);
        free(asked[which]);
    }
    printf("%d stopped, %d cancelled, %d overflowed, %d failed, %d refused\n", ends[0], ends[1], ends[2], ends[3], refused);
    CHECK(ends[0] > 500 && ends[1] > 500 && ends[2] > 5 && ends[3] > 20); /* the dice covered all of it */
    CHECK(atomic_load(&fake.models) == 0 && atomic_load(&fake.contexts) == 0 && atomic_load(&fake.samplers) == 0);
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(every_request_ends_once);
    return 0;
}
