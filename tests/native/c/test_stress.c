/* Everything at once, at random, for a hundred thousand decodes: two engines driven from one host thread, with
 * conversations that outgrow their slots, their context and their memory, LoRA files and control vectors for each
 * reply, drafts, priorities, pace, pauses, grammars, probabilities, choices to weigh, texts to embed, cancels at any
 * moment, decodes that fail, and a host that stays away until the ring is full.
 *
 * Every request ends exactly once, nothing comes after its end (the harness checks both as it reads), and what was
 * said is the script. The fake ends the process when a token is lost, doubled, computed under another adapter, or
 * when a batch breaks a promise. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
    STEPS = 100000, /* decodes of tokens; those of embeddings are not counted */
    ROUNDS = 2,
    SLOTS = 8,
    CONTEXT = 200,
    MAX_REPLY = 24,
    MAX_TALK = 1000, /* tokens of a conversation, five contexts */
    TALKS = 40,
    MOST_ALIVE = 36,
    SETS = 5, /* of adapters; the last one cannot be used */
};

enum { SCRIPT, DICE, EMBED, SCORE };

/* What is still to come of a request. */
typedef struct expected {
    uint64_t id;
    int kind;
    char reply[MAX_REPLY + 1]; /* of a SCRIPT */
    int talk;                  /* whose turn it is, or -1 */
    int code;                  /* of the error that it must end with, or 0 */
    int dice_at, first, most;  /* of DICE: where it stands in the prompt, the prompt's first token, max_tokens */
    bool told;
    mk_block *block;
    int n, best; /* texts; the choice that the script says */
} expected;

/* A conversation as its owner keeps it: all of it, also what has long left the context. */
typedef struct talk {
    int32_t tokens[MAX_TALK + 100];
    int n, pin;
    bool busy;
} talk;

typedef struct world {
    host h;
    expected open[MOST_ALIVE + 1];
    int n_open;
    talk talks[TALKS];
    int away; /* operations until the host ticks again */
} world;

static world worlds[2];
static uint64_t seed = 20261120;
static int ends[4], refused, turns_taken, longest_talk, vectors, weighed, rolled;
static uint64_t drafted, accepted;
static const char prompt_words[] = "You keep the lamp of a harbour town, and answer in a few plain words. ";
static const char *const texts[] = {"the lamp", "oil and tide", "a", "who keeps the harbour, and why?"};
static const char *const choices[] = {"yes", "no", "yet"};

static int below(int n) {
    return (int) random_below(&seed, (uint32_t) n);
}

static bool one_in(int n) {
    return below(n) == 0;
}

/* ---- asking ---- */

static expected *expect(world *w, int kind) {
    expected *x = &w->open[w->n_open];
    memset(x, 0, sizeof *x);
    x->kind = kind;
    x->talk = -1;
    return x;
}

static bool is_in(world *w, int result) {
    refused += result != 0;
    if (result == 0) {
        w->open[w->n_open++].id = w->h.n_streams;
    }
    return result == 0;
}

static void reply_for(ask *a, expected *x) {
    int n = below(MAX_REPLY + 1);
    for (int i = 0; i < n; i++) {
        x->reply[i] = (char) ('a' + below(one_in(2) ? 3 : 26)); /* few letters repeat themselves: there are drafts */
    }
    x->reply[n] = '\0';
    ask_reply(a, x->reply);
}

static void any_options(ask *a, expected *x) {
    static const char lazy[] = "root ::= \"x\" [a-z]*";
    a->priority = below(3);
    a->adapters = one_in(60) ? SETS : below(3) == 0 ? 1 + below(SETS - 1) : 0;
    x->code = a->adapters == SETS ? MK_CODE_OPTION : 0;
    a->logprobs = one_in(12) ? 2 : 0;
    x->told = a->logprobs > 0;
    if (one_in(10)) {
        a->grammar = "root ::= [a-z]*";
    } else if (one_in(10)) {
        a->grammar = lazy;
        a->triggers[a->n_triggers++] = "x";
    } else if (one_in(100) && x->code == 0) {
        a->grammar = "root ::= (";
        x->code = MK_CODE_GRAMMAR;
    }
}

