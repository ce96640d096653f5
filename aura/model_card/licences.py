"""What the licences of a model's training data, in the words of their converters, allow of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# What a licence in words says: data sets name their terms in sentences of their own, which may forbid several things.
TERMS = {
    "unknown": r"^\W*$|unknown|not stated|not known|unclear|ask the authors|contact",
    "non-commercial": r"non-?\s?commercial|\bnc\b|\bnot?\b[^;,.]{0,24}commercial|commercial use[^;,.]{0,6}(prohibited|forbidden|not )",
    "research": r"research|scientific|academic",
    "other": r"agreement|redistribut|request|registration|signed|\b(sa|nd)\b|share-?alike|no-?deriv|\bgpl|terms|prohibit|forbid"
    r"|needs?\b|requires?\b|reserved",
}
GRANTED = r"(for )?(research and commercial|commercial and research) use"
DENIED = r"\b(no|not|nor|without)\b[^;,.]*$"  # before it, in the same clause
OPEN = (
    r"\bcc-?0\b|\bcc[ -]by\b|public domain|\bmit licen[cs]e|^mit\b\W*$|apache|\bbsd[ -]\d|\bodc-by\b|\bisc licen[cs]e"
)


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
    text = licence.lower()
    found = re.search(GRANTED, text)
    granted = found is not None and re.search(DENIED, text[: found.start()]) is None
    text = re.sub(GRANTED, "", text) if granted else text
    found = [name for name, pattern in TERMS.items() if re.search(pattern, text or "?" if granted else text)]
    return found or (["open"] if granted or re.search(OPEN, text) else ["other"])


def began_with(config: Mapping[str, Any]) -> dict[str, str]:
    """Stream -> the pretrained weights that its tower began with, in this repository or not."""
    referenced = {stream: value["source"] for stream, value in config.get("referenced", {}).items()}
    return {**config.get("training", {}).get("began_with", {}), **referenced}


def datasets_of(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(config.get("training", {}).get("datasets", ()))


def licences_of(source: Mapping[str, Any]) -> list[str]:
    return [text for text in source.get("licences", ()) if text]
