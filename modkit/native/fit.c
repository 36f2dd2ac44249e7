/* Where the model lies: how many layers on the GPU, and whether what is asked for fits at all. Runs on the
 * worker before anything is loaded, because llama.cpp only says that memory is out when it is, and some
 * drivers and kernels do not even say that.
 *
 * Weights are counted from the file's header; the KV cache and the compute buffers are measured: llama.cpp
 * goes through a load and a context without allocating (no_alloc), and its log tells the sizes. That costs
 * as long as reading the vocabulary does. */
#include "engine.h"
#include "gguf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 6 };
static void *no_devices[] = {NULL};

typedef struct measured {
    uint64_t kv, compute_cpu, compute[MK_MAX_DEVICES];
} measured;

/* ---- what the log tells ---- */

void mk_fit_line(mk_engine *e, const char *text) {
    const char *sign = strstr(text, " buffer size = "), *kind, *name;
    double mib;
    mk_buffer *b;
    if (sign == NULL) {
        const char *size = strstr(text, " size = ");
        if (size != NULL && strstr(size, " cells,") != NULL && sscanf(size, " size = %lf MiB", &mib) == 1 && mib >= 0) {
            e->kv_cells_bytes += (uint64_t) ((mib + 0.01) * 1048576);
        }
        return;
    }
    if (e->loaded || sscanf(sign, " buffer size = %lf MiB", &mib) != 1 || mib < 0 || e->n_buffers >= MK_MAX_BUFFERS) {
        return;
    }
    for (kind = sign; kind > text && kind[-1] != ' '; kind--) {
    }
    for (name = kind; name > text && name[-1] == ' '; name--) {
    }
    {
        const char *end = name;
        for (; name > text && name[-1] != ' '; name--) {
        }
        b = &e->buffers[e->n_buffers++];
        snprintf(b->name, sizeof b->name, "%.*s", (int) (end - name), name);
        snprintf(b->kind, sizeof b->kind, "%.*s", (int) (sign - kind), kind);
        b->bytes = (uint64_t) (mib * 1048576);
    }
}

/* ---- words ---- */

static const char *gib(char *out, uint64_t bytes) {
    double mib = (double) bytes / 1048576;
    snprintf(out, 24, mib >= 1024 ? "%.2f GiB" : "%.1f MiB", mib >= 1024 ? mib / 1024 : mib);
    return out;
}

/* A step down: into the plan, and into the log. */
static void note(mk_engine *e, const char *format, ...) {
    char line[400];
    size_t used = strlen(e->plan.steps);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    snprintf(e->plan.steps + used, sizeof e->plan.steps - used, "%s%s", used > 0 ? "\n" : "", line);
    mk_log_line(e, 2, line);
}

/* ---- measuring ---- */

static int device_of(const mk_engine *e, const char *buffer) {
    for (int i = 0; i < e->config.n_devices; i++) {
        if (strcmp(e->config.devices[i].name, buffer) == 0) {
            return i;
        }
    }
    return -1;
}

/* False when llama.cpp refuses the model or the context: then loading it for real says why. */
static bool measure(mk_engine *e, int32_t layers, uint32_t context, bool cpu_only, measured *out) {
    mk_blob model_params = e->config.model_params, context_params = e->config.context_params;
    uint32_t cells = context * e->config.slots;
    int32_t load_mode = 0;
    bool yes = true, (*progress)(float, void *) = mk_on_quiet_progress;
    void *model, *made = NULL, **none = no_devices;
    cpu_only |= e->config.imagine;
    layers = e->config.imagine ? 0 : layers;
    mk_blob_put(&model_params, e->config.at_gpu_layers, &layers, sizeof layers);
    mk_blob_put(&model_params, e->config.at_no_alloc, &yes, sizeof yes);
    mk_blob_put(&model_params, e->config.at_load_mode, &load_mode, sizeof load_mode);
    mk_blob_put(&model_params, e->config.at_progress, &progress, sizeof progress);
    mk_blob_put(&context_params, e->config.at_n_ctx, &cells, sizeof cells);
    if (cpu_only) {
        mk_blob_put(&model_params, e->config.at_devices, &none, sizeof none);
    }
    memset(out, 0, sizeof *out);
    e->n_buffers = 0;
    e->kv_cells_bytes = 0;
    e->measuring = true;
    model = mk_load_file(e, model_params);
    if (model != NULL) {
        made = e->table.llama_init_from_model(model, context_params);
        if (made != NULL) {
            e->table.llama_free(made);
        }
        e->table.llama_model_free(model);
    }
    e->measuring = false;
    out->kv = e->kv_cells_bytes;
    for (int i = 0; i < e->n_buffers; i++) {
        const mk_buffer *b = &e->buffers[i];
        int device = device_of(e, b->name);
        if (strcmp(b->kind, "compute") == 0 || strcmp(b->kind, "output") == 0) {
            *(device >= 0 ? &out->compute[device] : &out->compute_cpu) += b->bytes;
        }
    }
    if (e->config.imagine && e->config.n_devices > 0) {
        out->compute[0] = out->compute_cpu; /* the best guess there is: the same graph, on another backend */
    }
    e->n_buffers = 0;
    e->last_error[0] = '\0';
    return made != NULL;
}

