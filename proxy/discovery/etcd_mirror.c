/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping up with keys of etcd. Owns the request that is on its way, and what a watch has said of
 * its next line; must never pass on a change twice, or leave one out. Reactor's thread.
 */
#include "proxy/discovery/etcd_mirror.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/rng.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/backoff.h"

#define MIRROR_MAGIC MAGIC('e', 't', 'c', 'm')

#define ANSWER_MS 5000 /* that a member may take for an answer */
#define PAGE_MS   20000
#define PAGE      1000 /* keys at once */
#define LIVED_MS  5000 /* a watch that ends before that has come to nothing */
#define WHY_BYTES 640
#define RELIST    10 /* times silence_ms, or a fifth less or more: it is listed anew */

enum doing { WAITING, ASKING_TOKEN, LISTING, WATCHING };

struct etcd_mirror {
    uint32_t magic;
    enum doing doing;
    struct reactor *reactor;
    const struct etcd_spec *spec;
    const struct etcd_mirror_events *events;
    void *ctx;
    uv_timer_t timer;            /* WAITING: to go on; WATCHING: it is silent */
    size_t server;               /* of the client */
    size_t failures;             /* of members, one after the other */
    struct fetch_client *client; /* or NULL */
    struct fetch *fetch;         /* on its way; or NULL */
    char token[ETCD_TOKEN_MAX];  /* "": none */
    bool new_token;              /* nothing has been asked with it */
    bool anew;                   /* it was listed anew, and no watch has lived since */
    bool no_users;               /* etcd does not look who asks */
    uint64_t cluster, revision;  /* up to which all is known; revision 0: nothing is */
    uint64_t listed;             /* the revision of the list that is made */
    uint64_t relist_ms;          /* when another one is due; reactor's time */
    char *from;                  /* the next key of it */
    size_t from_len;
    char *line; /* of the watch, as far as it has come */
    size_t len, room;
    unsigned status;
    uint64_t changed; /* the revision of the last change that a message of the watch has; or 0 */
    bool created;     /* the watch */
    uint64_t created_ms;
    struct backoff backoff;
    struct lb_rng rng;
};

static struct etcd_mirror *mirror_of(void *data)
{
    return CAST_OBJ(etcd_mirror, data, MIRROR_MAGIC);
}

static void on_timer(uv_timer_t *timer);

static void in(struct etcd_mirror *m, uint64_t ms)
{
    uv_timer_start(&m->timer, on_timer, ms, 0);
}

/* ---- what goes wrong ---- */

static void stop(struct etcd_mirror *m)
{
    fetch_cancel(TAKE(m->fetch));
    m->doing = WAITING;
    free(TAKE(m->line)); /* which may be large */
    m->len = m->room = 0;
    uv_timer_stop(&m->timer);
}

static void go_on(struct etcd_mirror *m)
{
    stop(m);
    in(m, 0);
}

/* From the beginning, as what is known is of no use. */
static void forget(struct etcd_mirror *m)
{
    m->revision = 0;
}

/* The next member; if all have failed, it is told. */
static void fail(struct etcd_mirror *m, const char *why)
{
    char told[WHY_BYTES];
    snprintf(told, sizeof(told), "%s", why); /* which may be the fetch's */
    stop(m);
    fetch_client_end(TAKE(m->client));
    m->server = (m->server + 1) % m->spec->n_servers;
    m->token[0] = '\0';
    m->no_users = false;
    m->failures++;
    if (m->failures < m->spec->n_servers) {
        in(m, 0);
        return;
    }
    m->failures = 0;
    in(m, backoff_next(&m->backoff, lb_rng_next(&m->rng)));
    m->events->failed(m->ctx, told);
}

/* ... which the member is to blame for. */
__attribute__((format(printf, 2, 3))) static void fail_at(struct etcd_mirror *m, const char *format,
                                                          ...)
{
    char what[WHY_BYTES / 2], why[WHY_BYTES], at[FETCH_AUTHORITY];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    snprintf(why, sizeof(why), "%s: %s", fetch_url_authority(&m->spec->servers[m->server], at),
             what);
    fail(m, why);
}

