/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of a simulation, as rows. Reads files; runs before everything else. One thread. */
#include "bench/sim/scenario.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "proxy/base/check.h"

enum kind { WHOLE, SOME, REAL, CHOICE, TEXT }; /* some: of the endpoints, or a part of them */

static const char *const shapes[] = {"constant", "exponential", "lognormal", "pareto", NULL};
static const char *const deaths[] = {"refuse", "hang", "error", NULL};
static const char *const answers[] = {"no", "yes", NULL};
static const char *const disciplines[] = {"fifo", "shared", NULL};
static const char *const trace_keys[] = {"client", "path", "host", NULL};

struct row {
    const char *name;
    enum kind kind;
    size_t offset;
    double least, most;
    const char *const *choices;
    const char *initial;
    const char *help;
};

#define ROW(kind, name, least, most, initial, help)                                        \
    {                                                                                      \
#name, kind, offsetof(struct sim_scenario, name), least, most, NULL, initial, help \
    }
#define PICK(name, choices, initial, help)                                               \
    {                                                                                    \
#name, CHOICE, offsetof(struct sim_scenario, name), 0, 0, choices, initial, help \
    }

static const struct row rows[] = {
    ROW(WHOLE, endpoints, 2, 100000, "100", "endpoints in the pool"),
    ROW(WHOLE, cores, 1, 1000, "2", "of an endpoint: requests that it works on at full speed"),
    PICK(sharing, disciplines, "shared", "more requests than cores wait, or share them"),
    ROW(WHOLE, queue, 0, 1e9, "0", "requests beyond that get 503 from an endpoint; 0: no limit"),
    ROW(REAL, speeds, 1, 1000, "1", "the fastest endpoint's speed over the slowest's"),
    PICK(weighted, answers, "no", "weights are as the speeds"),
    ROW(REAL, drift_s, 0, 1e6, "0", "speeds are drawn anew so often; 0: never"),

    ROW(WHOLE, instances, 1, 1000, "1", "of weir, which share nothing"),
    ROW(WHOLE, workers, 1, 1000, "4", "of an instance"),
    ROW(REAL, slow_start_s, 0, 1e6, "0", "weir's slow start, for who was added or came back"),

    ROW(WHOLE, requests, 1, 1e9, "1000000", "in all"),
    ROW(REAL, load, 0.001, 100, "0.7", "of what the endpoints can do when nothing is wrong"),
    ROW(REAL, warmup, 0, 0.9, "0.1", "part of the run that is not counted"),
    ROW(REAL, service_ms, 0.001, 1e6, "10", "work of a request on average, at speed 1"),
    PICK(service, shapes, "lognormal", "how that is distributed"),
    ROW(REAL, tail, 0.01, 10, "1", "sigma (lognormal) or alpha, above 1 (pareto)"),
    ROW(WHOLE, keys, 0, 10000000, "0", "different keys of requests; 0: each has its own"),
    ROW(REAL, zipf, 0, 5, "1", "the k-th key comes in proportion to 1 / k^zipf"),
    {"trace", TEXT, offsetof(struct sim_scenario, trace), 0, 0, NULL, "",
     "an access log (JSON): its times, latencies and keys are taken instead"},
    PICK(trace_key, trace_keys, "client", "what of a log's line is the key"),

    ROW(SOME, slow, 0, 100000, "0", "endpoints that become slow; below 1: such a part of them"),
    ROW(REAL, slow_by, 1, 1e6, "10", "... so many times"),
    ROW(REAL, slow_from, 0, 1, "0", "... from this part of the run"),
    ROW(REAL, slow_until, 0, 1, "1", "... to this"),
    ROW(REAL, gc_every_s, 0, 1e6, "0", "each endpoint stops so often, at random; 0: never"),
    ROW(REAL, gc_ms, 0, 1e6, "100", "... for so long"),
    ROW(SOME, dead, 0, 100000, "0", "endpoints that fail, likewise"),
    PICK(dead_how, deaths, "refuse", "... in this way"),
    ROW(REAL, dead_from, 0, 1, "0.3", "... from this part of the run"),
    ROW(REAL, dead_until, 0, 1, "0.6", "... to this"),
    ROW(REAL, notice_s, 0, 1e6, "0", "health checks notice after so long; 0: there are none"),
    ROW(REAL, fail_ms, 0.001, 1e6, "1", "how long a refusal or a 503 takes"),
    ROW(SOME, added, 0, 100000, "0", "endpoints of the pool that come later, likewise"),
    ROW(REAL, added_at, 0, 1, "0.5", "... at this part of the run"),
    ROW(REAL, cold_by, 1, 1000, "1", "... so many times slower at first"),
    ROW(REAL, cold_s, 0, 1e6, "10", "... for so long"),

    ROW(WHOLE, retries, 0, 10, "0", "of a request, each at another endpoint"),
    ROW(REAL, timeout_ms, 0, 1e6, "0", "of a try; the endpoint works on. 0: none"),
    ROW(REAL, backoff_ms, 0, 1e6, "25", "base of the time before a retry: doubles, full jitter"),
    ROW(WHOLE, budget, 0, 100, "20", "percent that retries may be of requests in 10 s; 100: any"),
    ROW(WHOLE, budget_min, 0, 1000000, "10", "retries a second that are allowed anyway"),
    ROW(WHOLE, seed, 0, 9e15, "1", "equal seeds give equal results"),
};

