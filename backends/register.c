/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registering: what is said to whom, and when. Owns a thread and its loop; must never keep the
 * service from serving or from ending. The registrar's thread, but for what register.h offers.
 */
#include "backends/register.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "backends/call.h"
#include "backends/lookup.h"
#include "proxy/base/check.h"

#define BACKOFF_MIN_MS 800
#define BACKOFF_MAX_MS 30000
#define ANSWER_MS      5000
#define LEAVE_MS       2000
#define TEXT           512
#define REQUEST        8192
#define ADDRS          4 /* of a host, that are tried */

enum step {
    STEP_GRANT, /* etcd: a lease */
    STEP_PUT,   /* there it is, or that it still is */
    STEP_KEEP,  /* etcd: the lease */
    STEP_LEAVE,
    STEP_LEFT,
};

struct url {
    bool etcd;
    char host[256], port[8], path[TEXT]; /* without a '/' at the end */
};

struct target {
    struct registrar *registrar;
    const char *text; /* the URL */
    struct url url;
    enum step step;
    struct call *call;     /* or NULL */
    struct lookup *lookup; /* or NULL */
    uv_timer_t timer;
    struct sockaddr_storage addrs[ADDRS];
    size_t n, at;   /* n 0: they are not known; at: the one that is used */
    char lease[24]; /* "": none */
    uint64_t backoff_ms;
    bool stale;      /* the host may be elsewhere now */
    bool told;       /* something that has to be taken back */
    bool registered; /* as the log has it */
    char error[TEXT];
};

struct registrar {
    const struct register_options *options;
    const char *program, *bound;
    char id[160];
    uv_loop_t loop;
    uv_async_t leave;
    uv_thread_t thread;
    struct target targets[REGISTER_MAX];
};

/* ---- texts ---- */

struct text {
    char *at;
    size_t len, room;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->at + t->len, t->room - t->len, format, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < t->room - t->len); /* options are bounded */
    t->len += (size_t)n;
}

static void add_base64(struct text *t, const char *from, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t bits = (uint32_t)(unsigned char)from[i] << 16;
        bits |= left > 1 ? (uint32_t)(unsigned char)from[i + 1] << 8 : 0;
        bits |= left > 2 ? (uint32_t)(unsigned char)from[i + 2] : 0;
        add(t, "%c%c%c%c", digits[bits >> 18], digits[bits >> 12 & 63],
            left > 1 ? digits[bits >> 6 & 63] : '=', left > 2 ? digits[bits & 63] : '=');
    }
}

/* The digits of a member "NAME":"123"; as etcd writes int64. False: there are none. */
static bool number_of(struct span body, const char *name, char *out, size_t room)
{
    char mark[32];
    int n = snprintf(mark, sizeof(mark), "\"%s\":\"", name);
    const char *at = memmem(body.ptr, body.len, mark, (size_t)n);
    if (at == NULL)
        return false;
    at += n;
    size_t len = strspn(at, "0123456789"); /* a NUL follows the body */
    if (len == 0 || len >= room)
        return false;
    memcpy(out, at, len);
    out[len] = '\0';
    return true;
}

/* ---- URLs ---- */

static const char forms[] =
    "expected http://HOST:PORT/registry/POOL of weir's admin listener, or etcd://HOST:PORT/PREFIX";

