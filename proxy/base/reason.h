/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a stream, a conn or an exchange ended: one row per reason, and nothing else anywhere else.
 * The row's name is what metrics, the access log and Proxy-Status show, so it is part of the
 * interface. Pure; any thread.
 */
#ifndef WEIR_BASE_REASON_H
#define WEIR_BASE_REASON_H

#include <stdbool.h>
#include <stdint.h>

/* Who caused it. */
enum reason_side {
    SIDE_NONE,
    SIDE_CLIENT,   /* the client broke a rule, but its connection still takes an answer */
    SIDE_GONE,     /* the client cannot be answered any more */
    SIDE_UPSTREAM, /* the attempt failed */
    SIDE_WEIR,     /* weir decided */
};

/* When another attempt may follow (see retry.h for the whole rule). */
enum retry_class {
    RETRY_NEVER,
    RETRY_UNSENT,     /* no byte of the request can have been processed */
    RETRY_AGAIN,      /* the same, and the endpoint is fine: it was the wrong conn */
    RETRY_IDEMPOTENT, /* the request may have been processed: only if doing it twice is harmless */
    RETRY_ELSEWHERE,  /* the same, and it is the endpoint that fails, whatever the conn */
};

/* Whose end counts. */
enum reason_count {
    COUNT_EXCHANGE,
    COUNT_CONN,
};

/*
 * X(id, name, side, status, retry, count, error, text)
 *   status  what the client is answered, if it can be; 0 = nothing is authored
 *   count   what is counted by reason: the exchange that ends for it; or CONN, also a client conn
 *           that does, for there may be no exchange on it
 *   error   the Proxy-Status error type (RFC 9209 section 2.3), "" = none
 *   text    one sentence for people
 */
