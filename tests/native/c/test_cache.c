/* What need not be computed twice: conversations that wait without a slot, beginnings that many share. */
#include "files.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_TALKERS = 64, MOST_TOKENS = 2000 };

static host h;

/* A conversation as its owner keeps it: the tokens so far. */
typedef struct talk {
    int32_t tokens[MOST_TOKENS];
    int n, pin, cached; /* of the last turn */
} talk;

static talk talks[MOST_TALKERS];

static void begin(talk *t, int persona, int pin, int kind) {
    ask *a = ask_new();
    ask_filler(a, pin, persona);
    ask_filler(a, 9, kind);
    memcpy(t->tokens, a->tokens, (size_t) a->n * sizeof *a->tokens);
    t->n = a->n;
    t->pin = pin;
}

/* Asks for the next turn; the reply becomes part of the conversation. */
static uint64_t submit_turn(talk *t, const char *reply) {
    ask *a = ask_new();
    ask_tokens(a, t->tokens, t->n);
    ask_reply(a, reply);
    a->keep = true;
    a->pin = t->pin;
    return host_submit(&h, a);
}

static void end_turn(talk *t, uint64_t id, const char *reply) {
    ask *a = ask_new();
    expect_text(&h, id, MK_FINISH_STOP, reply);
    t->cached = host_heard(&h, id)->cached;
    ask_tokens(a, t->tokens, t->n);
    ask_reply(a, reply);
    ask_text(a, reply);
    CHECK(a->n <= MOST_TOKENS);
    memcpy(t->tokens, a->tokens, (size_t) a->n * sizeof *a->tokens);
    t->n = a->n;
}

static void turn(talk *t, const char *reply) {
    end_turn(t, submit_turn(t, reply), reply);
}

static uint64_t prefilled(void) {
    return mk_engine_shared(h.engine)->decoded;
}

/* ---- more conversations than slots ---- */

static void talk_in_turn(int n, int turns) {
    int before[MOST_TALKERS];
    for (int i = 0; i < n; i++) {
        begin(&talks[i], i, 40, i);
    }
    for (int round = 0; round < turns; round++) {
        for (int i = 0; i < n; i++) {
            turn(&talks[i], i % 3 == 0 ? "Yes, it is lit." : "No.");
            CHECK(round == 0 || talks[i].cached == before[i]);
            before[i] = talks[i].n;
        }
    }
}

static void sixty_four_speakers_in_four_slots_prefill_only_what_is_new(void) {
    mk_config config = usual_config();
    host_open_ready(&h, &config);
    talk_in_turn(64, 3);
    CHECK(atomic_load(&fake.restored) >= 2 * 60);
    host_close(&h);
}

static void a_recurrent_models_speakers_come_back_too(void) {
    mk_config config = usual_config();
    fake_options.recurrent = true;
    host_open_ready(&h, &config);
    talk_in_turn(16, 3);
    host_close(&h);
    fake_reset();
}

static void a_model_with_a_sliding_window_goes_on_where_it_was(void) {
    mk_config config = usual_config();
    fake_options.swa = 20;
    host_open_ready(&h, &config);
    talk_in_turn(16, 3);
    host_close(&h);
    fake_reset();
}

static void the_one_unused_for_longest_is_given_up_when_the_budget_is_spent(void) {
    mk_config config = usual_config();
    config.slots = 1;
    config.cache_bytes = 2000; /* about two of them */
    host_open_ready(&h, &config);
    for (int i = 0; i < 5; i++) {
        begin(&talks[i], i, 40, i);
        turn(&talks[i], "No.");
    }
    turn(&talks[3], "No."); /* 4 is in the slot and goes into the store, 3 was there */
    CHECK(talks[3].cached > 0);
    turn(&talks[0], "No.");
    CHECK(talks[0].cached == 0);
    host_close(&h);
}

static void without_a_budget_nothing_is_stored(void) {
    mk_config config = usual_config();
    config.slots = 1;
    config.cache_bytes = 0;
    host_open_ready(&h, &config);
    for (int i = 0; i < 2; i++) {
        begin(&talks[i], i, 40, i);
        turn(&talks[i], "No.");
    }
    turn(&talks[0], "No.");
    CHECK(talks[0].cached == 0 && atomic_load(&fake.saved) == 0);
    host_close(&h);
}

