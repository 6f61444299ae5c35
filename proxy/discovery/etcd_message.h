/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said to the JSON gateway of etcd v3, and what that says: keys, values and ends of ranges
 * are bytes, in base64 on the wire. Pure; any thread.
 */
#ifndef WEIR_DISCOVERY_ETCD_MESSAGE_H
#define WEIR_DISCOVERY_ETCD_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/span.h"

/* ---- requests: malloc'd bodies ---- */

/* The end of the range of all keys that begin with prefix, which has bytes other than 0xff;
 * malloc'd like what follows, *len long and no longer than prefix. */
char *etcd_range_end(struct span prefix, size_t *len);

/* Keys from `from` to before `end`, in their order; end empty: that key alone. At most limit of
 * them, as they were at a revision; 0: now. */
char *etcd_ask_range(struct span from, struct span end, uint64_t revision, unsigned limit);

/* What becomes of those keys, from a revision on. */
char *etcd_ask_watch(struct span from, struct span end, uint64_t revision);

/* A token for a user. */
char *etcd_ask_token(struct span user, struct span password);

/* ---- answers ---- */

enum etcd_error {
    ETCD_FINE,
    ETCD_NONSENSE,     /* not what etcd says */
    ETCD_BAD_TOKEN,    /* or one from before a change of users: another one is needed */
    ETCD_NO_USER,      /* somebody has to ask who is known */
    ETCD_NOT_LOOKED,   /* users are of no interest there */
    ETCD_BAD_PASSWORD, /* or there is no such user */
    ETCD_DENIED,       /* the user may not read that */
    ETCD_COMPACTED,    /* the revision is too old */
    ETCD_OTHER,        /* text says it */
};

#define ETCD_TOKEN_MAX 2048
#define ETCD_TEXT_MAX  200

struct etcd_kv {
    struct span key, value; /* valid during the call; NUL behind each */
    uint64_t revision;      /* of its last change */
    bool deleted;           /* value is empty */
};

struct etcd_said {
    enum etcd_error error;
    char text[ETCD_TEXT_MAX]; /* printable; what etcd says of an error, or what is wrong with it */
    uint64_t cluster;         /* whose store it is */
    uint64_t revision;        /* of the store; 0: it did not say */
    bool more;                /* keys of the range are left */
    bool created;             /* the watch is, but for cancelled */
    bool cancelled;           /* the watch is over */
    bool fragment;            /* of one revision there is more to come */
    char token[ETCD_TOKEN_MAX];
};

/* Reads one answer, or one line of a watch. kv is called for each key in it, in order, before an
 * error that is found later. */
void etcd_read(struct span text, struct etcd_said *said,
               void (*kv)(void *ctx, const struct etcd_kv *kv), void *ctx);

#endif
