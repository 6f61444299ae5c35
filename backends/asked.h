/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request asks for: which answer, and which faults. The same for every protocol, which hands
 * over the target and the fields as it finds them.
 *
 * Its worker's thread only.
 */
#ifndef WEIR_BACKENDS_ASKED_H
#define WEIR_BACKENDS_ASKED_H

#include "backends/knobs.h"
#include "backends/worker.h"

enum handler {
    HANDLER_TEXT,
    HANDLER_HEALTH,
    HANDLER_ECHO, /* the body streams back, perhaps behind a dump of the head */
    HANDLER_SINK,
    HANDLER_BYTES,
    HANDLER_STATS,
    HANDLER_UPGRADE,
    HANDLER_GRPC, /* the messages stream back, and the call ends well */
    HANDLER_ERROR
};

/* Zeroed: nothing yet. */
struct asked {
    enum handler handler;
    uint64_t bytes;            /* HANDLER_BYTES: how many */
    struct knobs *own;         /* given by this request; owned */
    const struct knobs *knobs; /* those that hold, NULL: none */
    bool wrong;                /* what it asks for makes no sense: HANDLER_ERROR */
    char *complaint;           /* why, NULL if there was no memory to say so; owned */
};

/* Takes a field of the head, if it is a knob. */
void asked_field(struct asked *a, struct span name, struct span value);

/*
 * The head is here: writes it to the ledger, reads the target's knobs and path, and settles which
 * knobs hold. id is the X-Request-Id, empty if there is none.
 */
void asked_settle(struct asked *a, struct service *service, struct span method, struct span target,
                  struct span id);

/* Makes it an error that says what is wrong with which of its parts. */
void asked_complain(struct asked *a, struct span part, const char *why);

/* The text of such an error. */
const char *asked_complaint(const struct asked *a);

/* Frees what it owns; zeroed afterwards. */
void asked_reset(struct asked *a);

/* True if a flag is on. */
static inline bool asked_flag(const struct asked *a, enum knob_id id)
{
    return knobs_has(a->knobs, id) &&
           *(const bool *)((const char *)a->knobs + knob_rows[id].offset);
}

#endif