/* The next turn of a conversation, in 8 slots, in a context that it outgrows. */
static void submit_turn(world *w) {
    expected *x = expect(w, SCRIPT);
    ask *a = ask_new();
    int k = below(TALKS);
    talk *t = &w->talks[k];
    if (t->busy) {
        return;
    }
    if (t->n == 0 || t->n > MAX_TALK) {
        static const int pins[] = {40, 33, 0};
        ask_filler(a, 40, k % 3);
        ask_filler(a, 5 + below(20), k);
        memcpy(t->tokens, a->tokens, (size_t) a->n * sizeof *a->tokens);
        t->n = a->n;
        t->pin = pins[k % 3];
        a = ask_new();
    }
    ask_tokens(a, t->tokens, t->n);
    any_options(a, x);
    reply_for(a, x);
    a->keep = true;
    a->pin = t->pin;
    a->overflow = MK_DROP; /* a script is shorter than what stays */
    x->talk = k;
    t->busy = is_in(w, host_try(&w->h, a));
}

static void submit_once(world *w) {
    expected *x = expect(w, SCRIPT);
    ask *a = ask_new();
    any_options(a, x);
    for (int i = 0, n = below(sizeof prompt_words); i < n; i++) { /* some beginnings are shared */
        ask_tokens(a, (int32_t[]){prompt_words[i]}, 1);
    }
    if (one_in(30) && x->code == 0) {
        ask_filler(a, CONTEXT, 1);
        x->code = MK_CODE_OVERFLOW;
    }
    ask_filler(a, below(80), below(3));
    reply_for(a, x);
    a->keep = one_in(2);
    a->pin = one_in(2) ? below(20) : -1;
    a->overflow = x->code == 0 && one_in(2) ? MK_DROP : MK_REFUSE;
    is_in(w, host_try(&w->h, a));
}

/* A reply that goes on when the context is full; the prompt is pinned up to the dice. */
static void submit_dice(world *w) {
    expected *x = expect(w, DICE);
    ask *a = ask_new();
    any_options(a, x);
    ask_filler(a, 10 + below(90), 3 + below(3));
    x->first = a->tokens[0];
    x->dice_at = a->n;
    ask_tokens(a, (int32_t[]){FAKE_DICE, 'x'}, 2);
    a->pin = x->dice_at + 1;
    a->keep = one_in(3);
    a->overflow = MK_DROP;
    a->grammar = NULL;
    x->code = a->adapters == SETS ? MK_CODE_OPTION : 0;
    x->most = a->max_tokens = 1 + below(one_in(3) ? 400 : 60);
    is_in(w, host_try(&w->h, a));
}

static void submit_texts(world *w) {
    expected *x = expect(w, EMBED);
    mk_segment segments[4];
    mk_request request = {.task = MK_TASK_EMBED, .pooling = -1, .segments = segments, .n_segments = 1 + below(4)};
    for (int i = 0; i < request.n_segments; i++) {
        segments[i] = (mk_segment){.data = texts[i], .length = (int32_t) strlen(texts[i]), .kind = MK_TEXT};
    }
    x->n = request.n_segments;
    CHECK((x->block = request.block = mk_block_new()) != NULL);
    if (!is_in(w, host_request(&w->h, &request))) {
        mk_block_release(x->block);
    }
}

static void submit_question(world *w) {
    expected *x = expect(w, SCORE);
    ask *a = ask_new();
    mk_segment all[3], whole;
    mk_request request = {.task = MK_TASK_SCORE, .segments = &whole, .n_segments = 1, .choices = all, .n_choices = 3};
    for (int i = 0; i < 3; i++) {
        all[i] = (mk_segment){.data = choices[i], .length = (int32_t) strlen(choices[i])};
    }
    ask_filler(a, 1 + below(100), below(3));
    x->best = below(3);
    ask_reply(a, choices[x->best]);
    whole = (mk_segment){.data = a->tokens, .length = a->n, .kind = MK_TOKENS};
    request.priority = below(3);
    CHECK((x->block = request.block = mk_block_new()) != NULL);
    if (!is_in(w, host_request(&w->h, &request))) {
        mk_block_release(x->block);
    }
}

/* ---- hearing ---- */

/* What the dice say for as long as the reply went: half of what is not pinned leaves whenever the context is full. */
static void check_dice(const expected *x, const heard *s) {
    int n = x->dice_at + 2, pin = x->dice_at + 1, left = 0;
    CHECK((int) s->size <= s->tokens && (s->finish == MK_FINISH_CANCELLED || s->code != 0 || (int) s->size == s->tokens));
    for (int i = 0; i < s->tokens; i++) {
        CHECK(i >= (int) s->size || s->text[i] == (char) fake_dice(n - 1 - x->dice_at, x->first));
        n++;
        if (n == CONTEXT && i + 1 < x->most) {
            left += (n - pin) / 2;
            n -= (n - pin) / 2;
        }
    }
    CHECK(s->left_tokens == left);
    rolled += left > 0;
}

