"""Arguments in, exit code out; every foreseeable failure is one line on stderr.

0 ok     2 bad input     3 not converged (the result is still written)     4 device
"""

import gc
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

from .._errors import GlmmjaxError, GlmmjaxWarning
from ._arguments import parser

OK, BAD_INPUT, NOT_CONVERGED, DEVICE, INTERRUPTED = 0, 2, 3, 4, 130


def process() -> int:
    """`main` as the only work of a process.

    Such a process makes a million objects that live to its end. Looking for garbage among them,
    above all at the end, takes a sixth of the time of a small fit; so look seldom, then not.
    """
    gc.set_threshold(200_000, 20, 100)
    code = main()
    gc.freeze()
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises for bad input."""
    for stream in (sys.stdout, sys.stderr):
        _write_anything(stream)
    try:
        args = parser().parse_args(argv)
    except SystemExit as done:  # argparse has said why on stderr, or printed its help
        return int(done.code or 0)
    with warnings.catch_warnings():
        warnings.simplefilter("always", GlmmjaxWarning)
        warnings.showwarning = _show_warning
        try:
            from . import _commands

            code = getattr(_commands, args.command)(args)
            sys.stdout.flush()
            return code
        except GlmmjaxError as error:
            return _fail(BAD_INPUT, str(error))
        except BrokenPipeError:  # the reader of our stdout has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return OK
        except OSError as error:
            return _fail(BAD_INPUT, f"{error.filename or 'file'}: {error.strerror or error}")
        except KeyboardInterrupt:
            return _fail(INTERRUPTED, "interrupted")
        except RuntimeError as error:
            if not _about_device(error):
                raise
            return _fail(DEVICE, f"the device failed: {error}")


def say(text: str, kind: str = "") -> None:
    """One line on stderr."""
    print(f"glmmjax: {kind}{one_line(text)}", file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """Text from data files may hold newlines and control characters; a terminal must not."""
    return "".join(c if c.isprintable() else " " if c.isspace() else repr(c)[1:-1] for c in text)


def _fail(code: int, text: str) -> int:
    say(text, "error: " if code != INTERRUPTED else "")
    return code


def _show_warning(
    message: Any,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, GlmmjaxWarning):
        say(str(message), "warning: ")
    else:
        say(f"{category.__name__}: {message}", "warning: ")


def _about_device(error: RuntimeError) -> bool:
    """Did JAX fail to find, to start, or to get memory on a device?"""
    if "backend" in str(error):
        return True
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError)


def _write_anything(stream: Any) -> None:
    """A terminal without UTF-8 gets escapes, not an exception."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
