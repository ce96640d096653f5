"""The page as a Space of the Hugging Face Hub: three small files."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from aura.data.files import atomic

SDK = "6.31.0"  # of Gradio, that the page is tested with
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

APP = """from aura.demo.page import serve

serve({model!r}, host="0.0.0.0", port=7860, max_mb={max_mb:g})
"""
README = """---
{head}---

A page on which people try [{model}](https://huggingface.co/{model}), a model of human activity: give it a recording of a
sensor or a short video, and it says what the person does, in words of your choice; give it two, and it says how far they are
apart in time.

Made by aura. Whoever may see this Space sees what it says of their own uploads alone; those are deleted within an hour.
"""


def write_space(folder: Path, model: str, requirement: str, max_mb: float) -> list[Path]:
    """Writes app.py, requirements.txt and README.md that serve a model of the Hub; existing ones are replaced.

    requirement    how pip gets this library there: the URL of a repository or a wheel
    ValueError where the model is not named as one of the Hub, or the requirement is not one line.
    """
    if not REPO.fullmatch(model):
        raise ValueError(f"a Space serves a model of the Hugging Face Hub, named user/name, not {model!r}")
    if not requirement.strip() or "\n" in requirement:
        raise ValueError(f"a requirement is one line of requirements.txt, not {requirement!r}")
    requirement = requirement.strip()
    if "://" in requirement and "@" not in requirement.partition("://")[0]:
        requirement = f"aura[demo] @ {requirement}"
    head = {
        "title": model.partition("/")[2],
        "sdk": "gradio",
        "sdk_version": SDK,
        "python_version": "3.12",
        "app_file": "app.py",
        "models": [model],
    }
    contents = {
        "app.py": APP.format(model=model, max_mb=max_mb),
        "requirements.txt": f"{requirement}\n",
        "README.md": README.format(head=yaml.safe_dump(head, allow_unicode=True, sort_keys=False), model=model),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        with atomic(folder / name) as file:
            file.write(text.encode())
    return [folder / name for name in contents]
