"""`python -m bench.peers.glmm_fit NAME [BUDGET]`: one workload by the Python package glmm."""

import json
import sys
import time
import warnings
from typing import Any

from ..timing import repeat, summary
from ..workloads import WORKLOADS, new_responses


def main(name: str, budget: float | None = None) -> dict[str, Any]:
    import glmm

    workload = WORKLOADS[name]
    frame = workload.frame()
    columns = {c: frame[c] for c in frame.columns}
    formula, family, options = workload.glmm_call()
    warnings.simplefilter("ignore")

    def fit(columns: Any = frame):
        return glmm.fit(columns, formula, family=family, **options)

    call = fit
    began = time.perf_counter()
    first = fit()
    answer = {"first": time.perf_counter() - began, "loglik": [_loglik(first)]}
    if workload.refit:
        # the package has no refit, so it gets whole data sets, made beforehand
        sets = [
            columns | {"incidence": y, "healthy": frame["size"] - y} for y in new_responses(frame).T
        ]
        turn = iter(range(10**9))
        answer["loglik"] = [_loglik(fit(s)) for s in sets]

        def call():
            return fit(sets[next(turn) % len(sets)])

    if budget is not None:
        answer["warm"] = summary(repeat(call, budget))
    return answer


def _loglik(fit: Any) -> float:
    return float(fit.loglik)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(float, sys.argv[2:]))))