static float sum_of(const char *text) {
    float sum = FAKE_BOS + 1;
    for (; *text != '\0'; text++) {
        sum += (float) (unsigned char) *text + 1;
    }
    return sum;
}

static void check_block(const expected *x) {
    float *data = mk_block_data(x->block);
    if (x->kind == SCORE) {
        CHECK(mk_block_rows(x->block) == 3 && mk_block_columns(x->block) == 1);
        for (int i = 0; i < 3; i++) {
            CHECK(i == x->best || data[i] < data[x->best] - 1);
        }
        weighed++;
        return;
    }
    CHECK(mk_block_rows(x->block) == x->n && mk_block_columns(x->block) == FAKE_DIMENSIONS);
    for (int i = 0; i < x->n; i++) {
        CHECK(data[i * FAKE_DIMENSIONS] == sum_of(texts[i]) && data[i * FAKE_DIMENSIONS + 1] == 2 * sum_of(texts[i]));
    }
    vectors++;
}

static void talk_goes_on(talk *t, const expected *x) {
    ask *a = ask_new();
    ask_reply(a, x->reply);
    ask_text(a, x->reply);
    memcpy(t->tokens + t->n, a->tokens, (size_t) a->n * sizeof *a->tokens);
    t->n += a->n;
    turns_taken++;
    longest_talk = t->n > longest_talk ? t->n : longest_talk;
}

/* Cancelled: a beginning of the reply. Stopped: all of it. Failed: nothing is promised but the end. */
static void check_what_was_said(world *w, const expected *x, heard *s) {
    bool spoken = x->kind == SCRIPT || x->kind == DICE;
    bool whole = s->finish == MK_FINISH_STOP || s->finish == MK_FINISH_LENGTH;
    CHECK(s->finish == MK_FINISH_CANCELLED || (x->code != 0 ? s->code == x->code : whole || s->code == MK_CODE_DECODE));
    CHECK(x->kind != SCRIPT || s->size == 0 || strncmp(s->text, x->reply, s->size) == 0);
    CHECK(!whole || (x->kind == DICE) == (s->finish == MK_FINISH_LENGTH));
    CHECK(!spoken || s->told == (x->told ? s->tokens : 0) || (x->told && s->told == s->tokens + 1)); /* the end's is told, too */
    if (x->kind == DICE) {
        check_dice(x, s);
        CHECK(!whole || s->tokens == x->most);
    } else if (whole && spoken) {
        CHECK(s->size == strlen(x->reply));
    } else if (whole) {
        check_block(x);
    }
    if (x->talk >= 0) {
        w->talks[x->talk].busy = false;
        if (whole) {
            talk_goes_on(&w->talks[x->talk], x);
        }
    }
    ends[whole ? 0 : s->finish == MK_FINISH_CANCELLED ? 1 : s->code == MK_CODE_DECODE ? 3 : 2]++;
}

static uint32_t listen(world *w) {
    uint32_t got = host_drain(&w->h);
    for (int i = 0; i < w->n_open; i++) {
        expected *x = &w->open[i];
        heard *s = host_heard(&w->h, x->id);
        if (s->ended) {
            check_what_was_said(w, x, s);
            mk_block_release(x->block);
            free(s->text);
            s->text = NULL;
            w->open[i--] = w->open[--w->n_open];
        }
    }
    return got;
}

static void until_none_is_open(world *w) {
    w->h.drain_size = 4096;
    w->away = 0;
    while (w->n_open > 0) {
        if (listen(w) == 0) {
            nanosleep(&(struct timespec){0, 20000}, NULL);
        }
    }
}

/* ---- at random ---- */

static void submit(world *w) {
    int dice = below(100);
    if (dice < 60) {
        submit_turn(w);
    } else if (dice < 78) {
        submit_once(w);
    } else if (dice < 90) {
        submit_dice(w);
    } else if (dice < 95) {
        submit_texts(w);
    } else {
        submit_question(w);
    }
}

