"""Turns a run, or one of its checkpoints, into the folder of a model: what `aura.from_pretrained` and the Hugging Face Hub take.

python tools/export_checkpoint.py runs/quickstart --out models/quickstart
python tools/export_checkpoint.py runs/mine/checkpoints/step_00000500 --out models/mine --results results/zeroshot
python tools/export_checkpoint.py runs/mine --out models/mine --copy-frozen      frozen weights from elsewhere too: loads anywhere
python tools/export_checkpoint.py runs/mine --out models/mine --half --phrases recipes/phrases/activities.txt

Without the tower of text a model knows the phrases that were stored with it: of --phrases, a text file with an activity a line
(`walking up stairs`), each under the forms in which people ask for it (see aura/inference/phrases.py), beside the words of its
classes and labels. It does not matter how many processes or which stage of ZeRO wrote the checkpoint. Weights are safetensors, one file a tower; what
stands in the folder says aura/inference/release.py.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import sys
from pathlib import Path

from aura.evaluation.result import read_results
from aura.inference.model import Aura
from aura.inference.phrases import read_phrases
from aura.inference.words import known_words
from aura.weights import RunError


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run (its latest checkpoint), or a checkpoint")
    parser.add_argument(
        "--out", type=Path, required=True, help="the folder; an older model in it is replaced as a whole"
    )
    parser.add_argument("--copy-frozen", action="store_true", help="copy frozen weights from elsewhere too")
    parser.add_argument("--half", action="store_true", help="weights in float16: half the size, 3 digits")
    parser.add_argument(
        "--phrases", type=Path, help="a text file, one activity a line (default: the words of its classes)"
    )
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="of recipes/evaluate.py, for the card")
    parser.add_argument("--licence", help="of the weights, an SPDX name (default: as the training data allow)")
    arguments = parser.parse_args(words)
    try:
        results = [read_results(folder) for folder in arguments.results]
        phrases = None if arguments.phrases is None else read_phrases(arguments.phrases)
        model = Aura.from_pretrained(arguments.run)
        if phrases is not None:
            phrases += known_words(model.config)
        model.save_pretrained(
            arguments.out,
            copy_frozen=arguments.copy_frozen,
            half=arguments.half,
            phrases=phrases,
            results=results,
            licence=arguments.licence,
        )
    except (RunError, ValueError, OSError) as error:
        print(f"export_checkpoint: {error}", file=sys.stderr)
        return 1
    for file in sorted(path for path in arguments.out.rglob("*") if path.is_file()):
        print(f"{file.stat().st_size / 1e6:9.3f} MB  {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
