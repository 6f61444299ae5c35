/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints from DNS: rounds of questions, one when the answers of the last expire. Owns the round
 * that is on its way and the hosts of the last good one; must never take a server's silence for an
 * answer. Control thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/rng.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/backoff.h"
#include "proxy/net/dns_channel.h"
#include "proxy/discovery/dns_hosts.h"
#include "proxy/discovery/source.h"

#define DNS_SOURCE_MAGIC MAGIC('s', 'r', 'c', 'd')

#define AT_ONCE 32 /* questions on their way */
/* How long IPv6 addresses are waited for where there are IPv4 ones: some servers say nothing when
 * they are asked for what they do not know. */
#define PATIENCE_MS 500

struct dns_source;

/* What is asked about a host: about IPv4, then about IPv6. */
struct asked {
    struct dns_source *source;
    size_t host;
    enum dns_family family; /* asked about last */
    bool on_way;
    bool spare;       /* nobody need wait for the answer */
    const char *lost; /* why nobody knows; static, or NULL */
};

struct dns_source {
    struct source base;
    uv_loop_t *loop;
    uv_timer_t timer;            /* the next round; or the end of this one, from the loop */
    struct dns_channel *channel; /* NULL: no round is on its way */
    struct dns_hosts hosts, last;
    struct asked *asked; /* by host */
    size_t next;         /* host to ask about */
    size_t on_way;       /* questions */
    size_t spare;        /* of these, that need not be answered */
    bool asking;         /* answers may come from within */
    size_t lost;         /* hosts of which nobody knows the addresses */
    const char *note;    /* why there is nothing */
    char why[320];       /* what went wrong last; "": nothing */
    bool failed;         /* the round as a whole */
    bool again;          /* asked for while it was on its way */
    struct backoff backoff;
    struct lb_rng rng;
};

static struct dns_source *dns_source_of(void *data)
{
    return CAST_OBJ(dns_source, data, DNS_SOURCE_MAGIC);
}

static void on_timer(uv_timer_t *timer);

static void in(struct dns_source *d, uint64_t ms)
{
    uv_timer_start(&d->timer, on_timer, ms, 0);
}

/* ---- answers ---- */

static void went_wrong(struct dns_source *d, const char *name, const char *why)
{
    snprintf(d->why, sizeof(d->why), "%.100s: %.200s", name, why);
}

static const char *note_of(enum dns_outcome outcome)
{
    if (outcome == DNS_NO_NAME)
        return "there is no such name (NXDOMAIN); see whether it is spelt right, and has to be in "
               "DNS: /etc/hosts is not looked at";
    return outcome == DNS_NO_DATA
               ? "the name has no such records; see whether it is another name or type that has"
               : NULL;
}

/* NULL, or why nothing is to be learnt from it: static. */
static const char *read_answer(enum dns_outcome outcome, const char *why, struct span bytes,
                               dns_record_fn *fn, void *ctx)
{
    const uint8_t *message = (const uint8_t *)bytes.ptr;
    if (outcome == DNS_FAILED)
        return why;
    if (bytes.ptr == NULL)
        return NULL;
    if (dns_message_cut(message, bytes.len))
        return "the DNS server's answer is cut short, over TCP as well; see whether it has a limit "
               "of its own";
    return dns_message_read(message, bytes.len, fn, ctx)
               ? NULL
               : "the DNS server's answer is malformed; see what answers there";
}

static void ask_on(struct dns_source *d);
static void ask_addresses(struct dns_source *d, size_t i);

static void on_service(void *ctx, const struct dns_record *record)
{
    dns_hosts_service(&((struct dns_source *)ctx)->hosts, record);
}

static void answered_services(void *ctx, enum dns_outcome outcome, const char *why,
                              const uint8_t *bytes, size_t len)
{
    struct dns_source *d = dns_source_of(ctx);
    const char *lost = read_answer(outcome, why, span_of((const char *)bytes, len), on_service, d);
    d->on_way--;
    d->note = note_of(outcome);
    d->failed = lost != NULL;
    dns_hosts_services_end(&d->hosts);
    if (d->failed)
        went_wrong(d, d->base.spec->name, lost);
    ask_on(d);
}

