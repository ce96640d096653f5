"""What the licences of a model's training data, in the words of their converters, allow of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Terms that ask for nothing but credit, as they are usually written. Other words are never open: sentences forbid in many ways.
OPEN = re.compile(
    r"(cc-?0|cc[ -]by|creative commons attribution|apache|mit|bsd|isc|odc-by|pddl|public domain)"
    r"([ -]?(license|licence|version|v?\d(\.\d)*|[234]-clause|international))*"
)
# Sentences of data sets that were read by hand, as their converters write them.
OPEN_SENTENCES = (
    "cmu graphics lab motion capture database: free for research and commercial use, not for resale; credit mocap.cs.cmu.edu"
    " and nsf eia-0196217",
    "public domain dataset, by the authors' abstract; cite chen, jafari, kehtarnavaz, icip 2015",
)
# What the others say, which may be several things.
TERMS = {
    "unknown": r"^\W*$|unknown|not stated|not known|unclear|ask the authors|contact",
    "non-commercial": r"non-?\s?commercial|\bnc\b|\bnot?\b[^;,.]{0,24}commercial|commercial use[^;,.]{0,6}(prohibited|forbidden|not )",
    "research": r"research|scientific|academic",
    "other": r"agreement|redistribut|request|registration|signed|\b(sa|nd)\b|share-?alike|no-?deriv|\bgpl|terms|prohibit|forbid"
    r"|needs?\b|requires?\b|reserved",
}


def default_licence(config: Mapping[str, Any]) -> str:
    """apache-2.0 where all licences of the training data allow it and no weights are from elsewhere, cc-by-nc-4.0 where the rest
    forbid commercial use alone, else `other`."""
    terms = set(terms_of(config))
    if began_with(config).keys() - config.get("referenced", {}).keys():
        return "other"
    if terms == {"open"}:
        return "apache-2.0"
    return "cc-by-nc-4.0" if terms and terms <= {"open", "non-commercial"} else "other"


def terms_of(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """`open`, `non-commercial`, `research`, `other`, `unknown` -> data sets of the training, with their licences in words."""
    found: dict[str, list[str]] = {}
    for source in datasets_of(config):
        for licence in licences_of(source) or [""]:
            named = f"{source['name']} ({licence or 'no licence stated'})"
            for name in terms_in(licence):
                same = found.setdefault(name, [])
                if named not in same:
                    same.append(named)
    unknown = config.get("training", {}).get("unknown", "")
    if unknown or not found:
        found.setdefault("unknown", []).append(f"data that are not all known here ({unknown or 'none are listed'})")
    return found


def terms_in(licence: str) -> list[str]:
    """What a licence in words demands; `open`: nothing but credit, and only where it plainly says so."""
    text = licence.lower().strip()
    if OPEN.fullmatch(text) or text in OPEN_SENTENCES:
        return ["open"]
    return [name for name, pattern in TERMS.items() if re.search(pattern, text)] or ["other"]


def began_with(config: Mapping[str, Any]) -> dict[str, str]:
    """Stream -> the pretrained weights that its tower began with, in this repository or not."""
    referenced = {stream: value["source"] for stream, value in config.get("referenced", {}).items()}
    return {**config.get("training", {}).get("began_with", {}), **referenced}


def datasets_of(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(config.get("training", {}).get("datasets", ()))


def licences_of(source: Mapping[str, Any]) -> list[str]:
    return [text for text in source.get("licences", ()) if text]
