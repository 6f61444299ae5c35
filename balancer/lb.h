/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's balancer over a group: the view, the policy's memory, and the lease that keeps each
 * endpoint's in-flight count paired. Owns all but the group. Never blocks, does I/O or reads a
 * clock; picking and leasing never allocate. Belongs to one thread; only the group is shared.
 */
#ifndef WEIR_BALANCER_LB_H
#define WEIR_BALANCER_LB_H

#include "balancer/policy.h"

struct lb;

/*
 * One attempt's claim on an endpoint. Embed it zeroed (or call lb_lease_init) in the attempt;
 * lb_started fills it, lb_finished empties it. An aborted process is what comes of starting one
 * twice, of finishing one that is not started, and of freeing an lb that still has some out.
 */
struct lb_lease {
    struct lb *lb; /* NULL: not started */
    uint32_t index;
    bool probe; /* of an ejected endpoint: how it ends decides whether that comes back */
};

static inline void lb_lease_init(struct lb_lease *lease)
{
    *lease = (struct lb_lease){0};
}

static inline bool lb_lease_started(const struct lb_lease *lease)
{
    return lease->lb != NULL;
}

/*
 * A worker's balancer over a group, which is borrowed and must outlive it. seed: give each worker
 * another one. Never NULL.
 */
struct lb *lb_new(struct lb_group *group, uint64_t seed);

/*
 * From now on, before the first pick, the balancer uses only as many endpoints as the group's
 * options say: which ones follows from the client's number (subset.h). The others are there for
 * sessions, and for retries once all of these were tried. Nothing happens without such an option.
 */
void lb_narrow(struct lb *lb, uint64_t client);

/* NULL is fine. No lease may be out. */
void lb_free(struct lb *lb);

/*
 * Chooses an endpoint for a new attempt: an index of one that has an effective weight (shares.h)
 * and is not in tried, or, when all of those were tried, of another that is usable (in another
 * zone or level, a backup) or else ejected. LB_NONE if there is none, and then it is the caller who
 * decides whether to clear tried or to give up. key and tried as in lb_policy.pick. Counts nothing:
 * call lb_started. What was told to the group is known to the next pick. An ejected endpoint whose
 * time is over is picked once, by a pick that has tried nobody: the attempt that is started there
 * is its probe.
 *
 * One that may have only so many requests in flight is not picked while it has them, and LB_FULL
 * says that there were only such; the request counts there from now on, until it has ended or
 * lb_unpicked.
 */
int32_t lb_pick(struct lb *lb, uint64_t key, const struct lb_tried *tried, uint64_t now_us);

/* What was picked last will not be started after all, or not now; if it was a probe, the next pick
 * may be one. Harmless otherwise. Whether its endpoint has room for somebody else now. */
bool lb_unpicked(struct lb *lb, uint64_t now_us);

/* The request goes to index, whatever was picked: as if that had been. False: it has as many as it
 * may. */
bool lb_claim(struct lb *lb, uint32_t index);

/*
 * As lb_pick, but for a session that belongs to endpoint stuck (LB_NONE: to none yet), which is
 * chosen if lb_keeps_session and it was not tried; else anybody's pick decides. If it has as many
 * requests as it may, or others of its sessions wait, a first attempt gets LB_FULL and may wait
 * (lb_wait), while others are picked for a retry.
 */
int32_t lb_pick_stuck(struct lb *lb, int32_t stuck, uint64_t key, const struct lb_tried *tried,
                      uint64_t now_us);

/* The session may go on at stuck: that gets requests, or would, were it not drained, without
 * weight, or in a level, zone or subset that gets none now. Not if it is down, unproven or ejected,
 * or a backup whose time is over. */
bool lb_keeps_session(struct lb *lb, int32_t stuck, uint64_t now_us);

/* A request waits for stuck to have room, over all workers: until it does so no more, that room is
 * for those that wait, of whom the caller asks with lb_pick_waited. lb_wait_over: whether it was
 * the last, so that the room is anybody's again. */
void lb_wait(struct lb *lb, int32_t stuck);
bool lb_wait_over(struct lb *lb, int32_t stuck);

/* lb_pick_stuck for one that waits for stuck. */
int32_t lb_pick_waited(struct lb *lb, int32_t stuck, uint64_t key, const struct lb_tried *tried,
                       uint64_t now_us);

/* The attempt at index begins: counts it in flight and fills the lease. */
void lb_started(struct lb *lb, struct lb_lease *lease, uint32_t index, uint64_t now_us);

/* The attempt ends without a word about its endpoint, and one that is started there at once keeps
 * its place. */
void lb_restart(struct lb_lease *lease, uint64_t now_us);

/*
 * The head of the response is there, though the attempt goes on: for a probe, this decides. Whether
 * the endpoint was ejected, or came back: somebody may want to log that (outlier.h tells why).
 */
bool lb_answered(struct lb_lease *lease, enum lb_outcome outcome, uint64_t now_us);

/*
 * The attempt has ended, however. latency_us: from its start to the response's head, or to the
 * failure. The lease is empty afterwards and may be used again. Returns as lb_answered.
 */
bool lb_finished(struct lb_lease *lease, enum lb_outcome outcome, uint64_t latency_us,
                 uint64_t now_us);

/* lb_finished if it is started, else nothing: for clean-up paths. */
static inline void lb_lease_drop(struct lb_lease *lease, uint64_t now_us)
{
    if (lb_lease_started(lease))
        lb_finished(lease, LB_CANCELLED, 0, now_us);
}

/* The view, to look at: how many are usable, who has which weight. Valid as long as lb. */
const struct lb_view *lb_view_of(const struct lb *lb);

const struct lb_policy *lb_policy_of(const struct lb *lb);

#endif