static void a_prompt_that_will_not_go_on_is_not_stored(void) {
    mk_config config = usual_config();
    config.slots = 1;
    host_open_ready(&h, &config);
    for (int i = 0; i < 4; i++) {
        ask *a = ask_new();
        ask_filler(a, 100, i);
        ask_reply(a, "No.");
        expect_text(&h, host_submit(&h, a), MK_FINISH_STOP, "No.");
    }
    CHECK(atomic_load(&fake.saved) == 0);
    host_close(&h);
}

static void a_state_that_is_refused_costs_a_prefill_and_no_more(void) {
    mk_config config = usual_config();
    config.slots = 1;
    host_open_ready(&h, &config);
    for (int i = 0; i < 2; i++) {
        begin(&talks[i], i, 40, i);
        turn(&talks[i], "No.");
    }
    atomic_store(&fake.refuse_state, 1);
    turn(&talks[0], "Yes.");
    CHECK(talks[0].cached == 0);
    turn(&talks[1], "Yes.");
    CHECK(talks[1].cached > 0);
    host_close(&h);
}

/* Two in one slot: as one comes the other goes. What the system gives anew costs more than the copy. */
static void a_state_takes_the_memory_of_the_last_that_went(void) {
    enum { TOKENS = 209, WIDTH = 8000, TURNS = 20 };
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) /* they take pages of their own */
    const bool pages_tell = false;
#else
    const bool pages_tell = true;
#endif
    long pages = (long) TOKENS * WIDTH * 4 / sysconf(_SC_PAGESIZE), before = 0;
    struct rusage usage;
    mk_config config = usual_config();
    config.slots = 1;
    config.cache_bytes = 64 << 20;
    fake_options.state_width = WIDTH;
    host_open_ready(&h, &config);
    for (int round = 0; round < TURNS; round++) {
        for (int i = 0; i < 2; i++) {
            if (round == 0) {
                begin(&talks[i], i, TOKENS - 9, i);
            }
            turn(&talks[i], "No.");
            CHECK(round == 0 || talks[i].cached > TOKENS);
        }
        getrusage(RUSAGE_SELF, &usage);
        before = round == 1 ? usage.ru_minflt : before;
    }
    CHECK(!pages_tell || usage.ru_minflt - before < (TURNS - 2) * pages); /* half of what 2 a turn would be */
    host_close(&h);
    fake_reset();
}

/* ---- one persona, many conversations ---- */

static void a_persona_is_computed_once(void) {
    mk_config config = usual_config();
    uint64_t before;
    for (int kind = 0; kind < 3; kind++) {
        fake_options.recurrent = kind == 1;
        fake_options.swa = kind == 2 ? 20 : 0;
        host_open_ready(&h, &config);
        for (int i = 0; i < 12; i++) {
            begin(&talks[i], 7, 300, i);
            before = prefilled();
            turn(&talks[i], "No.");
            CHECK(talks[i].cached == (i == 0 ? 0 : 300));
            CHECK(i == 0 || prefilled() - before < 20);
        }
        host_close(&h);
        fake_reset();
    }
}

/* Those who come while the persona is being computed wait for it, and copy it. */
static void a_persona_is_computed_once_for_all_who_come_together(void) {
    mk_config config = usual_config();
    for (int kind = 0; kind < 3; kind++) {
        uint64_t ids[8], before;
        fake_options.recurrent = kind == 1;
        config.cache_bytes = kind == 2 ? 0 : 1 << 20; /* without a store, the slots share among themselves */
        config.slots = 8;
        host_open_ready(&h, &config);
        atomic_store(&fake.token_us, 20);
        before = prefilled();
        for (int i = 0; i < 8; i++) {
            begin(&talks[i], 7, 300, i);
            ids[i] = submit_turn(&talks[i], "No, it is not.");
        }
        for (int i = 0; i < 8; i++) {
            end_turn(&talks[i], ids[i], "No, it is not.");
            CHECK(i == 0 || talks[i].cached >= 300);
        }
        CHECK(prefilled() - before < 300 + 8 * 60);
        CHECK(kind != 2 || atomic_load(&fake.copied) == 7);
        host_close(&h);
        fake_reset();
    }
}

