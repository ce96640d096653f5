"""Where on the body a sensor is worn: one name for each place, the same in every data set.

A placement's index goes into batches and into the embeddings of trained models. So the tuple only grows at its end.
"""

from __future__ import annotations

import difflib

PLACEMENTS: tuple[str, ...] = (
    "unknown",
    "head",
    "neck",
    "chest",
    "upper back",
    "lower back",
    "pelvis",
    "left shoulder",
    "right shoulder",
    "left upper arm",
    "right upper arm",
    "left forearm",
    "right forearm",
    "left wrist",
    "right wrist",
    "left hand",
    "right hand",
    "left hip",
    "right hip",
    "left thigh",
    "right thigh",
    "left shank",
    "right shank",
    "left ankle",
    "right ankle",
    "left foot",
    "right foot",
    "left hip pocket",
    "right hip pocket",
    "left chest pocket",
    "right chest pocket",
    "left ear",
    "right ear",
    "left finger",
    "right finger",
    "left temple",  # the arms of glasses
    "right temple",
)

_INDEX = {name: index for index, name in enumerate(PLACEMENTS)}


def placement_id(name: str) -> int:
    """Index of a placement in `PLACEMENTS`; ValueError naming those that it may mean where there is none of that name."""
    if name not in _INDEX:
        plain = name.lower().replace("_", " ").replace("-", " ")
        parts = [other for other in PLACEMENTS if plain and plain in other]
        if len(parts) > 1:
            raise ValueError(f"unknown sensor placement {name!r}; there are {', '.join(map(repr, parts))}")
        near = difflib.get_close_matches(plain, PLACEMENTS, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown sensor placement {name!r}; the nearest known one is {near!r}")
    return _INDEX[name]
