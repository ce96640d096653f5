"""What is wrong in a file of keys and values, in words."""

from __future__ import annotations

import difflib
from reprlib import Repr
from typing import Any, get_args

from pydantic import BaseModel

SHORT = Repr()
SHORT.maxlevel = 3  # of aliases in YAML a few lines are a value without end


def explain(fault: Any, model: type[BaseModel]) -> str:
    """One line for a fault that pydantic found (one of `ValidationError.errors()`) in values of a model; an unknown key names
    the nearest known one."""
    location = [part for part in fault["loc"] if not str(part).startswith("function-")]
    # The kind that decides among a union's choices is named too, and is no key that one can write.
    kinds = [i for i in range(2, len(location)) if i == 2 and location[0] in ("inputs", "towers")]
    kinds += [i + 1 for i, part in enumerate(location) if part == "tuning"]
    key = ".".join(str(part) for i, part in enumerate(location) if i not in kinds)
    if fault["type"] == "extra_forbidden":
        known = _known_keys(location[:-1], model)
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.0)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{key}: unknown key{hint} (known: {', '.join(sorted(known))})"
    shape = {"tuple_type": "a list", "list_type": "a list", "dict_type": "a section", "model_type": "a section"}
    if fault["type"] in shape:
        return f"{key or 'the file'}: should be {shape[fault['type']]}, is {SHORT.repr(fault['input'])}"
    message = fault["msg"].removeprefix("Value error, ")
    if isinstance(fault["input"], str | int | float) and fault["type"] != "value_error":
        message += f", is {fault['input']!r}"
    return f"{key}: {message}" if key else message


def _known_keys(location: list, model: type[BaseModel]) -> list[str]:
    """Keys of the section at `location`, found by walking the models; parts that name a union's choice pick it."""
    annotation: Any = model
    for part in location:
        choices = [c for c in _choices(annotation) if isinstance(c, type) and issubclass(c, BaseModel)]
        tagged = [
            c for c in choices if "kind" in c.model_fields and part in get_args(c.model_fields["kind"].annotation)
        ]
        fields = [c.model_fields[part].annotation for c in choices if part in c.model_fields]
        if tagged:
            annotation = tagged[0]
        elif fields:
            annotation = fields[0]
        else:  # a key of a dict, a place in a list
            inner = [a for c in _choices(annotation) for a in get_args(c) if a is not str and a is not Ellipsis]
            annotation = inner[-1] if inner else annotation
    keys: list[str] = []
    for choice in _choices(annotation):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            keys += [name for name in choice.model_fields if name not in keys]
    return keys


def _choices(annotation: Any) -> list[Any]:
    """The members of a union or an annotated type, else the type itself."""
    metadata = getattr(annotation, "__metadata__", None)
    if metadata is not None:
        return _choices(get_args(annotation)[0])
    origin = getattr(annotation, "__origin__", None)
    if origin in (dict, list, tuple) or isinstance(annotation, type):
        return [annotation]
    members = get_args(annotation)
    return [c for member in members for c in _choices(member)] if members else [annotation]
