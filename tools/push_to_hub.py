"""Pushes a model to the Hugging Face Hub, as one commit with its card.

python tools/push_to_hub.py runs/zero_shot user/name --private --results results/zeroshot results/retrieval
python tools/push_to_hub.py runs/zero_shot/checkpoints/step_00001500 user/name --revision next
python tools/push_to_hub.py releases/zero_shot user/name --dry-run          what would go up, and its card; asks no network

The first word is a run (its latest checkpoint), a checkpoint, or a folder that `save_pretrained` wrote. The repository is made
where it is missing; files of an earlier push that the model lacks are deleted by the same commit, files of others stay. Log in
before with `hf auth login`, or set HF_TOKEN. Without --licence the weights get what the licences of the training data allow:
apache-2.0, cc-by-nc-4.0, or `other`, which the first lines of the card explain.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import sys
import tempfile
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", type=Path, help="a run, a checkpoint or a release folder")
    add("repo", metavar="user/name")
    add("--private", action="store_true", help="make the repository private; an existing public one is refused")
    add("--dry-run", action="store_true", help="print the card and the files that would go up")
    add(
        "--results",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="folders of recipes/evaluate.py, for the card",
    )
    add("--licence", help="of the weights, as the Hub names it (default: what the training data allow)")
    add("--message", default="Upload of an aura model", help="of the commit")
    add("--revision", help="a branch, made where it is missing (default: main)")
    options = parser.parse_args(arguments)

    from aura.evaluation.result import read_results
    from aura.hub import HubError, check_name, push_folder
    from aura.train.push import as_release
    from aura.weights import RunError

    try:
        check_name(options.repo)
        results = [read_results(folder) for folder in options.results]
        with tempfile.TemporaryDirectory() as temporary:
            folder = as_release(options.model, Path(temporary) / "release", results, options.licence)
            pushed = push_folder(
                folder,
                options.repo,
                private=options.private,
                message=options.message,
                revision=options.revision,
                dry_run=options.dry_run,
            )
            if options.dry_run:
                print((folder / "README.md").read_text(encoding="utf-8"))
    except (HubError, RunError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, size in pushed.files.items():
        print(f"{size:>14,} bytes  {name}")
    for name in pushed.deleted:
        print(f"{'deleted':>20}  {name}")
    total = sum(pushed.files.values())
    print(
        f"{len(pushed.files)} files, {total:,} bytes: "
        + (pushed.url or f"nothing was pushed to {options.repo} (dry run)")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
