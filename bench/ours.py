"""`python -m bench.ours NAME [BUDGET]`: one workload by glmmjax in this process, JSON at the end.

Without a budget it fits once, as a user's script does. With one it goes on to time repetitions.
"""

import json
import sys
import time
import warnings
from typing import Any


def main(name: str, budget: float | None = None) -> dict[str, Any]:
    import glmmjax as gj

    from .timing import repeat, summary
    from .workloads import WORKLOADS, new_responses

    workload = WORKLOADS[name]
    frame = workload.frame()
    warnings.simplefilter("ignore")

    def fit():
        return gj.glmm(workload.formula, frame, workload.family, **workload.options())

    began = time.perf_counter()
    first = fit()
    answer = {"first": time.perf_counter() - began, "converged": first.converged}
    # PQL has no log-likelihood, only a residual scale to compare
    number = "scale" if first.loglik_note else "loglik"
    say = (lambda f: f.dispersion) if first.loglik_note else (lambda f: f.loglik)
    answer[number] = [say(first)]
    if workload.refit:  # new responses: at the old one the search would start at its end
        responses = new_responses(frame).T.astype(float)
        first.refit(responses[0])
        turn = iter(range(10**9))

        def fit():
            return first.refit(responses[next(turn) % len(responses)])

        answer[number] = [say(first.refit(y)) for y in responses]
    if budget is not None:
        answer["warm"] = summary(repeat(fit, budget))
    return answer


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(float, sys.argv[2:]))))
