/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an HTTP/1 head means: the checks and the facts of RFC 9112 that need the whole head or the
 * whole request line. Pure functions over spans; any thread.
 */
#ifndef WEIR_HTTP_H1_HEAD_H
#define WEIR_HTTP_H1_HEAD_H

#include "proxy/base/reason.h"
#include "proxy/http/msg.h"

#define H1_METHOD_MAX 32    /* longer ones are no method */
#define H1_TARGET_MAX 32768 /* whatever the configuration says */

/*
 * A request line, or its beginning when complete is false (line is then without LF). Complete
 * lines include their LF. Fills method, target and minor of head once they are known. NONE means
 * right so far; a line gets the same verdict whole and piecemeal.
 */
enum reason h1_check_request_line(struct span line, bool complete, size_t target_max,
                                  struct http_head *head);

/* A response's status line "HTTP/1.x SP 3DIGIT [SP phrase]" without CRLF; fills status, phrase and
 * minor. */
enum reason h1_check_status_line(struct span line, struct http_head *head);

/* All fields are there: Host, framing, Connection, Upgrade, Expect, target. The target is
 * normalised in place. */
enum reason h1_check_request(struct http_head *head);

/* The same for a response; to_head and to_upgrade say what it answers. */
enum reason h1_check_response(struct http_head *head, bool to_head, bool to_upgrade);

#endif
