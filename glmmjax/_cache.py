"""Keep compiled programs between processes, in a folder that nobody else can write to.

JAX can cache compiled programs on disk, but one object serves the whole process: once it exists,
every later compilation goes through it, and no scope can take it back. So importing glmmjax (or
fitting with it) leaves that setting alone; the command line calls `use_cache`, and you may.

A cached program is machine code that will be run, hence the checks of owner and permissions.
"""

import os
import stat
from pathlib import Path

from ._errors import GlmmjaxError

VARIABLE = "GLMMJAX_CACHE"


def use_cache(path: str | os.PathLike[str] | None = None) -> Path | None:
    """Keep the programs that JAX compiles in this process, and use those kept by earlier ones.

    Parameters
    ----------
    path : the folder; made with mode 0700 where it does not exist. By default the folder named
        by the environment variable GLMMJAX_CACHE (0 turns the cache off), else the one that JAX
        was already told to use, else `glmmjax` in the user's cache folder.

    Returns the folder, or None if the cache is turned off. This is a setting of the whole process,
    for every JAX program in it.

    Raises
    ------
    GlmmjaxError : the folder cannot be made, is somebody else's, or others may write to it.
    """
    import jax

    wanted = os.environ.get(VARIABLE, "") if path is None else os.fspath(path)
    if path is None and wanted.lower() in ("0", "off", "no", "false"):
        return None
    present = getattr(jax.config, "jax_compilation_cache_dir", None)
    if not wanted and present:
        return Path(present)
    folder = _private(Path(wanted).expanduser() if wanted else default_folder())
    if present and Path(present) != folder:
        from jax.experimental.compilation_cache import compilation_cache

        compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Our programs are many and small: keep each of them, however quickly it was compiled.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/glmmjax`, or `~/.cache/glmmjax`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "glmmjax"


def _private(folder: Path) -> Path:
    """Make the folder, or check that nobody else can put programs into it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise GlmmjaxError(f"the cache folder {folder} cannot be used: {error.strerror}") from None
    if hasattr(os, "getuid"):  # on Windows the user's own folder is private by its inherited rules
        if found.st_uid != os.getuid():
            raise GlmmjaxError(f"the cache folder {folder} belongs to another user; {_remedy()}")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise GlmmjaxError(
                f"others may write to the cache folder {folder}; chmod 700 it, or {_remedy()}"
            )
    return folder.resolve()


def _remedy() -> str:
    return f"set {VARIABLE} to a folder of yours, or to 0 for no cache"
