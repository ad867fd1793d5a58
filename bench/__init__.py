"""Timings of glmmjax, cold, cached and warm, beside lme4, glmmTMB and the glmm package.

`python -m bench` prints a report in Markdown; README.md says what is measured, and how fairly.
"""
