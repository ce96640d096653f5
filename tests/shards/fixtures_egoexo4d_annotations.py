"""The annotation files of the small Ego-Exo4D tree: texts, steps, levels, body poses, with the data set's oddities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tests.shards.fixtures_egoexo4d import Take

SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
JOINTS = ("nose", *(f"{side}-{part}" for part in SIDED for side in ("left", "right")))


@dataclass(frozen=True)
class Text:
    """A text as published: `written` is what the file says, white space included. `usable` is false for a rejected
    annotation, a recording with an error, and a time after the take's end."""

    take: str
    written: str
    time_s: float
    kind: str  # description or commentary
    writer: str
    usable: bool = True
    subject: str = ""
    ego_visible: bool | None = None
    unsure: bool | None = None
    best_exo: str | None = None


@dataclass(frozen=True)
class Step:
    """A keystep: from start to end of take time."""

    take: str
    start_s: float
    end_s: float
    name: str
    description: str
    unique_id: int
    essential: bool


FIRST, DANCE, TEST = "cmu_bike91_2", "upenn_0629_Dance_2_7", "cmu_bike91_3"
# take, annotator, rejected, key of the subject, booleans as strings, and (text, time, subject, visible, unsure, camera).
ATOMIC = (
    (FIRST, "5284000000000001", False, "subject", False, (
        ("C picks a wrench with his right hand.", 0.4, "C", True, False, "cam02"),
        ("C moves his right hand.", 1.1, "C", True, False, "cam04"),
        ("C moves his right hand.", 1.9, "C", False, True, None),
        ("The man X hands C a tire.", 2.6, "The man X", True, False, "cam01"),
    )),
    (FIRST, "5284000000000002", False, "narration_subject", True, (
        ("C takes the wrench from the floor.", 0.5, "C", True, False, "cam02"),
        ("C turns the wheel.", 1.6, "C", False, False, "cam01"),
    )),
    (FIRST, "5284000000000003", False, "subject", False, ()),
    (FIRST, "5284000000000004", True, "subject", False, (("C sits.", 1.0, "C", True, False, "cam01"),)),
    (DANCE, "5284000000000001", False, "subject", True, (
        ("C steps forward with the left leg.", 1.2, "C", True, False, "gp02"),
        ("C raises both hands.", 6.45, "C", True, False, "gp03"),
        ("The woman A claps.", 14.0, "The woman A", False, True, None),
        ("C turns around.", 21.7, "C", True, False, "gp02"),
        ("C bows.", 23.9, "C", True, False, "gp02"),
    )),
    (DANCE, "5284000000000005", False, "narration_subject", False, (
        ("C lifts the arms above C's head.", 6.6, "C", True, False, "gp04"),
    )),
)  # fmt: skip
# take, expert, and (text, time at which the video was paused, duration of the speech, error).
COMMENTARY = (
    (FIRST, "a1b2c3", ((" Our mechanic holds the wrench well.", 1.4, 12.77, False), (" ", 2.0, 3.0, True))),
    (FIRST, "d4e5f6", ((" The stand is too low, C bends the back.", 2.8, 6.5, False),)),
    (DANCE, "a1b2c3", (
        (" The arms are late on the count.", 7.25, 9.1, False),
        (" Good posture through the turn.", 15.5, 4.2, False),
        (" ", 18.0, 0.7, True),
        (" The final pose is held, well done.", 22.1, 8.8, False),
    )),
)  # fmt: skip
# take, split, and (start, end, id in the scenario, global id, name, description, essential).
STEPS = (
    (FIRST, "train", (
        (0.2, 1.4, 3, 841, "Loosen the axle nut", "Loosen the axle nut with a wrench", True),
        (1.3, 2.9, 4, 842, "Take the wheel off", "Take the wheel off the frame", False),
    )),
    (TEST, "test", ((0.5, 2.2, 7, 843, "Insert the wheel", "Insert the wheel into the frame", True),)),
)  # fmt: skip
LEVELS = {FIRST: "Novice", DANCE: "Late Expert"}


def write_annotations(
    root: Path, takes: Sequence[Take], dropped: str, unknown: str
) -> tuple[list[Text], list[Step], dict[str, str]]:
    """Writes the folder `annotations`: texts, steps, levels of the usable takes."""
    of = {take.name: take for take in takes}
    _write_splits(root, takes, dropped, unknown)
    texts = _write_atomic(root, of, dropped) + _write_commentary(root, of, unknown)
    steps = _write_steps(root, of)
    demonstrator = [
        {"take_uid": of[name].uid, "take_name": name, "scenario_name": of[name].task[3], "proficiency_score": level}
        for name, level in LEVELS.items()
    ]
    _json(root / "proficiency_demonstrator_train.json", {"annotations": demonstrator[:1]})
    _json(root / "proficiency_demonstrator_val.json", demonstrator[1:])
    for take in takes:
        _write_body(root / "ego_pose" / take.split, take)
    return texts, steps, dict(LEVELS)