static bool take_part(char *to, size_t room, const char *from, size_t len)
{
    if (len == 0 || len >= room)
        return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

static bool split_host(struct url *u, const char *at, size_t len)
{
    const char *colon = memrchr(at, ':', len);
    const char *bracket = at[0] == '[' ? memchr(at, ']', len) : NULL;
    size_t host = colon != NULL ? (size_t)(colon - at) : 0;
    if (colon == NULL || (at[0] == '[' && bracket != colon - 1))
        return false;
    if (bracket != NULL) {
        at++;
        host -= 2;
    }
    const char *port = colon + 1;
    return take_part(u->host, sizeof(u->host), at, host) &&
           take_part(u->port, sizeof(u->port), port,
                     len - (size_t)(port - at) - (bracket != NULL ? 1 : 0)) &&
           strspn(u->port, "0123456789") == strlen(u->port);
}

static bool parse_url(struct url *u, const char *text)
{
    *u = (struct url){.etcd = strncmp(text, "etcd://", 7) == 0};
    if (!u->etcd && strncmp(text, "http://", 7) != 0)
        return false;
    const char *at = text + 7, *path = strchr(at, '/');
    size_t len = path != NULL ? strlen(path) : 0;
    for (const char *c = at; *c != '\0'; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '"' || *c == '\\' || *c == '?')
            return false;
    if (path == NULL || !split_host(u, at, (size_t)(path - at)))
        return false;
    while (!u->etcd && len > 0 && path[len - 1] == '/')
        len--;
    return take_part(u->path, sizeof(u->path), path, len) &&
           (u->etcd || (strncmp(u->path, "/registry/", 10) == 0 && u->path[10] != '\0'));
}

bool register_url_ok(const char *url, const char **why)
{
    struct url u;
    *why = forms;
    return parse_url(&u, url);
}

/* ---- where ---- */

static void take_addrs(struct target *t, const struct addrinfo *list, bool v4)
{
    for (; list != NULL && t->n < ADDRS; list = list->ai_next)
        if ((list->ai_family == AF_INET) == v4)
            memcpy(&t->addrs[t->n++], list->ai_addr, list->ai_addrlen);
}

/* IPv4 ones first, as weir does: "localhost" is ::1 first nearly everywhere. */
static void take_found(struct target *t, const struct addrinfo *found)
{
    t->n = t->at = 0;
    take_addrs(t, found, true);
    take_addrs(t, found, false);
    t->stale = t->n == 0;
}

/* What was known is kept if nobody knows the name any more, to leave with. */
static bool knows_addrs(const struct target *t)
{
    return t->n > 0 && (!t->stale || t->step == STEP_LEAVE);
}

static const struct sockaddr *addr_of(const struct target *t)
{
    return (const struct sockaddr *)&t->addrs[t->at];
}

/* What of this machine leads there; nothing is sent. */
static bool own_host(const struct target *t, char *out, size_t room)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);
    int family = addr_of(t)->sa_family;
    socklen_t size = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, addr_of(t), size) == 0 &&
              getsockname(fd, (struct sockaddr *)&own, &len) == 0 &&
              getnameinfo((struct sockaddr *)&own, len, out, (socklen_t)room, NULL, 0,
                          NI_NUMERICHOST) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool is_everywhere(const char *bound)
{
    return strncmp(bound, "[::]:", 5) == 0 || strncmp(bound, "0.0.0.0:", 8) == 0;
}

static void add_address(struct text *to, const struct target *t)
{
    const struct registrar *r = t->registrar;
    char host[128];
    if (r->options->address != NULL)
        add(to, "%s", r->options->address);
    else if (is_everywhere(r->bound) && own_host(t, host, sizeof(host)))
        add(to, strchr(host, ':') != NULL ? "[%s]%s" : "%s%s", host, strrchr(r->bound, ':'));
    else
        add(to, "%s", r->bound);
}

/* ---- what is said ---- */

/* Without the last brace. */
static void add_endpoint(struct text *to, const struct target *t)
{
    const struct register_options *o = t->registrar->options;
    add(to, "{\"address\":\"");
    add_address(to, t);
    add(to, "\",\"weight\":%u", o->weight);
    if (o->zone != NULL)
        add(to, ",\"zone\":\"%s\"", o->zone);
}

static void add_etcd_put(struct text *to, const struct target *t)
{
    char key[TEXT + 160], value[1024];
    struct text endpoint = {value, 0, sizeof(value)};
    add_endpoint(&endpoint, t);
    add(&endpoint, "}");
    const char *path = t->url.path;
    /* A prefix that does not end with a slash is one of other names, too. */
    const char *slash = path[strlen(path) - 1] == '/' ? "" : "/";
    int n = snprintf(key, sizeof(key), "%s%s%s", path, slash, t->registrar->id);
    add(to, "{\"key\":\"");
    add_base64(to, key, (size_t)n);
    add(to, "\",\"value\":\"");
    add_base64(to, value, endpoint.len);
    add(to, "\",\"lease\":\"%s\"}", t->lease);
}

static void add_body(struct text *to, const struct target *t)
{
    unsigned ttl = t->registrar->options->ttl_s;
    if (!t->url.etcd && t->step == STEP_PUT) {
        add_endpoint(to, t);
        add(to, ",\"ttl\":\"%us\"}", ttl);
    } else if (t->url.etcd && t->step == STEP_GRANT) {
        add(to, "{\"TTL\":\"%u\"}", ttl);
    } else if (t->url.etcd && t->step == STEP_PUT) {
        add_etcd_put(to, t);
    } else if (t->url.etcd) {
        add(to, "{\"ID\":\"%s\"}", t->lease);
    }
}

