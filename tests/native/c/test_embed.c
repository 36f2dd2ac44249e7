/* Vectors and ranks: right ones, in order, beside streams that speak, and given back whatever happens. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static host h;

static uint64_t say(const char *reply) {
    ask *a = ask_new();
    ask_reply(a, reply);
    return host_submit(&h, a);
}

static void everything_was_given_back(void) {
    CHECK(atomic_load(&fake.models) == 0 && atomic_load(&fake.contexts) == 0 && atomic_load(&fake.samplers) == 0);
}

/* What the fake makes of a text: the sum of (token + 1) over BOS and its bytes, `most` tokens of it. */
static float expected(const char *text, int most) {
    float sum = FAKE_BOS + 1;
    for (int i = 1; *text != '\0' && i < most; text++, i++) {
        sum += (float) (unsigned char) *text + 1;
    }
    return sum;
}

static void until_ended(uint64_t id) {
    host_until_ended(&h, id);
}

static void many_texts_become_their_own_vectors_in_order(void) {
    static char words[300][40];
    const char *texts[300];
    mk_config config = usual_config();
    mk_block *block;
    uint64_t id;
    for (int i = 0; i < 300; i++) {
        snprintf(words[i], sizeof words[i], "night %d of the %.*s", i, i % 12, "lamp and oil");
        texts[i] = words[i];
    }
    host_open_ready(&h, &config);
    id = host_embed(&h, MK_TASK_EMBED, texts, 300, -1, true, &block);
    until_ended(id);
    CHECK(host_heard(&h, id)->finish == MK_FINISH_STOP && mk_block_rows(block) == 300 && mk_block_trimmed(block) == 0);
    CHECK(mk_block_columns(block) == FAKE_DIMENSIONS && host_heard(&h, id)->prompt > 300 * 10);
    for (int i = 0; i < 300; i++) {
        for (int k = 0; k < FAKE_DIMENSIONS; k++) {
            CHECK(mk_block_data(block)[i * FAKE_DIMENSIONS + k] == expected(texts[i], 512) * (float) (k + 1));
        }
        CHECK(mk_block_rows_of(block)[i] == 1);
    }
    host_close(&h); /* the block outlives its engine */
    CHECK(mk_block_data(block)[0] == expected(texts[0], 512));
    mk_block_release(block);
    everything_was_given_back();
}

static void a_vector_for_each_token_when_asked(void) {
    static const char *const texts[] = {"ab", "c"};
    mk_config config = usual_config();
    mk_block *block;
    host_open_ready(&h, &config);
    until_ended(host_embed(&h, MK_TASK_EMBED, texts, 2, 0, true, &block));
    CHECK(mk_block_rows(block) == 5 && mk_block_rows_of(block)[0] == 3 && mk_block_rows_of(block)[1] == 2);
    CHECK(mk_block_data(block)[FAKE_DIMENSIONS] == 'a' + 1 && mk_block_data(block)[4 * FAKE_DIMENSIONS] == 'c' + 1);
    mk_block_release(block);
    until_ended(host_embed(&h, MK_TASK_EMBED, texts, 2, 1, true, &block)); /* and another pooling after it */
    CHECK(mk_block_rows(block) == 2);
    mk_block_release(block);
    host_close(&h);
    everything_was_given_back();
}

static void a_text_too_long_is_cut_or_refused_as_asked(void) {
    static char text[2000];
    const char *texts[] = {"short", text};
    mk_config config = usual_config();
    mk_block *block;
    uint64_t id;
    memset(text, 'x', sizeof text - 1);
    host_open_ready(&h, &config);
    until_ended(host_embed(&h, MK_TASK_EMBED, texts, 2, -1, true, &block));
    CHECK(mk_block_trimmed(block) == 1 && mk_block_data(block)[FAKE_DIMENSIONS] == expected(text, 512));
    mk_block_release(block);
    id = host_embed(&h, MK_TASK_EMBED, texts, 2, -1, false, &block);
    until_ended(id);
    CHECK(host_heard(&h, id)->code == MK_CODE_OVERFLOW && strstr(host_heard(&h, id)->reason, "text 1") != NULL);
    mk_block_release(block);
    host_close(&h);
}

static void streams_speak_while_texts_are_embedded(void) {
    static const char *texts[2000];
    mk_config config = usual_config();
    mk_block *block;
    uint64_t speaking, embedding;
    for (int i = 0; i < 2000; i++) {
        texts[i] = "a text of thirty bytes or more";
    }
    config.slice_seconds = config.slice_seconds_alone = 0.002;
    host_open_ready(&h, &config);
    atomic_store(&fake.token_us, 20);
    embedding = host_embed(&h, MK_TASK_EMBED, texts, 2000, -1, true, &block);
    speaking = say("not one word waits for all of them");
    host_until_ended(&h, speaking);
    CHECK(!host_heard(&h, embedding)->ended);
    atomic_store(&fake.token_us, 0);
    until_ended(embedding);
    CHECK(mk_block_rows(block) == 2000);
    mk_block_release(block);
    host_close(&h);
}

