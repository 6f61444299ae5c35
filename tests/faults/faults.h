/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the preload share: the dice, what WEIR_FAULTS said, the page, and the way to
 * the function behind one's own. faults.c tells what it is for. Any thread.
 */
#ifndef WEIR_TESTS_FAULTS_H
#define WEIR_TESTS_FAULTS_H

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What strikes by chance: the key of WEIR_FAULTS, and the word that counts it. */
#define CHANCES(X)                                  \
    X(SHORT, "short")                               \
    X(EAGAIN, "eagain")                             \
    X(EINTR, "eintr")                               \
    X(RESET, "reset")                               \
    X(ACCEPT_EMFILE, "accept_emfile")               \
    X(ACCEPT_ENFILE, "accept_enfile")               \
    X(ACCEPT_ABORTED, "accept_aborted")             \
    X(CONNECT_REFUSED, "connect_refused")           \
    X(CONNECT_TIMEDOUT, "connect_timedout")         \
    X(CONNECT_ADDRNOTAVAIL, "connect_addrnotavail") \
    X(MALLOC, "malloc")

enum chance {
#define X(id, name) CHANCE_##id,
    CHANCES(X)
#undef X
        CHANCE_COUNT
};

enum word {
    WORD_OFF,
    WORD_MALLOC_NTH,
    WORD_MALLOC_SPAN,
    WORD_MALLOC_LIMIT,
    WORD_MALLOCS, /* allocations tried */
    WORD_FREES,
    WORD_LIVE,  /* bytes that were allocated since main began, and still are */
    WORD_CALLS, /* reads, writes, accepts and connects that could have failed */
    WORD_STRUCK,
    WORD_COUNT = WORD_STRUCK + CHANCE_COUNT,
};

/* Whose connection: also what `only` says. */
enum side { SIDE_OTHER, SIDE_ACCEPTED, SIDE_CONNECTED };

struct faults {
    uint32_t chances[CHANCE_COUNT]; /* of CERTAIN */
    uint64_t seed;
    enum side only;
    bool spare_main, trace;
    char fails_after[32];
    atomic_bool running; /* main has begun, and has not ended */
};

extern struct faults faults;
extern _Atomic uint64_t *words; /* the page's, or as many of our own */

/* initial-exec: else the first use in a thread allocates. */
#define PER_THREAD __thread __attribute__((tls_model("initial-exec")))
extern PER_THREAD bool is_main;
extern PER_THREAD bool inside; /* what we call ourselves does not fail */

/* `next` is the function that ours stands before. */
#define NEXT(name)                 \
    static __typeof__(name) *next; \
    if (next == NULL)              \
    next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* Sixty-four bits of this thread's dice. */
uint64_t roll(void);

/* Whether it strikes now; if so, it is counted. */
bool strikes(enum chance what);

static inline void word_add(enum word word, uint64_t n)
{
    atomic_fetch_add_explicit(&words[word], n, memory_order_relaxed);
}

#endif
