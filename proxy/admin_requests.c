/* SPDX-License-Identifier: Apache-2.0 */
/* What the flight recorders of the workers hold. Owns nothing; must never make a worker wait.
 * Control thread. */
#include "proxy/admin_requests.h"

#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/flight_view.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX     10000
#define VALUE_BYTES   80 /* of a parameter: no name is longer */

/* Called with each record that can be read. */
typedef void visit_fn(void *ctx, const struct flight *f, unsigned worker);

static void visit_all(const struct admin_view *view, visit_fn *visit, void *ctx)
{
    struct flight f;
    for (unsigned w = 0; w < view->n_workers; w++) {
        const struct flight_ring *ring = view->workers[w].flights;
        for (int kind = 0; kind < FLIGHT_KINDS; kind++)
            for (uint32_t later = 0; later < flight_ring_size(ring); later++)
                if (flight_ring_read(ring, (enum flight_kind)kind, later, &f))
                    visit(ctx, &f, w);
    }
}

/* ---- one ---- */

struct search {
    struct span id;
    struct flight found; /* the newest of that id */
    unsigned worker;
    bool there;
};

static void compare_id(void *ctx, const struct flight *f, unsigned worker)
{
    struct search *s = ctx;
    struct span id = flight_text(f, FLIGHT_ID);
    if (!admin_segment_is(s->id, id) || (s->there && s->found.time_us >= f->time_us))
        return;
    s->found = *f;
    s->worker = worker;
    s->there = true;
}

static void write_found(struct json *j, const void *ctx)
{
    const struct search *s = ctx;
    flight_write(j, &s->found, s->worker);
}

static void show_text(const struct admin_ask *ask, const struct search *s)
{
    char *text = mem_need(malloc(FLIGHT_TEXT_BYTES));
    size_t len = flight_print(&s->found, s->worker, text, FLIGHT_TEXT_BYTES);
    admin_text(ask, 200, SPAN_LIT("text/plain; charset=utf-8"), span_of(text, len));
    free(text);
}

static void show_one(const struct admin_ask *ask, struct span id)
{
    struct search search = {.id = id};
    struct span query = ask->request->query;
    char as[8];
    uint32_t size = flight_ring_size(ask->view->workers[0].flights);
    visit_all(ask->view, compare_id, &search);
    if (search.there && admin_parameter(&query, "as", as, sizeof(as)) && strcmp(as, "text") == 0)
        show_text(ask, &search);
    else if (search.there)
        admin_json(ask, 200, write_found, &search);
    else if (size == 0)
        admin_say(ask, 404, "nothing is kept of requests: flight.size is 0\n");
    else
        admin_say(ask, 404,
                  "nothing is kept of this request. Kept are those that failed, whose clients have "
                  "gone or asked for what there is not, that took more than one attempt, or were "
                  "slow (flight.slow): of each kind the last %u of each worker (flight.size), "
                  "since weir started. GET /requests lists them; the access log may know it.\n",
                  size);
}

/* ---- all ---- */

struct choice {
    bool by_pool, by_reason, by_kind;
    char pool[VALUE_BYTES], reason[VALUE_BYTES], kind[VALUE_BYTES];
    unsigned status_from, status_to; /* inclusive */
    unsigned limit;
};

struct entry {
    struct flight flight;
    unsigned worker;
};

struct list {
    const struct choice *choice;
    struct entry **entries; /* room for twice as many as are asked for */
    size_t n;
};

static bool chosen(const struct choice *c, const struct flight *f)
{
    const char *reason = f->reason == REASON_DONE ? "" : reason_row((enum reason)f->reason)->name;
    return (!c->by_pool || span_eq(span_str(c->pool), flight_text(f, FLIGHT_POOL))) &&
           (!c->by_reason || strcmp(c->reason, reason) == 0) &&
           (!c->by_kind || strcmp(c->kind, flight_kind_name((enum flight_kind)f->kind)) == 0) &&
           f->status >= c->status_from && f->status <= c->status_to;
}

static int newer_first(const void *a, const void *b)
{
    const struct flight *x = &(*(struct entry *const *)a)->flight;
    const struct flight *y = &(*(struct entry *const *)b)->flight;
    return x->time_us < y->time_us ? 1 : x->time_us > y->time_us ? -1 : 0;
}

/* Keeps the newest of them, in order. */
static void sift(struct list *l, size_t most)
{
    if (l->n > 0)
        qsort(l->entries, l->n, sizeof(l->entries[0]), newer_first);
    while (l->n > most)
        free(l->entries[--l->n]);
}

static void keep(void *ctx, const struct flight *f, unsigned worker)
{
    struct list *l = ctx;
    if (l->choice->limit == 0 || !chosen(l->choice, f))
        return;
    if (l->n == (size_t)l->choice->limit * 2)
        sift(l, l->choice->limit);
    struct entry *e = l->entries[l->n++] = mem_need(malloc(sizeof(*e)));
    e->flight = *f;
    e->worker = worker;
}

static void write_list(struct json *j, const void *ctx)
{
    const struct list *l = ctx;
    json_array_begin(j);
    for (size_t i = 0; i < l->n; i++)
        flight_write_line(j, &l->entries[i]->flight, l->entries[i]->worker);
    json_array_end(j);
}

static void show_list(const struct admin_ask *ask, const struct choice *choice)
{
    struct list l = {.choice = choice};
    l.entries = mem_need(calloc(choice->limit * 2 + 1, sizeof(l.entries[0])));
    visit_all(ask->view, keep, &l);
    sift(&l, choice->limit);
    admin_json(ask, 200, write_list, &l);
    sift(&l, 0);
    free(l.entries);
}

static bool number_of(const char *text, unsigned most, unsigned *out)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long n = strtoul(text, &end, 10);
    *out = (unsigned)n;
    return *end == '\0' && n <= most;
}

/* "502", or "5xx". */
static bool status_of(const char *text, struct choice *c)
{
    if (text[0] >= '1' && text[0] <= '9' && span_eq_nocase(span_str(text + 1), SPAN_LIT("xx"))) {
        c->status_from = (unsigned)(text[0] - '0') * 100;
        c->status_to = c->status_from + 99;
        return true;
    }
    bool ok = number_of(text, 999, &c->status_from);
    c->status_to = c->status_from;
    return ok;
}

static bool parameter(const struct admin_ask *ask, const char *name, char value[VALUE_BYTES])
{
    struct span query = ask->request->query;
    return admin_parameter(&query, name, value, VALUE_BYTES);
}

/* What is wrong with the query; NULL: nothing. */
static const char *read_choice(const struct admin_ask *ask, struct choice *c)
{
    char value[VALUE_BYTES];
    c->by_pool = parameter(ask, "pool", c->pool);
    c->by_reason = parameter(ask, "reason", c->reason);
    c->by_kind = parameter(ask, "kind", c->kind);
    if (parameter(ask, "status", value) && !status_of(value, c))
        return "status is a number such as 502, or a class such as 5xx";
    if (parameter(ask, "limit", value) && !number_of(value, LIMIT_MAX, &c->limit))
        return "limit is a number up to 10000";
    return NULL;
}

void admin_requests(const struct admin_ask *ask)
{
    struct span page = SPAN_LIT("/requests/"), path = ask->request->path;
    struct choice choice = {.status_to = 999, .limit = LIMIT_DEFAULT};
    const char *wrong = read_choice(ask, &choice);
    if (path.len > page.len)
        show_one(ask, span_of(path.ptr + page.len, path.len - page.len));
    else if (wrong != NULL)
        admin_say(ask, 400, "%s\n", wrong);
    else
        show_list(ask, &choice);
}
