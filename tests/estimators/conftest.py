"""Quick compilation: these tests are about numbers, and run each program once."""

import pytest
from helpers.compiling import quick_compilation


@pytest.fixture(autouse=True, scope="package")
def _quick():
    with quick_compilation():
        yield
