/* A draft model: a reply is the same with it and without, whatever it says; it pays or is left out; and one that is of
 * no use is refused with a sentence. Decodes cost what a script says, the draft model's a tenth of it. */
#include "engine.h"
#include "harness.h"

#include <string.h>

static host h;
static double prices[65];

/* Milliseconds by tokens in a decode: as measured on one core, two quantisations; and a GPU. */
static const double q8_0[] = {0, 9.9, 37.7, 43.3, 48.4, 60.7, 65.3, 62.9, 60.5, 64, 68, 72, 76, 80, 83, 86, 90.1};
static const double f16[] = {0, 15.8, 30.2, 29.3, 31.9, 34.5, 36.6, 45, 54, 56, 58, 60, 62, 64, 66, 68, 69.7};
static const double gpu[] = {0, 10, 10, 10.1, 10.1, 10.2, 10.2, 10.3, 10.3, 10.4, 10.4, 10.5, 10.5, 10.6, 10.6, 10.7, 10.7};

static const char *file_of(const char *name) {
    uint8_t header[2000];
    const char *path = scratch_file(name);
    write_file(path, header, gguf_build(header));
    return path;
}

static mk_config config_with(const char *draft_path, int draft) {
    static char path[700];
    mk_config config;
    snprintf(path, sizeof path, "%s", draft_path == NULL ? "" : draft_path); /* before another scratch file is named */
    config = usual_config();
    config.draft_path = draft_path == NULL ? NULL : path;
    config.draft = draft;
    config.context = 2048;
    config.ring_bytes = 1 << 20;
    config.clock = fake_clock;
    config.draft_context_params = config.context_params;
    set_batch(&config, 512);
    memcpy(&config.draft_context_params, &(fake_context_params){.n_ctx = 2048 * config.slots, .n_batch = 512, .n_seq_max = config.slots},
           sizeof(fake_context_params));
    return config;
}

static void price_as(const double *milliseconds) {
    for (int n = 1; n <= 64; n++) {
        prices[n] = 1e-3 * (n <= 16 ? milliseconds[n] : milliseconds[16] * n / 16);
    }
    atomic_store(&fake_prices, prices);
}

static uint64_t counted(bool said) {
    mk_shared *shared = mk_engine_shared(h.engine);
    return atomic_load((_Atomic uint64_t *) (said ? &shared->accepted : &shared->drafted));
}

/* What the dice say behind a prompt of that kind of filler. */
static void expected(int kind, char *out, int n) {
    ask *a = ask_new();
    ask_filler(a, 1, kind);
    for (int k = 0; k < n; k++) {
        out[k] = (char) fake_dice(k, a->tokens[0]);
    }
    out[n] = '\0';
}

/* The same words: at the end of max_tokens, of the context, at a stop; one after another and beside each other, so that
 * its cache is cut, gone on with and begun anew. */
static void what_it_says_changes_nothing_of_what_is_said(void) {
    static const char *const files[] = {"draft.gguf", "draft-liar.gguf"};
    char text[200], *stop;
    for (int round = 0; round < 8; round++) {
        mk_config config = config_with(file_of(files[round % 2]), round / 4 == 0 ? -5 : MK_MAX_DRAFT);
        uint64_t ids[16];
        price_as(gpu);
        config.slots = 1 + 2 * (uint32_t) (round / 2 % 2);
        host_open_ready(&h, &config);
        mk_engine_pause(h.engine, true);
        for (int i = 0; i < 16; i++) {
            ask *a = ask_new();
            ask_filler(a, i % 4 == 3 ? 1950 : 40, i);
            ask_tokens(a, (int32_t[]){FAKE_DICE}, 1);
            a->max_tokens = i % 4 == 0 ? 70 : i % 4 == 1 ? 11 : 10000;
            if (i % 4 == 2) {
                a->stops[a->n_stops++] = "cab";
            }
            ids[i] = host_submit(&h, a);
        }
        mk_engine_pause(h.engine, false);
        host_until_all_ended(&h);
        for (int i = 0; i < 16; i++) {
            const heard *s = host_heard(&h, ids[i]);
            expected(i, text, i % 4 == 0 ? 70 : i % 4 == 1 ? 11 : i % 4 == 3 ? (int) s->size : 199);
            stop = strstr(text, "cab");
            if (i % 4 == 2 && stop != NULL) {
                *stop = '\0';
            }
            CHECK(i % 4 != 3 || s->size > 80);
            CHECK(s->finish == (i % 4 == 2 ? MK_FINISH_STOP_STRING : MK_FINISH_LENGTH));
            CHECK(s->size == strlen(text) && memcmp(s->text, text, s->size) == 0);
        }
        CHECK(round >= 4 || (counted(false) > 100 && counted(true) > 50));
        CHECK(round >= 4 || round % 2 == 1 || (double) counted(true) > 0.9 * (double) counted(false)); /* its guesses, not what stood before */
        host_close(&h);
        CHECK(atomic_load(&fake.models) == 0 && atomic_load(&fake.contexts) == 0);
    }
}

