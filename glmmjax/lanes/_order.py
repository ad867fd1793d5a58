"""The order of a model's terms among those of its design."""

from ..design import Design
from ..design._units import merge_groups


def term_order(design: Design) -> list[int]:
    """The design's number of each of the model's terms."""
    return [t for g in merge_groups(design.terms) for t in g.terms]
