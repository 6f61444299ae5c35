/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs that a pod's probes and hooks run, in an image that has no shell and no curl. Own
 * nothing; must end within their bounds whatever the one they ask does. The only thread.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/verb.h"

#define PROBE_MS  1000 /* as a probe's timeoutSeconds is unless it is set */
#define SETTLE_MS 5000
#define WITHIN_MS 25000
#define LOOK_MS   50 /* how often it is looked at */

/* ---- probe ---- */

static const char *probe_page(const char *what)
{
    if (strcmp(what, "live") == 0)
        return "/livez";
    return strcmp(what, "ready") == 0 ? "/readyz" : NULL;
}

static int probe(const struct verb *verb, struct verb_admin *admin, const char *page,
                 uint64_t within_ms)
{
    struct admin_answer answer;
    if (!verb_ask(verb, admin, "GET", page, within_ms, &answer))
        return EXIT_NO;
    int status = answer.status == 200 ? 0 : EXIT_NO;
    fprintf(status == 0 ? stdout : stderr, "%s", answer.body);
    admin_answer_free(&answer);
    return status;
}

int verb_probe(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {
        VERB_ADMIN_OPTIONS, {"within", required_argument, NULL, 'w'}, {0}};
    struct verb_admin admin = {0};
    uint64_t within = PROBE_MS;
    int c;
    while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (c == 'w' && !verb_duration(optarg, &within))
            return verb_usage(verb, "--within %s: expected a time such as 1s", optarg);
        if (c != 'w' && !verb_admin_option(&admin, c, optarg))
            return verb_bad_option(verb, c, argv);
    }
    if (optind + 1 != argc || probe_page(argv[optind]) == NULL)
        return verb_usage(verb, "live, or ready?");
    int status = probe(verb, &admin, probe_page(argv[optind]), within);
    verb_admin_fini(&admin);
    return status;
}

/* ---- drain ---- */

struct drain {
    const struct verb *verb;
    struct verb_admin admin;
    uint64_t settle_ms, within_ms;
    uint64_t begun_ms;
    unsigned long long for_ms, in_flight; /* as it was seen last */
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t left(const struct drain *d)
{
    uint64_t passed = now_ms() - d->begun_ms;
    return passed < d->within_ms ? d->within_ms - passed : 0;
}

/* The number behind a key of the JSON object. */
static bool number_of(const char *json, const char *key, unsigned long long *n)
{
    const char *at = strstr(json, key);
    char *end;
    if (at == NULL)
        return false;
    *n = strtoull(at + strlen(key), &end, 10);
    return end > at + strlen(key);
}

/* Asks /drain how far it is. The last look may take a moment beyond the bound, so as to say why. */
static bool look(struct drain *d, const char *method)
{
    struct admin_answer answer;
    uint64_t within = left(d) > PROBE_MS ? left(d) : PROBE_MS;
    if (!verb_ask(d->verb, &d->admin, method, "/drain", within, &answer))
        return false;
    bool ok = answer.status == 200 && number_of(answer.body, "\"for_ms\":", &d->for_ms) &&
              number_of(answer.body, "\"in_flight\":", &d->in_flight);
    if (!ok)
        fprintf(stderr, "weir %s: %u: %s", d->verb->name, answer.status, answer.body);
    admin_answer_free(&answer);
    return ok;
}

static void say_left(const struct drain *d)
{
    fprintf(stderr, "weir %s: after %.1f s ", d->verb->name, (double)d->within_ms / 1000);
    if (d->in_flight > 0)
        fprintf(stderr, "%llu request%s still in flight\n", d->in_flight,
                d->in_flight == 1 ? " is" : "s are");
    else
        fprintf(stderr, "it has not settled\n");
}

static int drain(struct drain *d)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};
    if (!look(d, "POST"))
        return EXIT_NO;
    while (d->for_ms < d->settle_ms || d->in_flight > 0) {
        if (left(d) <= LOOK_MS) {
            say_left(d);
            return EXIT_NO;
        }
        nanosleep(&pause, NULL);
        if (!look(d, "GET"))
            return EXIT_NO;
    }
    printf("drained\n");
    return 0;
}

int verb_drain(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {VERB_ADMIN_OPTIONS,
                                            {"settle", required_argument, NULL, 's'},
                                            {"within", required_argument, NULL, 'w'},
                                            {0}};
    struct drain d = {.verb = verb, .settle_ms = SETTLE_MS, .within_ms = WITHIN_MS};
    int c;
    d.begun_ms = now_ms();
    while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (c == 's' || c == 'w') {
            if (!verb_duration(optarg, c == 's' ? &d.settle_ms : &d.within_ms))
                return verb_usage(verb, "%s: expected a time such as 5s", optarg);
        } else if (!verb_admin_option(&d.admin, c, optarg)) {
            return verb_bad_option(verb, c, argv);
        }
    }
    if (optind < argc)
        return verb_usage(verb, "unexpected argument \"%s\"", argv[optind]);
    int status = drain(&d);
    verb_admin_fini(&d.admin);
    return status;
}
