/* A game in C with Python inside: Sable speaks while it draws 60 frames a second.
 *
 *   game THREAD PLAIN_FOLDER SEARCH_PATHS MODEL PERSONA MODS WORDS
 *
 * THREAD is "main" (the game's loop runs Python's first thread) or "foreign" (a thread that C made runs it).
 * SEARCH_PATHS is Python's own library and modkit's dependencies, separated by ':'; PLAIN_FOLDER holds modkit.
 *
 * The interpreter is isolated, without `site`, without arguments, without stdout; sys.executable is this
 * program. Everything of modkit happens on one thread, the one that made the host; between frames it gives up
 * Python's lock, as a game does that has other Python threads, or a driver to wait for.
 * Prints one line of JSON-like figures at the end; exits with 1 and a message when something went wrong.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FRAME_NS 16666667L
#define MAX_FRAMES (60 * 60)

static char **arguments;
static char said[8192]; /* what Sable said, as the subtitle events brought it */
static int answered, frames, frames_before_words;

static void fail(const char *what)
{
    if (PyErr_Occurred())
        PyErr_Print();
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

static PyObject *must(PyObject *object, const char *what)
{
    if (object == NULL)
        fail(what);
    return object;
}

/* The game's own functions, which the host calls at the end of a tick. */

static PyObject *on_subtitle(PyObject *self, PyObject *event)
{
    PyObject *text = PyObject_GetAttrString(event, "text");
    const char *words = text ? PyUnicode_AsUTF8(text) : NULL;
    (void)self;
    if (words == NULL) {
        Py_XDECREF(text);
        return NULL;
    }
    if (words[0] != '\0' && said[0] == '\0')
        frames_before_words = frames;
    if (!answered)
        strncat(said, words, sizeof said - strlen(said) - 1);
    Py_DECREF(text);
    Py_RETURN_NONE;
}

static PyObject *on_answered(PyObject *self, PyObject *event)
{
    (void)self;
    (void)event;
    answered = 1;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"on_subtitle", on_subtitle, METH_O, NULL},
    {"on_answered", on_answered, METH_O, NULL},
};

static void subscribe(PyObject *host, const char *event, PyMethodDef *function)
{
    PyObject *callable = must(PyCFunction_New(function, NULL), event);
    Py_DECREF(must(PyObject_CallMethod(host, "subscribe", "sO", event, callable), "host.subscribe"));
    Py_DECREF(callable);
}

static void begin_python(const char *plain, char *paths)
{
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.module_search_paths_set = 1;
    wchar_t *wide = Py_DecodeLocale(plain, NULL);
    PyStatus status = PyWideStringList_Append(&config.module_search_paths, wide);
    PyMem_RawFree(wide);
    for (char *path = strtok(paths, ":"); path && !PyStatus_Exception(status); path = strtok(NULL, ":")) {
        wide = Py_DecodeLocale(path, NULL);
        status = PyWideStringList_Append(&config.module_search_paths, wide);
        PyMem_RawFree(wide);
    }
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesString(&config, &config.executable, arguments[0]);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
    /* a windowed game has no console, and a game has no arguments for Python */
    PyObject *empty = must(PyList_New(0), "a list");
    PySys_SetObject("argv", empty);
    PySys_SetObject("stdout", Py_None);
    PySys_SetObject("__stdout__", Py_None);
    PySys_SetObject("stdin", Py_None);
    Py_DECREF(empty);
}

static void wait_for_the_next_frame(struct timespec *next)
{
    next->tv_nsec += FRAME_NS;
    if (next->tv_nsec >= 1000000000L) {
        next->tv_nsec -= 1000000000L;
        next->tv_sec += 1;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
}

/* The whole game. Called with Python's lock, on the thread that shall own the host. */
static void play(void)
{
    PyObject *modkit = must(PyImport_ImportModule("modkit"), "import modkit");
    PyObject *make_engine = must(PyObject_GetAttrString(modkit, "Engine"), "modkit.Engine");
    PyObject *make_host = must(PyObject_GetAttrString(modkit, "Host"), "modkit.Host");
    PyObject *args = must(Py_BuildValue("(s)", arguments[4]), "arguments");
    PyObject *options = must(Py_BuildValue("{s:i,s:i}", "context", 1024, "slots", 1), "options");
    PyObject *engine = must(PyObject_Call(make_engine, args, options), "Engine()");
    Py_DECREF(args);
    Py_DECREF(options);
    args = must(Py_BuildValue("(s)", arguments[6]), "arguments");
    options = must(Py_BuildValue("{s:O}", "engine", engine), "options");
    PyObject *host = must(PyObject_Call(make_host, args, options), "Host()");
    Py_DECREF(args);
    Py_DECREF(options);
    Py_DECREF(must(PyObject_CallMethod(host, "add_persona", "ss", "sable", arguments[5]), "add_persona"));
    subscribe(host, "subtitle", &functions[0]);
    subscribe(host, "answered", &functions[1]);

    PyObject *emit = must(PyObject_GetAttrString(host, "emit"), "host.emit");
    args = must(Py_BuildValue("(s)", "player_says"), "arguments");
    options = must(Py_BuildValue("{s:s,s:{s:i}}", "text", arguments[7], "options", "seed", 1), "options");
    Py_DECREF(must(PyObject_Call(emit, args, options), "emit"));
    Py_DECREF(args);
    Py_DECREF(options);
    Py_DECREF(emit);

    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (!answered && frames < MAX_FRAMES) {
        Py_DECREF(must(PyObject_CallMethod(host, "tick", "d", 1.0 / 60.0), "host.tick"));
        frames += 1;
        PyThreadState *state = PyEval_SaveThread(); /* the game draws, Python's other threads run */
        wait_for_the_next_frame(&next);
        PyEval_RestoreThread(state);
    }
    Py_DECREF(must(PyObject_CallMethod(host, "close", NULL), "host.close"));
    Py_DECREF(must(PyObject_CallMethod(engine, "close", NULL), "engine.close"));
    Py_DECREF(host);
    Py_DECREF(engine);
    Py_DECREF(make_engine);
    Py_DECREF(make_host);
    Py_DECREF(modkit);
}

static void *play_elsewhere(void *unused)
{
    PyGILState_STATE state = PyGILState_Ensure();
    play();
    PyGILState_Release(state);
    return unused;
}

int main(int count, char **values)
{
    if (count != 8) {
        fprintf(stderr, "game THREAD PLAIN_FOLDER SEARCH_PATHS MODEL PERSONA MODS WORDS\n");
        return 2;
    }
    arguments = values;
    begin_python(values[2], values[3]);
    if (strcmp(values[1], "foreign") == 0) {
        pthread_t thread;
        PyThreadState *state = PyEval_SaveThread();
        if (pthread_create(&thread, NULL, play_elsewhere, NULL) != 0 || pthread_join(thread, NULL) != 0)
            fail("the thread");
        PyEval_RestoreThread(state);
    } else {
        play();
    }
    if (Py_FinalizeEx() != 0)
        fail("Py_FinalizeEx");
    printf("{\"answered\": %d, \"frames\": %d, \"frames_before_words\": %d}\n%s\n", answered, frames,
           frames_before_words, said);
    return answered && said[0] ? 0 : 1;
}
