/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong with endpoints, and comes to them, while requests arrive. One thread. */
#include <math.h>

#include "bench/sim/world.h"

enum { SLOW, NORMAL, DEAD, NOTICED, ALIVE, RECOVERED, ADDED, WARM, TROUBLES };
_Static_assert(TROUBLES == SIM_TROUBLES, "a timer for each");

static void set_speed(struct sim *sim, struct sim_box *box)
{
    double speed = box->paused ? 0 : box->base / box->slowed / box->cold;
    sim_server_set_speed(&box->server, speed, sim->now);
    sim_box_reschedule(sim, box);
}

static void mark(struct sim *sim, uint32_t i, enum lb_mark mark, bool on)
{
    for (uint32_t k = 0; k < (uint32_t)sim->sc->instances; k++)
        lb_group_mark(sim->instances[k].group, i, mark, on, sim_now_us(sim));
}

static void slow_all(struct sim *sim, double by)
{
    for (uint32_t i = 0; i < sim_scenario_some(sim->sc, sim->sc->slow); i++) {
        sim->boxes[i].slowed = by;
        set_speed(sim, &sim->boxes[i]);
    }
}

static void slow_begins(struct sim *sim, struct sim_timer *timer)
{
    (void)timer;
    slow_all(sim, sim->sc->slow_by);
}

static void slow_ends(struct sim *sim, struct sim_timer *timer)
{
    (void)timer;
    slow_all(sim, 1);
}

static void dead_begins(struct sim *sim, struct sim_timer *timer)
{
    (void)timer;
    for (uint32_t i = 0; i < sim_scenario_some(sim->sc, sim->sc->dead); i++) {
        sim->boxes[i].dead = true;
        sim_box_died(sim, &sim->boxes[i]);
        sim_box_reschedule(sim, &sim->boxes[i]);
    }
    if (sim->sc->notice_s > 0)
        sim_after(sim, &sim->trouble[NOTICED], sim->sc->notice_s * 1000);
}

static void dead_ends(struct sim *sim, struct sim_timer *timer)
{
    (void)timer;
    for (uint32_t i = 0; i < sim_scenario_some(sim->sc, sim->sc->dead); i++)
        sim->boxes[i].dead = false;
    if (sim->sc->notice_s > 0)
        sim_after(sim, &sim->trouble[RECOVERED], sim->sc->notice_s * 1000);
}

static void dead_noticed(struct sim *sim, struct sim_timer *timer)
{
    bool down = timer == &sim->trouble[NOTICED];
    for (uint32_t i = 0; i < sim_scenario_some(sim->sc, sim->sc->dead); i++)
        mark(sim, i, LB_DOWN, down);
}

/* The last ones of the pool come later. */
static void added_each(struct sim *sim, bool there, double cold)
{
    uint32_t added = sim_scenario_some(sim->sc, sim->sc->added);
    for (uint32_t i = sim->count - added; i < sim->count; i++) {
        mark(sim, i, LB_UNPROVEN, !there);
        sim->boxes[i].cold = cold;
        set_speed(sim, &sim->boxes[i]);
    }
}

static void added_come(struct sim *sim, struct sim_timer *timer)
{
    (void)timer;
    added_each(sim, true, sim->sc->cold_by);
    sim_after(sim, &sim->trouble[WARM], sim->sc->cold_s * 1000);
}

static void added_warm(struct sim *sim, struct sim_timer *timer)
{
    (void)timer;
    added_each(sim, true, 1);
}

static void pause_next(struct sim *sim, struct sim_box *box)
{
    sim_after(sim, &box->pause, sim->sc->gc_every_s * 1000 * sim_dice_wait(&sim->pauses));
}

static void pause_toggles(struct sim *sim, struct sim_timer *timer)
{
    struct sim_box *box = CONTAINER_OF(timer, sim_box, pause);
    box->paused = !box->paused;
    set_speed(sim, box);
    if (box->paused)
        sim_after(sim, timer, sim->sc->gc_ms);
    else
        pause_next(sim, box);
}

static void speeds_drift(struct sim *sim, struct sim_timer *timer)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        sim->boxes[i].base = pow(sim->sc->speeds, sim_dice_unit(&sim->speeds) - 0.5);
        set_speed(sim, &sim->boxes[i]);
    }
    sim_after(sim, timer, sim->sc->drift_s * 1000);
}

static void once(struct sim *sim, int which, void (*fire)(struct sim *, struct sim_timer *),
                 double part)
{
    sim->trouble[which].fire = fire;
    if (part >= 0)
        sim_at(sim, &sim->trouble[which], (uint64_t)(part * (double)sim->length));
}

void sim_trouble_init(struct sim *sim)
{
    const struct sim_scenario *sc = sim->sc;
    once(sim, SLOW, slow_begins, sc->slow > 0 ? sc->slow_from : -1);
    once(sim, NORMAL, slow_ends, sc->slow > 0 ? sc->slow_until : -1);
    once(sim, DEAD, dead_begins, sc->dead > 0 ? sc->dead_from : -1);
    once(sim, ALIVE, dead_ends, sc->dead > 0 ? sc->dead_until : -1);
    once(sim, NOTICED, dead_noticed, -1);
    once(sim, RECOVERED, dead_noticed, -1);
    once(sim, ADDED, added_come, sc->added > 0 ? sc->added_at : -1);
    once(sim, WARM, added_warm, -1);
    if (sc->added > 0)
        added_each(sim, false, 1);
    sim->drift.fire = speeds_drift;
    if (sc->drift_s > 0)
        sim_after(sim, &sim->drift, sc->drift_s * 1000);
    for (uint32_t i = 0; sc->gc_every_s > 0 && i < sim->count; i++) {
        sim->boxes[i].pause.fire = pause_toggles;
        pause_next(sim, &sim->boxes[i]);
    }
}
