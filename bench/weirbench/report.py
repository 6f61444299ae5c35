# SPDX-License-Identifier: Apache-2.0
"""From samples to figures and tables. Nothing here measures; everything here can be tested."""
import datetime
import os
import platform
import statistics
from pathlib import Path

BASES = ("floor", "nginx", "haproxy")  # what the others are divided by, pair by pair
PERCENTILES = ("p50", "p90", "p99", "p99.9")
FIGURES = ("rate", "cpu_us", "user_us", "system_us", "busy", "others", "rss", "pss")


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(mine, theirs, key="cpu_us"):
    """The ratio of each round that both have, so that drift of the machine cancels; or None."""
    base = {s["round"]: s[key] for s in theirs}
    found = [s[key] / base[s["round"]] for s in mine if base.get(s["round"])]
    return spread(found) if found else None


def by_proxy(samples, cell, kind):
    found = {}
    for s in samples:
        if s["cell"] == cell and s["kind"] == kind:
            found.setdefault(s["proxy"], []).append(s)
    return found


def summarise(samples, cell):
    """proxy -> figures of one cell."""
    peaks, summary = by_proxy(samples, cell, "peak"), {}
    for proxy, mine in peaks.items():
        row = {key: spread([s[key] for s in mine]) for key in FIGURES}
        row["rounds"] = len(mine)
        row["errors"] = sum(sum(s["errors"].values()) for s in mine)
        idle = [s["idle_pss"] for s in mine if "idle_pss" in s]
        if idle:
            row["idle_pss"] = spread(idle)
        for base in BASES:
            if base in peaks and (found := ratios(mine, peaks[base])):
                row[f"to_{base}"] = found
        if latency := [s["latency_us"] for s in mine if s["latency_us"]]:
            row["closed_latency_us"] = latencies(latency)
        summary[proxy] = row
    paced = by_proxy(samples, cell, "paced")
    for proxy, mine in paced.items():
        row = summary.setdefault(proxy, {})
        if "nginx" in paced and (found := ratios(mine, paced["nginx"])):
            row["paced_to_nginx"] = found
        row["latency_us"] = latencies([s["latency_us"] for s in mine])
        row["paced_rate"] = spread([s["requests"] / s["seconds"] for s in mine])
        row["asked"] = mine[0]["asked"]
        row["paced_cpu_us"] = spread([s["cpu_us"] for s in mine])
        row["paced_errors"] = sum(sum(s["errors"].values()) for s in mine)
    return summary


def latencies(found):
    return {p: spread([f[p] for f in found]) for p in PERCENTILES if all(p in f for f in found)}


def errors_of(summaries):
    """Failed requests over everything."""
    return sum(row.get("errors", 0) + row.get("paced_errors", 0)
               for s in summaries.values() for row in s.values())


# ---- tables --------------------------------------------------------------------------------------

def number(value, digits=None):
    """As many digits as can be believed: three or so, unless told."""
    if digits is None:
        digits = 2 if value < 100 else 1 if value < 1000 else 0
    return f"{value:,.{digits}f}"


def cell_text(values, digits=None, scale=1):
    low, middle, high = (number(values[k] * scale, digits) for k in ("min", "median", "max"))
    if low == high:
        return middle
    return f"{middle} ({low} to {high})"


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1),
                      *("| " + " | ".join(row) + " |" for row in rows)])


def overview(cells, summaries):
    """Cells down, proxies across: CPU a unit, and weir's ratios."""
    proxies = list(dict.fromkeys(p for s in summaries.values() for p in s))
    bases = [b for b in BASES if any(f"to_{b}" in s.get("weir", {}) for s in summaries.values())]
    rows = []
    for cell in cells:
        summary = summaries.get(cell["key"], {})
        if not any("cpu_us" in row for row in summary.values()):
            continue
        row = [f"{cell['key']}, µs a {cell['unit']}"]
        row += [number(summary[p]["cpu_us"]["median"]) if "cpu_us" in summary.get(p, {}) else ""
                for p in proxies]
        weir = summary.get("weir", {})
        row += [cell_text(weir[f"to_{b}"], 2) if f"to_{b}" in weir else "" for b in bases]
        rows.append(row)
    return table(["CPU time", *proxies, *(f"weir / {b}" for b in bases)], rows)


def latency_table(cells, summaries):
    rows = []
    for cell in cells:
        for proxy, row in summaries.get(cell["key"], {}).items():
            if "latency_us" in row:
                rows.append([cell["key"], proxy, f"{row['asked']:,}",
                             number(row["paced_rate"]["median"], 0),
                             cell_text(row["paced_cpu_us"]), ratio_text(row, "paced_to_nginx"),
                             *(cell_text(row["latency_us"][p], 0) if p in row["latency_us"] else ""
                               for p in PERCENTILES), str(row["paced_errors"])])
    if not rows:
        return ""
    return table(["workload", "proxy", "due a second", "answered a second", "CPU µs", "/ nginx",
                  *(f"{p}, µs" for p in PERCENTILES), "errors"], rows)