/* The one who computed the persona is cancelled: another computes it, and the others wait for that one. */
static void a_persona_whose_first_speaker_is_cancelled_is_computed_by_the_next(void) {
    mk_config config = usual_config();
    uint64_t ids[4];
    host_open_ready(&h, &config);
    atomic_store(&fake.token_us, 200);
    for (int i = 0; i < 4; i++) {
        begin(&talks[i], 7, 300, i);
        ids[i] = submit_turn(&talks[i], "No.");
    }
    until(&fake.decodes, 2);
    mk_engine_cancel(h.engine, ids[0]);
    atomic_store(&fake.token_us, 0);
    host_until_ended(&h, ids[0]);
    for (int i = 1; i < 4; i++) {
        end_turn(&talks[i], ids[i], "No.");
    }
    host_close(&h);
    fake_reset();
}

/* ---- on disk ---- */

static char folder[600], file_name[800];

static bool remove_one(void *data, const char *name) {
    char path[1200];
    (void) data;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    mk_file_remove(path);
    return true;
}

static bool note_one(void *count, const char *name) {
    if (strstr(name, ".state") != NULL) {
        snprintf(file_name, sizeof file_name, "%s/%s", folder, name);
        ++*(int *) count;
    }
    CHECK(strstr(name, ".new") == NULL); /* what was begun was finished or taken back */
    return true;
}

static int files(void) {
    int count = 0;
    mk_file_list(folder, note_one, &count);
    return count;
}

static mk_config disk_config(void) {
    mk_config config = usual_config();
    snprintf(folder, sizeof folder, "%s", scratch_file("states"));
    mkdir(folder, 0700);
    mk_file_list(folder, remove_one, NULL);
    config.cache_folder = folder;
    config.cache_salt = "a test";
    memcpy(config.cache_key, "sixteen bytes ok", 16);
    config.disk_bytes = 1 << 20;
    return config;
}

static void a_tag_is_the_published_one(void) {
    static const uint8_t empty[16] = {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93};
    static const uint8_t fifteen[16] = {0x54, 0x93, 0xe9, 0x99, 0x33, 0xb0, 0xa8, 0x11, 0x7e, 0x08, 0xec, 0x0f, 0x97, 0xcf, 0xc3, 0xd9};
    uint8_t key[16], out[16];
    mk_tag t;
    for (int i = 0; i < 16; i++) {
        key[i] = (uint8_t) i;
    }
    mk_tag_begin(&t, key);
    mk_tag_end(&t, out);
    CHECK(memcmp(out, empty, 16) == 0);
    mk_tag_begin(&t, key);
    mk_tag_add(&t, key, 3); /* in pieces as in one */
    mk_tag_add(&t, key + 3, 11);
    mk_tag_add(&t, key + 14, 1);
    mk_tag_end(&t, out);
    CHECK(memcmp(out, fifteen, 16) == 0);
}

static void a_persona_is_there_for_the_next_run(void) {
    mk_config config = disk_config();
    for (int run = 0; run < 3; run++) {
        uint64_t before;
        host_open_ready(&h, &config);
        before = prefilled();
        begin(&talks[0], 7, 300, run);
        turn(&talks[0], "No.");
        CHECK(talks[0].cached == (run == 0 ? 0 : 300) && (run == 0 || prefilled() - before < 30));
        host_close(&h);
        CHECK(files() == 1);
    }
    config.cache_salt = "another library";
    host_open_ready(&h, &config);
    begin(&talks[0], 7, 300, 0);
    turn(&talks[0], "No.");
    CHECK(talks[0].cached == 0);
    host_close(&h);
    CHECK(files() == 2);
}