static void fail_unknown(struct etcd_mirror *m)
{
    fail_at(m, "etcd wants to know who asks: give it a user and a password_file");
}

static void fail_denied(struct etcd_mirror *m)
{
    const struct etcd_spec *spec = m->spec;
    if (spec->user == NULL) {
        fail_unknown(m);
        return;
    }
    fail_at(m,
            "the user \"%.60s\" may not read \"%.100s\"; `etcdctl role grant-permission ROLE "
            "read%s %.100s` allows it",
            spec->user, spec->key, spec->end != NULL ? " --prefix=true" : "", spec->key);
}

/* Another token may do: with one that is over, or none since users count, etcd may say of a watch
 * that it is not allowed. False: it is new. */
static bool renews_token(struct etcd_mirror *m)
{
    if (m->spec->user == NULL || m->doing == ASKING_TOKEN || m->new_token)
        return false;
    m->token[0] = '\0';
    m->no_users = false;
    go_on(m);
    return true;
}

/* At once, unless it was a list that took too long, or no watch has lived since the last. */
static void list_anew(struct etcd_mirror *m)
{
    bool at_once = m->doing == WATCHING && !m->anew;
    forget(m);
    m->anew = true;
    stop(m);
    in(m, at_once ? 0 : backoff_next(&m->backoff, lb_rng_next(&m->rng)));
}

static bool is_about_user(enum etcd_error error)
{
    return error == ETCD_BAD_TOKEN || error == ETCD_NO_USER || error == ETCD_DENIED;
}

static void fail_said(struct etcd_mirror *m, const struct etcd_said *said)
{
    if (is_about_user(said->error) && renews_token(m))
        return;
    switch (said->error) {
    case ETCD_NO_USER:
        fail_unknown(m);
        break;
    case ETCD_BAD_PASSWORD:
        fail_at(m, "etcd does not know the user \"%.60s\" with the password in %.150s",
                m->spec->user, m->spec->password_file);
        break;
    case ETCD_DENIED:
        fail_denied(m);
        break;
    case ETCD_COMPACTED:
        log_info("etcd has compacted what had yet to be read of %s; it is listed anew",
                 m->spec->key);
        list_anew(m);
        break;
    case ETCD_NONSENSE:
        fail_at(m,
                "an answer (status %u) that is none of etcd's (%s); weir needs etcd 3.4 or later",
                m->status, said->text);
        break;
    default:
        fail_at(m, "%s", said->text);
    }
}

/* ---- asking ---- */

static struct fetch_request request_to(const struct etcd_mirror *m, const char *target,
                                       const char *body, struct fetch_field fields[3])
{
    size_t n = 0;
    fields[n++] = (struct fetch_field){SPAN_LIT("Content-Type"), SPAN_LIT("application/json")};
    /* Without a leader a member cannot say what is new: it is to end the watch then. */
    fields[n++] = (struct fetch_field){SPAN_LIT("Grpc-Metadata-Hasleader"), SPAN_LIT("true")};
    if (m->token[0] != '\0')
        fields[n++] = (struct fetch_field){SPAN_LIT("Authorization"), span_str(m->token)};
    return (struct fetch_request){
        .method = SPAN_LIT("POST"),
        .target = span_str(target),
        .fields = fields,
        .n_fields = n,
        .body = span_str(body),
        .connect_ms = ANSWER_MS,
        .idle_ms = ANSWER_MS,
        .total_ms = PAGE_MS,
    };
}

static void ignore(void *ctx, const struct etcd_kv *kv)
{
    (void)ctx, (void)kv;
}

/* False: there is none, and it has failed. */
static bool is_answer(struct etcd_mirror *m, const struct fetch_answer *answer)
{
    m->fetch = NULL;
    m->status = answer->head.status;
    if (answer->why != NULL)
        fail(m, answer->why);
    return answer->why == NULL;
}