/* Everybody is sent away; then somebody is cancelled who is alone, in the midst of a prefill that takes its time. */
static void cancel_in_a_slow_prefill(world *w) {
    int decodes;
    mk_engine_pause(w->h.engine, false);
    for (int i = 0; i < w->n_open; i++) {
        mk_engine_cancel(w->h.engine, w->open[i].id);
    }
    until_none_is_open(w);
    atomic_store(&fake.decode_us, 400);
    decodes = atomic_load(&fake.decodes);
    submit_dice(w);
    for (int i = 0; i < 100 && atomic_load(&fake.decodes) < decodes + 3; i++) {
        listen(w);
    }
    mk_engine_cancel(w->h.engine, w->h.n_streams);
    until_none_is_open(w);
    atomic_store(&fake.decode_us, 0);
}

static void one_operation(world *w) {
    static const int codes[] = {1, -1, -3, 2};
    static const double paces[] = {0, 0, 0, 20000, 1e9};
    int dice = below(1000), before = refused;
    if (dice < 400) {
        submit(w);
        if (one_in(12)) { /* before its prefill, with luck even before it was taken from the queue */
            mk_engine_cancel(w->h.engine, w->h.n_streams);
        }
    } else if (dice < 460 && w->n_open > 0) { /* alive, as far as the host knows: in prefill, in mid-sentence, or waiting */
        mk_engine_cancel(w->h.engine, w->open[below(w->n_open)].id);
    } else if (dice < 480) { /* over, or never there */
        mk_engine_cancel(w->h.engine, random_below(&seed, (uint32_t) w->h.n_streams + 2));
    } else if (dice < 500) {
        w->away = below(400);
    } else if (dice < 530) {
        mk_engine_pause(w->h.engine, one_in(4));
    } else if (dice < 540) {
        mk_engine_pace(w->h.engine, paces[below(5)]);
    } else if (dice < 550) {
        mk_engine_late(w->h.engine, 0.002);
    } else if (dice < 556) {
        atomic_store(&fake.fail, codes[below(4)]);
    } else if (dice < 560) {
        atomic_store(&fake.refuse_state, 1);
    } else if (dice < 563) {
        cancel_in_a_slow_prefill(w);
    } else if (w->away > 0) {
        w->away--;
    } else {
        w->h.drain_size = 1 + random_below(&seed, 3000);
        listen(w);
    }
    /* the dice are faster than the worker: let it come along */
    for (bool wait = refused > before; wait || w->n_open == MOST_ALIVE; wait = false) {
        mk_engine_pause(w->h.engine, false);
        w->away = 0;
        if (listen(w) == 0) {
            nanosleep(&(struct timespec){0, 20000}, NULL);
        }
    }
}

/* ---- a round ---- */

/* Two files with scales, one of them twice, a control vector, and a file that does not fit. */
static void describe_sets(host *h) {
    static char a[600], b[600], bad[600];
    static float control[3 * 64] = {5};
    uint8_t bytes[300];
    size_t n = adapter_build(bytes);
    snprintf(a, sizeof a, "%s", scratch_file("a.gguf"));
    snprintf(b, sizeof b, "%s", scratch_file("b.gguf"));
    snprintf(bad, sizeof bad, "%s", scratch_file("c.bad"));
    write_file(a, bytes, n);
    write_file(b, bytes, n);
    write_file(bad, bytes, n);
    const mk_adapters sets[SETS] = {
        {.n = 1, .paths = {a}, .scales = {1}},
        {.n = 2, .paths = {a, b}, .scales = {1, 0.5f}},
        {.control = control, .n_control = 3 * 64},
        {.n = 1, .paths = {b}, .scales = {0.3f}, .control = control, .n_control = 3 * 64},
        {.n = 1, .paths = {bad}, .scales = {1}},
    };
    for (int i = 0; i < SETS; i++) {
        CHECK(mk_engine_adapters(h->engine, &sets[i]) == 0);
    }
}

/* One that is right, or half of the time. */
static void draft_model(mk_config *config, int kind) {
    static char paths[2][700];
    uint8_t header[2000];
    char *path = paths[kind / 2];
    snprintf(path, sizeof paths[0], "%s", scratch_file(kind / 2 == 0 ? "draft.gguf" : "draft-liar.gguf"));
    write_file(path, header, gguf_build(header));
    config->draft_path = path;
    memcpy(&config->draft_context_params, &(fake_context_params){.n_ctx = CONTEXT * SLOTS, .n_batch = 64, .n_seq_max = SLOTS},
           sizeof(fake_context_params));
}

