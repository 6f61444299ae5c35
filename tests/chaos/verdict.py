# SPDX-License-Identifier: Apache-2.0
"""Whether what the clients saw, what weir logged, what it counted, and what the backends read are
one story. Every request, exactly; each finding is a sentence."""
from collections import Counter

import client
from harness import sum_of

UNSENT = ("connect_refused", "connect_failed", "connect_timeout", "upstream_unsent")
CLIENT = ("client_closed", "client_reset", "client_write_stall")
# Why an answer that has begun may end early.
CUTS = (
    "upstream_reset",
    "upstream_closed",
    "upstream_write_stall",
    "response_incomplete",
    "response_idle_timeout",
)
TRAIL_BYTES = 256  # what weir keeps of a trail; an entry is whole or left out


class Story:
    def __init__(self, requests, log, before, after, backends):
        self.requests, self.log = requests, log
        self.before, self.after = before, after
        self.backends = {b.address: b.name for b in backends}
        self.read = {b.name: Counter() for b in backends}
        for b in backends:
            for _, _, rid in b.ledger():
                if rid != "-":  # a health check; requests have one from weir at the latest
                    self.read[b.name][rid] += 1
        self.findings = []
        self.lost = []

    def find(self, text):
        self.findings.append(text)

    def metric(self, name, **labels):
        return sum_of(self.after, name, labels) - sum_of(self.before, name, labels)

    def judge(self):
        self.lines()
        for request in self.requests:
            self.one(request)
        self.counters()
        self.ledgers()
        return self.findings

    def lines(self):
        """One line a request, and none of nobody's."""
        self.by_id = {}
        asked = {r.id: r for r in self.requests}
        for entry in self.log:
            if entry["id"] in self.by_id:
                self.find(f"two lines of {entry['id']}")
            if entry["id"] not in asked:
                self.find(f"a line of nobody: {entry}")
            self.by_id[entry["id"]] = entry

    def one(self, r):
        entry = self.by_id.get(r.id)
        if not r.outcome:
            self.find(f"{r.id} has no outcome")
        if r.wrong:
            self.find(f"{r.id} {r.method} {r.target}: {r.wrong}; log {entry}")
        if r.outcome == client.BEHIND:
            if entry:
                self.find(f"{r.id} was served behind what ended its connection: {entry}")
            return
        if r.outcome == client.GIVEN_UP:
            if entry and entry["reason"] not in CLIENT + CUTS + ("",) and entry["status"] < 400:
                self.find(f"{r.id} was given up by its client, and the log says {entry}")
            return
        if not entry:
            self.find(f"{r.id} {r.method} {r.target} {r.outcome} {r.status}: not in the log")
            return
        if r.outcome == client.ANSWERED:
            self.answered(r, entry)
        elif entry["reason"] not in CUTS:
            self.find(f"{r.id} was cut, and the log says {entry}")
        elif entry["status"] != (r.status or entry["status"]):
            self.find(f"{r.id} was cut after a head of {r.status}: {entry}")
        if r.method == "POST" or not r.replayable:
            self.once(r, entry)

    def answered(self, r, entry):
        if (entry["status"], entry["reason"]) != (r.status, r.reason):
            self.find(f"{r.id} got {r.status} '{r.reason}', and the log says {entry}")
        if r.status >= 300 and not r.reason:
            self.find(f"{r.id} got {r.status} without a reason: {entry}")
        if r.status < 300 and self.backends.get(entry["endpoint"]) != r.backend:
            self.find(f"{r.id} was answered by {r.backend}, and the log says {entry}")
        if r.status < 300 and not self.read[r.backend][r.id]:
            self.find(f"{r.id} was answered by {r.backend}, which never read it")
        if r.reason and r.idempotent and r.replayable:
            self.lost.append(r)
            self.find(f"lost: {r.method} {r.target} {r.id}: {entry}")

    def once(self, r, entry):
        """What may have been processed is not sent again."""
        for what in entry["trail"] if r.method == "POST" else ():
            if what.split(" ")[0] not in UNSENT and what != entry["trail"][-1]:
                self.find(f"a POST was tried again after {what}: {entry}")
        if r.method == "POST" and r.status < 300 and r.outcome == client.ANSWERED:
            if any(what.split(" ")[0] not in UNSENT for what in entry["trail"]):
                self.find(f"a POST was tried again: {entry}")

    def counters(self):
        n = len(self.log)
        for name in ("weir_requests_total", "weir_request_duration_seconds_count"):
            if self.metric(name) != n:
                self.find(f"{name} is {self.metric(name):g}, and the log has {n} lines")
        if self.metric("weir_access_log_dropped_total"):
            self.find("the log has dropped lines")
        logged = Counter(e["reason"] for e in self.log if e["reason"])
        counted = self.by_reason("weir_errors_total")
        counted.pop("idle_timeout", None)  # of conns, not of requests
        if logged != counted:
            self.find(f"errors: logged {dict(logged)}, counted {dict(counted)}")
        tried, room = Counter(), True
        for entry in self.log:
            tried.update(what.split(" ")[0] for what in entry["trail"])
            room = room and sum(len(what) + 1 for what in entry["trail"]) < TRAIL_BYTES - 64
        failed = self.by_reason("weir_attempts_failed_total")
        if tried != failed if room else tried - failed:
            self.find(f"attempts: in trails {dict(tried)}, counted {dict(failed)}")
        retries = sum(max(0, e["attempts"] - 1) for e in self.log)
        # A client may leave in the pause before a retry that is granted, and so counted.
        left = sum(1 for e in self.log if e["trail"] and e["reason"] in CLIENT)
        if not retries <= self.metric("weir_retries_total") <= retries + left:
            self.find(f"{self.metric('weir_retries_total'):g} retries, and the log has {retries}")
        self.tried = failed

    def by_reason(self, name):
        out = Counter()
        for (sample, labels), _ in self.after.items():
            if sample == name:
                reason = dict(labels)["reason"]
                out[reason] = int(self.metric(name, reason=reason))
        return +out

    def ledgers(self):
        """A POST is read once at most, by all backends together; another request not more often
        than it was tried."""
        times = Counter()
        for read in self.read.values():
            times.update(read)
        methods = {r.id: r.method for r in self.requests}
        for rid, n in times.items():
            if rid not in methods:
                self.find(f"a backend read {rid}, which nobody sent")
            elif methods[rid] == "POST" and n > 1:
                self.find(f"POST {rid} was read {n} times: {self.by_id.get(rid)}")
            elif rid in self.by_id:
                trail = self.by_id[rid]["trail"]
                if n > len(trail) + 1 and sum(map(len, trail)) < TRAIL_BYTES - 64:
                    self.find(f"{rid} was read {n} times: {self.by_id[rid]}")

    def table(self):
        """What happened, for people."""
        rows = [("requests", len(self.requests)), ("logged", len(self.log))]
        rows += sorted(Counter(r.outcome for r in self.requests).items())
        rows += [(f"status {s}", n) for s, n in sorted(Counter(e["status"] for e in self.log).items())]
        rows += [(f"ended: {k}", n) for k, n in Counter(e["reason"] for e in self.log).most_common() if k]
        rows += [(f"attempt: {k}", n) for k, n in self.tried.most_common()]
        rows += [("retried requests", sum(1 for e in self.log if e["trail"]))]
        rows += [("saved requests", sum(1 for e in self.log if e["trail"] and e["status"] < 300))]
        rows += [("idempotent requests lost", len(self.lost))]
        return "\n".join(f"  {name:<32} {n:>9}" for name, n in rows)
