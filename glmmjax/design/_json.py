"""Learned state to plain JSON and back without losing a bit: arrays, tuples, numbers as keys.

Floats stay exact because Python writes the shortest text that reads back as the same float64.
"""

from typing import Any

import numpy as np

from .._errors import DataError


def encode(value: Any) -> Any:
    """JSON for numbers, text, None, lists, tuples, dicts with any plain keys, and arrays."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return {"array": value.ravel().tolist(), "shape": list(value.shape)}
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {"map": [[encode(key), encode(item)] for key, item in value.items()]}
    raise DataError(f"cannot save a {type(value).__name__} that a transform learned")


def decode(value: Any) -> Any:
    """The inverse of `encode`."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.asarray(value["array"], dtype=np.float64).reshape(value["shape"])
    if "tuple" in value:
        return tuple(decode(item) for item in value["tuple"])
    return {decode(key): decode(item) for key, item in value["map"]}
