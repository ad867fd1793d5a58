"""An .npz file of plain arrays and one JSON header: written, and read back with suspicion.

A zip member announces its size, and the array inside announces a shape; both are compared with
each other and with caps before any array is made, so that a small file cannot ask for the memory
of a large one.
"""

import json
import math
import os
import zipfile
import zlib
from typing import Any

import numpy as np

from .._errors import DataError

MAX_ARRAYS = 1_000
MAX_HEADER = 256 * 2**20  # bytes
MAX_TOTAL = 32 * 2**30
KINDS = ("float64", "int32", "int64", "bool", "uint8")
HEADER = "header"
DAMAGE = (
    ValueError, OSError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def write_archive(
    path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Write compressed. Raises DataError for an array which is not plain numbers."""
    for name, array in arrays.items():
        if array.dtype.name not in KINDS:
            raise DataError(f"cannot save {name!r} of kind {array.dtype}")
    text = json.dumps(header, default=lambda v: v.item()).encode()
    members: dict[str, Any] = {HEADER: np.frombuffer(text, np.uint8), **arrays}
    np.savez_compressed(os.fspath(path), **members)


def read_archive(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(header, arrays). Raises DataError for anything but an archive as written above, and
    FileNotFoundError if there is no such file, with or without `.npz`.
    """
    name = os.fspath(path)
    if not os.path.exists(name) and os.path.exists(f"{name}.npz"):
        name += ".npz"
    if not os.path.exists(name):
        raise FileNotFoundError(f"no file {name}")
    try:
        if not zipfile.is_zipfile(name):
            raise DataError("it is no .npz archive")
        with zipfile.ZipFile(name) as archive:
            _check_members(archive)
            arrays = {m.filename[:-4]: _read(archive, m) for m in archive.infolist()}
        return _header(arrays), arrays
    except DataError as error:
        raise DataError(f"{name} is refused: {error}") from None
    except DAMAGE as error:
        raise DataError(f"{name} cannot be read as a glmmjax fit: {error}") from None


def _header(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if HEADER not in arrays or arrays[HEADER].dtype != np.uint8 or arrays[HEADER].ndim != 1:
        raise DataError("it has no header")
    try:
        header = json.loads(arrays.pop(HEADER).tobytes())
    except (ValueError, RecursionError):
        raise DataError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise DataError("its header is no JSON object")
    return header


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _check_members(archive: zipfile.ZipFile) -> None:
    """Names, kinds, shapes and sizes of all members, before anything is read into memory."""
    members = archive.infolist()
    names = [m.filename for m in members]
    if len(names) > MAX_ARRAYS or len(set(names)) != len(names):
        raise DataError("too many arrays, or two of one name")
    if sum(m.file_size for m in members) > MAX_TOTAL:
        raise DataError(f"it would fill more than {MAX_TOTAL >> 30} GiB")
    for member in members:
        _check_member(archive, member)


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    name = member.filename
    if not name.endswith(".npy"):
        raise DataError(f"it holds {name!r}, which is no array")
    if name == f"{HEADER}.npy" and member.file_size > MAX_HEADER:
        raise DataError("its header is too large")
    with archive.open(member) as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise DataError(f"{name!r} has an unknown format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        start = stream.tell()
    if dtype.name not in KINDS or not dtype.isnative:
        raise DataError(f"{name!r} has the kind {dtype}")
    if any(k < 0 for k in shape) or start + math.prod(shape) * dtype.itemsize != member.file_size:
        raise DataError(f"{name!r} announces another size than it has")
