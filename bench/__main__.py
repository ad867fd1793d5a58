"""`python -m bench [--only NAME] [--slow] [--json FILE]`: measure, and print a report."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import split
from .facts import facts
from .peers import R, find_r, run_glmm
from .report import markdown
from .startup import commands, imports
from .timing import cache_folder, clean_environment, python
from .workloads import Workload, select

PARTS = ("workloads", "split", "imports", "command")


def main() -> None:
    options = _options()
    results = measure(options)
    print(markdown(results))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="workloads whose name contains NAME")
    parser.add_argument("--slow", action="store_true", help="the slow workloads too")
    parser.add_argument("--json", metavar="FILE", help="write every number to FILE")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, help="default: all, or workloads with --only"
    )
    parser.add_argument("--no-r", action="store_true", help="leave R out")
    parser.add_argument(
        "--budget", type=float, default=3.0, help="seconds of repetitions a program (3)"
    )
    options = parser.parse_args()
    if options.parts is None:
        options.parts = ["workloads"] if options.only else list(PARTS)
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    r = None if options.no_r else find_r()
    results: dict[str, Any] = {"facts": facts(r), "warnings": _warnings(r)}
    if "workloads" in options.parts:
        chosen = select(options.only, options.slow)
        if not chosen:
            raise SystemExit(f"no workload's name contains {options.only!r}")
        results["workloads"] = {w.name: _workload(w, r, options.budget) for w in chosen}
    if "split" in options.parts:
        results["split"] = {name: _split(name) for name in split.NAMES}
    if "imports" in options.parts:
        _say("imports")
        results["imports"] = imports()
    if "command" in options.parts:
        _say("one command, beside Rscript")
        results["command"] = commands(r)
    return results


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _warnings(r: R | None) -> list[str]:
    if r is None or r.quick:
        return []
    text = f"R stands on {r.blas}, which looks like the reference BLAS; its times flatter us"
    _say(text)
    return [text]


def _workload(workload: Workload, r: R | None, budget: float) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for program in ("glmmjax", *workload.peers):
        _say(f"{workload.name}: {program}")
        if program == "glmmjax":
            row[program] = _ours(workload, budget)
        elif program == "glmm":
            row[program] = run_glmm(workload, budget)
        elif r is not None:
            row[program] = r.run(workload, program, budget)
    return row


def _ours(workload: Workload, budget: float) -> dict[str, Any]:
    """Cold and cached are processes that do nothing but one fit; a third one repeats it."""
    child = ("-m", "bench.ours", workload.name)
    if workload.refit:  # its first fit is another workload's
        return python(*child, str(budget), env=clean_environment()).answer()
    with cache_folder() as env:
        cold, cached = (python(*child, env=env) for _ in range(2))
        if cold.error:
            return cold.answer()
        answer = python(*child, str(budget), env=env).answer()
    return {"cold": cold.seconds, "cached": cached.seconds} | answer


def _split(name: str) -> dict[str, Any]:
    _say(f"split of {name}")
    return python("-m", "bench.split", name, env=clean_environment()).answer()


if __name__ == "__main__":
    main()