/* ---- counting ---- */

typedef struct layout {
    const mk_weights *weights;
    int32_t blocks; /* and one more layer: the output */
    uint64_t key_width; /* values in one layer's keys of one token; 0 when the header does not say */
} layout;

static uint64_t weight_of(const mk_engine *e, const layout *l, int32_t layer) {
    const mk_weights *w = l->weights;
    if (layer == l->blocks) { /* a model without an output of its own puts a copy of its embedding there */
        return w->output + (w->has_output ? 0 : w->input);
    }
    return w->block[layer] + (e->config.experts_on_cpu ? 0 : w->experts[layer]);
}

static uint64_t all_weights(const layout *l) {
    uint64_t sum = l->weights->input + l->weights->output;
    for (int32_t i = 0; i < l->blocks; i++) {
        sum += l->weights->block[i] + l->weights->experts[i];
    }
    return sum;
}

/* Fills the plan for the last k layers on the GPUs; true when they fit. */
static bool place(mk_engine *e, const layout *l, int32_t k, uint32_t context, const measured *m) {
    mk_plan *p = &e->plan;
    const mk_config *c = &e->config;
    uint64_t used[MK_MAX_DEVICES] = {0}, weights = 0, kv = 0, compute = 0, shared = 0;
    uint64_t kv_layer = c->kv_on_gpu && l->blocks > 0 ? m->kv / (uint64_t) l->blocks : 0;
    double shares = 0, before = 0;
    bool good = true;
    for (int i = 0; i < c->n_devices; i++) {
        shares += c->devices[i].share;
    }
    for (int i = 0; i < c->n_devices; i++) { /* as llama.cpp deals the layers out */
        shared += c->devices[i].free;
    }
    for (int i = 0; i < c->n_devices; i++) {
        double share = shares > 0 ? c->devices[i].share / shares : shared > 0 ? (double) c->devices[i].free / (double) shared : 1;
        for (int32_t j = 0; j < k; j++) {
            double at = (double) j / k;
            int32_t layer = l->blocks + 1 - k + j;
            if (at >= before && (at < before + share || (i == c->n_devices - 1))) {
                uint64_t cells = layer < l->blocks ? kv_layer : 0;
                used[i] += weight_of(e, l, layer) + cells;
                weights += weight_of(e, l, layer);
                kv += cells;
            }
        }
        before += share;
        used[i] += m->compute[i];
        compute += m->compute[i];
        good = good && used[i] + c->vram_margin <= c->devices[i].free;
    }
    p->made = true;
    p->layers = k;
    p->all_layers = l->blocks + 1;
    p->context = context;
    p->weights_gpu = weights;
    p->kv_gpu = kv;
    p->compute_gpu = compute;
    p->weights_cpu = all_weights(l) - (weights < all_weights(l) ? weights : all_weights(l));
    p->kv_cpu = m->kv > kv ? m->kv - kv : 0;
    p->compute_cpu = c->imagine ? 0 : m->compute_cpu;
    return good && (c->vram_budget == 0 || weights + kv + compute <= c->vram_budget);
}

static bool ram_holds(const mk_engine *e) {
    const mk_plan *p = &e->plan;
    uint64_t need = p->kv_cpu + p->compute_cpu + (e->config.weights_in_ram ? p->weights_cpu : 0);
    return e->config.ram_free == 0 || need <= e->config.ram_free;
}

static uint64_t on_gpu(const mk_plan *p) {
    return p->weights_gpu + p->kv_gpu + p->compute_gpu;
}

/* ---- deciding ---- */

static void settle(mk_engine *e, bool cpu_only) {
    uint32_t cells = e->plan.context * e->config.slots;
    void **none = no_devices;
    mk_blob_put(&e->config.model_params, e->config.at_gpu_layers, &e->plan.layers, sizeof e->plan.layers);
    mk_blob_put(&e->config.context_params, e->config.at_n_ctx, &cells, sizeof cells);
    e->config.context = e->plan.context;
    if (cpu_only) {
        mk_blob_put(&e->config.model_params, e->config.at_devices, &none, sizeof none);
    }
}

