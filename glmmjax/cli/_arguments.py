"""What can be asked on the command line. Nothing here imports JAX."""

import argparse
from typing import NoReturn

from ._read import MAX_ROWS

EXAMPLE = """\
example:
  python -m glmmjax fit cbpp.csv "cbind(incidence, size - incidence) ~ C(period) + (1 | herd)" \\
      --family binomial --out cbpp.npz
  python -m glmmjax predict cbpp.npz new.csv --effects fixed --interval 0.95

exit codes: 0 ok, 2 bad input, 3 not converged (the result is still written), 4 device error.
Compiled programs are kept in ~/.cache/glmmjax; GLMMJAX_CACHE=/a/folder moves them, =0 turns it off.
"""


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"glmmjax: error: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The whole grammar of arguments; `args.command` names a function of `_commands`."""
    top = Parser(
        prog="python -m glmmjax",
        description="Fit generalised linear mixed models.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for add in (_fit, _predict, _simulate, _check, _demo, _version):
        add(commands)
    return top


def _fit(commands) -> None:
    p = commands.add_parser("fit", help="fit a model to a CSV file", allow_abbrev=False)
    _model(p)
    p.add_argument("--out", metavar="FILE.npz", help="keep the fit, for predict and simulate")
    p.add_argument("--format", choices=("text", "json", "csv"), default="text")
    p.add_argument("--max-evaluations", type=_positive, metavar="N", help="limit of the search")
    p.add_argument("--progress", action="store_true", help="a line on stderr for every step")
    p.add_argument(
        "--timings", action="store_true", help="on stderr, where the seconds went (as JSON)"
    )


def _check(commands) -> None:
    p = commands.add_parser(
        "check", help="say what would be fitted, without fitting", allow_abbrev=False
    )
    _model(p)
    p.add_argument("--format", choices=("text", "json"), default="text")


def _model(p: argparse.ArgumentParser) -> None:
    """Data and model: the same for `fit` and `check`."""
    p.add_argument("data", help="CSV file (or .csv.gz), UTF-8, first line with the names")
    p.add_argument("formula", help='such as "y ~ x + (1 + x | g)"')
    p.add_argument("--family", default="gaussian", help="gaussian (default), binomial, poisson, ..")
    p.add_argument("--link", help="default: identity, logit or log")
    p.add_argument(
        "--method", default="laplace", help="laplace (default), agq, importance, mcem, saem or pql"
    )
    p.add_argument("--nodes", type=_positive, metavar="N", help="of agq, for each random effect")
    p.add_argument("--reml", action="store_true", help="restricted likelihood")
    p.add_argument("--ziformula", metavar="~RHS", help="zero inflation, on the logit scale")
    p.add_argument("--dispformula", metavar="~RHS", help="dispersion, on the log scale")
    p.add_argument("--weights", metavar="COLUMN")
    p.add_argument("--weights-kind", choices=("frequency", "precision"), default="frequency")
    p.add_argument("--offset", metavar="COLUMN")
    p.add_argument("--trials", metavar="COLUMN", help="of a binomial response given as proportion")
    p.add_argument("--missing", choices=("drop", "raise"), default="drop")
    p.add_argument(
        "--as-factor", metavar="COLUMN,..", default="",
        help="columns of numbers that are labels (in the formula: C(column))",
    )  # fmt: skip
    _limit(p)


def _predict(commands) -> None:
    p = commands.add_parser("predict", help="predictions of a kept fit", allow_abbrev=False)
    p.add_argument("fit", help="file that fit --out wrote")
    p.add_argument("data", nargs="?", help="CSV file of new rows; default: the rows used")
    p.add_argument("--effects", choices=("conditional", "fixed", "marginal"), default="conditional")
    p.add_argument("--kind", choices=("response", "link"), default="response")
    p.add_argument("--new-levels", choices=("error", "population", "sample"), default="error")
    p.add_argument("--interval", type=_level, metavar="LEVEL", help="such as 0.95")
    p.add_argument("--format", choices=("csv", "json"), default="csv")
    _limit(p)


def _simulate(commands) -> None:
    p = commands.add_parser("simulate", help="new responses from a kept fit", allow_abbrev=False)
    p.add_argument("fit", help="file that fit --out wrote")
    p.add_argument("-n", type=_positive, default=10, metavar="DRAWS", help="default 10")
    p.add_argument("--seed", type=_natural, default=0)
    p.add_argument("--format", choices=("csv", "json"), default="csv")


def _demo(commands) -> None:
    commands.add_parser("demo", help="fit real data by every method", allow_abbrev=False)


def _version(commands) -> None:
    commands.add_parser("version", help="versions, and the device in use", allow_abbrev=False)


def _limit(p: argparse.ArgumentParser) -> None:
    p.add_argument("--max-rows", type=_positive, default=MAX_ROWS, metavar="N")


def _level(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        level = 0.0
    if not 0 < level < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1")
    return level


def _positive(text: str) -> int:
    if (number := _natural(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return number


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at most nine digits")
    return int(text)
