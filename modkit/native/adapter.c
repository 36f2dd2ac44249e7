/* Adapters: LoRA files with their scales, and a control vector, as a set that a request names. A context has one set
 * at a time, so a batch holds only slots of the same set, and slots of different sets take turns; what one
 * set computed is of no use to another. Runs on the worker thread alone, but for mk_adapters_copy. */
#include "engine.h"
#include "gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decodes that the slots of one set may take while those of another wait. */
enum { TURN = 2 };

/* Host's thread: one block with everything behind it; NULL when memory is out. */
mk_adapter_set *mk_adapters_copy(const mk_adapters *given) {
    size_t size = sizeof(mk_adapter_set) + (size_t) given->n_control * sizeof(float), at = size;
    mk_adapter_set *set;
    for (int32_t i = 0; i < given->n; i++) {
        size += strlen(given->paths[i]) + 1;
    }
    set = calloc(1, size);
    if (set == NULL) {
        return NULL;
    }
    set->n = given->n;
    set->n_control = given->n_control;
    if (given->n_control > 0) {
        memcpy(set->control, given->control, (size_t) given->n_control * sizeof(float));
    }
    for (int32_t i = 0; i < given->n; i++) {
        set->scales[i] = given->scales[i];
        set->paths[i] = strcpy((char *) set + at, given->paths[i]);
        at += strlen(given->paths[i]) + 1;
    }
    return set;
}

/* In the order of their numbers, 1 and up. False, and nothing taken over, when there are too many. */
bool mk_adapters_add(mk_engine *e, mk_adapter_set *set) {
    if (e->n_sets == MK_MAX_ADAPTER_SETS) {
        return false;
    }
    e->sets[e->n_sets++] = set;
    return true;
}

static void *loaded_before(const mk_engine *e, const char *path) {
    for (int32_t k = 0; k < e->n_sets; k++) {
        for (int32_t i = 0; i < e->sets[k]->n; i++) {
            if (e->sets[k]->loras[i] != NULL && strcmp(e->sets[k]->paths[i], path) == 0) {
                return e->sets[k]->loras[i];
            }
        }
    }
    return NULL;
}

/* What llama.cpp would fail an assertion over is found out first. */
static bool load(mk_engine *e, mk_adapter_set *set, int32_t i) {
    mk_gguf header;
    if (mk_gguf_read_adapter(set->paths[i], &header) != 0) {
        snprintf(set->error, sizeof set->error, "the adapter %.150s cannot be used: %.200s", set->paths[i], header.error);
        return false;
    }
    e->last_error[0] = '\0';
    set->loras[i] = e->table.llama_adapter_lora_init(e->model, set->paths[i]);
    if (set->loras[i] == NULL) {
        snprintf(set->error, sizeof set->error, "the adapter %.150s does not fit this model%s%.150s", set->paths[i],
                 e->last_error[0] ? ": " : "", e->last_error);
        return false;
    }
    return true;
}

/* NULL when the request's set can be used, else why not; the files are read at its first use. */
const char *mk_adapters_ready(mk_engine *e, int32_t number) {
    mk_adapter_set *set;
    if (number == 0) {
        return NULL;
    }
    if (number < 0 || number > e->n_sets) {
        return "there are too many sets of adapters: use fewer in one engine";
    }
    set = e->sets[number - 1];
    if (set->tried) {
        return set->error[0] != '\0' ? set->error : NULL;
    }
    set->tried = true;
    if (set->n_control > 0 && set->n_control != (e->info.n_layer - 1) * e->info.n_embd) {
        snprintf(set->error, sizeof set->error,
                 "the control vector has %d numbers; this model takes %d (one row of %d for each layer but the first)",
                 set->n_control, (e->info.n_layer - 1) * e->info.n_embd, e->info.n_embd);
        return set->error;
    }
    mk_library_enter(e);
    for (int32_t i = 0; i < set->n && set->error[0] == '\0'; i++) {
        set->loras[i] = loaded_before(e, set->paths[i]);
        if (set->loras[i] == NULL) {
            load(e, set, i);
        }
    }
    mk_library_leave(e);
    return set->error[0] != '\0' ? set->error : NULL;
}

/* Whose turn it is: the set in use goes on until others have waited for long enough. The slots of the others are
 * put aside. */
void mk_adapters_choose(mk_engine *e) {
    const mk_slot *next = NULL;
    bool in_use = false;
    for (uint32_t i = 0; i < e->config.slots; i++) {
        const mk_slot *slot = &e->slots[i];
        if (slot->job == NULL) {
            continue;
        }
        in_use = in_use || slot->set == e->set;
        if (slot->set != e->set && (next == NULL || slot->waited > next->waited)) {
            next = slot;
        }
    }
    if (next != NULL && (!in_use || next->waited >= TURN)) {
        e->set = next->set;
    }
    for (uint32_t i = 0; i < e->config.slots; i++) {
        mk_slot *slot = &e->slots[i];
        slot->aside = slot->job != NULL && slot->set != e->set;
        slot->waited = slot->aside ? slot->waited + 1 : 0;
    }
}

/* Before a decode. */
void mk_adapters_apply(mk_engine *e) {
    mk_adapter_set none = {.n = 0}, *set = e->set == 0 ? &none : e->sets[e->set - 1];
    if (e->set == e->set_applied) {
        return;
    }
    e->table.llama_set_adapters_lora(e->context, set->loras, (size_t) set->n, set->scales);
    if (e->control_applied || set->n_control > 0) {
        e->table.llama_set_adapter_cvec(e->context, set->n_control > 0 ? set->control : NULL, (size_t) set->n_control,
                                        e->info.n_embd, 1, e->info.n_layer);
        e->control_applied = set->n_control > 0;
    }
    e->set_applied = e->set;
}

/* llama.cpp frees what was loaded with the model. */
void mk_adapters_free(mk_engine *e) {
    for (int32_t i = 0; i < e->n_sets; i++) {
        free(e->sets[i]);
    }
    e->n_sets = 0;
}