/* Can one buffer of each GPU be that large? Some cannot be half of their memory. */
static bool one_buffer(mk_engine *e, uint64_t bytes) {
    enum { I8 = 24 };
    const mk_table *t = &e->table;
    void *context = t->ggml_init((mk_ggml_params){2 * t->ggml_tensor_overhead() + 64, NULL, true});
    void *tensor = context != NULL && bytes < INT64_MAX / 2 ? t->ggml_new_tensor_1d(context, I8, (int64_t) bytes) : NULL;
    bool good = tensor != NULL;
    for (int i = 0; good && i < e->config.n_devices && !e->config.imagine; i++) {
        void *device = t->ggml_backend_dev_by_name(e->config.devices[i].name);
        good = device == NULL || t->ggml_backend_dev_supports_op(device, tensor);
    }
    if (context != NULL) {
        t->ggml_free(context);
    }
    return good;
}

/* A cache so long that one layer's keys alone are more than a GPU, or one of its buffers, can hold: llama.cpp
 * fails an assertion even when it is only asked how large that would be. So a short one is measured, and
 * stretched, unless the header shows that there is no danger. */
static bool hopeless(mk_engine *e, const layout *l, uint32_t context) {
    uint64_t cells = (uint64_t) context * e->config.slots, few = 256 * (uint64_t) e->config.slots;
    uint64_t keys = cells * l->key_width * 4;
    measured m;
    if (!e->config.kv_on_gpu || (l->key_width > 0 && keys <= e->plan.budget && one_buffer(e, keys))) {
        return false;
    }
    if (!measure(e, 0, 256, true, &m)) {
        return false;
    }
    m.kv = m.kv / few * cells;
    place(e, l, l->blocks + 1, context, &m);
    keys = m.kv / 2 / (uint64_t) l->blocks;
    return keys > e->plan.budget || !one_buffer(e, keys);
}

enum verdict { FITS, DOES_NOT, UNKNOWN };

/* The most layers that fit beside this context, at least one. */
static enum verdict fit_layers(mk_engine *e, const layout *l, uint32_t context) {
    int32_t all = l->blocks + 1, k = all;
    char need[24], have[24];
    measured m;
    if (hopeless(e, l, context)) {
        return DOES_NOT;
    }
    if (!measure(e, all, context, false, &m)) {
        return UNKNOWN;
    }
    if (place(e, l, all, context, &m) && ram_holds(e)) {
        return FITS;
    }
    gib(need, on_gpu(&e->plan));
    while (k > 0 && !place(e, l, k, context, &m)) {
        k--;
    }
    for (int i = 0; i < TRIES && k > 0; i++, k--) {
        if (!measure(e, k, context, false, &m)) {
            return UNKNOWN;
        }
        if (place(e, l, k, context, &m) && ram_holds(e)) {
            note(e, "all %d layers with a context of %u x %u need %s of GPU memory and %s may be used: %d %s on the GPU",
                 all, e->config.slots, context, need, gib(have, e->plan.budget), k, k == 1 ? "is" : "are");
            return FITS;
        }
    }
    return DOES_NOT;
}

static uint32_t shorter(const mk_engine *e, uint32_t context) {
    return context / 2 >= e->config.min_context ? context / 2 : 0;
}

static bool out_of_memory(mk_engine *e, const char *where, uint64_t have) {
    const mk_plan *p = &e->plan;
    char reason[500], weights[24], kv[24], compute[24], free[24];
    bool gpu = where[0] == 'G';
    snprintf(reason, sizeof reason,
             "it needs %s for weights, %s for a context of %u x %u tokens and %s to compute with, and %s of %s memory may"
             " be used: take a smaller context, a kv_type such as \"q8_0\", %sor a smaller model",
             gib(weights, gpu ? p->weights_gpu : e->config.weights_in_ram ? p->weights_cpu : 0),
             gib(kv, gpu ? p->kv_gpu : p->kv_cpu), e->config.slots, p->context,
             gib(compute, gpu ? p->compute_gpu : p->compute_cpu), gib(free, have), where, gpu ? "fewer gpu_layers, " : "");
    mk_failed(e, MK_FAILED_MEMORY, reason);
    return false;
}