static void on_address(void *ctx, const struct dns_record *record)
{
    const struct asked *asked = ctx;
    struct dns_hosts *hosts = &asked->source->hosts;
    dns_hosts_address(hosts, &hosts->items[asked->host], record);
}

static void answered_addresses(void *ctx, enum dns_outcome outcome, const char *why,
                               const uint8_t *bytes, size_t len)
{
    struct asked *asked = ctx;
    struct dns_source *d = asked->source;
    struct dns_host *host = &d->hosts.items[asked->host];
    asked->lost = read_answer(outcome, why, span_of((const char *)bytes, len), on_address, asked);
    asked->on_way = false;
    d->on_way--;
    d->spare -= asked->spare;
    host->known[asked->family] = true;
    if (asked->lost != NULL)
        dns_hosts_forget(&d->hosts, host, asked->family);
    else if (d->note == NULL)
        d->note = note_of(outcome);
    ask_addresses(d, asked->host);
    ask_on(d);
}

/* ---- questions ---- */

/* If there is anything to ask about it. */
static void ask_addresses(struct dns_source *d, size_t i)
{
    const struct source_spec *spec = d->base.spec;
    const struct dns_host *host = &d->hosts.items[i];
    struct asked *asked = &d->asked[i];
    int type = asked->lost == NULL ? dns_host_wants(host, spec->type) : 0;
    if (type == 0)
        return;
    *asked = (struct asked){.source = d,
                            .host = i,
                            .family = type == DNS_A ? DNS_IPV4 : DNS_IPV6,
                            .on_way = true,
                            .spare = host->counts[DNS_IPV4] > 0};
    d->on_way++;
    d->spare += asked->spare;
    dns_channel_ask(d->channel, host->name, type, spec->type != CONFIG_DNS_SRV, answered_addresses,
                    asked);
}

/* Of no more than AT_ONCE hosts; of the next ones once these have answered. */
static void ask_on(struct dns_source *d)
{
    if (d->asking)
        return;
    d->asking = true;
    if (d->asked == NULL && d->hosts.count > 0)
        d->asked = mem_need(calloc(d->hosts.count, sizeof(d->asked[0])));
    while (!d->failed && d->on_way - d->spare < AT_ONCE && d->next < d->hosts.count)
        ask_addresses(d, d->next++);
    d->asking = false;
    if (d->on_way == 0)
        in(d, 0);
    else if (d->on_way == d->spare)
        in(d, PATIENCE_MS);
}

