"""The rules of the format: a sample that breaks one is refused, with the field named."""

import json

import numpy as np
import pytest

from aura.data.sample import from_members, problems, to_members, validate
from tests.data.samples import make_sample


def with_emb(sample):
    sample.streams["text.emb"] = {"tower": "abc", "length": len(sample.texts)}
    sample.arrays["text.emb"] = np.ones((len(sample.texts), 8), np.float16)
    return sample


def test_members_and_back():
    sample = with_emb(make_sample(3, seconds=2.0, streams=("imu", "orientation", "mocap", "pose2d", "video")))
    members = to_members(sample)
    names = [name for name, _ in members]
    assert names[0] == "clip-0003.json"
    assert names[1:] == sorted(names[1:])
    assert set(names[1:]) == {
        f"clip-0003.{rest}"
        for rest in ("imu.npy", "mocap.npy", "orientation.npy", "pose2d.npy", "text.emb.npy", "video.mp4")
    }
    back = from_members(members)
    assert to_members(back) == members
    for name, value in sample.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], value)
    head = json.loads(members[0][1])
    assert head["duration_s"] == 2.0
    assert isinstance(head["streams"]["imu"]["rate_hz"], float)
    assert isinstance(head["texts"][0]["start_s"], float)
    assert b"null" not in members[0][1]


def test_good_sample_has_no_problem():
    assert problems(make_sample()) == []


def _set(path, value):
    def change(sample):
        *parents, last = path
        place = sample
        for key in parents:
            place = getattr(place, key) if isinstance(key, str) and hasattr(place, key) else place[key]
        if isinstance(place, dict | list):
            place[last] = value
        else:
            setattr(place, last, value)

    return change


def _array(name, change):
    def apply(sample):
        value = sample.arrays[name].copy()
        changed = change(value)
        sample.arrays[name] = value if changed is None else changed

    return apply


def _drop_confidence(value):
    value[0, 0, 2] = 0


BROKEN = {
    "key alphabet": (_set(["id"], "a.b"), "id:"),
    "null string": (_set(["group"], None), "group:"),
    "empty recording": (_set(["recording"], ""), "recording:"),
    "too long": (_set(["duration_s"], 61.0), "at most 60; leave a longer recording as samples of the same"),
    "label no string": (_set(["labels", "activity"], 3), "labels.activity"),
    "text kind": (_set(["texts", 0, "kind"], "caption"), "texts[0].kind"),
    "empty text": (_set(["texts", 0, "text"], " "), "texts[0].text"),
    "text backwards": (_set(["texts", 0, "end_s"], -1.0), "texts[0]:"),
    "rate": (_set(["streams", "imu", "rate_hz"], 0.0), "streams.imu.rate_hz"),
    "wrong rate": (_set(["streams", "imu", "rate_hz"], 50.0), "streams.imu: spans"),
    "start": (_set(["streams", "mocap", "start_s"], float("nan")), "streams.mocap.start_s"),
    "length": (_set(["streams", "imu", "length"], 599), "streams.imu.length"),
    "placement": (_set(["streams", "imu", "sensors", 0, "placement"], "tail"), "sensors[0].placement"),
    "channels": (_set(["streams", "imu", "sensors", 0, "channels"], []), "sensors[0].channels"),
    "channel not zero": (_set(["streams", "imu", "sensors", 1, "channels"], ["acc"]), "gyro is not among"),
    "range": (_set(["streams", "imu", "sensors", 0, "range"], [1.0]), "sensors[0].range"),
    "number of sensors": (_set(["streams", "imu", "sensors"], []), "streams.imu.sensors"),
    "skeleton": (_set(["streams", "mocap", "skeleton"], "centaur"), "streams.mocap.skeleton"),
    "joints": (_set(["streams", "mocap", "skeleton"], "coco17"), "has 17 joints, the array 20"),
    "camera": (_set(["streams", "pose2d", "camera"], {"width": 640}), "camera.height"),
    "no array": (_set(["streams", "mocap_b"], {"rate_hz": 1.0}), "streams.mocap_b: has no array"),
    "unknown stream": (_set(["streams", "audio"], {}), "streams.audio: unknown name"),
    "no entry": (_set(["arrays", "mocap_b"], np.zeros((2, 20, 3), np.float32)), "mocap_b: array without an entry"),
    "dtype": (_array("imu", lambda v: v.astype(np.float64)), "imu: is float64, must be float32"),
    "shape": (_array("mocap", lambda v: v[..., :2]), "mocap: shape is (120, 20, 2)"),
    "not finite": (_array("imu", lambda v: v.__setitem__((0, 7, 2), np.nan)), "imu: is not finite, first at (0, 7, 2)"),
    "quaternion": (_array("orientation", lambda v: v * np.float32(1.1)), "orientation: quaternions must have norm 1"),
    "orientation times": (_array("orientation", lambda v: v[:, 1:]), "orientation: must be float32 (2, 600, 4)"),
    "confidence": (_array("pose2d", lambda v: v.__setitem__((0, 0, 2), 1.5)), "pose2d: confidence"),
    "unknown point": (_array("pose2d", _drop_confidence), "pose2d: a point of confidence 0"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_rule_is_named(case):
    change, expected = BROKEN[case]
    sample = make_sample()
    change(sample)
    found = problems(sample)
    assert any(expected in line for line in found), found
    with pytest.raises(ValueError, match=r"clip-0000|a\.b"):
        validate(sample)


def test_embeddings_are_checked():
    sample = with_emb(make_sample())
    assert problems(sample) == []
    sample.arrays["text.emb"] = sample.arrays["text.emb"][:1]
    sample.streams["text.emb"]["length"] = 1
    assert problems(sample) == ["text.emb: has 1 rows for 3 texts"]
    sample = with_emb(make_sample())
    sample.streams["text.emb"]["tower"] = ""
    assert "streams.text.emb.tower" in problems(sample)[0]


def test_broken_files_are_named():
    members = to_members(make_sample())
    with pytest.raises(ValueError, match=r"clip-0000\.imu\.npy: cannot be read"):
        from_members([(n, b[:50] if n.endswith("imu.npy") else b) for n, b in members])
    with pytest.raises(ValueError, match=r"json: missing"):
        from_members(members[1:])
    with pytest.raises(ValueError, match="another sample"):
        from_members([*members, ("clip-0001.json", b"{}")])


def test_nothing_is_unpickled():
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    members = to_members(make_sample())
    with pytest.raises(ValueError, match="pickle"):
        from_members([members[0], ("clip-0000.imu.npy", buffer.getvalue())])