/* ---- a token ---- */

static void on_token(void *ctx, const struct fetch_answer *answer)
{
    struct etcd_mirror *m = mirror_of(ctx);
    struct etcd_said said;
    if (!is_answer(m, answer))
        return;
    etcd_read(answer->body, &said, ignore, NULL);
    if (said.error == ETCD_FINE && said.token[0] == '\0')
        said.error = ETCD_NONSENSE;
    m->no_users = said.error == ETCD_NOT_LOOKED;
    if (said.error != ETCD_FINE && !m->no_users) {
        fail_said(m, &said);
        return;
    }
    memcpy(m->token, said.token, sizeof(m->token));
    m->new_token = true;
    go_on(m);
}

static void ask_token(struct etcd_mirror *m)
{
    struct fetch_field fields[3];
    char password[ETCD_PASSWORD_MAX], why[256];
    size_t len;
    if (!etcd_spec_password(m->spec, password, &len, why)) {
        fail(m, why);
        return;
    }
    char *body = etcd_ask_token(span_str(m->spec->user), span_of(password, len));
    struct fetch_request request = request_to(m, "/v3/auth/authenticate", body, fields);
    m->doing = ASKING_TOKEN;
    m->fetch = fetch_whole(m->client, &request, 65536, on_token, m);
    explicit_bzero(password, sizeof(password));
    explicit_bzero(body, strlen(body));
    free(body);
}

/* ---- a list ---- */

static struct span end_of(const struct etcd_spec *spec)
{
    return span_of(spec->end, spec->end != NULL ? spec->end_len : 0);
}

static void ask_list(struct etcd_mirror *m);

/* The next page begins right behind it. */
static void on_listed(void *ctx, const struct etcd_kv *kv)
{
    struct etcd_mirror *m = ctx;
    free(m->from);
    m->from = mem_need(calloc(1, kv->key.len + 1));
    memcpy(m->from, kv->key.ptr, kv->key.len);
    m->from_len = kv->key.len + 1;
    m->events->put(m->ctx, kv);
}

/* A store that was wiped and filled again may look like the one before, some revisions on; and
 * weirs that have begun together need not list together. */
static void plan_relist(struct etcd_mirror *m)
{
    uint64_t usual = (uint64_t)RELIST * m->spec->silence_ms, fifth = usual / 5;
    m->relist_ms = reactor_now(m->reactor) + usual - fifth + lb_rng_next(&m->rng) % (2 * fifth + 1);
}

static bool is_relist_due(const struct etcd_mirror *m)
{
    return m->revision != 0 && reactor_now(m->reactor) >= m->relist_ms;
}

static void list_done(struct etcd_mirror *m, const struct etcd_said *said)
{
    plan_relist(m);
    m->revision = m->listed;
    m->cluster = said->cluster;
    m->new_token = false;
    free(TAKE(m->from));
    go_on(m);
    m->events->current(m->ctx);
}

static void on_page(void *ctx, const struct fetch_answer *answer)
{
    struct etcd_mirror *m = mirror_of(ctx);
    struct etcd_said said;
    if (!is_answer(m, answer))
        return;
    if (m->listed == 0)
        m->events->lists(m->ctx);
    m->from_len = 0;
    etcd_read(answer->body, &said, on_listed, m);
    if (m->listed == 0)
        m->listed = said.revision;
    if (said.error == ETCD_FINE && (m->listed == 0 || (said.more && m->from_len == 0)))
        said.error = ETCD_NONSENSE;
    if (said.error != ETCD_FINE)
        fail_said(m, &said);
    else if (said.more)
        ask_list(m);
    else
        list_done(m, &said);
}