static void add_request(struct text *to, const struct target *t)
{
    static const char *const etcd[] = {"/v3/lease/grant", "/v3/kv/put", "/v3/lease/keepalive",
                                       "/v3/lease/revoke"};
    char text[4096];
    struct text body = {text, 0, sizeof(text)};
    const struct registrar *r = t->registrar;
    add_body(&body, t);
    if (t->url.etcd)
        add(to, "POST %s HTTP/1.1\r\n", etcd[t->step]);
    else
        add(to, "%s %s/%s HTTP/1.1\r\nX-Weir: 1\r\n", t->step == STEP_LEAVE ? "DELETE" : "PUT",
            t->url.path, r->id);
    if (!t->url.etcd && r->options->token != NULL)
        add(to, "Authorization: Bearer %s\r\n", r->options->token);
    add(to, strchr(t->url.host, ':') != NULL ? "Host: [%s]:%s\r\n" : "Host: %s:%s\r\n", t->url.host,
        t->url.port);
    if (body.len > 0)
        add(to, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
    add(to, "User-Agent: %s\r\nConnection: close\r\n\r\n%.*s", r->program, (int)body.len, text);
}

/* ---- step by step ---- */

static void go(struct target *t);

static void on_timer(uv_timer_t *timer)
{
    go(timer->data);
}

static void in(struct target *t, uint64_t ms)
{
    uv_timer_start(&t->timer, on_timer, ms, 0);
}

static void leave_done(struct target *t)
{
    t->step = STEP_LEFT;
    uv_close((uv_handle_t *)&t->timer, NULL);
}

/* The same error is told once. Each wait is drawn between the shortest and three times the one
 * before, so that those whom one registry has lost don't come back as one. */
static void failed(struct target *t, const char *why)
{
    if (t->step == STEP_LEAVE) {
        fprintf(stderr, "%s: %s: cannot leave: %s\n", t->registrar->program, t->text, why);
        leave_done(t);
        return;
    }
    if (strcmp(t->error, why) != 0)
        fprintf(stderr, "%s: %s: not registered: %s; it is tried again\n", t->registrar->program,
                t->text, why);
    snprintf(t->error, sizeof(t->error), "%s", why);
    t->registered = false;
    t->stale = true;
    uint64_t last = t->backoff_ms > BACKOFF_MIN_MS ? t->backoff_ms : BACKOFF_MIN_MS, draw;
    uint64_t third = (uint64_t)t->registrar->options->ttl_s * 1000 / 3;
    uint64_t most = third > BACKOFF_MIN_MS && third < BACKOFF_MAX_MS ? third : BACKOFF_MAX_MS;
    if (uv_random(NULL, NULL, &draw, sizeof(draw), 0, NULL) != 0)
        draw = uv_hrtime();
    t->backoff_ms = BACKOFF_MIN_MS + draw % (3 * last - BACKOFF_MIN_MS + 1);
    t->backoff_ms = t->backoff_ms < most ? t->backoff_ms : most;
    in(t, t->backoff_ms);
}

static void succeeded(struct target *t)
{
    if (!t->registered)
        fprintf(stderr, "%s: registered at %s as %s\n", t->registrar->program, t->text,
                t->registrar->id);
    t->registered = true;
    t->backoff_ms = 0;
    t->error[0] = '\0';
    in(t, (uint64_t)t->registrar->options->ttl_s * 1000 / 3);
}

static void fail_status(struct target *t, const struct call_answer *a)
{
    char why[TEXT];
    if (a->status == 0)
        snprintf(why, sizeof(why), "%s", a->why);
    else
        snprintf(why, sizeof(why), "%u %.*s", a->status,
                 (int)strcspn(a->body.ptr, "\r\n") < 300 ? (int)strcspn(a->body.ptr, "\r\n") : 300,
                 a->body.ptr);
    if (t->url.etcd && a->status != 0) /* the lease may be what is wrong */
        t->step = STEP_GRANT;
    failed(t, why);
}

static void on_left(struct target *t, const struct call_answer *a)
{
    if (a->status / 100 == 2 || a->status == 404)
        leave_done(t);
    else
        fail_status(t, a);
}

static void on_etcd(struct target *t, struct span body)
{
    char ttl[24];
    switch (t->step) {
    case STEP_GRANT:
        if (!number_of(body, "ID", t->lease, sizeof(t->lease))) {
            failed(t, "etcd has granted no lease");
            return;
        }
        t->told = true;
        t->step = STEP_PUT;
        go(t);
        return;
    case STEP_PUT:
        t->step = STEP_KEEP;
        succeeded(t);
        return;
    default:
        if (number_of(body, "TTL", ttl, sizeof(ttl)) && strcmp(ttl, "0") != 0) {
            succeeded(t);
            return;
        }
        t->step = STEP_GRANT; /* it has expired in the meantime */
        go(t);
    }
}

static void on_answer(void *ctx, const struct call_answer *a)
{
    struct target *t = ctx;
    t->call = NULL;
    if (a->status == 0 && t->at + 1 < t->n) {
        t->at++;
        go(t);
    } else if (t->step == STEP_LEAVE)
        on_left(t, a);
    else if (a->status / 100 != 2)
        fail_status(t, a);
    else if (t->url.etcd)
        on_etcd(t, a->body);
    else
        succeeded(t);
}

static void ask(struct target *t)
{
    char request[REQUEST];
    struct text text = {request, 0, sizeof(request)};
    add_request(&text, t);
    t->told |= t->step == STEP_PUT;
    t->call = call_begin(&t->registrar->loop, addr_of(t), span_of(request, text.len),
                         t->step == STEP_LEAVE ? LEAVE_MS : ANSWER_MS, on_answer, t);
}

static void on_found(void *ctx, const struct addrinfo *found)
{
    struct target *t = ctx;
    t->lookup = NULL;
    if (found != NULL)
        take_found(t, found);
    if (found != NULL && t->n > 0)
        ask(t);
    else
        failed(t, "its name cannot be resolved");
}

static void go(struct target *t)
{
    if (knows_addrs(t)) {
        ask(t);
        return;
    }
    t->lookup = lookup_begin(&t->registrar->loop, t->url.host, t->url.port, on_found, t);
    if (t->lookup == NULL)
        failed(t, "there is no thread to look its name up");
}

/* ---- life ---- */

static void on_leave(uv_async_t *async)
{
    struct registrar *r = async->data;
    for (size_t i = 0; i < r->options->n; i++) {
        struct target *t = &r->targets[i];
        uv_timer_stop(&t->timer);
        call_cancel(TAKE(t->call));
        lookup_cancel(TAKE(t->lookup));
        t->step = STEP_LEAVE;
        if (t->told && t->n > 0)
            go(t);
        else
            leave_done(t);
    }
    uv_close((uv_handle_t *)async, NULL);
}

static void run(void *arg)
{
    struct registrar *r = arg;
    for (size_t i = 0; i < r->options->n; i++)
        go(&r->targets[i]);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&r->loop) == 0);
}