def _json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _write_splits(root: Path, takes: Sequence[Take], dropped: str, unknown: str) -> None:
    split_of = {take.uid: take.split for take in takes} | {dropped: "train", unknown: "val"}
    benchmarks = {
        takes[0].uid: ["keystep", "egopose"],
        takes[1].uid: ["Ego_Pose"],
        takes[2].uid: ["egobodypose", "new"],
    }
    uids = {split: [uid for uid, s in split_of.items() if s == split] for split in ("train", "val", "test")}
    content = {"take_uid_to_split": split_of, "split_to_take_uids": uids, "take_uid_to_benchmark": benchmarks}
    _json(root / "splits.json", content)


def _write_atomic(root: Path, of: dict[str, Take], dropped: str) -> list[Text]:
    files: dict[str, dict[str, list]] = {"train": {dropped: []}, "val": {}}
    texts = []
    for take, annotator, rejected, key, strings, rows in ATOMIC:
        descriptions = []
        for text, time, subject, visible, unsure, camera in rows:
            flags = {"ego_visible": visible, "unsure": unsure}
            best = {"raw_cam_id": camera[-1], "cam_id": camera} if camera else None
            said = {k: str(int(v)) for k, v in flags.items()} if strings else flags
            descriptions.append({"text": text, "timestamp": time, key: subject, "best_exo": best, **said})
            usable = not rejected and time <= of[take].duration_s
            texts.append(
                Text(take, text, time, "description", annotator, usable, subject, visible, unsure, best_exo=camera)
            )
        annotation = {
            "annotation_uid": f"{take}-{annotator}", "annotator_id": annotator, "rejected": rejected,
            "reject_reason": "wrong person" if rejected else None, "descriptions": descriptions,
        }  # fmt: skip
        files[of[take].split].setdefault(of[take].uid, []).append(annotation)
    for split, of_takes in files.items():
        _json(root / f"atomic_descriptions_{split}.json", {"annotations": of_takes})
    return texts


def _write_commentary(root: Path, of: dict[str, Take], unknown: str) -> list[Text]:
    files: dict[str, dict[str, list]] = {"train": {}, "val": {unknown: []}}
    texts = []
    for name, expert, rows in COMMENTARY:
        take = of[name]
        data = [
            {"recording": f"{i}.webm", "video_time": time, "text": text, "duration_approx": lasts, "error": error}
            for i, (text, time, lasts, error) in enumerate(rows)
        ]
        ids = {"take_name": name, "take_uid": take.uid, "task_id": take.task[0], "task_name": take.task[1]}
        entry = {**ids, "commentary": f"{name}/{expert}", "commentary_data": data}
        files[take.split].setdefault(take.uid, []).append(entry)
        texts += [Text(name, text, time, "commentary", expert, not error) for text, time, _, error in rows]
    for split, of_takes in files.items():
        _json(root / f"expert_commentary_{split}.json", {"ds": "20242503_10:11:12", "annotations": of_takes})
    return texts


def _write_steps(root: Path, of: dict[str, Take]) -> list[Step]:
    steps = []
    vocabulary = {str(row[3]): row[4] for _, _, rows in STEPS for row in rows}
    files: dict[str, dict] = {"train": {}, "val": {}, "test": {}}
    keys = ("start_time", "end_time", "step_id", "step_unique_id", "step_name", "step_description", "is_essential")
    for name, split, rows in STEPS:
        take = of[name]
        segments = [dict(zip(keys, row)) for row in rows]
        ids = {"take_uid": take.uid, "take_name": name, "scenario": take.task[1], "annotation_meta": {}}
        files[split][take.uid] = {**ids, "segments": segments}
        steps += [Step(name, row[0], row[1], row[4], row[5], row[3], row[6]) for row in rows]
    leaf = {"id": 3, "is_leafnode": True, "name": "Loosen the axle nut", "parent_id": 0, "parent_name": "root"}
    taxonomy = {"Remove a Wheel": {"3": leaf}}
    for split, of_takes in files.items():
        content = {"annotations": of_takes, "taxonomy": taxonomy, "vocabulary": vocabulary}
        _json(root / f"keystep_{split}.json", content)
    folder, uid = root / "keystep_benchmark", of[FIRST].uid
    segments = [
        {"segment_name_list": [], "ego_segment_name": f"{uid}_{i}", "take_uid": uid, "take_name": FIRST, "label_id": i}
        | {"start_time": row[0], "end_time": row[1], "step_unique_id": row[3], "step_name": row[4]}
        for i, row in enumerate(STEPS[0][2])
    ]
    _json(folder / "keystep_segment_train.json", {"date": "", "description": "", "splits": [], "segments": segments})
    lines = [f"{i},{row[3]},{row[4]},Remove a Wheel" for i, row in enumerate(STEPS[0][2])]
    lines.insert(0, "label_id,step_unique_id,step_name,scenario_name")
    (folder / "label_mapping.csv").write_text("\n".join(lines) + "\n")
    return steps


