from ._base import AbstractCurve as AbstractCurve