static bool fail(char *err, size_t len, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool fail(char *err, size_t len, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(err, len, format, args);
    va_end(args);
    return false;
}

static void *field(struct sim_scenario *sc, const struct row *row)
{
    return (char *)sc + row->offset;
}

static bool set_number(double *to, const struct row *row, const char *text, char *err, size_t len)
{
    char *end;
    double value = strtod(text, &end);
    bool whole = row->kind == WHOLE || (row->kind == SOME && value >= 1);
    if (end == text || *end != '\0' || !(value >= row->least && value <= row->most) ||
        (whole && value != floor(value)))
        return fail(err, len, "%s is a %s from %.10g to %.10g, not '%s'", row->name,
                    whole ? "whole number" : "number", row->least, row->most, text);
    *to = value;
    return true;
}

static bool set_choice(uint32_t *to, const struct row *row, const char *text, char *err, size_t len)
{
    char names[128] = "";
    for (uint32_t i = 0; row->choices[i] != NULL; i++) {
        if (strcmp(text, row->choices[i]) == 0) {
            *to = i;
            return true;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "", row->choices[i]);
    }
    return fail(err, len, "%s is one of %s, not '%s'", row->name, names, text);
}

static bool set_text(char *to, const struct row *row, const char *text, char *err, size_t len)
{
    size_t room = sizeof(((struct sim_scenario *)0)->trace);
    size_t length = strlen(text);
    if (length >= room)
        return fail(err, len, "%s is longer than %zu characters", row->name, room - 1);
    memcpy(to, text, length + 1);
    return true;
}

static bool set_row(struct sim_scenario *sc, const struct row *row, const char *text, char *err,
                    size_t len)
{
    switch (row->kind) {
    case WHOLE:
    case SOME:
    case REAL:
        return set_number(field(sc, row), row, text, err, len);
    case CHOICE:
        return set_choice(field(sc, row), row, text, err, len);
    case TEXT:
        return set_text(field(sc, row), row, text, err, len);
    }
    return false;
}

bool sim_scenario_set(struct sim_scenario *sc, const char *name, const char *value, char *err,
                      size_t err_len)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(name, rows[i].name) == 0)
            return set_row(sc, &rows[i], value, err, err_len);
    return fail(err, err_len, "there is no setting '%s'", name);
}

void sim_scenario_init(struct sim_scenario *sc)
{
    char err[256];
    memset(sc, 0, sizeof(*sc));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK(set_row(sc, &rows[i], rows[i].initial, err, sizeof(err)));
}

bool sim_scenario_check(const struct sim_scenario *sc, char *err, size_t err_len)
{
    if (sc->service == SIM_PARETO && sc->tail <= 1)
        return fail(err, err_len, "service: pareto needs a tail above 1, or it has no mean");
    if (sc->slow > sc->endpoints || sc->dead > sc->endpoints)
        return fail(err, err_len, "slow and dead are at most as many as endpoints");
    if (sim_scenario_some(sc, sc->added) >= (uint32_t)sc->endpoints)
        return fail(err, err_len, "added is less than endpoints: some have to be there before");
    if (sc->dead > 0 && sc->dead_how == SIM_HANG && sc->timeout_ms <= 0)
        return fail(err, err_len, "dead_how: hang needs a timeout_ms, or requests never end");
    if (sc->slow_from > sc->slow_until || sc->dead_from > sc->dead_until)
        return fail(err, err_len, "what begins (_from) ends later (_until)");
    return true;
}

uint32_t sim_scenario_some(const struct sim_scenario *sc, double some)
{
    return (uint32_t)(some < 1 ? ceil(some * sc->endpoints) : some);
}

void sim_scenario_help(FILE *out)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fprintf(out, "  %-12s %-10s %s", rows[i].name, rows[i].initial, rows[i].help);
        for (uint32_t c = 0; rows[i].choices != NULL && rows[i].choices[c] != NULL; c++)
            fprintf(out, "%s%s", c ? ", " : ": ", rows[i].choices[c]);
        fputc('\n', out);
    }
}

/* ---- YAML ---- */

static const char *text_of(const yaml_node_t *node)
{
    return node != NULL && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value
                                                          : NULL;
}

static bool set_pair(struct sim_scenario *sc, yaml_document_t *doc, const yaml_node_pair_t *pair,
                     const char *path, char *err, size_t err_len)
{
    const yaml_node_t *key = yaml_document_get_node(doc, pair->key);
    const char *name = text_of(key), *value = text_of(yaml_document_get_node(doc, pair->value));
    char why[300];
    if (name != NULL && strcmp(name, "about") == 0)
        return true;
    if (name == NULL || value == NULL)
        snprintf(why, sizeof(why), "a setting is 'name: value'");
    else if (sim_scenario_set(sc, name, value, why, sizeof(why)))
        return true;
    return fail(err, err_len, "%s:%zu: %s", path, key->start_mark.line + 1, why);
}

static bool set_all(struct sim_scenario *sc, yaml_document_t *doc, const char *path, char *err,
                    size_t err_len)
{
    const yaml_node_t *root = yaml_document_get_root_node(doc);
    if (root == NULL || root->type != YAML_MAPPING_NODE)
        return fail(err, err_len, "%s:1: a scenario is a mapping of settings", path);
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
         p++)
        if (!set_pair(sc, doc, p, path, err, err_len))
            return false;
    return true;
}

bool sim_scenario_load(struct sim_scenario *sc, const char *path, char *err, size_t err_len)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return fail(err, err_len, "%s: %m", path);
    bool ok = false;
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_file(&parser, file);
    if (yaml_parser_load(&parser, &doc)) {
        ok = set_all(sc, &doc, path, err, err_len);
        yaml_document_delete(&doc);
    } else {
        fail(err, err_len, "%s:%zu: %s", path, parser.problem_mark.line + 1, parser.problem);
    }
    yaml_parser_delete(&parser);
    fclose(file);
    return ok;
}