/* A reply in three letters thrown by dice: what was said before tells nothing. Returns tokens a second. */
static double rate(const double *milliseconds, const char *file, int streams) {
    mk_config config = config_with(file == NULL ? NULL : file_of(file), MK_MAX_DRAFT);
    double begun, seconds;
    price_as(milliseconds);
    config.slots = (uint32_t) streams;
    config.calibrate_seconds = 1000;
    config.slice_seconds = 0.025;
    host_open_ready(&h, &config);
    until(&fake.decoded, 24);
    mk_engine_pause(h.engine, true);
    begun = fake_clock();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < streams; i++) {
            ask *a = ask_new();
            ask_filler(a, 300, 3 * i + round);
            ask_tokens(a, (int32_t[]){FAKE_DICE}, 1);
            a->max_tokens = 1500;
            host_submit(&h, a);
        }
    }
    mk_engine_pause(h.engine, false);
    host_until_all_ended(&h);
    seconds = fake_clock() - begun;
    host_close(&h);
    atomic_store(&fake.decoded, 0);
    return 3 * 1500 * streams / seconds;
}

static void it_pays_or_is_left_out(void) {
    static const double *const tables[] = {gpu, f16, q8_0};
    for (int t = 0; t < 3; t++) {
        for (int streams = 1; streams <= 4; streams += 3) {
            double without = rate(tables[t], NULL, streams);
            double with = rate(tables[t], "draft.gguf", streams), lost = rate(tables[t], "draft-liar.gguf", streams);
            CHECK(with > 0.98 * without && lost > 0.98 * without);
            CHECK(streams > 1 || t == 2 || with > (t == 0 ? 3 : 1.5) * without);
        }
    }
}

static _Atomic bool speaking;
static _Atomic int slices;
static _Atomic double longest;

/* A decode of one token is the large model's when it is that dear; what is read after that, the draft model reads. */
static void witness(const mk_batch *b, double begun, double ended) {
    if (b->n_tokens == 1 && ended - begun > 0.005) {
        atomic_store(&speaking, true);
    } else if (b->n_tokens > 16 && atomic_load(&speaking)) {
        atomic_fetch_add(&slices, 1);
        atomic_store(&longest, ended - begun > atomic_load(&longest) ? ended - begun : atomic_load(&longest));
    }
}

/* Words do not wait while it reads a long prompt: no longer than a slice. */
static void it_reads_in_slices(void) {
    mk_config config = config_with(file_of("draft.gguf"), MK_MAX_DRAFT);
    ask *a = ask_new();
    price_as(gpu);
    atomic_store(&fake_witness, witness);
    config.slots = 2;
    config.slice_seconds = 0.025;
    host_open_ready(&h, &config);
    ask_filler(a, 1500, 1);
    ask_tokens(a, (int32_t[]){FAKE_DICE}, 1);
    a->max_tokens = 400;
    host_submit(&h, a);
    host_until_all_ended(&h);
    CHECK(atomic_load(&slices) >= 4 && atomic_load(&longest) <= 0.0251 && counted(true) > 100);
    host_close(&h);
}

static void refused(const char *file, bool made, const char *why) {
    mk_config config = config_with(made ? file_of(file) : scratch_file(file), MK_MAX_DRAFT);
    host_open(&h, &config);
    host_until_loaded(&h);
    CHECK(h.failed == 1 && strstr(h.reason, "its draft model") != NULL && strstr(h.reason, why) != NULL);
    host_close(&h);
    CHECK(atomic_load(&fake.models) == 0 && atomic_load(&fake.contexts) == 0);
}

static void one_that_is_of_no_use_is_refused(void) {
    write_file(scratch_file("draft-text.gguf"), "once upon a time there was a lamp", 33);
    refused("draft-stranger.gguf", true, "its vocabulary is another one (token 0 is \"?\" in the model's)");
    refused("draft-missing.gguf", false, "there is no such file");
    refused("draft-text.gguf", false, "GGUF");
}

/* A model that cannot take back a token does without, and says so. */
static void a_recurrent_model_does_without(void) {
    mk_config config = config_with(file_of("draft.gguf"), MK_MAX_DRAFT);
    uint64_t id;
    ask *a;
    fake_options.recurrent = true;
    config.log_level = 2;
    host_open_ready(&h, &config);
    CHECK(atomic_load(&fake.models) == 1);
    a = ask_new();
    ask_reply(a, "The lamp is lit.");
    id = host_submit(&h, a);
    expect_text(&h, id, MK_FINISH_STOP, "The lamp is lit.");
    CHECK(h.warnings > 0);
    host_close(&h);
}

/* A decode of it that fails costs its draft, and nothing else. */
static void its_failures_are_nobody_elses(void) {
    mk_config config = config_with(file_of("draft.gguf"), -5);
    static const char reply[] = "He smokes a pipe with nothing in it, and the pipe does not mind.";
    price_as(gpu);
    config.slots = 1;
    host_open_ready(&h, &config);
    for (int i = 0; i < 40; i++) {
        ask *a = ask_new();
        uint64_t id;
        const heard *s;
        ask_filler(a, 30, i);
        ask_reply(a, reply);
        id = host_submit(&h, a);
        host_until_heard(&h, id, 5);
        atomic_store(&fake.fail, 1);
        host_until_ended(&h, id);
        s = host_heard(&h, id);
        CHECK(s->ended == 1 && (s->code == MK_CODE_DECODE || s->finish == MK_FINISH_STOP));
        CHECK(strncmp(reply, s->text, s->size) == 0);
        atomic_store(&fake.fail, 0);
    }
    host_close(&h);
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(what_it_says_changes_nothing_of_what_is_said);
    RUN(it_pays_or_is_left_out);
    RUN(it_reads_in_slices);
    RUN(one_that_is_of_no_use_is_refused);
    RUN(a_recurrent_model_does_without);
    RUN(its_failures_are_nobody_elses);
    return 0;
}
