/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is believed of a source's answers. The first is believed at once. One that says something
 * else than what is in use is waited with for a moment, in which others may follow, and no longer
 * than that if it takes work from somebody; one that says that there are no endpoints any more has
 * to be said again a while later. A failure changes
 * nothing. Pure: the time is an argument, in ms of any clock that does not go back. One thread.
 */
#ifndef WEIR_DISCOVERY_BELIEF_H
#define WEIR_DISCOVERY_BELIEF_H

#include <stdbool.h>
#include <stdint.h>

struct config_endpoints;

#define BELIEF_SETTLE_MS  50   /* nothing new for so long: it is put to use */
#define BELIEF_AT_MOST_MS 500  /* that what changes all the time is waited with */
#define BELIEF_CONFIRM_MS 2000 /* from the first empty answer to the one that is believed */
#define BELIEF_NEVER      UINT64_MAX

/* All zero: nothing is known. */
struct belief {
    struct config_endpoints *held;   /* in use; NULL: there was no answer yet */
    struct config_endpoints *coming; /* something else that was answered; or NULL */
    uint64_t since_ms;               /* of coming: when it began to be other than what is held */
    uint64_t last_ms;                /* ... and changed last */
    bool leaving;                    /* somebody whom held gives work to gets none by coming */
    bool asked;                      /* the source was, whether there really are none */
    bool confirmed;                  /* ... and said so again */
};

enum belief_step {
    BELIEF_WAIT, /* until belief_due_ms */
    BELIEF_USE,  /* held is new: put it to use */
    BELIEF_ASK,  /* the source is to be asked again */
};

/* Something was answered: a reference, which is taken over. */
void belief_answer(struct belief *b, struct config_endpoints *answer, uint64_t now_ms);

/* That needs no confirmation: whoever said it knows. */
void belief_certain(struct belief *b);

/* What is to be done now, one thing after the other until it is to wait. */
enum belief_step belief_step(struct belief *b, uint64_t now_ms);

/* When there will be something to do, or BELIEF_NEVER. */
uint64_t belief_due_ms(const struct belief *b);

/* Lets go of what it holds. */
void belief_fini(struct belief *b);

#endif
