"""`python -m bench.scaling [--most K] [--plot FILE]`: how the time of a batch grows.

Three curves for the workloads of `bench.batch`, warm, standard errors included:

    K        responses of one design, 10^2 to 10^5 (Gaussian) or 10^4
    n        rows of one response, by more groups of the same size, at K = 1,000
    devices  1, 2, 4 and 8, cut out of the CPU, at K = 1,024 (`bench.devices`)

Each point is the better of two calls, on different responses, after one that compiles. A table
goes to stdout, a picture with logarithmic axes to FILE. The dashed lines are proportional to K
or n.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator

import numpy as np

import glmmjax as gj

from .batch import WORKLOADS, Workload, timed
from .facts import facts
from .timing import clean_environment, python

RESPONSES = (100, 1_000, 10_000, 100_000)
GROUPS = (25, 50, 100, 200, 400)
DEVICES = (1, 2, 4, 8)
MOST = {"linear": 100_000}  # responses; others stop at 10^4
Curves = dict[str, dict[int, float]]  # by workload: seconds by size


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore", gj.GlmmjaxWarning)
    for name, value in facts(None).items():
        print(f"- {name}: {value}")
    found: dict[str, Curves] = {
        "responses": {name: dict(by_responses(name, options.most)) for name in WORKLOADS},
        "rows": {name: dict(by_rows(name)) for name in WORKLOADS},
        "devices": {"logistic": dict(by_devices())},
    }
    for what, curves in found.items():
        print(f"\n{table(what, curves)}")
    if options.plot:
        plot(found, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--most", type=int, default=RESPONSES[-1], help="responses at most")
    parser.add_argument("--plot", metavar="FILE", help="draw the curves into a PNG file")
    return parser.parse_args()


def seconds(work: Workload, K: int) -> float:
    """The better of two warm calls; the first, which compiles, has other responses."""
    work.fit(work.responses(min(K, 1024), seed=9))
    return min(timed(lambda Y=work.responses(K, seed): work.fit(Y))[0].wall for seed in (1, 2))


def by_responses(name: str, most: int) -> Iterator[tuple[int, float]]:
    top = min(most, MOST.get(name, 10_000))
    for size in RESPONSES:
        if size <= top:
            yield size, _told(name, size, "responses", seconds(WORKLOADS[name], size))


def by_rows(name: str) -> Iterator[tuple[int, float]]:
    for groups in GROUPS:
        work = WORKLOADS[name]._replace(groups=groups)
        n = groups * work.rows
        yield n, _told(name, n, "rows", seconds(work, 1_000))


def by_devices() -> Iterator[tuple[int, float]]:
    """A process for each number, since it is fixed when JAX starts."""
    for count in DEVICES:
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
        env = clean_environment() | flags | {"JAX_PLATFORMS": "cpu"}
        done = python("-m", "bench.devices", "--run", str(count), "--units", "200", env=env)
        answer = done.answer()
        if "error" in answer:
            raise SystemExit(f"{count} devices: {answer['error']}")
        yield count, _told("logistic", count, "devices", answer["batch"][1])


def _told(name: str, size: int, what: str, value: float) -> float:
    print(f"bench: {name}, {size:,} {what}: {value:.2f} s", file=sys.stderr, flush=True)
    return value


def table(what: str, curves: Curves) -> str:
    """Markdown: a row a size, a column a workload, seconds and the power of growth since the last.

    The power p of a step is log(t2 / t1) / log(size2 / size1): 1 is proportional, 0 is free.
    """
    sizes = sorted({size for curve in curves.values() for size in curve})
    lines = [f"| {what} | {' | '.join(curves)} |", "|---:" * (1 + len(curves)) + "|"]
    for size in sizes:
        cells = [_cell(curve, size) for curve in curves.values()]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(curve: dict[int, float], size: int) -> str:
    if size not in curve:
        return ""
    before = [k for k in curve if k < size]
    if not before:
        return f"{curve[size]:.2f} s"
    last = max(before)
    power = np.log(curve[size] / curve[last]) / np.log(size / last)
    return f"{curve[size]:.2f} s ({power:.2f})"


def plot(found: dict[str, Curves], path: str) -> None:
    """A panel for each of responses, rows and devices."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, (what, curves) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        for name, curve in curves.items():
            sizes, times = np.array(list(curve)), np.array(list(curve.values()))
            (line,) = axes.loglog(sizes, times, "o-", label=name)
            if what != "devices":
                axes.loglog(
                    sizes, times[0] * sizes / sizes[0], "--", color=line.get_color(), lw=0.7
                )
        axes.set(xlabel=what, ylabel="seconds, warm")
        axes.xaxis.set_minor_formatter(NullFormatter())
        if what == "devices":
            axes.set_xticks(DEVICES, map(str, DEVICES))
        axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