def ratio_text(row, key):
    return cell_text(row[key], 2) if key in row else ""


def idle_table(cells, summaries):
    rows = []
    for cell in cells:
        for proxy, row in summaries.get(cell["key"], {}).items():
            if "idle_pss" in row:
                rows.append([f"{proxy} in {cell['key']}", f"{cell['idle']:,}",
                             cell_text(row["idle_pss"], 0),
                             number(row["pss"]["median"] / (1 << 20), 1)])
    if not rows:
        return ""
    return table(["proxy", "idle connections", "bytes each (PSS)", "all of the proxy, MiB"], rows)


def details(cell, summary):
    """Everything about one cell."""
    measured = {p: row for p, row in summary.items() if "cpu_us" in row}
    bases = [b for b in BASES if b in measured]
    unit = cell["unit"]
    head = ["proxy", f"{unit}s/s" if unit != "MiB" else "MiB/s", f"CPU µs/{unit}", "user", "system",
            *(f"/ {b}" for b in bases), "core busy", "memory MiB", "errors"]
    rows = []
    for proxy, row in measured.items():
        rows.append([proxy, cell_text(row["rate"], 0), cell_text(row["cpu_us"]),
                     number(row["user_us"]["median"]), number(row["system_us"]["median"]),
                     *(cell_text(row[f"to_{b}"], 2) if f"to_{b}" in row else "" for b in bases),
                     f"{row['busy']['median']:.0%}", number(row["pss"]["median"] / (1 << 20), 1),
                     str(row["errors"])])
    if not rows:
        return ""
    rounds = max(row["rounds"] for row in measured.values())
    lines = [f"### {cell['key']}: {cell['about']}", "",
             f"{cell['connections']} connections, {rounds} round{'s' * (rounds > 1)} of "
             f"{cell['seconds']:g} s, "
             "median (min to max).", "", table(head, rows)]
    worst = max(row["others"]["max"] for row in measured.values())
    middle = statistics.median(row["others"]["median"] for row in measured.values())
    lines += ["", f"Others on the proxy's core: {middle:.0%} of the time in the middle, "
                  f"{worst:.0%} at worst."]
    return "\n".join(lines)


def markdown(result):
    """The whole report of a result."""
    cells, summaries = result["cells"], result["summary"]
    parts = [f"# weir: benchmark of {result['machine']['date']}", describe(result["machine"]),
             "Measured: " + ", ".join(f"{name} {version}" if version else name
                                      for name, version in result["versions"].items()) + "."]
    if result.get("ended_early"):
        parts.append("**Ended early**: what follows is what was measured until then.")
    if any(summaries.values()):
        parts += ["## CPU time of the proxy's processes",
                  "Medians, in microseconds; a ratio is the median of the rounds' ratios.",
                  overview(cells, summaries)]
    if found := latency_table(cells, summaries):
        parts += ["## Latency at an equal rate",
                  "Open loop, at a share of the slowest proxy's peak (70%, if the scenario does not "
                  "say another); counted from when a request was due. CPU time is a request's. "
                  "Median of the rounds (min to max).", found]
    if found := idle_table(cells, summaries):
        parts += ["## Memory of idle connections", found]
    parts.append("## Everything")
    parts += [found for cell in cells if (found := details(cell, summaries.get(cell["key"], {})))]
    if result["notes"]:
        parts.append("Notes: " + "; ".join(f"{k}: {v}" for k, v in result["notes"].items()) + ".")
    for title, lines in (("Left out", result["left_out"]),
                         ("Failed", [f"{f['cell']}, {f['proxy']}: {first_line(f['why'])}"
                                     for f in result["failures"]])):
        if lines:
            parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def first_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else "") + (f" {lines[1]}" if len(lines) > 1 else "")


# ---- where it was measured -----------------------------------------------------------------------

def machine():
    model = next((line.split(":", 1)[1].strip()
                  for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown system")
    return {"date": datetime.datetime.now().isoformat(" ", "minutes"), "cpu": model,
            "cpus": os.cpu_count(), "kernel": platform.release(), "system": system,
            "load_average": os.getloadavg()[0]}


def describe(m):
    return (f"{m['date']}, {m['cpus']} CPUs ({m['cpu']}), {m['system']}, Linux {m['kernel']}, "
            f"load average before: {m['load_average']:.2f}.")


def about_cell(plan):
    """What a result says of a cell."""
    cell = plan.cell
    return {"key": cell.key, "scenario": cell.scenario.name, "variant": cell.variant,
            "about": cell.scenario.about, "workload": cell.scenario.workload,
            "params": cell.params, "unit": cell.unit, "connections": cell.connections,
            "idle": cell.idle, "slow": cell.scenario.slow, "routes": cell.routes,
            "endpoints": cell.endpoints, "rounds": plan.rounds, "seconds": plan.seconds,
            "sweep": cell.scenario.sweep_key,
            "value": dict(routes=cell.routes, endpoints=cell.endpoints, idle=cell.idle,
                          connections=cell.connections,
                          bytes=cell.size).get(cell.scenario.sweep_key)}