static void what_memory_cannot_hold_comes_back_from_disk(void) {
    mk_config config = disk_config();
    int before[24];
    config.cache_bytes = 100000; /* of the 350,000 that they need */
    config.disk_bytes = 1 << 20;
    for (int kind = 0; kind < 2; kind++) {
        fake_options.recurrent = kind == 1;
        fake_options.state_width = 32;
        host_open_ready(&h, &config);
        for (int i = 0; i < 24; i++) {
            begin(&talks[i], i, 0, i);
            talks[i].n = 0;
            for (int k = 0; k < 90; k++) {
                talks[i].tokens[talks[i].n++] = (i * 11 + k * 3 + kind) % 256;
            }
        }
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 24; i++) {
                turn(&talks[i], "No.");
                CHECK(round == 0 || talks[i].cached == before[i]);
                before[i] = talks[i].n;
            }
        }
        host_close(&h);
        fake_reset();
    }
}

static void the_disk_keeps_its_budget(void) {
    mk_config config = disk_config();
    config.cache_bytes = 3000;
    config.disk_bytes = 5000; /* four personas of 100 tokens */
    host_open_ready(&h, &config);
    for (int i = 0; i < 20; i++) {
        begin(&talks[i], 10 + i, 300, i);
        turn(&talks[i], "No.");
    }
    host_close(&h);
    CHECK(files() >= 1 && files() <= 4);
}

static size_t read_whole(uint8_t *out, size_t room) {
    FILE *file = fopen(file_name, "rb");
    size_t n = file == NULL ? 0 : fread(out, 1, room, file);
    CHECK(n > 0 && n < room);
    fclose(file);
    return n;
}

/* Every damaged file is ignored with a line in the log, and what it held is computed again. */
static void a_damaged_or_foreign_file_is_never_trusted(void) {
    static uint8_t good[9000], bad[9000];
    mk_config config = disk_config();
    uint64_t dice = 5;
    size_t n;
    char first[800];
    config.log_level = 3;
    host_open_ready(&h, &config);
    begin(&talks[0], 7, 300, 0);
    turn(&talks[0], "No.");
    host_close(&h);
    CHECK(files() == 1);
    snprintf(first, sizeof first, "%s", file_name);
    n = read_whole(good, sizeof good);
    for (int i = 0; i < 150; i++) {
        size_t length = n;
        memcpy(bad, good, n);
        if (i == 0) {
            config.cache_key[3] ^= 1; /* another user's */
        } else if (i % 3 == 0) {
            length = random_below(&dice, (uint32_t) n);
        } else if (i % 3 == 1) {
            bad[random_below(&dice, (uint32_t) n)] ^= (uint8_t) (1u << random_below(&dice, 8));
        } else {
            bad[random_below(&dice, 80)] = (uint8_t) random_below(&dice, 256);
        }
        mk_file_list(folder, remove_one, NULL);
        write_file(first, bad, length);
        host_open_ready(&h, &config);
        begin(&talks[0], 7, 300, 0);
        turn(&talks[0], "No.");
        CHECK(talks[0].cached == 0 || memcmp(good, bad, n) == 0); /* the dice may leave it as it was */
        CHECK(talks[0].cached == 300 || h.logs > 0 || (i > 0 && memcmp(good + 24, bad + 24, 24) != 0) || length < n
              || memcmp(good, bad, 80) != 0);
        host_close(&h);
        config.cache_key[3] ^= i == 0;
    }
    mk_file_list(folder, remove_one, NULL);
    write_file(first, good, n);
    host_open_ready(&h, &config); /* and a whole one is */
    begin(&talks[0], 7, 300, 0);
    turn(&talks[0], "No.");
    CHECK(talks[0].cached == 300);
    host_close(&h);
}

static void a_folder_that_cannot_be_written_costs_nothing_else(void) {
    mk_config config = disk_config();
    config.cache_folder = "/nowhere/at/all";
    config.cache_bytes = 3000;
    config.log_level = 3;
    host_open_ready(&h, &config);
    for (int i = 0; i < 8; i++) {
        begin(&talks[i], i, 60, i);
        turn(&talks[i], "No.");
    }
    turn(&talks[7], "Yes.");
    CHECK(talks[7].cached > 60);
    while (h.logs == 0) { /* and it is said, once */
        host_drain(&h);
    }
    host_close(&h);
}

