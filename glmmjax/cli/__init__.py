"""The command line: `python -m glmmjax fit | predict | simulate | check | demo | version`.

Data go to stdout, messages to stderr. Modules are imported when a command needs them, so that a
question which needs no JAX (`--help`, a formula that is refused) is answered at once.
"""

from ._main import main as main
from ._main import process as process
