# SPDX-License-Identifier: Apache-2.0
"""Draws a result as SVG with gnuplot: CPU time by workload, latencies, memory of idle
connections, and how cost grows.

Every proxy has its colour in all plots, and its name stands beside what it names; there is no
legend to look up. Bars and points are medians, whiskers the smallest and the largest round.
"""
import math
import shutil
import subprocess

from .report import PERCENTILES

COLOURS = {"weir": "#1456b8", "floor": "#7b828c", "floor-uring": "#9aa1ab", "nginx": "#1f9e55",
           "haproxy": "#e07800", "caddy": "#8a56c2", "lighttpd": "#8c6a3f", "envoy": "#d0478c",
           "traefik": "#128fa8"}
OTHERS = ("#c23b3b", "#5a8f00", "#0f7c7c", "#a3007a")  # for variants as nginx:mine
INK, GRID = "#24292f", "#e4e7eb"
WIDTH = 1080               # of a plot, in SVG units; everything below is too
ROW = 22                   # of one bar
TOP, BOTTOM, LEFT, RIGHT = 46, 34, 96, 110  # around a panel's field
LINE_HEIGHT = 230          # of the field of a panel with lines
GROWING = ("routes", "endpoints", "idle", "connections")  # sweeps of a number of things
LABEL = 15                 # that two labels at the end of lines need between them


def draw(result, folder):
    """([paths], why not all or None)."""
    return draw_panels({"cpu": cpu_panels(result), "latency": latency_panels(result),
                        "memory": memory_panels(result), "growth": growth_panels(result)}, folder)


