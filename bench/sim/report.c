/* SPDX-License-Identifier: Apache-2.0 */
/* Prints results. Owns nothing. One thread. */
#include "bench/sim/report.h"

#include <stdio.h>

static const double quantiles[] = {0.5, 0.9, 0.99, 0.999, 0.9999, 1};

const char *sim_report_name(const struct sim_result *r)
{
    static char name[64];
    if (r->bound == 0)
        return r->policy->name;
    snprintf(name, sizeof(name), "%s:%u", r->policy->name, r->bound);
    return name;
}

static double ms_of(const struct sim_result *r, double share)
{
    return (double)hist_quantile(&r->latency, share) / 1e6;
}

static double part(uint64_t of, uint64_t all)
{
    return all > 0 ? (double)of / (double)all : 0;
}

void sim_report_head(void)
{
    printf("%-14s %9s %9s %9s %8s %8s %9s %8s %8s %8s\n", "policy", "p50 ms", "p99 ms", "p99.9 ms",
           "failed", "tries", "imbalance", "busiest", "strayed", "moved");
}

/* A part in percent, or what stands for none. */
static void percent(bool known, double value)
{
    if (known)
        printf(" %7.2f%%", 100 * value);
    else
        printf(" %8s", "-");
}

void sim_report_row(const struct sim_result *r)
{
    printf("%-14s %9.2f %9.2f %9.2f", sim_report_name(r), ms_of(r, 0.5), ms_of(r, 0.99),
           ms_of(r, 0.999));
    percent(r->requests > 0, 1 - part(r->answered, r->requests));
    printf(" %8.3f %9.3f %8u", part(r->attempts, r->requests), r->imbalance, r->busiest);
    percent(r->followed > 0, part(r->strayed, r->followed));
    percent(r->moved >= 0, r->moved);
    putchar('\n');
}

void sim_report_json(const struct sim_scenario *sc, const struct sim_result *r)
{
    printf("{\"policy\":\"%s\",\"endpoints\":%.0f,\"seed\":%.0f,\"seconds\":%.3f,"
           "\"requests\":%llu,\"answered\":%llu,\"attempts\":%llu,\"imbalance\":%.4f,"
           "\"busiest\":%u,\"above_bound\":%llu,\"followed\":%llu,\"strayed\":%llu",
           sim_report_name(r), sc->endpoints, sc->seed, r->seconds, (unsigned long long)r->requests,
           (unsigned long long)r->answered, (unsigned long long)r->attempts, r->imbalance,
           r->busiest, (unsigned long long)r->above, (unsigned long long)r->followed,
           (unsigned long long)r->strayed);
    printf(",\"moved\":");
    if (r->moved >= 0)
        printf("%.6f", r->moved);
    else
        printf("null");
    printf(",\"ms\":{\"mean\":%.4f", hist_mean(&r->latency) / 1e6);
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(*quantiles); i++)
        printf(",\"p%.6g\":%.4f", 100 * quantiles[i], ms_of(r, quantiles[i]));
    printf("},\"slices\":[");
    for (int i = 0; i < SIM_SLICES; i++) {
        const struct sim_slice *s = &r->slices[i];
        printf("%s[%llu,%llu,%llu,%.3f]", i ? "," : "", (unsigned long long)s->requests,
               (unsigned long long)s->answered, (unsigned long long)s->attempts, s->worst_ms);
    }
    puts("]}");
}
