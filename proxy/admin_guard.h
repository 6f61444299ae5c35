/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may ask the admin listener for what. A browser sends requests for whatever page it shows:
 *
 * - without a token, whoever reaches the listener may read; but a page of another site, by a name
 *   that its owner makes mean our address (DNS rebinding), may not: the name in Host has to be an
 *   address, localhost, or one without a dot;
 * - what changes something has to show that no other site's page sends it: by a field that a form
 *   cannot have (X-Weir, or a JSON content type) and, if there is an Origin, by one that is ours.
 *
 * With a token, everything but what is open to all needs it: as Bearer, or as the password of
 * Basic, which browsers ask for. So it does with authorities for clients' certificates: who shows
 * one of theirs needs no token. /registry may have a token of its own, for backends, who need no
 * more: then that is needed there, or the other. A listener that is not on the loopback has the one
 * or the other, or else its clients on other machines may only ask for probes.
 *
 * Pure but for the answers. Control thread.
 */
#ifndef WEIR_ADMIN_GUARD_H
#define WEIR_ADMIN_GUARD_H

#include "proxy/admin_page.h"

#define ADMIN_TOKEN_MAX 256 /* bytes */

enum admin_open {
    ADMIN_CLOSED,   /* for those who have the token, if there is one */
    ADMIN_REGISTRY, /* ... or the registry's, if there is one */
    ADMIN_PROBES,   /* ... and for those who may but ask for probes */
    ADMIN_OPEN,     /* for everybody */
};

/* May it be answered at all? False: it is, with 401 or 403. */
bool admin_guard(const struct admin_ask *ask, enum admin_open open);

/* May it change something? False: it is answered with 403. */
bool admin_guard_write(const struct admin_ask *ask);

/* A host, as Host has it, that only this machine or its network can have given a meaning to. */
bool admin_host_is_local(struct span host);

/* Does a value of Authorization carry the token? In a time that tells nothing of where it differs.
 */
bool admin_token_is(struct span authorization, struct span token);

#endif
