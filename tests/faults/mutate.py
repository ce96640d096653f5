"""Files that are damaged at random: bytes, lengths, names, and the types of values in JSON."""

import json
from pathlib import Path
from random import Random
from typing import Any

OTHERS: tuple[Any, ...] = (None, True, 0, -1, 2**63, 1e308, 0.5, "", "x", "../x", [], [1], {}, {"a": 1})


def mutate_bytes(data: bytes, draw: Random) -> tuple[bytes, str]:
    """Other bytes, and what was done: a flipped bit, an end cut off, a piece twice, or zeros."""
    if not data:
        return b"x", "a byte in an empty file"
    while (found := _mutated(data, draw))[0] == data:
        pass  # zeros where zeros were: drawn again
    return found


def _mutated(data: bytes, draw: Random) -> tuple[bytes, str]:
    kind = draw.choice(["flip", "flip", "truncate", "repeat", "zeros"])
    at = draw.randrange(len(data))
    size = min(len(data) - at, draw.choice([1, 16, 512, 4096]))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :], f"bit flipped at {at}"
    if kind == "truncate":
        return data[:at], f"cut to {at} of {len(data)} bytes"
    if kind == "repeat":
        return data[: at + size] + data[at:], f"{size} bytes at {at} twice"
    return data[:at] + bytes(size) + data[at + size :], f"{size} bytes at {at} zeroed"


def mutate_value(value: Any, draw: Random) -> str:
    """Gives one value in nested containers another type, or takes it away; in place."""
    places: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        for key in list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ():
            places.append((inner, key))
            walk(inner[key])

    walk(value)
    # Of lists of many alike and of deep places not always the deepest: first a key, then a place that has it.
    names = sorted({str(key) for _, key in places})
    name = draw.choice(names)
    inner, key = draw.choice([place for place in places if str(place[1]) == name])
    if draw.random() < 0.2:
        del inner[key]
        return f"{key!r} taken out"
    other = draw.choice([o for o in OTHERS if type(o) is not type(inner[key])])
    inner[key] = other
    return f"{key!r} made {other!r}"


def mutate_file(path: Path, draw: Random) -> str:
    """Damages a file; says how."""
    chance = draw.random()
    if chance < 0.05:
        path.unlink()
        return f"{path.name}: deleted"
    if chance < 0.1:
        path.rename(path.with_name("x" + path.name))
        return f"{path.name}: renamed"
    data = path.read_bytes()
    if path.suffix == ".json" and chance < 0.6:
        value = json.loads(data)
        how = mutate_value(value, draw)
        # An index has a sample a line.
        text = json.dumps(value, indent=1) if path.name == "manifest.json" else lines(value)
        path.write_text(text)
    else:
        data, how = mutate_bytes(data, draw)
        path.write_bytes(data)
    return f"{path.name}: {how}"


def lines(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("samples"), list):
        head = json.dumps({k: v for k, v in value.items() if k != "samples"}, separators=(",", ":"))[:-1]
        body = ",\n".join(json.dumps(v, separators=(",", ":")) for v in value["samples"])
        return f'{head},"samples":[\n{body}\n]}}\n'
    return json.dumps(value)
