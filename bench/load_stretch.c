/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See load_stretch.h. Owns no conn; must never send. One thread.
 */
#include "bench/load_stretch.h"

void stretch_begin(struct stretch *s, struct net *n)
{
    n->now_ns = net_clock();
    s->from_ns = n->now_ns + n->options->warmup_ns;
    s->to_ns = s->from_ns + n->options->measured_ns;
    s->running = true;
}

void stretch_run(struct stretch *s, struct net *n, struct result *r)
{
    double cpu_before = 0;

    while (n->now_ns < s->to_ns && !net_stopped()) {
        if (!s->measuring && n->now_ns >= s->from_ns) {
            s->measuring = true;
            cpu_before = report_cpu();
            net_begin_measuring(n);
        }
        net_turn(n, s->measuring ? s->to_ns : s->from_ns);
    }
    s->running = false;
    r->cpu_seconds = report_cpu() - cpu_before;
    if (s->measuring) /* else it was ended before */
        r->seconds = (double)(n->now_ns - s->from_ns) / 1e9;
}

bool stretch_counts(struct stretch *s, const struct net *n)
{
    if (n->now_ns >= s->to_ns)
        s->running = false;
    return s->running && s->measuring;
}
