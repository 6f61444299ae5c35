/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random lives of connections, one for each seed: clients and upstreams that speak in random cuts,
 * end, reset, stall and come too late, on the rig (rig.h), with its judgement. A seed that fails is
 * made shorter, event by event, as long as it still fails, and is then told.
 *
 *   property [--first N] [--seeds N]   seeds N.., as many (default 0 and 2000)
 *   property --seed N [--trace]        one of them; what happens is told
 *
 * A failure is the death of a child, so that an assertion of weir's and a sanitizer's report count
 * alike. One thread.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "balancer/rng.h"
#include "proxy/base/check.h"
#include "tests/fuzz/rig.h"

struct script {
    struct bytes b;
    struct lb_rng rng;
    bool h2_clients, h2_upstreams;
};

/* ---- a script from a seed ---- */

static unsigned below(struct script *s, unsigned n)
{
    CHECK(n > 0);
    return (unsigned)(lb_rng_next(&s->rng) >> 33) % n;
}

static bool one_in(struct script *s, unsigned n)
{
    return below(s, n) == 0;
}

static void add(struct script *s, unsigned op, unsigned arg)
{
    const uint8_t pair[2] = {(uint8_t)op, (uint8_t)arg};
    bytes_add(&s->b, pair, 2);
}

/* Mostly until nothing happens; else a few steps, so that the next event comes in the middle. */
static void add_step(struct script *s)
{
    add(s, RIG_STEP, one_in(s, 3) ? 1 + below(s, 4) : 0);
}

/* Whole, or in pieces. */
static void add_words(struct script *s, const char *words)
{
    size_t left = strlen(words);
    while (left > 0) {
        size_t n = one_in(s, 3) ? 1 + below(s, (unsigned)left) : left;
        bytes_add(&s->b, words, n);
        words += n;
        left -= n;
        if (left > 0)
            add_step(s);
    }
}

static void add_from(struct script *s, const char *const *shelf, unsigned likely)
{
    unsigned count = 0;
    while (shelf[count] != NULL)
        count++;
    add_words(s, shelf[one_in(s, 2) ? below(s, likely) : below(s, count)]);
}

static void add_client(struct script *s)
{
    add(s, RIG_CLIENT, below(s, one_in(s, 4) ? RIG_CLIENTS : 2) | (one_in(s, 2) ? 128 : 0));
}

static void add_upstream(struct script *s)
{
    add(s, RIG_UPSTREAM, (one_in(s, 4) ? below(s, 4) : 0) | (one_in(s, 2) ? 128 : 0));
}

static void add_peer(struct script *s)
{
    if (one_in(s, 2))
        add_client(s);
    else
        add_upstream(s);
}

/* The first of the shelf are likely ones. */
static unsigned pick(struct script *s, unsigned likely)
{
    return one_in(s, 2) ? below(s, likely) : below(s, 256);
}

static void add_request(struct script *s)
{
    add_client(s);
    for (unsigned n = one_in(s, 4) ? 1 + below(s, 3) : 1; n > 0; n--)
        if (s->h2_clients)
            add(s, RIG_REQUEST, pick(s, 8));
        else
            add_from(s, rig_requests, 8);
    if (one_in(s, 4))
        add(s, RIG_BULK, below(s, one_in(s, 3) ? 160 : 12));
    add_step(s);
}

static void add_answer(struct script *s)
{
    add_upstream(s);
    if (s->h2_upstreams) {
        if (one_in(s, 5))
            add(s, RIG_ANSWER, 5 + below(s, 2)); /* a 1xx */
        add(s, RIG_ANSWER, pick(s, 5));
    } else {
        if (one_in(s, 5))
            add_words(s, rig_answers[5 + below(s, 2)]);
        add_from(s, rig_answers, 5);
    }
    if (one_in(s, 4))
        add(s, RIG_BULK, below(s, one_in(s, 3) ? 160 : 12));
    add_step(s);
}

/* Something beside messages, or a frame of chance; in HTTP/1, what the other side should say. */
static void add_manners(struct script *s)
{
    bool client = one_in(s, 2);
    if (client)
        add_client(s);
    else
        add_upstream(s);
    if (client ? !s->h2_clients : !s->h2_upstreams)
        return;
    if (one_in(s, 8)) {
        uint8_t frame[12];
        for (size_t i = 0; i < sizeof(frame); i++)
            frame[i] = (uint8_t)below(s, i == 1 ? 6 : 200);
        bytes_add(&s->b, frame, 3 + below(s, sizeof(frame) - 2));
    } else {
        add(s, client ? RIG_ANSWER : RIG_REQUEST, one_in(s, 3) ? 16 * below(s, 3) : below(s, 256));
    }
    add_step(s);
}

