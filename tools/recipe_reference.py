"""Writes docs/recipe.md, the reference of all keys of a recipe, from the models that check recipes.

python tools/recipe_reference.py            writes the page
python tools/recipe_reference.py --check    says whether the page is what would be written
"""

from __future__ import annotations

import argparse
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from aura.train.recipe import Recipe

PAGE = Path(__file__).parents[1] / "docs" / "recipe.md"
HEAD = """# Recipe reference

Every key of a recipe, generated from the models that check it (`python tools/recipe_reference.py`). A recipe is YAML; any key is
changed on the command line as `key.sub=value`. `inputs` and `towers` are by the name of a stream, whose kind is the start of its
name; `kind` of a tower chooses among the sections of `towers` below. "required" keys have no default.
"""


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names, through unions, containers and `Annotated`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_of(inner)]


def words_of(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), [a for a in get_args(annotation) if a is not Ellipsis]
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(words_of(a) for a in inner))
    if origin in (list, tuple):
        return f"list of {words_of(inner[0])}"
    if origin is dict:
        return f"mapping to {words_of(inner[1])}"
    if hasattr(annotation, "__metadata__"):
        return words_of(inner[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {"str": "text", "bool": "true or false", "int": "whole number", "float": "number"}.get(
        getattr(annotation, "__name__", ""), "any"
    )


def limits(field: FieldInfo) -> str:
    """Bounds of a number or a length, as conditions."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "at least", "max_length": "at most"}
    found = [f"{sign} {getattr(m, key)}" for m in field.metadata for key, sign in signs.items() if hasattr(m, key)]
    return f" {', '.join(found)}" if found else ""


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return "its keys' own"
    return f"`{json.dumps(value)}`"  # which is YAML too


def sections(model: type[BaseModel], key: str, seen: set[type[BaseModel]]) -> Iterator[str]:
    """The table of a model, and of those inside it that no table has shown."""
    if model in seen:
        return
    seen.add(model)
    kind = model.model_fields.get("kind")
    title = f"{key}: `kind: {kind.default}`" if kind is not None else key or "the recipe"
    about = " ".join((model.__doc__ or "").split()) if model.__doc__ and model.__doc__ != BaseModel.__doc__ else ""
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name != "kind":
            told = (field.description or "").replace("|", "\\|")
            rows.append(f"| `{name}` | {words_of(field.annotation)}{limits(field)} | {default(field)} | {told} |")
    if len(rows) > 2:
        yield "\n".join([f"## {title}", "", *([about, ""] if about else []), *rows])
    for name, field in model.model_fields.items():
        for inner in models_of(field.annotation):
            yield from sections(inner, f"{key}.{name}" if key else name, seen)


def make_page() -> str:
    return HEAD + "\n" + "\n\n".join(sections(Recipe, "", set())) + "\n"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where the page is another")
    options = parser.parse_args(words)
    made = make_page()
    if options.check:
        if PAGE.is_file() and PAGE.read_text() == made:
            return 0
        print(f"{PAGE} is not of these models: python tools/recipe_reference.py", file=sys.stderr)
        return 1
    PAGE.write_text(made)
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