static void a_request_that_waits_for_the_disk_can_be_cancelled(void) {
    mk_config config = disk_config();
    uint64_t id;
    host_open_ready(&h, &config);
    begin(&talks[0], 7, 300, 0);
    turn(&talks[0], "No.");
    host_close(&h);
    for (int i = 0; i < 30; i++) {
        host_open_ready(&h, &config);
        begin(&talks[0], 7, 300, 0);
        id = submit_turn(&talks[0], "No.");
        CHECK(mk_engine_cancel(h.engine, id) == 0);
        host_until_ended(&h, id);
        if (i % 2 == 0) {
            turn(&talks[0], "No.");
        }
        host_close(&h); /* perhaps while it reads */
    }
}

/* ---- long talk ---- */

static void talk_on(talk *t, const char *reply, int overflow, int *left) {
    ask *a = ask_new();
    ask_tokens(a, t->tokens, t->n);
    ask_reply(a, reply);
    a->keep = true;
    a->pin = t->pin;
    a->overflow = overflow;
    uint64_t id = host_submit(&h, a);
    end_turn(t, id, reply);
    *left = host_heard(&h, id)->left_tokens;
}

/* What is behind the pinned tokens leaves by the half; the others stay computed where positions can move. */
static void a_prompt_longer_than_the_context_loses_its_oldest_tokens(void) {
    for (int kind = 0; kind < 3; kind++) {
        mk_config config = usual_config();
        int left = 0, times = 0;
        config.slots = 1;
        fake_options.no_shift = kind == 1;
        fake_options.recurrent = kind == 2;
        host_open_ready(&h, &config);
        begin(&talks[0], 7, 100, 0);
        for (int round = 0; round < 25; round++) {
            talk_on(&talks[0], "It is lit, and it stays lit.", MK_DROP, &left);
            CHECK(host_heard(&h, (uint64_t) round + 1)->prompt < 512);
            CHECK(round == 0 || talks[0].cached >= 100);
            times += left > 0;
        }
        CHECK(times > 5 && talks[0].n > 1000);
        host_close(&h);
        fake_reset();
    }
}

/* In mid-sentence: the reply goes on to its end, and the words of the persona are still there. */
static void a_reply_goes_on_when_the_context_is_full(void) {
    for (int kind = 0; kind < 3; kind++) {
        mk_config config = usual_config();
        ask *a = ask_new();
        uint64_t id;
        config.slots = 2;
        fake_options.no_shift = kind == 1;
        fake_options.recurrent = kind == 2;
        host_open_ready(&h, &config);
        ask_text(a, "The persona that stays, whatever comes, and is long enough to be worth it. ");
        a->pin = a->n;
        a->keep = true;
        ask_filler(a, 250, 1);
        ask_tokens(a, (int32_t[]){FAKE_ECHO}, 1); /* with 326 tokens of prompt the context is full at 186 of the reply */
        a->max_tokens = 2000;
        a->overflow = MK_DROP;
        id = host_submit(&h, a);
        host_until_ended(&h, id);
        /* a part of the script has left, which the fake's model takes for its end */
        CHECK(host_heard(&h, id)->finish == MK_FINISH_STOP && host_heard(&h, id)->tokens == 186);
        CHECK(host_heard(&h, id)->left_tokens == (512 - a->pin) / 2 && (atomic_load(&fake.shifted) > 0) == (kind == 0));
        host_close(&h);
        fake_reset();
    }
}

static mk_segment turn_of(const char *text, bool turn) {
    return (mk_segment){text, (int32_t) strlen(text), MK_TEXT, turn};
}