static void add_event(struct script *s)
{
    switch (below(s, 24)) {
    case 0:
        add_peer(s);
        add(s, RIG_END, 0);
        break;
    case 1:
    case 2:
        add_peer(s);
        add(s, RIG_CLOSE, below(s, 2));
        break;
    case 3:
    case 4:
        add(s, RIG_PASS, below(s, 8));
        break;
    case 5:
        add_peer(s);
        add(s, RIG_READ, below(s, 2));
        break;
    case 6:
        add(s, RIG_DIAL, below(s, 32));
        break;
    case 7:
        add_peer(s);
        add(s, RIG_LIMIT, one_in(s, 2) ? 1 + below(s, 9) : 0);
        break;
    case 8:
        if (one_in(s, 3))
            add(s, RIG_ORDER, below(s, 4));
        break;
    case 9:
        add_peer(s);
        add(s, RIG_FAIL, below(s, 16));
        break;
    case 10:
        add(s, RIG_CAPACITY, below(s, 8));
        break;
    case 11:
    case 12:
        add_step(s);
        break;
    case 13:
        add_peer(s);
        add(s, RIG_BULK, below(s, 140));
        break;
    case 14:
    case 15:
        if (s->h2_clients || s->h2_upstreams)
            add_manners(s);
        break;
    default:
        if (one_in(s, 2))
            add_request(s);
        else
            add_answer(s);
        break;
    }
}

static struct bytes script_of(uint64_t seed)
{
    struct script s = {0};
    lb_rng_seed(&s.rng, seed + 1);
    for (int i = 0; i < RIG_SETTINGS; i++) {
        uint8_t set = (uint8_t)below(&s, 256);
        if (i == 0) {
            set &= (uint8_t)~RIG_H2_MUTE;
            if (!one_in(&s, 6))
                set &= (uint8_t) ~(RIG_H2_NO_ACKS | RIG_H2_NO_WINDOWS);
            s.h2_clients = set & RIG_H2_CLIENTS;
            s.h2_upstreams = set & RIG_H2_UPSTREAMS;
        }
        bytes_add(&s.b, &set, 1);
    }
    add_request(&s);
    for (unsigned n = 3 + below(&s, 20); n > 0; n--)
        add_event(&s);
    return s.b;
}

/* ---- running ---- */

static void run(const struct bytes *b, FILE *trace)
{
    rig_run((const uint8_t *)b->at, b->len, 0, trace);
}

/* In a child, in silence. */
static bool fails(const struct bytes *b)
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(freopen("/dev/null", "w", stderr) != NULL);
        alarm(20);
        run(b, NULL);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return status != 0;
}

static struct bytes without(const struct bytes *b, size_t at, size_t n)
{
    struct bytes less = {0};
    bytes_add(&less, b->at, at);
    bytes_add(&less, b->at + at + n, b->len - at - n);
    return less;
}

/* Drops events, from the end, until none can go. */
static void make_shorter(struct bytes *b)
{
    bool any = true;
    while (any) {
        size_t starts[4096], n = 0;
        any = false;
        for (size_t at = RIG_SETTINGS; at < b->len && n < ARRAY_LEN(starts);
             at += rig_op_size((const uint8_t *)b->at + at, b->len - at))
            starts[n++] = at;
        for (size_t i = n; i-- > 0;) {
            size_t size = rig_op_size((const uint8_t *)b->at + starts[i], b->len - starts[i]);
            struct bytes less = without(b, starts[i], size);
            bool still = fails(&less);
            struct bytes drop = still ? *b : less;
            if (still)
                *b = less;
            free(drop.at);
            any |= still;
        }
    }
}

static void tell_failure(uint64_t seed)
{
    struct bytes b = script_of(seed);
    fflush(stdout);
    fprintf(stderr, "property: seed %llu fails; what is left of it when events are dropped:\n",
            (unsigned long long)seed);
    make_shorter(&b);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        run(&b, stderr);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    fputs("property: as a script, in hexadecimal (tests/fuzz/rig.h): ", stderr);
    for (size_t i = 0; i < b.len; i++)
        fprintf(stderr, "%02x", (uint8_t)b.at[i]);
    fprintf(stderr, "\nproperty: again, and all of it: property --seed %llu --trace\n",
            (unsigned long long)seed);
    free(b.at);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run_range(uint64_t first, uint64_t seeds)
{
    volatile uint64_t *at =
        mmap(NULL, sizeof(*at), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    double start = now();
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (*at = first; *at < first + seeds; ++*at) {
            struct bytes b = script_of(*at);
            run(&b, NULL);
            free(b.at);
        }
        exit(0); /* with the leak check of a sanitizer */
    }
    CHECK(waitpid(child, &status, 0) == child);
    double took = now() - start;
    printf("%llu seeds in %.1f s, %.0f a second\n", (unsigned long long)(*at - first), took,
           (double)(*at - first) / took);
    if (status == 0)
        return 0;
    fprintf(stderr, "property: the child ended with status %#x\n", (unsigned)status);
    if (*at < first + seeds)
        tell_failure(*at);
    else
        fprintf(stderr, "property: failed after the last seed\n");
    return 1;
}

int main(int argc, char **argv)
{
    uint64_t first = 0, seeds = 2000, seed = UINT64_MAX;
    bool trace = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
            continue;
        }
        uint64_t *value = strcmp(argv[i], "--first") == 0   ? &first
                          : strcmp(argv[i], "--seeds") == 0 ? &seeds
                          : strcmp(argv[i], "--seed") == 0  ? &seed
                                                            : NULL;
        if (value == NULL || i + 1 == argc) {
            fprintf(stderr, "property: [--first N] [--seeds N] | --seed N [--trace]\n");
            return 2;
        }
        *value = strtoull(argv[++i], NULL, 10);
    }
    if (seed == UINT64_MAX)
        return run_range(first, seeds);
    struct bytes b = script_of(seed);
    run(&b, trace ? stdout : NULL);
    free(b.at);
    return 0;
}