def draw_panels(plots, folder):
    """Panels by the name of the file that they go to: ([paths], why not all or None)."""
    if not shutil.which("gnuplot"):
        return [], "gnuplot is not installed"
    drawn = []
    for name, panels in plots.items():
        if not panels:
            continue
        path = folder / f"{name}.svg"
        done = subprocess.run(["gnuplot", "-"], input=script(panels, path), text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        if done.returncode or not path.exists():
            return drawn, f"gnuplot failed on {path.name}: {done.stdout[-500:]}"
        drawn.append(path)
    return drawn, None


def colour(proxy):
    base, _, variant = proxy.partition(":")
    if not variant:
        return COLOURS.get(base, OTHERS[0])
    return OTHERS[sum(map(ord, variant)) % len(OTHERS)]


def quote(text):
    return '"' + str(text).replace("\\", "\\\\").replace('"', "'") + '"'


# ---- panels: title, height of the field, and gnuplot's lines for it ------------------------------

def cpu_panels(result):
    return bar_panels(result, "cpu_us", lambda cell: f"CPU µs a {cell['unit']}")


def memory_panels(result):
    return bar_panels(result, "idle_pss", lambda cell: "bytes (PSS) an idle connection")


def bar_panels(result, figure, title):
    """Bars: one panel a workload that has the figure, one bar a proxy."""
    panels = []
    for cell in result["cells"]:
        rows = [(p, r[figure]) for p, r in result["summary"].get(cell["key"], {}).items()
                if figure in r]
        if rows:
            panels.append((f"{cell['key']}: {title(cell)}", ROW * len(rows), bars(rows)))
    return panels


def bars(rows):
    most = max(1e-3, *(v["max"] for _, v in rows))  # a few idle conns may cost no page, or less
    data = []
    for place, (proxy, v) in enumerate(reversed(rows)):
        rgb = int(colour(proxy)[1:], 16)
        label = quote(short(v["median"]))
        data.append(f"{v['median']} {place} {v['min']} {v['max']} {rgb} {label}")
    tics = ", ".join(f"{quote(p)} {place}" for place, (p, _) in enumerate(reversed(rows)))
    return ["$data << EOD", *data, "EOD", "set xrange [0:%g]" % (most * 1.02),
            f"set yrange [-0.6:{len(rows) - 0.4}]", f"set ytics ({tics}) scale 0",
            f"set xtics ({tics_of(0, most, False)}) scale 0",
            "set grid xtics lt 1 lc rgb '%s'" % GRID,
            "plot $data using 1:2:(0):1:($2-0.36):($2+0.36):5 with boxxyerror fs solid 0.85 "
            "noborder lc rgb variable notitle, "
            f"'' using 1:2:3:4 with xerrorbars pt 0 ps 0.01 lw 1.2 lc rgb '{INK}' notitle, "
            "'' using (%g):2:6 with labels left offset 0.6,0 notitle" % (most * 1.02)]


def latency_panels(result):
    """Lines: one panel a workload, percentiles across."""
    panels = []
    for cell in result["cells"]:
        lines = {}
        for proxy, row in result["summary"].get(cell["key"], {}).items():
            found = row.get("latency_us", {})
            points = [(place, found[p]) for place, p in enumerate(PERCENTILES) if p in found]
            if points:
                lines[proxy] = points
                asked = row["asked"]
        if lines:
            tics = list(enumerate(PERCENTILES))
            panels.append((f"{cell['key']}: latency in µs at {asked:,} requests a second, log",
                           LINE_HEIGHT, curves(lines, tics, log=True)))
    return panels


def growth_panels(result):
    """Lines: one panel a swept scenario, its values across."""
    swept = {}
    for cell in result["cells"]:
        if cell["sweep"] in GROWING and any("cpu_us" in r
                                 for r in result["summary"].get(cell["key"], {}).values()):
            swept.setdefault((cell["scenario"], cell["sweep"], cell["unit"]), []).append(cell)
    panels = []
    for (name, what, unit), cells in swept.items():
        if len(cells) < 2:
            continue
        lines = {}
        for place, cell in enumerate(cells):
            for proxy, row in result["summary"][cell["key"]].items():
                if "cpu_us" in row:
                    lines.setdefault(proxy, []).append((place, row["cpu_us"]))
        tics = [(place, f"{cell['value']:,}") for place, cell in enumerate(cells)]
        values = [v for points in lines.values() for _, v in points]
        log = max(v["max"] for v in values) > 8 * min(v["min"] for v in values)
        panels.append((f"{name}: CPU µs a {unit} by number of {what}" + ", log" * log,
                       LINE_HEIGHT, curves(lines, tics, log)))
    return panels


def curves(lines, tics, log, colour_of=colour):
    """Lines with whiskers; names at their right ends, pushed apart where they would overlap."""
    values = [v for points in lines.values() for _, v in points]
    low, high = min(v["min"] for v in values), max(v["max"] for v in values)
    low, high = (low / 1.15, high * 1.15) if log else (0, high * 1.08)
    last = tics[-1][0]
    out = [f"set xrange [-0.15:{last + 0.15}]", f"set yrange [{low:g}:{high:g}]",
           "set logscale y" if log else "unset logscale y",
           "set xtics (" + ", ".join(f"{quote(t)} {p}" for p, t in tics) + ") scale 0",
           f"set ytics ({tics_of(low, high, log)}) scale 0",
           "set grid ytics lt 1 lc rgb '%s'" % GRID]
    plots, ends = [], []
    for index, (proxy, points) in enumerate(lines.items()):
        # A little beside one another, so that whiskers can be told apart.
        shift = (index - (len(lines) - 1) / 2) * 0.025
        out += [f"$line{index} << EOD",
                *(f"{p + shift} {v['median']} {v['min']} {v['max']}" for p, v in points), "EOD"]
        style = f"lc rgb '{colour_of(proxy)}'"
        plots += [f"$line{index} using 1:2 with lines lw 2.2 {style} notitle",
                  f"$line{index} using 1:2:3:4 with yerrorbars pt 7 ps 0.45 lw 1.2 {style} notitle"]
        last = points[-1][1]["median"]
        ends.append((share(last, low, high, log), proxy, last))
    for at, proxy, value in apart(ends):
        out.append(f"set label {quote(f'{proxy} {short(value)}')} at graph 1.01, graph {at:.4f} "
                   f"left tc rgb '{colour_of(proxy)}'")
    return [*out, "plot " + ", ".join(plots)]


def tics_of(low, high, log):
    """Round values along an axis: 1, 2 and 5 on a logarithmic one, about five steps else."""
    powers = range(math.floor(math.log10(max(low, 1e-3))), math.ceil(math.log10(high)) + 1)
    if log:
        values = [m * 10.0 ** p for p in powers for m in (1, 2, 5)]
        if high / low > 300:
            values = [10.0 ** p for p in powers]
    else:
        step = 10.0 ** math.floor(math.log10(high / 4))
        step = next(step * m for m in (1, 2, 5, 10) if high / (step * m) <= 6)
        values = [step * n for n in range(int(high / step) + 1)]
    return ", ".join(f"{quote(f'{v:,.10g}')} {v:g}" for v in values if low <= v <= high)


def share(value, low, high, log):
    """Where a value lies between the ends of an axis, 0 to 1."""
    if log:
        value, low, high = (math.log(max(v, 1e-9)) for v in (value, low, high))
    return (value - low) / (high - low) if high > low else 0.5


def apart(ends):
    """The ends in order, each at least a label's height above the one before it."""
    gap, placed = LABEL / LINE_HEIGHT, []
    for at, *rest in sorted(ends):
        if placed and at < placed[-1][0] + gap:
            at = placed[-1][0] + gap
        placed.append((at, *rest))
    over = placed[-1][0] - 1.0 if placed else 0
    return [(at - max(0.0, over), *rest) for at, *rest in placed]


def short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


# ---- the whole of a plot -------------------------------------------------------------------------

def script(panels, path):
    """gnuplot's input: panels in one or two columns, each row as high as its highest."""
    columns = min(2, len(panels))
    rows = [panels[i:i + columns] for i in range(0, len(panels), columns)]
    heights = [TOP + BOTTOM + max(field for _, field, _ in row) for row in rows]
    total, half, width = sum(heights), WIDTH / 2, WIDTH // 2 * columns
    out = [f"set terminal svg size {width},{total} font 'Helvetica,13' background '#ffffff' "
           "noenhanced", f"set output {quote(path)}", "set multiplot",
           f"set border 0 lc rgb '{INK}'", "set bars 0.4", "unset key",
           f"set tics textcolor rgb '{INK}' nomirror"]
    top = 0
    for row, height in zip(rows, heights):
        for column, (title, field, lines) in enumerate(row):
            left, y = column * half + LEFT, total - top - TOP
            out += ["unset label", "unset logscale", "unset grid",
                    f"set lmargin at screen {left / width:.5f}",
                    f"set rmargin at screen {(column * half + half - RIGHT) / width:.5f}",
                    f"set tmargin at screen {y / total:.5f}",
                    f"set bmargin at screen {(y - field) / total:.5f}",
                    f"set label {quote(title)} at screen {(column * half + 14) / width:.5f}, "
                    f"screen {(y + 18) / total:.5f} left font ',14' tc rgb '{INK}'", *lines]
        top += height
    return "\n".join([*out, "unset multiplot", ""])
