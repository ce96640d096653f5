"""Pieces of markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence


def slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name.lower()).strip("-.") or "unknown"


def plain(text: str) -> str:
    """Words of others in a line of markdown: one line, no markup of their own."""
    return re.sub(r"([\\`*\[\]!])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


def table(rows: Sequence[Sequence[str]]) -> str:
    cells = [[plain(str(cell)).replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
