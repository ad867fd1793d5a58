"""`python -m glmmjax`."""

import sys

from .cli import process

if __name__ == "__main__":
    sys.exit(process())
