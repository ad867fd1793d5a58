"""Real data sets from the literature, with the numbers exactly as published.

`README.md` in this folder says where each comes from.
"""

from ._load import load as load
from ._load import names as names
