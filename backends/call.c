/* SPDX-License-Identifier: Apache-2.0 */
/* One request and its answer. Owns its conn; never knows what it is about. The thread of its loop.
 */
#include "backends/call.h"

#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

#define CALL_MAGIC MAGIC('c', 'a', 'l', 'l')

struct call {
    uint32_t magic;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    uv_buf_t request;
    llhttp_t parser;
    llhttp_settings_t settings;
    void (*done)(void *ctx, const struct call_answer *answer); /* NULL: nobody waits */
    void *ctx;
    unsigned handles; /* that are open */
    size_t len;
    bool whole; /* the answer is */
    char body[CALL_ANSWER_MAX + 1];
    char in[4096];
};

static struct call *call_of(void *data)
{
    return CAST_OBJ(call, data, CALL_MAGIC);
}

static void on_closed(uv_handle_t *handle)
{
    struct call *c = call_of(handle->data);
    if (--c->handles > 0)
        return;
    free(c->request.base);
    c->magic = 0;
    free(c);
}

static void call_close(struct call *c)
{
    c->done = NULL;
    if (uv_is_closing((uv_handle_t *)&c->tcp))
        return;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void call_end(struct call *c, unsigned status, const char *why)
{
    void (*done)(void *, const struct call_answer *) = c->done;
    struct call_answer answer = {status, why, span_of(c->body, c->len)};
    c->done = NULL;
    if (done != NULL)
        done(c->ctx, &answer);
    call_close(c);
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct call *c = call_of(parser->data);
    size_t room = CALL_ANSWER_MAX - c->len, n = len < room ? len : room;
    memcpy(c->body + c->len, at, n);
    c->len += n;
    return 0;
}

static int on_whole(llhttp_t *parser)
{
    call_of(parser->data)->whole = parser->status_code >= 200;
    return parser->status_code >= 200 ? HPE_PAUSED : 0;
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct call *c = call_of(handle->data);
    (void)size;
    *buf = uv_buf_init(c->in, sizeof(c->in));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct call *c = call_of(stream->data);
    llhttp_errno_t err = HPE_OK;
    if (n > 0)
        err = llhttp_execute(&c->parser, buf->base, (size_t)n);
    else if (n == UV_EOF)
        err = llhttp_finish(&c->parser);
    if (c->whole)
        call_end(c, c->parser.status_code, NULL);
    else if (n < 0)
        call_end(c, 0, n == UV_EOF ? "the answer is cut short" : uv_strerror((int)n));
    else if (err != HPE_OK)
        call_end(c, 0, "the answer is no HTTP");
}

static void on_written(uv_write_t *write, int status)
{
    struct call *c = call_of(write->data);
    if (status != 0 && c->done != NULL)
        call_end(c, 0, uv_strerror(status));
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct call *c = call_of(connect->data);
    if (c->done == NULL)
        return;
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    if (status == 0)
        status = uv_write(&c->write, (uv_stream_t *)&c->tcp, &c->request, 1, on_written);
    if (status != 0)
        call_end(c, 0, uv_strerror(status));
}

static void on_timeout(uv_timer_t *timer)
{
    call_end(call_of(timer->data), 0, "no answer in time");
}

static void on_refused(uv_timer_t *timer)
{
    call_end(call_of(timer->data), 0, "no socket");
}

struct call *call_begin(uv_loop_t *loop, const struct sockaddr *addr, struct span request,
                        uint64_t timeout_ms,
                        void (*done)(void *ctx, const struct call_answer *answer), void *ctx)
{
    struct call *c = calloc(1, sizeof(*c));
    CHECK(c != NULL);
    c->magic = CALL_MAGIC;
    c->done = done;
    c->ctx = ctx;
    char *bytes = malloc(request.len);
    CHECK(bytes != NULL);
    memcpy(bytes, request.ptr, request.len);
    c->request = (uv_buf_t){.base = bytes, .len = request.len};
    llhttp_settings_init(&c->settings);
    c->settings.on_body = on_body;
    c->settings.on_message_complete = on_whole;
    llhttp_init(&c->parser, HTTP_RESPONSE, &c->settings);
    uv_tcp_init(loop, &c->tcp);
    uv_timer_init(loop, &c->timer);
    c->handles = 2;
    c->parser.data = c->tcp.data = c->timer.data = c->connect.data = c->write.data = c;
    bool ok = uv_tcp_connect(&c->connect, &c->tcp, addr, on_connected) == 0;
    uv_timer_start(&c->timer, ok ? on_timeout : on_refused, ok ? timeout_ms : 0, 0);
    return c;
}

void call_cancel(struct call *call)
{
    if (call != NULL)
        call_close(call);
}
