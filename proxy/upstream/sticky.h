/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cookie that keeps a client's session at one endpoint: its value is the endpoint's token in
 * the pool's group (balancer/sticky.h). Pure; any thread.
 */
#ifndef WEIR_UPSTREAM_STICKY_H
#define WEIR_UPSTREAM_STICKY_H

#include "balancer/sticky.h"
#include "proxy/http/msg.h"

#define STICKY_NAME_MAX       64  /* of a cookie, bytes */
#define STICKY_ATTRIBUTES_MAX 320 /* of what follows its value, without Secure */
#define STICKY_TEXT           512 /* holds every Set-Cookie of ours */

struct sticky {
    struct span cookie;     /* its name; empty: the pool has none */
    struct span attributes; /* "; Path=/; HttpOnly; SameSite=Lax" */
};

/* The endpoint that a request's cookie names, or LB_NONE. Of several cookies of the name, the first
 * that names one. head: as the client sent it. */
int32_t sticky_find(const struct sticky *sticky, const struct lb_group *group,
                    const struct http_head *head);

/* Adds a Set-Cookie that names the endpoint to a response, whose own ones stay as they are. text
 * must live as long as the head. secure: the client came by TLS. */
void sticky_tell(const struct sticky *sticky, const struct lb_group *group, uint32_t endpoint,
                 bool secure, struct http_head *head, char text[STICKY_TEXT]);

#endif