/* Letters, digits, '.', '_', ':' and '-' are what an id may have. */
static void make_id(struct registrar *r)
{
    char host[100] = "backend";
    const char *port = strrchr(r->bound, ':');
    if (r->options->id != NULL) {
        snprintf(r->id, sizeof(r->id), "%s", r->options->id);
        return;
    }
    gethostname(host, sizeof(host) - 1);
    snprintf(r->id, 129, "%s%s", host, port != NULL ? port : "");
    for (char *c = r->id; *c != '\0'; c++)
        if (strchr("._:-", *c) == NULL && !(*c >= '0' && *c <= '9') &&
            !((*c | 0x20) >= 'a' && (*c | 0x20) <= 'z'))
            *c = '-';
}

struct registrar *registrar_start(const struct register_options *options, const char *program,
                                  const char *bound)
{
    struct registrar *r = calloc(1, sizeof(*r));
    if (r == NULL || uv_loop_init(&r->loop) != 0) {
        free(r);
        return NULL;
    }
    r->options = options;
    r->program = program;
    r->bound = bound;
    make_id(r);
    uv_async_init(&r->loop, &r->leave, on_leave);
    r->leave.data = r;
    for (size_t i = 0; i < options->n; i++) {
        struct target *t = &r->targets[i];
        *t = (struct target){.registrar = r, .text = options->urls[i]};
        CHECK(parse_url(&t->url, t->text));
        t->step = t->url.etcd ? STEP_GRANT : STEP_PUT;
        uv_timer_init(&r->loop, &t->timer);
        t->timer.data = t;
    }
    if (uv_thread_create(&r->thread, run, r) == 0)
        return r;
    r->leave.data = r;
    on_leave(&r->leave);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&r->loop) == 0);
    free(r);
    return NULL;
}

void registrar_leave(struct registrar *r)
{
    if (r == NULL)
        return;
    uv_async_send(&r->leave);
    uv_thread_join(&r->thread);
    free(r);
}