static void a_cancel_ends_it_before_during_and_after(void) {
    static const char *texts[500];
    mk_config config = usual_config();
    mk_block *blocks[3];
    uint64_t ids[3];
    double begun;
    for (int i = 0; i < 500; i++) {
        texts[i] = "another text of some thirty bytes";
    }
    host_open_ready(&h, &config);
    ids[0] = host_embed(&h, MK_TASK_EMBED, texts, 2, -1, true, &blocks[0]);
    until_ended(ids[0]);
    CHECK(mk_engine_cancel(h.engine, ids[0]) == 0);
    atomic_store(&fake.decode_us, AGES * 1000000);
    ids[1] = host_embed(&h, MK_TASK_EMBED, texts, 500, -1, true, &blocks[1]);
    ids[2] = host_embed(&h, MK_TASK_EMBED, texts, 500, -1, true, &blocks[2]);
    until(&fake.decoding, 1);
    begun = now();
    CHECK(mk_engine_cancel(h.engine, ids[2]) == 0 && mk_engine_cancel(h.engine, ids[1]) == 0);
    host_until_all_ended(&h); /* the decode under way was aborted */
    PROMPT(begun);
    CHECK(host_heard(&h, ids[1])->finish == MK_FINISH_CANCELLED && host_heard(&h, ids[2])->finish == MK_FINISH_CANCELLED);
    atomic_store(&fake.decode_us, 0);
    for (int i = 0; i < 3; i++) {
        mk_block_release(blocks[i]);
    }
    host_embed(&h, MK_TASK_EMBED, texts, 500, -1, true, &blocks[0]); /* never read: freed with the engine */
    host_embed(&h, MK_TASK_EMBED, texts, 500, -1, true, &blocks[1]);
    mk_block_release(blocks[0]); /* and the host may let go first */
    host_close(&h);
    mk_block_release(blocks[1]);
    everything_was_given_back();
}

static void an_encoder_embeds_and_does_not_speak(void) {
    static const char *const texts[] = {"lamp"};
    mk_config config = usual_config();
    mk_block *block;
    uint64_t id;
    fake_options.no_memory = true;
    fake_options.pooling = 1;
    host_open_ready(&h, &config);
    until_ended(host_embed(&h, MK_TASK_EMBED, texts, 1, -1, true, &block));
    CHECK(mk_block_data(block)[0] == expected("lamp", 512));
    mk_block_release(block);
    id = say("words");
    until_ended(id);
    CHECK(host_heard(&h, id)->code == MK_CODE_TASK);
    id = host_embed(&h, MK_TASK_RANK, texts, 1, -1, true, &block);
    until_ended(id);
    CHECK(host_heard(&h, id)->code == MK_CODE_TASK);
    mk_block_release(block);
    host_close(&h);
}

static void a_cross_encoder_ranks_pairs_and_makes_no_vectors(void) {
    static const char *const texts[] = {"query", "a", "bcd"};
    mk_config config = usual_config();
    mk_block *block;
    uint64_t id;
    fake_options.no_memory = true;
    fake_options.pooling = 4;
    host_open_ready(&h, &config);
    until_ended(host_embed(&h, MK_TASK_RANK, texts, 3, -1, true, &block));
    CHECK(mk_block_rows(block) == 2 && mk_block_columns(block) == 1);
    /* BOS query EOS SEP text EOS */
    CHECK(mk_block_data(block)[0] == 1 + 5 + 2 + 1 + 1 && mk_block_data(block)[1] == 1 + 5 + 2 + 3 + 1);
    mk_block_release(block);
    id = host_embed(&h, MK_TASK_EMBED, texts, 3, -1, true, &block);
    until_ended(id);
    CHECK(host_heard(&h, id)->code == MK_CODE_TASK);
    mk_block_release(block);
    host_close(&h);
}

static void what_goes_wrong_is_said_and_the_engine_goes_on(void) {
    static const char *const texts[] = {"one", "two"};
    mk_config config = usual_config();
    mk_block *block;
    uint64_t id;
    fake_options.no_embed_context = true;
    host_open_ready(&h, &config);
    id = host_embed(&h, MK_TASK_EMBED, texts, 2, -1, true, &block);
    until_ended(id);
    CHECK(host_heard(&h, id)->code == MK_CODE_MEMORY && strstr(host_heard(&h, id)->reason, "not enough memory") != NULL);
    mk_block_release(block);
    expect_text(&h, say("still here"), MK_FINISH_STOP, "still here");
    host_close(&h);
    fake_reset();
    host_open_ready(&h, &config);
    atomic_store(&fake.fail, -3);
    id = host_embed(&h, MK_TASK_EMBED, texts, 2, -1, true, &block);
    until_ended(id);
    CHECK(host_heard(&h, id)->code == MK_CODE_DECODE);
    mk_block_release(block);
    until_ended(host_embed(&h, MK_TASK_EMBED, texts, 2, -1, true, &block));
    CHECK(mk_block_rows(block) == 2);
    mk_block_release(block);
    host_close(&h);
    everything_was_given_back();
}

int main(int argc, char **argv) {
    harness_begin(argc, argv, 300);
    RUN(many_texts_become_their_own_vectors_in_order);
    RUN(a_vector_for_each_token_when_asked);
    RUN(a_text_too_long_is_cut_or_refused_as_asked);
    RUN(streams_speak_while_texts_are_embedded);
    RUN(a_cancel_ends_it_before_during_and_after);
    RUN(an_encoder_embeds_and_does_not_speak);
    RUN(a_cross_encoder_ranks_pairs_and_makes_no_vectors);
    RUN(what_goes_wrong_is_said_and_the_engine_goes_on);
    return 0;
}
