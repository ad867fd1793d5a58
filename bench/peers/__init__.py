"""The programs that glmmjax is timed against: R's lme4 and glmmTMB, and Python's glmm."""

from ._glmm import run_glmm as run_glmm
from ._r import R as R
from ._r import find_r as find_r
