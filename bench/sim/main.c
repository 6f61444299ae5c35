/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir-sim: what the policies of balancer/ do to a pool of endpoints, without any of them: a
 * discrete-event simulation over the code that weir runs. The command line, and the policies in
 * turn. One thread.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sim/report.h"
#include "bench/sim/run.h"

#define POLICIES 32
#define EVERY \
    "round_robin,least_conn,random,p2c,peak_ewma,ring_hash,ring_hash:125,maglev,maglev:125"

static const char usage[] =
    "usage: weir-sim [--json] [--policies NAME[:BOUND],...] [SCENARIO.yaml] [SETTING=VALUE]...\n"
    "\n"
    "Simulates a pool under each policy, with the same requests, and prints what their clients\n"
    "saw. A BOUND is in percent of the mean load. Settings come from the file (a flat mapping;\n"
    "about: is for people) and then from the command line:\n"
    "\n";

static const char legend[] =
    "\n"
    "failed     of all requests, after all tries\n"
    "tries      sent to endpoints, for each request\n"
    "imbalance  requests sent to one endpoint over its weight, the most over the mean\n"
    "busiest    the most requests at one endpoint at once\n"
    "strayed    sent elsewhere than the request before with the same key\n"
    "moved      of 100,000 keys those that move without having to, when one endpoint is taken off\n"
    "           the list\n";

struct chosen {
    const struct lb_policy *policy;
    uint32_t bound;
};

static _Noreturn void wrong(const char *why)
{
    fprintf(stderr, "weir-sim: %s; see weir-sim --help\n", why);
    exit(2);
}

static _Noreturn void help(void)
{
    fputs(usage, stdout);
    sim_scenario_help(stdout);
    fputs(legend, stdout);
    exit(0);
}

static struct chosen choose(char *word)
{
    struct chosen c = {0};
    char *colon = strchr(word, ':'), *end = NULL, why[128];
    if (colon != NULL) {
        unsigned long bound = strtoul(colon + 1, &end, 10);
        if (*end != '\0' || bound <= 100 || bound > 1000)
            wrong("a bound is a percentage from 101 to 1000");
        c.bound = (uint32_t)bound;
        *colon = '\0';
    }
    c.policy = lb_policy_find(word);
    if (c.policy == NULL) {
        snprintf(why, sizeof(why), "there is no policy '%.64s'", word);
        wrong(why);
    }
    if (c.bound > 0 && !c.policy->uses_key)
        wrong("only ring_hash and maglev have a bound");
    return c;
}

static size_t choose_all(const char *list, struct chosen *out)
{
    char *words = strdup(list), *rest = words;
    size_t n = 0;
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        if (n == POLICIES)
            wrong("too many policies");
        out[n++] = choose(word);
    }
    free(words);
    return n;
}

static void read_argument(struct sim_scenario *sc, char *arg)
{
    char err[600];
    char *equals = strchr(arg, '=');
    bool ok;
    if (equals == NULL) {
        ok = sim_scenario_load(sc, arg, err, sizeof(err));
    } else {
        *equals = '\0';
        ok = sim_scenario_set(sc, arg, equals + 1, err, sizeof(err));
    }
    if (!ok)
        wrong(err);
}

static void run_all(const struct sim_scenario *sc, const struct sim_trace *trace,
                    const struct chosen *chosen, size_t n, bool json)
{
    static struct sim_result result;
    if (!json)
        sim_report_head();
    for (size_t i = 0; i < n; i++) {
        sim_run(sc, trace, chosen[i].policy, chosen[i].bound, &result);
        if (json)
            sim_report_json(sc, &result);
        else
            sim_report_row(&result);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"policies", required_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    static const char *const fields[] = {"client", "path", "host"};
    struct sim_scenario sc;
    struct sim_trace trace = {0};
    struct chosen chosen[POLICIES];
    const char *policies = EVERY;
    bool json = false;
    char err[600];
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'h')
            help();
        else if (c == 'j')
            json = true;
        else if (c == 'p')
            policies = optarg;
        else
            return 2;
    }
    sim_scenario_init(&sc);
    for (int i = optind; i < argc; i++)
        read_argument(&sc, argv[i]);
    size_t n = choose_all(policies, chosen);
    if (!sim_scenario_check(&sc, err, sizeof(err)))
        wrong(err);
    if (sc.trace[0] != '\0' &&
        !sim_trace_load(&trace, sc.trace, fields[sc.trace_key], err, sizeof(err)))
        wrong(err);
    run_all(&sc, sc.trace[0] != '\0' ? &trace : NULL, chosen, n, json);
    sim_trace_fini(&trace);
    return 0;
}