static bool fit_cpu(mk_engine *e, const layout *l, uint32_t asked) {
    measured m;
    for (uint32_t context = asked; context > 0; context = e->config.auto_layers ? shorter(e, context) : 0) {
        if (!measure(e, 0, context, true, &m)) {
            e->plan.made = false;
            return true;
        }
        memset(m.compute, 0, sizeof m.compute);
        place(e, l, 0, context, &m);
        e->plan.compute_cpu = m.compute_cpu;
        if (ram_holds(e)) {
            if (context < asked) {
                note(e, "a context of %u tokens does not fit into memory: %u tokens", asked, context);
            }
            settle(e, e->config.auto_layers && e->config.n_devices > 0);
            return true;
        }
    }
    return out_of_memory(e, "the computer's", e->config.ram_free);
}

static bool fit_auto(mk_engine *e, const layout *l, uint32_t asked) {
    for (uint32_t context = asked; context > 0; context = shorter(e, context)) {
        enum verdict verdict = fit_layers(e, l, context);
        if (verdict == UNKNOWN) {
            e->plan.made = false;
            return true;
        }
        if (verdict == FITS) {
            settle(e, false);
            return true;
        }
        if (shorter(e, context) > 0) {
            note(e, "no layer fits on the GPU beside a context of %u x %u: trying %u", e->config.slots, context,
                 shorter(e, context));
        }
    }
    note(e, "no layer fits on the GPU: the model runs on the CPU, with its context of %u x %u", e->config.slots, asked);
    return fit_cpu(e, l, asked);
}

/* A number of layers that was asked for: it fits, or it is refused. */
static bool check_layers(mk_engine *e, const layout *l, int32_t layers, uint32_t context) {
    int32_t all = l->blocks + 1, k = layers < 0 || layers > all ? all : layers;
    measured m;
    if (hopeless(e, l, context)) {
        return out_of_memory(e, "GPU", e->plan.budget);
    }
    if (!measure(e, k, context, false, &m)) {
        e->plan.made = false;
        return true;
    }
    if (!place(e, l, k, context, &m)) {
        return out_of_memory(e, "GPU", e->plan.budget);
    }
    return ram_holds(e) ? true : out_of_memory(e, "the computer's", e->config.ram_free);
}

/* More than the KV cache can take, whatever its types and the model's tricks. */
static uint64_t kv_at_most(const mk_engine *e, const mk_gguf *g) {
    uint64_t head = g->key_length > 0 ? g->key_length : g->n_head > 0 ? g->n_embd / g->n_head : g->n_embd;
    uint64_t width = head * (g->n_head > 0 ? g->n_head : 1);
    width = width > g->n_embd ? width : g->n_embd;
    return width > 0 && g->n_layer > 0 ? 2 * 4 * width * g->n_layer * e->config.context * e->config.slots : UINT64_MAX;
}

static uint64_t budget(const mk_engine *e) {
    uint64_t sum = 0;
    for (int i = 0; i < e->config.n_devices; i++) {
        uint64_t free = e->config.devices[i].free;
        sum += free > e->config.vram_margin ? free - e->config.vram_margin : 0;
    }
    return e->config.vram_budget > 0 && e->config.vram_budget < sum ? e->config.vram_budget : sum;
}

static bool decide(mk_engine *e, const mk_gguf *g, const mk_weights *weights) {
    uint64_t head = g->key_length > 0 ? g->key_length : g->n_head > 0 ? g->n_embd / g->n_head : 0;
    layout l = {weights, (int32_t) g->n_layer, head * g->n_head_kv};
    int32_t layers;
    memcpy(&layers, (char *) &e->config.model_params + e->config.at_gpu_layers, sizeof layers);
    e->plan.budget = budget(e);
    if (e->config.n_devices == 0 || (!e->config.auto_layers && layers == 0)) {
        uint64_t most = kv_at_most(e, g), heap = e->config.weights_in_ram ? g->file_bytes : 0;
        if (e->config.purpose != MK_FOR_FIT && (e->config.ram_free == 0 || (most < UINT64_MAX - heap && most + heap < e->config.ram_free / 4))) {
            return true;
        }
        return fit_cpu(e, &l, e->config.context);
    }
    return e->config.auto_layers ? fit_auto(e, &l, e->config.context) : check_layers(e, &l, layers, e->config.context);
}

bool mk_fit(mk_engine *e) {
    mk_weights *weights = calloc(1, sizeof *weights);
    mk_gguf header;
    bool good = weights != NULL;
    if (!good) {
        mk_failed(e, MK_FAILED_MEMORY, "no memory to read its header");
    }
    good = good && mk_read_headers(e, &header, weights);
    if (good && e->config.purpose != MK_FOR_LOOKS) {
        good = decide(e, &header, weights);
    }
    free(weights);
    return good;
}
