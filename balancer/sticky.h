/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which endpoint of a group a client's session belongs to: by a token that names the endpoint to
 * whoever made it and to nobody else. Found in one probe or two of a hash table, whatever the
 * number of endpoints. Allocates only when it is attached; then it is read-only, for any thread.
 */
#ifndef WEIR_BALANCER_STICKY_H
#define WEIR_BALANCER_STICKY_H

#include "balancer/policy.h"

#define LB_TOKEN_LEN 32 /* 128 bits in hexadecimal */

/*
 * Endpoint i is known by tokens[i], which are copied; of equal ones the first endpoint has it.
 * Once, before any worker.
 */
void lb_sticky_attach(struct lb_group *group, char (*tokens)[LB_TOKEN_LEN]);

/* The endpoint that it names, or LB_NONE: also when it is none of the group's. O(1). */
int32_t lb_sticky_find(const struct lb_group *group, const char *text, size_t len);

/* LB_TOKEN_LEN bytes without a NUL, the group's. */
const char *lb_sticky_token(const struct lb_group *group, uint32_t index);

/* For lb_group_free; NULL is fine. */
void lb_sticky_free(struct lb_sticky *sticky);

#endif
