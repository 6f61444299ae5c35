/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What some keys of etcd have for values, as it changes: a list, as of one revision, and from there
 * on a watch. Asks one member of the cluster and, when that fails, the next; only when all have
 * failed in a row is it told, and waited. A watch that falls silent is begun anew where it stood;
 * what etcd has forgotten meanwhile (compaction, another store) is listed anew, and so is all from
 * time to time, as another store cannot always be told. Reactor's thread.
 */
#ifndef WEIR_DISCOVERY_ETCD_MIRROR_H
#define WEIR_DISCOVERY_ETCD_MIRROR_H

#include "proxy/discovery/etcd_message.h"
#include "proxy/discovery/etcd_spec.h"
#include "proxy/net/reactor.h"

struct etcd_mirror;

/* All from the loop, never from within a call of this header; the mirror may be ended in any. */
struct etcd_mirror_events {
    /* A list begins: what is not put before `current` is not there any more. It may begin again
     * before that. */
    void (*lists)(void *ctx);
    /* A key has that value; or it is deleted. */
    void (*put)(void *ctx, const struct etcd_kv *kv);
    /* What was put is what there is, as etcd says now. */
    void (*current)(void *ctx);
    /* No member can be asked. why: one line that says what to do, with the member. */
    void (*failed)(void *ctx, const char *why);
};

/* Begins; the spec has to outlive it. Never NULL. */
struct etcd_mirror *etcd_mirror_new(struct reactor *r, const struct etcd_spec *spec,
                                    const struct etcd_mirror_events *events, void *ctx);

/* Lists anew, soon: current or failed follows. */
void etcd_mirror_ask(struct etcd_mirror *mirror);

/* No event follows. Frees itself once the loop has run. NULL is fine. */
void etcd_mirror_end(struct etcd_mirror *mirror);

#endif
