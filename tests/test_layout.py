"""Imports go one way, and scripts do not hide modules of the standard library."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = [
    "body",
    "data",
    "streaming",
    "towers",
    "objectives",
    "model",
    "weights",
    "tasks",
    "hub",
    "model_card",
    "inference",
    "demo",
    "export",
    "train",
    "evaluation",
]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def layer(module: str) -> int | None:
    parts = module.split(".")
    return LAYERS.index(parts[1]) if parts[0] == "aura" and len(parts) > 1 and parts[1] in LAYERS else None


def test_imports_go_one_way():
    wrong = []
    for path in (ROOT / "aura").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        own = layer(module)
        for name in imported(path):
            other = layer(name)
            if own is not None and other is not None and other > own:
                wrong.append(f"{module} imports {name}")
            if name.split(".")[0] in ("shards", "recipes", "tools", "tests"):
                wrong.append(f"{module} imports {name}")
    assert not wrong


def test_shards_need_body_and_data_alone():
    for path in (ROOT / "shards").glob("*.py"):
        for name in imported(path):
            assert layer(name) is None or LAYERS[layer(name)] in ("body", "data"), f"{path.name} imports {name}"


def test_no_script_bears_the_name_of_a_standard_module():
    """`tools/inspect.py` would be imported in place of the real one by every script beside it."""
    for folder in ("tools", "recipes"):
        for path in (ROOT / folder).glob("*.py"):
            assert path.stem not in sys.stdlib_module_names, path


def test_deepspeed_is_imported_under_its_launcher_only():
    """Importing the library does not import DeepSpeed, which other systems lack."""
    for path in (ROOT / "aura").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in tree.body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[0] == "deepspeed" for name in names), path