static void ask_list(struct etcd_mirror *m)
{
    struct fetch_field fields[3];
    struct span from = m->listed != 0 ? span_of(m->from, m->from_len) : span_str(m->spec->key);
    char *body = etcd_ask_range(from, end_of(m->spec), m->listed, PAGE);
    struct fetch_request request = request_to(m, "/v3/kv/range", body, fields);
    m->doing = LISTING;
    m->fetch = fetch_whole(m->client, &request, m->spec->max_bytes, on_page, m);
    free(body);
}

/* ---- a watch ---- */

static void on_change(void *ctx, const struct etcd_kv *kv)
{
    struct etcd_mirror *m = ctx;
    m->changed = kv->revision;
    m->events->put(m->ctx, kv);
}

/* What it stands on may be gone: another store, or the same from an older day. */
static bool is_other_store(const struct etcd_mirror *m, const struct etcd_said *said)
{
    return said->revision < m->revision || said->cluster != m->cluster;
}

static void watch_created(struct etcd_mirror *m, const struct etcd_said *said)
{
    if (is_other_store(m, said)) {
        forget(m);
        fail_at(m, "etcd has other or older data than before; it is listed anew");
        return;
    }
    m->created = true;
    m->created_ms = reactor_now(m->reactor);
    m->new_token = false;
    in(m, m->spec->silence_ms);
    m->events->current(m->ctx);
}

/* All is known up to the last change, or without one up to what etcd says: with changes that may be
 * ahead of those to come. Of a fragment the rest may never come, and is then told from its
 * beginning. */
static void watch_told(struct etcd_mirror *m, const struct etcd_said *said)
{
    if (said->fragment)
        return;
    uint64_t known = m->changed != 0 ? m->changed : said->revision;
    if (known > m->revision)
        m->revision = known;
    m->changed = 0;
    if (is_relist_due(m))
        go_on(m);
    m->events->current(m->ctx);
}

static void read_line(struct etcd_mirror *m, struct span line)
{
    struct etcd_said said;
    etcd_read(line, &said, on_change, m);
    if (said.error != ETCD_FINE)
        fail_said(m, &said);
    else if (said.created)
        watch_created(m, &said);
    else
        watch_told(m, &said);
}

/* Keeps what is no whole line yet. False: it is too long. */
static bool keep(struct etcd_mirror *m, struct span bytes)
{
    size_t need = m->len + bytes.len;
    if (need > m->spec->max_bytes)
        return false;
    if (need > m->room) {
        m->room = 2 * need;
        m->line = mem_need(realloc(m->line, m->room));
    }
    memcpy(m->line + m->len, bytes.ptr, bytes.len);
    m->len = need;
    return true;
}

/* Takes what belongs to one line; false: it is to take no more. */
static bool take_line(struct etcd_mirror *m, struct span *bytes)
{
    const char *end = memchr(bytes->ptr, '\n', bytes->len);
    const struct fetch *fetch = m->fetch;
    size_t n = end != NULL ? (size_t)(end - bytes->ptr) : bytes->len;
    if (!keep(m, span_of(bytes->ptr, n))) {
        fail_at(m, "a message of more than %zu bytes", m->spec->max_bytes);
        return false;
    }
    n += end != NULL;
    *bytes = span_of(bytes->ptr + n, bytes->len - n);
    if (end != NULL && m->len > 0) {
        size_t len = m->len;
        m->len = 0;
        read_line(m, span_of(m->line, len));
    }
    return m->fetch == fetch && fetch != NULL;
}

static void on_watch_head(void *ctx, const struct fetch_head *head)
{
    mirror_of(ctx)->status = head->status;
}

static void on_watch_data(void *ctx, struct span bytes)
{
    struct etcd_mirror *m = mirror_of(ctx);
    in(m, m->created ? m->spec->silence_ms : ANSWER_MS);
    while (bytes.len > 0 && take_line(m, &bytes))
        ;
}

static void take_rest(struct etcd_mirror *m)
{
    size_t len = m->len;
    m->len = 0;
    if (len > 0)
        read_line(m, span_of(m->line, len));
}

