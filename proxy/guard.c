/* SPDX-License-Identifier: Apache-2.0 */
/* Judging a canary. Owns nothing; pure. Any thread. */
#include "proxy/guard.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

#define SIGMAS 3.0 /* it is looked at again and again: once in a while chance looks like more */
#define BAD    3   /* requests that are the least to break a rule before the end */

/* ---- what is asked for ---- */

static bool fail(char why[GUARD_TEXT], struct span rule)
{
    snprintf(why, GUARD_TEXT,
             "\"%.*s\" is no rule of a guard; expected such as 5xx<+1%%, 5xx<2%%, p99<+20%% or "
             "p99<300ms",
             (int)(rule.len < 40 ? rule.len : 40), rule.ptr);
    return false;
}

static bool parse_what(const char *text, size_t len, struct guard_rule *rule)
{
    static const struct {
        const char *name;
        uint8_t percent;
    } names[] = {{"5xx", 0}, {"p50", 50}, {"p90", 90}, {"p99", 99}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strlen(names[i].name) == len && memcmp(names[i].name, text, len) == 0) {
            rule->percent = names[i].percent;
            return true;
        }
    return false;
}

/* A share is of both; a time of latencies only. */
static bool parse_bound(const char *text, struct guard_rule *rule)
{
    char *end;
    rule->relative = *text == '+';
    text += rule->relative;
    if (*text < '0' || *text > '9')
        return false;
    rule->most = strtod(text, &end);
    if (strspn(text, "0123456789.") != (size_t)(end - text))
        return false; /* 0x1, 1e3 */
    if (strcmp(end, "%") == 0) {
        rule->most /= 100;
        return rule->percent == 0 || rule->relative;
    }
    if (rule->percent == 0 || rule->relative)
        return false;
    if (strcmp(end, "ms") != 0 && strcmp(end, "s") != 0)
        return false;
    rule->most *= *end == 'm' ? 1e3 : 1e6;
    return true;
}

static bool parse_rule(struct span text, struct guard_rule *rule)
{
    char copy[32];
    if (text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    const char *less = strchr(copy, '<');
    return less != NULL && parse_what(copy, (size_t)(less - copy), rule) &&
           parse_bound(less + 1, rule);
}

bool guard_parse(struct span text, struct guard *guard, char why[GUARD_TEXT])
{
    *guard = (struct guard){.n = 0};
    while (guard->n < GUARD_RULES) {
        const char *comma = memchr(text.ptr, ',', text.len);
        struct span rule = span_of(text.ptr, comma != NULL ? (size_t)(comma - text.ptr) : text.len);
        if (!parse_rule(rule, &guard->rules[guard->n]))
            return fail(why, rule);
        guard->n++;
        if (comma == NULL)
            return true;
        text = span_of(comma + 1, text.len - rule.len - 1);
    }
    snprintf(why, GUARD_TEXT, "a guard has at most %d rules", GUARD_RULES);
    return false;
}

/* ---- latencies ---- */

unsigned guard_bucket(uint64_t us)
{
    if (us < 8)
        return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    unsigned bucket = (power - 2) * 8 + (unsigned)(us >> (power - 3) & 7);
    return bucket < GUARD_BUCKETS ? bucket : GUARD_BUCKETS - 1;
}

uint64_t guard_bucket_us(unsigned bucket)
{
    if (bucket < 8)
        return bucket;
    unsigned power = bucket / 8 + 2;
    return ((UINT64_C(8) + bucket % 8 + 1) << (power - 3)) - 1;
}

uint64_t guard_quantile_us(const struct guard_seen *seen, unsigned percent)
{
    uint64_t rank = (seen->requests * percent + 99) / 100, n = 0;
    for (unsigned i = 0; i < GUARD_BUCKETS && rank > 0; i++) {
        n += seen->buckets[i];
        if (n >= rank)
            return guard_bucket_us(i);
    }
    return 0;
}

/* Requests that took longer, as far as buckets tell. */
static uint64_t slower(const struct guard_seen *seen, double us)
{
    uint64_t n = 0;
    for (unsigned i = 1; i < GUARD_BUCKETS; i++)
        if ((double)guard_bucket_us(i - 1) >= us)
            n += seen->buckets[i];
    return n;
}

/* ---- judging ---- */

static double part(uint64_t n, uint64_t of)
{
    return of > 0 ? (double)n / (double)of : 0;
}

/* What part is at least meant by n of so many (the score interval of Wilson). */
static double at_least(uint64_t n, uint64_t of)
{
    double p = part(n, of), z2 = SIGMAS * SIGMAS, count = (double)of;
    double spread = SIGMAS * sqrt(p * (1 - p) / count + z2 / (4 * count * count));
    return (p + z2 / (2 * count) - spread) / (1 + z2 / count);
}

static bool surely(uint64_t bad, uint64_t of, double most)
{
    return bad >= BAD && of >= GUARD_LEAST && at_least(bad, of) > most;
}

static bool errors_broken(const struct guard_rule *rule, const struct guard_seen *canary,
                          const struct guard_seen *beside, bool last, char why[GUARD_TEXT])
{
    double other = part(beside->errors, beside->requests);
    double most = rule->most + (rule->relative ? other : 0);
    bool broken = last ? part(canary->errors, canary->requests) > most
                       : surely(canary->errors, canary->requests, most);
    if (broken)
        snprintf(why, GUARD_TEXT,
                 "%.1f%% of %llu answers were 5xx, %.1f%% of %llu beside it; %.1f%% are allowed",
                 100 * part(canary->errors, canary->requests), (unsigned long long)canary->requests,
                 100 * other, (unsigned long long)beside->requests, 100 * most);
    return broken;
}

static bool latency_broken(const struct guard_rule *rule, const struct guard_seen *canary,
                           const struct guard_seen *beside, bool last, char why[GUARD_TEXT])
{
    double other = (double)guard_quantile_us(beside, rule->percent);
    double most = rule->relative ? other * (1 + rule->most) : rule->most;
    double rest = 1 - rule->percent / 100.0;
    uint64_t n = canary->requests, slow = slower(canary, most),
             spare = (uint64_t)((double)n * rest);
    if (rule->relative && beside->requests < GUARD_LEAST)
        return false; /* there is nothing to compare with */
    bool broken = last ? slow > (spare > 1 ? spare : 1) : surely(slow, n, rest);
    if (broken)
        snprintf(why, GUARD_TEXT,
                 "p%u was %.1f ms of %llu answers, %.1f ms of %llu beside it; %.1f ms are allowed",
                 rule->percent, (double)guard_quantile_us(canary, rule->percent) / 1e3,
                 (unsigned long long)n, other / 1e3, (unsigned long long)beside->requests,
                 most / 1e3);
    return broken;
}

bool guard_broken(const struct guard *guard, const struct guard_seen *canary,
                  const struct guard_seen *beside, bool last, char why[GUARD_TEXT])
{
    if (guard->n > 0 && last && canary->requests < GUARD_LEAST) {
        snprintf(why, GUARD_TEXT, "%llu answers are too few to judge; it takes %d",
                 (unsigned long long)canary->requests, GUARD_LEAST);
        return true;
    }
    for (unsigned i = 0; i < guard->n; i++) {
        const struct guard_rule *rule = &guard->rules[i];
        if ((rule->percent == 0 ? errors_broken : latency_broken)(rule, canary, beside, last, why))
            return true;
    }
    return false;
}