/* Whole turns leave, and the one that is asked stays whole. */
static void the_oldest_turns_leave_and_the_last_one_is_answered(void) {
    static char words[8][121];
    for (int kind = 0; kind < 3; kind++) {
        mk_config config = usual_config();
        uint64_t id;
        ask *a = ask_new();
        fake_options.no_shift = kind == 1;
        fake_options.recurrent = kind == 2;
        config.slots = 1;
        host_open_ready(&h, &config);
        ask_segment(a, MK_TEXT, "You keep the lamp of a harbour town, and you answer in a few words. ");
        for (int i = 0; i < 6; i++) {
            memset(words[i], 'a' + i, 120);
            ask_segment(a, MK_TEXT, words[i]);
            a->segments[a->n_segments - 1] = turn_of(words[i], true);
        }
        ask_segment(a, MK_TEMPLATE, "<|echo|>");
        a->keep = true;
        a->overflow = MK_DROP;
        a->max_tokens = 30;
        id = host_submit(&h, a);
        expect_text(&h, id, MK_FINISH_LENGTH, "You keep the lamp of a harbour");
        CHECK(host_heard(&h, id)->left_turns == 4 && host_heard(&h, id)->left_tokens == 480);
        CHECK(host_heard(&h, id)->prompt == 69 + 240);
        a->overflow = MK_REFUSE;
        id = host_submit(&h, a);
        host_until_ended(&h, id);
        CHECK(host_heard(&h, id)->code == MK_CODE_OVERFLOW);
        host_close(&h);
        fake_reset();
    }
}

static void a_last_turn_that_is_too_long_is_refused_or_trimmed(void) {
    static char words[701];
    mk_config config = usual_config();
    uint64_t id;
    host_open_ready(&h, &config);
    memset(words, 'w', 700);
    for (int overflow = MK_REFUSE; overflow <= MK_TRIM; overflow++) {
        ask *a = ask_new();
        ask_segment(a, MK_TEXT, "You keep the lamp. ");
        ask_segment(a, MK_TEXT, "x");
        a->segments[1] = turn_of(words, true);
        ask_segment(a, MK_TEMPLATE, "<|echo|>");
        a->overflow = overflow;
        a->max_tokens = 18;
        id = host_submit(&h, a);
        host_until_ended(&h, id);
        if (overflow == MK_TRIM) {
            expect_text(&h, id, MK_FINISH_LENGTH, "You keep the lamp.");
            CHECK(host_heard(&h, id)->prompt == 512 - 18 && host_heard(&h, id)->left_turns == 0);
        } else {
            CHECK(host_heard(&h, id)->code == MK_CODE_OVERFLOW);
        }
    }
    /* and nothing is poisoned */
    begin(&talks[0], 7, 40, 0);
    turn(&talks[0], "No.");
    host_close(&h);
}

/* ---- adapters ---- */

/* Sets 1 to 3: a file, the same and another with scales, a control vector. The fake ends the process when a sequence
 * is gone on with in another set than it was begun in. */
static void describe_sets(void) {
    static char a[600], b[600];
    static float control[3 * 64] = {5};
    uint8_t bytes[300];
    mk_adapters set = {.n = 1};
    size_t n = adapter_build(bytes);
    snprintf(a, sizeof a, "%s", scratch_file("a.gguf"));
    snprintf(b, sizeof b, "%s", scratch_file("b.gguf"));
    write_file(a, bytes, n);
    write_file(b, bytes, n);
    set.paths[0] = a;
    set.scales[0] = 1;
    CHECK(mk_engine_adapters(h.engine, &set) == 0);
    set.n = 2;
    set.paths[1] = b;
    set.scales[1] = 0.5f;
    CHECK(mk_engine_adapters(h.engine, &set) == 0);
    set = (mk_adapters){.control = control, .n_control = 3 * 64};
    CHECK(mk_engine_adapters(h.engine, &set) == 0);
}

static uint64_t submit_with(talk *t, const char *reply, int set) {
    ask *a = ask_new();
    ask_tokens(a, t->tokens, t->n);
    ask_reply(a, reply);
    a->keep = true;
    a->pin = t->pin;
    a->adapters = set;
    return host_submit(&h, a);
}

static void each_speaker_has_her_own_adapters(void) {
    for (int slots = 2; slots <= 8; slots *= 2) {
        mk_config config = usual_config();
        uint64_t ids[16];
        config.slots = (uint32_t) slots;
        host_open_ready(&h, &config);
        describe_sets();
        for (int i = 0; i < 16; i++) {
            begin(&talks[i], 7, 60, i / 4); /* the same words under different adapters are different caches */
        }
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 16; i++) {
                ids[i] = submit_with(&talks[i], "It is lit, and it stays lit.", i % 4);
            }
            for (int i = 0; i < 16; i++) {
                end_turn(&talks[i], ids[i], "It is lit, and it stays lit.");
                CHECK(round == 0 || talks[i].cached > 60);
            }
        }
        CHECK(atomic_load(&fake.loras) == 2 && atomic_load(&fake.swaps) >= 3);
        host_close(&h);
        fake_reset();
    }
}