#define REASONS(X)                                                                                 \
    X(NONE, "", NONE, 0, NEVER, EXCHANGE, "", "")                                                  \
    X(BAD_REQUEST_LINE, "bad_request_line", CLIENT, 400, NEVER, EXCHANGE, "http_request_error",    \
      "the request line is malformed")                                                             \
    X(BAD_TARGET, "bad_target", CLIENT, 400, NEVER, EXCHANGE, "http_request_error",                \
      "the request target is malformed")                                                           \
    X(BAD_VERSION, "bad_version", CLIENT, 505, NEVER, EXCHANGE, "http_request_error",              \
      "only HTTP/1.0 and HTTP/1.1 are spoken here")                                                \
    X(UNKNOWN_METHOD, "unknown_method", CLIENT, 501, NEVER, EXCHANGE, "http_request_error",        \
      "the request method is not known")                                                           \
    X(BAD_FIELD, "bad_field", CLIENT, 400, NEVER, EXCHANGE, "http_request_error",                  \
      "a header field is malformed")                                                               \
    X(BAD_LINE_ENDING, "bad_line_ending", CLIENT, 400, NEVER, EXCHANGE, "http_request_error",      \
      "a line does not end in CRLF")                                                               \
    X(BAD_HOST, "bad_host", CLIENT, 400, NEVER, EXCHANGE, "http_request_error",                    \
      "the Host field is repeated or malformed")                                                   \
    X(MISSING_HOST, "missing_host", CLIENT, 400, NEVER, EXCHANGE, "http_request_error",            \
      "an HTTP/1.1 request needs a Host field")                                                    \
    X(BAD_CONTENT_LENGTH, "bad_content_length", CLIENT, 400, NEVER, EXCHANGE,                      \
      "http_request_error", "the Content-Length is malformed or repeated")                         \
    X(LENGTH_CONFLICT, "length_conflict", CLIENT, 400, NEVER, EXCHANGE, "http_request_error",      \
      "Content-Length and Transfer-Encoding exclude each other")                                   \
    X(BAD_TRANSFER_ENCODING, "bad_transfer_encoding", CLIENT, 400, NEVER, EXCHANGE,                \
      "http_request_error", "the Transfer-Encoding is not a single final chunked")                 \
    X(UNKNOWN_CODING, "unknown_coding", CLIENT, 501, NEVER, EXCHANGE, "http_request_error",        \
      "a transfer coding other than chunked is not known")                                         \
    X(BAD_CHUNK, "bad_chunk", CLIENT, 400, NEVER, EXCHANGE, "http_request_error",                  \
      "the chunked framing of the body is malformed")                                              \
    X(TARGET_TOO_LONG, "target_too_long", CLIENT, 414, NEVER, EXCHANGE, "http_request_error",      \
      "the request target is too long")                                                            \
    X(HEAD_TOO_LARGE, "head_too_large", CLIENT, 431, NEVER, EXCHANGE, "http_request_error",        \
      "the header section is too large")                                                           \
    X(TOO_MANY_FIELDS, "too_many_fields", CLIENT, 431, NEVER, EXCHANGE, "http_request_error",      \
      "the header section has too many fields")                                                    \
    X(BODY_TOO_LARGE, "body_too_large", CLIENT, 413, NEVER, EXCHANGE, "http_request_error",        \
      "the request body is over the configured limit")                                             \
    X(CONNECT_METHOD, "connect_method", CLIENT, 405, NEVER, EXCHANGE, "http_request_denied",       \
      "CONNECT is not allowed here")                                                               \
    X(HEAD_TIMEOUT, "head_timeout", CLIENT, 408, NEVER, CONN, "http_request_error",                \
      "the request head did not arrive in time")                                                   \
    X(BODY_TIMEOUT, "body_timeout", CLIENT, 408, NEVER, EXCHANGE, "http_request_error",            \
      "the request body stalled")                                                                  \
    X(IDLE_TIMEOUT, "idle_timeout", GONE, 0, NEVER, CONN, "", "the idle connection was closed")    \
    X(BAD_PROXY_HEADER, "bad_proxy_header", GONE, 0, NEVER, CONN, "",                              \
      "the PROXY protocol header is missing or malformed")                                         \
    X(PROXY_HEADER_TIMEOUT, "proxy_header_timeout", GONE, 0, NEVER, CONN, "",                      \
      "the PROXY protocol header did not arrive in time")                                          \
    X(TLS_HANDSHAKE_FAILED, "tls_handshake_failed", GONE, 0, NEVER, CONN, "",                      \
      "the TLS handshake with the client failed")                                                  \
    X(TLS_HANDSHAKE_TIMEOUT, "tls_handshake_timeout", GONE, 0, NEVER, CONN, "",                    \
      "the TLS handshake with the client took too long")                                           \
    X(TLS_REKEY_FLOOD, "tls_rekey_flood", GONE, 499, NEVER, CONN, "",                              \
      "the client changed its TLS keys, or asked to renegotiate, too often")                       \
    X(CLIENT_CLOSED, "client_closed", GONE, 499, NEVER, EXCHANGE, "",                              \
      "the client closed the connection")                                                          \
    X(CLIENT_RESET, "client_reset", GONE, 499, NEVER, EXCHANGE, "",                                \
      "the client reset the connection")                                                           \
    X(CLIENT_WRITE_STALL, "client_write_stall", GONE, 499, NEVER, EXCHANGE, "",                    \
      "the client did not read the response")                                                      \
    X(H2_PROTOCOL_ERROR, "h2_protocol_error", GONE, 499, NEVER, CONN, "",                          \
      "the client broke a rule of HTTP/2's framing")                                               \
    X(H2_STREAM_ERROR, "h2_stream_error", GONE, 499, NEVER, EXCHANGE, "",                          \
      "the client broke a rule of HTTP/2 on this stream")                                          \
    X(H2_SETTINGS_TIMEOUT, "h2_settings_timeout", GONE, 0, NEVER, CONN, "",                        \
      "the client did not acknowledge the settings")                                               \
    X(H2_RESET_FLOOD, "h2_reset_flood", GONE, 499, NEVER, CONN, "",                                \
      "the client made too many streams end by resets")                                            \
    X(H2_CONTINUATION_FLOOD, "h2_continuation_flood", GONE, 499, NEVER, CONN, "",                  \
      "the client sent a header section in too many pieces")                                       \
    X(H2_SETTINGS_FLOOD, "h2_settings_flood", GONE, 499, NEVER, CONN, "",                          \
      "the client sent too many SETTINGS frames")                                                  \
    X(H2_PING_FLOOD, "h2_ping_flood", GONE, 499, NEVER, CONN, "",                                  \
      "the client sent too many PING frames")                                                      \
    X(H2_EMPTY_DATA_FLOOD, "h2_empty_data_flood", GONE, 499, NEVER, CONN, "",                      \
      "the client sent too many empty DATA frames")                                                \
    X(H2_PRIORITY_FLOOD, "h2_priority_flood", GONE, 499, NEVER, CONN, "",                          \
      "the client sent too many PRIORITY frames")                                                  \
    X(H2_WINDOW_FLOOD, "h2_window_flood", GONE, 499, NEVER, CONN, "",                              \
      "the client sent too many WINDOW_UPDATE frames")                                             \
    X(H2_HPACK_BOMB, "h2_hpack_bomb", GONE, 499, NEVER, CONN, "",                                  \
      "the client sent a header section many times over the limit")                                \
    X(NO_ROUTE, "no_route", WEIR, 404, NEVER, EXCHANGE, "destination_not_found",                   \
      "no route matches this request")                                                             \
    X(NO_ENDPOINT, "no_endpoint", WEIR, 503, NEVER, EXCHANGE, "destination_unavailable",           \
      "the pool has no usable endpoint")                                                           \
    X(NO_POOL, "no_pool", WEIR, 500, NEVER, EXCHANGE, "proxy_configuration_error",                 \
      "the chosen part of the route has no pool")                                                  \
    X(RETRY_BUDGET, "retry_budget", WEIR, 503, NEVER, EXCHANGE, "destination_unavailable",         \
      "the upstream failed, and the pool has had too many retries lately for another")             \
    X(CONNECT_REFUSED, "connect_refused", UPSTREAM, 502, UNSENT, EXCHANGE, "connection_refused",   \
      "the upstream refused the connection")                                                       \
    X(CONNECT_FAILED, "connect_failed", UPSTREAM, 502, UNSENT, EXCHANGE,                           \
      "destination_unavailable", "the upstream cannot be reached")                                 \
    X(NO_DESCRIPTORS, "no_descriptors", WEIR, 503, NEVER, EXCHANGE, "proxy_internal_error",        \
      "weir has no file descriptor left for the upstream")                                         \
    X(NO_MEMORY, "no_memory", WEIR, 503, NEVER, EXCHANGE, "proxy_internal_error",                  \
      "weir is short of memory and begins nothing new")                                            \
    X(CONNECT_TIMEOUT, "connect_timeout", UPSTREAM, 504, UNSENT, EXCHANGE, "connection_timeout",   \
      "connecting to the upstream took too long")                                                  \
    X(UPSTREAM_UNSENT, "upstream_unsent", UPSTREAM, 502, UNSENT, EXCHANGE,                         \
      "connection_terminated", "the upstream connection ended before the request was written")     \
    X(UPSTREAM_RESET, "upstream_reset", UPSTREAM, 502, IDEMPOTENT, EXCHANGE,                       \
      "connection_terminated", "the upstream reset the connection")                                \
    X(UPSTREAM_CLOSED, "upstream_closed", UPSTREAM, 502, IDEMPOTENT, EXCHANGE,                     \
      "connection_terminated", "the upstream closed the connection without an answer")             \
    X(UPSTREAM_REFUSED, "upstream_refused", UPSTREAM, 502, UNSENT, EXCHANGE,                       \
      "destination_unavailable", "the upstream refused the stream before it looked at it")         \
    X(UPSTREAM_FULL, "upstream_full", UPSTREAM, 502, AGAIN, EXCHANGE, "destination_unavailable",   \
      "the upstream's connection takes fewer requests at once than waited for it")                 \
    X(UPSTREAM_GOAWAY, "upstream_goaway", UPSTREAM, 502, UNSENT, EXCHANGE,                         \
      "connection_terminated",                                                                     \
      "the upstream shut its connection down before it looked at the request")                     \
    X(UPSTREAM_STREAM_RESET, "upstream_stream_reset", UPSTREAM, 502, IDEMPOTENT, EXCHANGE,         \
      "connection_terminated", "the upstream reset the stream")                                    \
    X(UPSTREAM_CANCELLED, "upstream_cancelled", UPSTREAM, 502, IDEMPOTENT, EXCHANGE,               \
      "connection_terminated", "the upstream cancelled the stream")                                \
    X(UPSTREAM_STATUS, "upstream_status", UPSTREAM, 502, IDEMPOTENT, EXCHANGE,                     \
      "destination_unavailable", "the upstream's answer was one to try again for")                 \
    X(UPSTREAM_UNAVAILABLE, "upstream_unavailable", UPSTREAM, 502, IDEMPOTENT, EXCHANGE,           \
      "destination_unavailable", "the upstream said that it is unavailable")                       \
    X(UPSTREAM_SILENT, "upstream_silent", UPSTREAM, 504, ELSEWHERE, EXCHANGE,                      \
      "connection_timeout", "the upstream did not answer a PING")                                  \
    X(UPSTREAM_TLS_FAILED, "upstream_tls_failed", UPSTREAM, 502, UNSENT, EXCHANGE,                 \
      "tls_protocol_error", "the TLS handshake with the upstream failed")                          \
    X(UPSTREAM_WRONG_PROTOCOL, "upstream_wrong_protocol", UPSTREAM, 502, UNSENT, EXCHANGE,         \
      "tls_protocol_error", "the upstream does not speak HTTP/2")                                  \
    X(UPSTREAM_WRITE_STALL, "upstream_write_stall", UPSTREAM, 504, NEVER, EXCHANGE,                \
      "connection_write_timeout", "the upstream did not read the request")                         \
    X(RESPONSE_HEAD_TIMEOUT, "response_head_timeout", UPSTREAM, 504, ELSEWHERE, EXCHANGE,          \
      "http_response_timeout", "the upstream did not answer in time")                              \
    X(RESPONSE_IDLE_TIMEOUT, "response_idle_timeout", UPSTREAM, 504, NEVER, EXCHANGE,              \
      "connection_read_timeout", "the upstream's response stalled")                                \
    X(REQUEST_TIMEOUT, "request_timeout", WEIR, 504, NEVER, EXCHANGE, "http_response_timeout",     \
      "the whole request took too long")                                                           \
    X(BAD_RESPONSE, "bad_response", UPSTREAM, 502, NEVER, EXCHANGE, "http_protocol_error",         \
      "the upstream's response is malformed")                                                      \
    X(RESPONSE_HEAD_TOO_LARGE, "response_head_too_large", UPSTREAM, 502, NEVER, EXCHANGE,          \
      "http_response_header_section_size", "the upstream's response head is too large")            \
    X(RESPONSE_INCOMPLETE, "response_incomplete", UPSTREAM, 502, NEVER, EXCHANGE,                  \
      "http_response_incomplete", "the upstream's response ended early")                           \
    X(UPSTREAM_IDLE_CLOSED, "upstream_idle_closed", NONE, 0, NEVER, EXCHANGE, "",                  \
      "the upstream closed an idle connection")                                                    \
    X(UPSTREAM_IDLE_TIMEOUT, "upstream_idle_timeout", NONE, 0, NEVER, EXCHANGE, "",                \
      "an idle upstream connection was closed")                                                    \
    X(UPSTREAM_TLS_CHANGED, "upstream_tls_changed", NONE, 0, NEVER, EXCHANGE, "",                  \
      "an idle connection was made with certificates that have changed")                           \
    X(UPSTREAM_UNSOLICITED, "upstream_unsolicited", NONE, 0, NEVER, EXCHANGE, "",                  \
      "the upstream sent data that nobody asked for")                                              \
    X(TUNNEL_IDLE, "tunnel_idle", WEIR, 504, NEVER, EXCHANGE, "connection_read_timeout",           \
      "the upgraded connection was idle for too long")                                             \
    X(CONNECTION_LIMIT, "connection_limit", WEIR, 503, NEVER, EXCHANGE, "destination_unavailable", \
      "there are too many client connections")                                                     \
    X(DRAINING, "draining", WEIR, 503, NEVER, EXCHANGE, "destination_unavailable",                 \
      "this server is shutting down")                                                              \
    X(SHUTDOWN, "shutdown", GONE, 0, NEVER, EXCHANGE, "", "the shutdown deadline passed")          \
    X(OUTRUN, "outrun", WEIR, 503, NEVER, EXCHANGE, "proxy_internal_error",                        \
      "another attempt at the same request was answered first")                                    \
    X(INTERNAL, "internal", WEIR, 500, NEVER, EXCHANGE, "proxy_internal_error",                    \
      "something is wrong inside the proxy")                                                       \
    X(DONE, "done", NONE, 0, NEVER, EXCHANGE, "", "the exchange is complete")

enum reason {
#define X(id, name, side, status, retry, count, error, text) REASON_##id,
    REASONS(X)
#undef X
        REASON_COUNT
};

struct reason_row {
    const char *name;
    const char *error;
    const char *text;
    uint16_t status;
    uint8_t side;  /* enum reason_side */
    uint8_t retry; /* enum retry_class */
    uint8_t count; /* enum reason_count */
};

/* The row of a reason; static storage. */
const struct reason_row *reason_row(enum reason reason);

#endif
