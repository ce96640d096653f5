"""Two recordings, each DIR:KEY:STREAM: their offset, and a picture."""

from __future__ import annotations

from pathlib import Path

from aura import page
from aura.data.config import kind_of
from aura.data.files import atomic
from aura.data.index import open_folder
from aura.evaluation.matching import encoder_of
from aura.evaluation.result import Result
from aura.evaluation.windows import EvaluationError, Request
from aura.tasks.recordings import Alignment, Recording, align, find_recording, picture


def align_recordings(
    request: Request, a: str, b: str, out: Path, shift_s: float, max_offset_s: float, min_margin: float
) -> Result:
    """Facts `sync`, lines for the screen under `said`, and sync.png in `out`. See `aura.tasks.recordings.align`."""
    sides = [find(request, text) for text in (a, b)]
    found = align(encoder_of(request), *sides, shift_s=shift_s, max_offset_s=max_offset_s, min_margin=min_margin)
    names = [f"{text.split(':')[-2]} {side.stream}" for text, side in zip((a, b), sides)]
    figure = picture(found, *names)
    with atomic(out / "sync.png") as file:
        figure.savefig(file, format="png", dpi=110)
    offset, drift = found.offset, found.drift
    facts = {"offset_s": offset.offset_s, "confidence": offset.confidence, "decided": offset.decided}
    if drift is not None:
        facts["drift"] = {"ppm": drift.ppm, "start_s": drift.start_s, "used": drift.used}
    said = lines(found, min_margin)
    parts = [page.preformatted("\n".join(said)), page.picture(figure, "similarity of the moments, and the curve")]
    return Result(parts=parts, facts={"sync": facts, "shift_s": shift_s, "said": said})


def lines(found: Alignment, min_margin: float) -> list[str]:
    offset, drift = found.offset, found.drift
    verdict = "" if offset.decided else f"  UNDECIDED (confidence below {min_margin:g})"
    said = [
        f"offset      {offset.offset_s:+.3f} s, to be added to times of b{verdict}",
        f"confidence  {offset.confidence:.3f} (correlation above the second peak), over {found.shared} sensors",
    ]
    if drift is not None:
        where = f"from {drift.start_s:+.3f} s at the start of a, on {drift.used:.0%} of the chunks"
        said.append(f"drift       {drift.ppm:+.1f} ppm {where}")
    return said


def find(request: Request, text: str) -> Recording:
    """The stream of DIR:KEY:STREAM, with the model's stream that reads it."""
    folder, *rest = text.rsplit(":", 2)
    if len(rest) != 2 or not all((folder, *rest)):
        raise EvaluationError(f"{text!r}: write DIR:KEY:STREAM, such as data/utd_mhad:a01_s2_t1:imu")
    key, stream = rest
    recipe, towers = request.loaded.recipe, list(request.loaded.model.towers)
    known = [stream] if stream in towers else [name for name in towers if kind_of(name) == kind_of(stream)]
    if not known or stream == "text":
        raise EvaluationError(f"{text}: recipe {recipe.name} reads no {stream}; it reads {', '.join(towers)}")
    splits = open_folder(folder)
    found = find_recording(splits.values(), key, known[0], stream)
    if found is None:
        some = [entry["key"] for split in splits.values() for entry, _ in zip(split.entries(), range(3))]
        raise EvaluationError(
            f"{folder} has neither a sample nor a recording {key!r}; samples are {', '.join(some)} ..."
        )
    return found