static void adapters_that_cannot_be_used_are_an_error_of_their_request(void) {
    static char bad[600], odd[600];
    mk_config config = usual_config();
    mk_adapters set = {.n = 1};
    uint8_t bytes[2000];
    uint64_t dice = 3;
    size_t n;
    snprintf(bad, sizeof bad, "%s", scratch_file("c.bad"));
    snprintf(odd, sizeof odd, "%s", scratch_file("odd.gguf"));
    write_file(bad, bytes, adapter_build(bytes));
    host_open_ready(&h, &config);
    set.paths[0] = "/nowhere.gguf";
    CHECK(mk_engine_adapters(h.engine, &set) == 0);
    set.paths[0] = bad;
    CHECK(mk_engine_adapters(h.engine, &set) == 0);
    set.paths[0] = config.model_path; /* a model is none */
    CHECK(mk_engine_adapters(h.engine, &set) == 0);
    set = (mk_adapters){.control = (float[]){1, 2}, .n_control = 2};
    CHECK(mk_engine_adapters(h.engine, &set) == 0);
    for (int number = -1; number <= 5; number++) {
        uint64_t id;
        begin(&talks[0], 7, 40, 0);
        id = submit_with(&talks[0], "No.", number);
        host_until_ended(&h, id);
        CHECK((host_heard(&h, id)->code == MK_CODE_OPTION) == (number != 0));
    }
    host_close(&h);
    for (int i = 0; i < 100; i++) { /* damaged ones, each with an engine's first set */
        n = adapter_build(bytes);
        bytes[random_below(&dice, (uint32_t) n)] ^= (uint8_t) (1u << random_below(&dice, 8));
        write_file(odd, bytes, random_below(&dice, 3) == 0 ? random_below(&dice, (uint32_t) n) + 1 : n);
        host_open_ready(&h, &config);
        set = (mk_adapters){.n = 1, .paths = {odd}, .scales = {1}};
        CHECK(mk_engine_adapters(h.engine, &set) == 0);
        begin(&talks[0], 7, 40, 0);
        host_until_ended(&h, submit_with(&talks[0], "No.", 1));
        CHECK(state_of(&h) == MK_READY);
        host_close(&h);
    }
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(sixty_four_speakers_in_four_slots_prefill_only_what_is_new);
    RUN(a_recurrent_models_speakers_come_back_too);
    RUN(a_model_with_a_sliding_window_goes_on_where_it_was);
    RUN(the_one_unused_for_longest_is_given_up_when_the_budget_is_spent);
    RUN(without_a_budget_nothing_is_stored);
    RUN(a_prompt_that_will_not_go_on_is_not_stored);
    RUN(a_state_that_is_refused_costs_a_prefill_and_no_more);
    RUN(a_state_takes_the_memory_of_the_last_that_went);
    RUN(a_persona_is_computed_once);
    RUN(a_persona_is_computed_once_for_all_who_come_together);
    RUN(a_persona_whose_first_speaker_is_cancelled_is_computed_by_the_next);
    RUN(a_tag_is_the_published_one);
    RUN(a_persona_is_there_for_the_next_run);
    RUN(what_memory_cannot_hold_comes_back_from_disk);
    RUN(the_disk_keeps_its_budget);
    RUN(a_damaged_or_foreign_file_is_never_trusted);
    RUN(a_folder_that_cannot_be_written_costs_nothing_else);
    RUN(a_request_that_waits_for_the_disk_can_be_cancelled);
    RUN(a_prompt_longer_than_the_context_loses_its_oldest_tokens);
    RUN(a_reply_goes_on_when_the_context_is_full);
    RUN(the_oldest_turns_leave_and_the_last_one_is_answered);
    RUN(a_last_turn_that_is_too_long_is_refused_or_trimmed);
    RUN(each_speaker_has_her_own_adapters);
    RUN(adapters_that_cannot_be_used_are_an_error_of_their_request);
    return 0;
}