static void has_lived(struct etcd_mirror *m)
{
    m->failures = 0;
    m->anew = false;
    backoff_reset(&m->backoff);
    go_on(m);
}

/* The last line needs no end, as of an error. A watch that has lived is begun anew: whether that
 * works says more than how it ended. */
static void on_watch_end(void *ctx, const char *why)
{
    struct etcd_mirror *m = mirror_of(ctx);
    m->fetch = NULL;
    if (why == NULL)
        take_rest(m);
    if (m->doing != WATCHING)
        return; /* it has said why */
    if (m->created && reactor_now(m->reactor) - m->created_ms >= LIVED_MS)
        has_lived(m);
    else if (why != NULL)
        fail(m, why);
    else
        fail_at(m, "etcd ends the watch (status %u)", m->status);
}

static const struct fetch_events watch_events = {
    .head = on_watch_head, .data = on_watch_data, .end = on_watch_end};

static void ask_watch(struct etcd_mirror *m)
{
    struct fetch_field fields[3];
    char *body = etcd_ask_watch(span_str(m->spec->key), end_of(m->spec), m->revision + 1);
    struct fetch_request request = request_to(m, "/v3/watch", body, fields);
    request.total_ms = 0;
    request.idle_ms = m->spec->silence_ms + ANSWER_MS; /* the timer is the one that counts */
    m->doing = WATCHING;
    m->created = false;
    m->changed = 0;
    m->fetch = fetch_begin(m->client, &request, &watch_events, m);
    in(m, 2 * ANSWER_MS);
    free(body);
}

/* ---- what is next ---- */

static bool begin_client(struct etcd_mirror *m)
{
    char *error = NULL;
    if (m->client != NULL)
        return true;
    m->client = fetch_client_new(m->reactor, &m->spec->servers[m->server]);
    if (!m->spec->tls || fetch_client_secure(m->client, &m->spec->secure, &error))
        return true;
    fail(m, error);
    free(error);
    return false;
}

static void on_timer(uv_timer_t *timer)
{
    struct etcd_mirror *m = mirror_of(timer->data);
    if (m->doing == WATCHING && !m->created) {
        fail_at(m, "a watch is asked for, and etcd does not answer");
    } else if (m->doing == WATCHING) {
        has_lived(m);
    } else if (begin_client(m)) {
        if (is_relist_due(m))
            forget(m);
        if (m->spec->user != NULL && m->token[0] == '\0' && !m->no_users) {
            ask_token(m);
        } else if (m->revision == 0) {
            m->listed = 0;
            ask_list(m);
        } else {
            ask_watch(m);
        }
    }
    reactor_dispatch(m->reactor);
}

/* ---- life ---- */

struct etcd_mirror *etcd_mirror_new(struct reactor *r, const struct etcd_spec *spec,
                                    const struct etcd_mirror_events *events, void *ctx)
{
    struct etcd_mirror *m = mem_need(calloc(1, sizeof(*m)));
    m->magic = MIRROR_MAGIC;
    m->reactor = r;
    m->spec = spec;
    m->events = events;
    m->ctx = ctx;
    lb_rng_seed(&m->rng, uv_hrtime() ^ (uintptr_t)m);
    uv_timer_init(&r->loop, &m->timer);
    m->timer.data = m;
    in(m, 0);
    return m;
}

void etcd_mirror_ask(struct etcd_mirror *m)
{
    forget(m);
    if (m->doing == WATCHING || m->doing == WAITING)
        go_on(m);
}

static void on_closed(uv_handle_t *handle)
{
    struct etcd_mirror *m = mirror_of(handle->data);
    free(m->from);
    free(m->line);
    m->magic = 0;
    free(m);
}

void etcd_mirror_end(struct etcd_mirror *m)
{
    if (m == NULL)
        return;
    stop(m);
    fetch_client_end(TAKE(m->client));
    uv_close((uv_handle_t *)&m->timer, on_closed);
}
