/* SPDX-License-Identifier: Apache-2.0 */
/* Prints results. Never measures; runs at the end, one thread. */
#include "bench/load_report.h"

#include <stdio.h>
#include <sys/resource.h>

double report_cpu(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double us(uint64_t ns)
{
    return (double)ns / 1e3;
}

static void print_latency(const struct hist *h)
{
    static const unsigned thresholds_ms[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000};

    printf("\"latency_us\":{\"min\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p99.9\":%.1f,"
           "\"p99.99\":%.1f,\"max\":%.1f,\"mean\":%.1f},\"latency_count\":%llu,",
           us(h->count ? h->min : 0), us(hist_quantile(h, .5)), us(hist_quantile(h, .9)),
           us(hist_quantile(h, .99)), us(hist_quantile(h, .999)), us(hist_quantile(h, .9999)),
           us(h->max), hist_mean(h) / 1e3, (unsigned long long)h->count);
    printf("\"at_least_ms\":{");
    for (unsigned i = 0; i < ARRAY_LEN(thresholds_ms); i++)
        printf("%s\"%u\":%llu", i ? "," : "", thresholds_ms[i],
               (unsigned long long)hist_at_least(h, thresholds_ms[i] * UINT64_C(1000000)));
    printf("},");
}

void report_errors(const struct net *n)
{
    static const char *const names[LOAD_ERRORS] = {"connect", "reset",  "closed",
                                                   "timeout", "status", "bad_answer"};

    printf("\"errors\":{");
    for (unsigned i = 0; i < LOAD_ERRORS; i++)
        printf("%s\"%s\":%llu", i ? "," : "", names[i], (unsigned long long)n->errors[i]);
    printf("}");
}

void report_statuses(const struct net *n)
{
    printf("\"statuses\":{");
    for (unsigned i = 1; i < 6; i++)
        printf("%s\"%uxx\":%llu", i > 1 ? "," : "", i, (unsigned long long)n->statuses[i]);
    printf("}");
}

void report_line_end(void)
{
    putchar('\n');
    if (fflush(stdout) != 0 || ferror(stdout))
        net_die("cannot write to stdout", "where does it go?");
}

void report(const struct net *n, const struct result *r)
{
    const struct load_options *o = n->options;

    printf("{\"mode\":\"%s\",\"connections\":%u,", o->name, o->connections);
    if (o->mode == LOAD_OPEN)
        printf("\"offered_rate\":%.3f,", o->rate);
    printf("\"requests\":%llu,\"seconds\":%.6f,\"rate\":%.3f,", (unsigned long long)r->requests,
           r->seconds, r->seconds > 0 ? (double)r->in_time / r->seconds : 0);
    report_errors(n);
    putchar(',');
    report_statuses(n);
    printf(",\"bytes_in\":%llu,\"bytes_out\":%llu,", (unsigned long long)n->bytes_in,
           (unsigned long long)n->bytes_out);
    print_latency(&r->latency);
    printf("\"unfinished\":%llu,\"oldest_unfinished_us\":%.1f,", (unsigned long long)r->unfinished,
           us(r->oldest_ns));
    if (o->mode == LOAD_OPEN)
        printf("\"generator_late_us\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f},",
               us(hist_quantile(&r->late, .5)), us(hist_quantile(&r->late, .99)), us(r->late.max));
    printf("\"generator_cpu_seconds\":%.6f,", r->cpu_seconds);
    printf("\"total\":{\"sent\":%llu,\"answered\":%llu,\"opened\":%llu}}",
           (unsigned long long)n->total.sent, (unsigned long long)n->total.answered,
           (unsigned long long)n->total.opened);
    report_line_end();
}