static void begin_round(struct dns_source *d)
{
    const struct source_spec *spec = d->base.spec;
    const char *why = NULL;
    d->next = d->on_way = d->spare = d->lost = 0;
    d->failed = d->again = false;
    d->note = NULL;
    d->why[0] = '\0';
    d->hosts = (struct dns_hosts){.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    d->channel = dns_channel_new(d->loop, &spec->server, &why);
    if (d->channel == NULL) {
        d->base.events->failed(&d->base, why);
        in(d, backoff_next(&d->backoff, lb_rng_next(&d->rng)));
        return;
    }
    if (spec->type != CONFIG_DNS_SRV) {
        dns_hosts_add(&d->hosts, spec->name, 0, 1, spec->port);
        ask_on(d);
        return;
    }
    d->on_way++;
    dns_channel_ask(d->channel, spec->name, DNS_SRV, true, answered_services, d);
}

/* What is not there, and of which nobody says for how long, may be there any time. That there are
 * no addresses of one family beside those of the other is no reason to ask again. */
static uint64_t ttl_ms(const struct dns_source *d)
{
    const struct source_spec *spec = d->base.spec;
    uint32_t ttl = d->hosts.ttl;
    if (d->hosts.addresses == 0 && d->hosts.none_ttl < ttl)
        ttl = d->hosts.none_ttl;
    uint64_t ms = ttl != UINT32_MAX ? (uint64_t)ttl * 1000 : 0;
    ms = ms < spec->max_ttl_ms ? ms : spec->max_ttl_ms;
    return ms > spec->min_ttl_ms ? ms : spec->min_ttl_ms;
}

/* ---- the end of a round ---- */

/* Of SRV, what one of its targets had before is better than nothing. */
static void lose_host(struct dns_source *d, struct dns_host *host, const struct dns_host *before,
                      const char *why)
{
    went_wrong(d, host->name, why);
    d->failed |= d->base.spec->type != CONFIG_DNS_SRV;
    d->lost += before == NULL;
    for (int f = 0; f < DNS_FAMILIES && before != NULL; f++)
        dns_hosts_copy(&d->hosts, host, (enum dns_family)f, before);
}

/* If it is at the one IPv4 address that it was at, it still has the other one. */
static void keep_second(struct dns_source *d, struct dns_host *host, const struct dns_host *before)
{
    if (before != NULL && host->counts[DNS_IPV4] == 1 && before->counts[DNS_IPV4] == 1 &&
        memcmp(host->addresses[DNS_IPV4], before->addresses[DNS_IPV4],
               sizeof(struct dns_address)) == 0)
        dns_hosts_copy(&d->hosts, host, DNS_IPV6, before);
}

static void settle_host(struct dns_source *d, const struct asked *asked)
{
    struct dns_host *host = &d->hosts.items[asked->host];
    const struct dns_host *before = dns_hosts_find(&d->last, host->name);
    if (asked->lost != NULL && !asked->spare)
        lose_host(d, host, before, asked->lost);
    else if (asked->lost != NULL || asked->on_way)
        keep_second(d, host, before);
}

static void settle_hosts(struct dns_source *d)
{
    for (size_t i = 0; i < d->next; i++)
        if (d->asked[i].source != NULL)
            settle_host(d, &d->asked[i]);
}

static void tell_endpoints(struct dns_source *d)
{
    struct config_endpoints *all = dns_hosts_endpoints(&d->hosts);
    if (all->count == 0 && d->lost > 0) {
        d->failed = true;
        config_endpoints_unref(all);
        return;
    }
    d->base.events->answered(&d->base, all, all->count == 0 ? d->note : NULL);
    dns_hosts_fini(&d->last);
    d->last = d->hosts;
    d->hosts = (struct dns_hosts){0};
}

static void end_round(struct dns_source *d)
{
    settle_hosts(d);
    bool whole = d->why[0] == '\0';
    uint64_t next_ms = whole ? ttl_ms(d) : backoff_next(&d->backoff, lb_rng_next(&d->rng));
    dns_channel_end(TAKE(d->channel));
    if (whole)
        backoff_reset(&d->backoff);
    if (!d->failed)
        tell_endpoints(d);
    if (!whole)
        d->base.events->failed(&d->base, d->why);
    dns_hosts_fini(&d->hosts);
    free(TAKE(d->asked));
    in(d, d->again ? 0 : next_ms);
}

static void on_timer(uv_timer_t *timer)
{
    struct dns_source *d = dns_source_of(timer->data);
    if (d->channel != NULL)
        end_round(d);
    else
        begin_round(d);
}

/* ---- life ---- */

static struct source *dns_start(const struct source_world *world, struct source_spec *spec,
                                const struct source_events *events, void *owner)
{
    struct dns_source *d = mem_need(calloc(1, sizeof(*d)));
    d->base = (struct source){DNS_SOURCE_MAGIC, spec, events, owner};
    d->loop = &world->reactor->loop;
    lb_rng_seed(&d->rng, uv_hrtime() ^ (uintptr_t)d);
    uv_timer_init(&world->reactor->loop, &d->timer);
    d->timer.data = d;
    in(d, 0);
    return &d->base;
}

static void dns_ask(struct source *source)
{
    struct dns_source *d = dns_source_of(source);
    if (d->channel == NULL)
        in(d, 0);
    else
        d->again = true;
}

static void on_closed(uv_handle_t *handle)
{
    struct dns_source *d = dns_source_of(handle->data);
    dns_hosts_fini(&d->hosts);
    dns_hosts_fini(&d->last);
    free(d->asked);
    source_spec_unref(d->base.spec);
    d->base.magic = 0;
    free(d);
}

static void dns_stop(struct source *source)
{
    struct dns_source *d = dns_source_of(source);
    dns_channel_end(TAKE(d->channel));
    uv_close((uv_handle_t *)&d->timer, on_closed);
}

const struct source_kind source_dns = {
    .name = "dns", .start = dns_start, .ask = dns_ask, .stop = dns_stop};