def camera_matrix(camera: str) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics (3, 3) of the undistorted image and world-to-camera (3, 4): exo cameras stand 4 m off, around."""
    angle = 2 * np.pi * int(camera[-2:]) / 5
    back = np.array([np.cos(angle), np.sin(angle), 0])
    down = np.array([0, 0, -1.0])
    rotation = np.stack([np.cross(down, -back), down, -back])  # rows: right, down, forward
    k = np.array([[1761.2, 0, 1920], [0, 1761.2, 1080], [0, 0, 1.0]])
    return k, np.concatenate([rotation, -rotation @ (4 * back + [0, 0, -0.8])[:, None]], 1)


def _write_body(folder: Path, take: Take) -> None:
    for kind, frames in (("annotation", take.manual), ("automatic", take.automatic)):
        if frames:
            _json(folder / "body" / kind / f"{take.uid}.json", _body(take, frames, automatic=kind == "automatic"))
    if take.manual:
        aria = {"camera_intrinsics": [[150, 0, 255.5], [0, 150, 255.5], [0, 0, 1]]}
        still = np.eye(4)[:3].tolist()
        cameras: dict[str, dict] = {
            "metadata": {"take_uid": take.uid, "take_name": take.name},
            take.headset: {**aria, "camera_extrinsics": {str(i): still for i in range(0, take.frames, 10)}},
        }
        for camera in take.exo:
            k, extrinsics = (matrix.tolist() for matrix in camera_matrix(camera))
            bent = [0.0369, 0.0571, -0.0571, 0.0184]
            cameras[camera] = {"camera_intrinsics": k, "camera_extrinsics": extrinsics, "distortion_coeffs": bent}
        _json(folder / "camera_pose" / f"{take.uid}.json", cameras)
        hand = {f"left_{finger}_{i}": {"x": 0.3, "y": 0.2, "z": -0.7, "num_views_for_3d": 3} for finger, i in
                (("wrist", 0), ("thumb", 1), ("index", 4))}  # fmt: skip
        ids = {"take_uid": take.uid, "take_name": take.name, "frame_number": 3}
        _json(folder / "hand" / "annotation" / f"{take.uid}.json", {"3": [{"metadata": ids, "annotation3D": hand}]})


def _body(take: Take, frames: Sequence[int], *, automatic: bool) -> dict[str, list]:
    """Records by frame number, as strings and not in order; the first has an empty list.

    Automatic ones spell joints with an underscore and have 3D points alone.
    """
    names = [name.replace("-", "_") for name in JOINTS] if automatic else list(JOINTS)
    out: dict[str, list] = {str(frames[0]): []}
    points, missing, views = take.joints(np.array(frames)), take.missing(np.array(frames)), take.views(np.array(frames))
    flat = {} if automatic else {camera: take.image_points(camera, np.array(frames)) for camera in take.exo[:2]}
    for i in reversed(range(1, len(frames))):
        here = [j for j in reversed(range(17)) if not missing[i, j]]
        three = {
            names[j]: {**dict(zip("xyz", points[i, j].tolist())), "num_views_for_3d": int(views[i, j])} for j in here
        }
        two = {
            camera: {names[j]: {**dict(zip("xy", p[i, j].tolist())), "placement": "auto" if j % 2 else "manual"} for j in here}
            for camera, p in flat.items()
        }  # fmt: skip
        ids = {"take_uid": take.uid, "take_name": take.name, "frame_number": frames[i]}
        out[str(frames[i])] = [{"metadata": ids, "annotation3D": three, "annotation2D": two}]
    return out
