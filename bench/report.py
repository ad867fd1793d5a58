"""Results as Markdown."""

from collections.abc import Iterable
from typing import Any

from .split import STEPS
from .targets import verdicts

TOLERANCE = 1e-6  # of the log-likelihood; what differs less counts as the same optimum
PEERS = ("lme4", "glmmTMB", "glmm", "MASS")
LEGEND = """\
- cold: one fit in a new process with an empty compilation cache, from start to exit; cached: the
  same again with a warm cache; process: the same by the peer
- warm: one fit in a process that has fitted before, formula included: median (and least)
- ratio: the peer's warm time over glmmjax's, by medians (by the least); over 1, glmmjax is quicker
- Delta: glmmjax's log-likelihood minus the peer's. LOSS: glmmjax stopped lower, so its time is
  worth nothing. lower: the peer stopped lower, so its time is. scale: of PQL, which has no
  log-likelihood, the difference of residual scales (glmmPQL stops in the fifth digit)
"""


def markdown(results: dict[str, Any]) -> str:
    parts = [
        "# Timings\n",
        table(("machine", ""), results["facts"].items()),
        *([f"**Warning: {w}**\n" for w in results.get("warnings", [])]),
        "## Targets\n",
        table(("target", "bound", "reached", ""), map(_target, verdicts(results))),
        "## Workloads\n",
        LEGEND,
        table(
            ("workload", "program", "cold", "cached / process", "warm", "ratio", "Delta", ""),
            _workload_rows(results.get("workloads", {})),
        ),
    ]
    if results.get("split"):
        parts += ["## One fit, split\n", _split_table(results["split"])]
    if results.get("imports"):
        rows = [(f"import {k}", time(v)) for k, v in results["imports"].items()]
        parts += ["## Imports\n", table(("fresh process, median", ""), rows)]
    if results.get("command"):
        parts += ["## One command\n", _command_table(results["command"])]
    return "\n".join(parts)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def time(seconds: float | None) -> str:
    """Three digits, in the unit that suits."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s"


def _target(verdict: Any) -> tuple[str, ...]:
    def show(x: float | None) -> str:
        return "" if x is None else time(x) if verdict.unit == "s" else f"{x:.3g} x"

    return verdict.what, show(verdict.bound), show(verdict.reached), verdict.word


def _warm(answer: dict[str, Any]) -> str:
    warm = answer.get("warm")
    return "" if not warm else f"{time(warm['median'])} ({time(warm['min'])})"


def _workload_rows(workloads: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    for name, row in workloads.items():
        ours = row["glmmjax"]
        note = ours.get("error", "" if ours.get("converged", True) else "not converged")
        cold, cached = time(ours.get("cold")), time(ours.get("cached"))
        yield name, "glmmjax", cold, cached, _warm(ours), "", "", note
        for peer in PEERS:
            if row.get(peer) is not None:
                yield "", peer, *_against(ours, row[peer])


def _against(ours: dict[str, Any], peer: dict[str, Any]) -> tuple[str, ...]:
    if "error" in peer:
        return "", "", "", "", "", peer["error"].replace("|", "/")
    cells = "", time(peer.get("process")), _warm(peer)
    if "error" in ours:
        return *cells, "", "", ""
    scales = ours.get("scale"), peer.get("scale")
    gap = difference(*scales) if all(scales) else difference(ours["loglik"], peer["loglik"])
    ratios = (peer["warm"][key] / ours["warm"][key] for key in ("median", "min"))
    ratio = "{:.3g} ({:.3g})".format(*ratios)
    word = "scale" if all(scales) else judge(gap, ours["loglik"][0])
    return *cells, ratio, f"{gap:+.1e}", word


def difference(ours: list[float], peer: list[float]) -> float:
    """Ours minus theirs; of several fits our worst, or where we lose none the peer's worst."""
    gaps = [a - b for a, b in zip(ours, peer, strict=True)]
    return min(gaps) if judge(min(gaps), ours[0]) == "LOSS" else max(gaps, key=abs)


def judge(gap: float, loglik: float) -> str:
    if gap < -TOLERANCE * abs(loglik):
        return "LOSS"
    return "lower" if gap > TOLERANCE * abs(loglik) else ""


def _split_table(split: dict[str, Any]) -> str:
    names = list(split)
    good = {n: s for n, s in split.items() if "seconds" in s}
    rows = [(step, *(time(good[n]["seconds"][step]) if n in good else "" for n in names))
            for step in STEPS]  # fmt: skip
    for kind in ("stablehlo", "optimised"):
        counts = (str(good[n]["hlo"][kind]) if n in good else "" for n in names)
        rows.append((f"lines of {kind} HLO", *counts))
    errors = [f"\n{n}: {s['error']}\n" for n, s in split.items() if n not in good]
    return table(("step", *names), rows) + "".join(errors)


def _command_table(command: dict[str, Any]) -> str:
    if command.get("error"):
        return f"{command['how']}: {command['error']}\n"
    rows = [
        (f"{command['how']}, first ever", time(command["first"])),
        (f"{command['how']}, later", time(command["second"])),
    ]
    rows += [("Rscript, lme4's glmer and its summary", time(command.get("lme4")))]
    return table(("cbpp from CSV to printed summary, whole process", ""), rows)