/* What the models can: all of it; go on from the end only; no shift, in one cache for all; a sliding window. */
static void open_world(int which, int kind) {
    mk_config config = usual_config();
    char name[30];
    config.slots = SLOTS;
    config.context = CONTEXT;
    config.cache_bytes = 20000; /* some sequences: states come and go */
    config.disk_bytes = 60000;
    config.cache_salt = "stress";
    config.ring_bytes = 1 << 15; /* small enough to be full now and then */
    config.queue_length = 32;
    config.slice_seconds = config.slice_seconds_alone = 0.0005;
    config.calibrate_seconds = 0.002;
    config.draft = kind == 0 ? -4 : MK_MAX_DRAFT;
    config.thread_priority = kind == 3;
    set_batch(&config, 64);
    draft_model(&config, kind);
    snprintf(name, sizeof name, "stress%d", kind);
    config.cache_folder = kind == 1 ? NULL : scratch_file(name);
    mkdir(scratch_file(name), 0700);
    fake_options.recurrent = kind == 1;
    fake_options.no_shift = kind >= 2;
    fake_options.unified = config.unified = kind == 2;
    fake_options.swa = kind == 3 ? 20 : 0;
    memset(&worlds[which], 0, sizeof worlds[which]);
    host_open_ready(&worlds[which].h, &config);
    describe_sets(&worlds[which].h);
}

static void close_world(world *w, bool at_once) {
    mk_shared *shared = mk_engine_shared(w->h.engine);
    if (!at_once) {
        mk_engine_pause(w->h.engine, false);
        until_none_is_open(w);
        for (int i = 0; i < 100; i++) {
            host_drain(&w->h); /* and nothing comes after */
        }
    }
    drafted += atomic_load((_Atomic uint64_t *) &shared->drafted);
    accepted += atomic_load((_Atomic uint64_t *) &shared->accepted);
    for (int i = 0; i < w->n_open; i++) {
        mk_block_release(w->open[i].block);
    }
    host_close(&w->h);
}

static void a_hundred_thousand_steps_of_everything(void) {
    for (int round = 0; round < ROUNDS; round++) {
        open_world(0, 2 * round);
        open_world(1, 2 * round + 1);
        while (atomic_load(&fake.decodes) < STEPS / ROUNDS * (round + 1)) {
            one_operation(&worlds[below(2)]);
        }
        atomic_store(&fake.fail, 0);
        close_world(&worlds[0], false);
        close_world(&worlds[1], round == 0); /* with everything under way, once */
    }
    printf("%d decodes, and %d of embeddings, %d of draft models: %d ended well, %d were cancelled, %d refused, %d failed, %d met a full queue\n",
           atomic_load(&fake.decodes), atomic_load(&fake.embedded), atomic_load(&fake.guessed), ends[0], ends[1], ends[2], ends[3], refused);
    printf("%d turns, %d tokens in the longest talk, %d replies outgrew the context, %d vectors, %d questions\n", turns_taken,
           longest_talk, rolled, vectors, weighed);
    printf("%d aborted, %d copied, %d shifted, %d saved, %d restored, %d swaps, %llu drafted, %llu of them said\n",
           atomic_load(&fake.aborted), atomic_load(&fake.copied), atomic_load(&fake.shifted), atomic_load(&fake.saved),
           atomic_load(&fake.restored), atomic_load(&fake.swaps), (unsigned long long) drafted, (unsigned long long) accepted);
    CHECK(atomic_load(&fake.decodes) >= STEPS);
    CHECK(atomic_load(&fake.models) == 0 && atomic_load(&fake.contexts) == 0 && atomic_load(&fake.samplers) == 0);
    /* the dice covered all of it */
    CHECK(ends[0] > 2000 && ends[1] > 500 && ends[2] > 50 && ends[3] > 50);
    CHECK(turns_taken > 1000 && longest_talk > 2 * CONTEXT && rolled > 20 && vectors > 50 && weighed > 50);
    CHECK(atomic_load(&fake.aborted) > 0 && atomic_load(&fake.copied) > 20 && atomic_load(&fake.shifted) > 20 && atomic_load(&fake.swaps) > 500);
    CHECK(atomic_load(&fake.saved) > 200 && atomic_load(&fake.restored) > 200 && drafted > 500 && accepted > 100);
    CHECK(atomic_load(&fake.guessed) > 5000);
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : seed; /* for those who look for more */
    RUN(a_hundred_thousand_steps_of_everything);
    return 0;
}
