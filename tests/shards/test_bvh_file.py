"""The text of BVH files, written from the format (each trap one file), against scipy."""

import numpy as np
import pytest

from aura.body import kinematics as kin
from aura.body.skeletons import SKELETONS
from shards.bvh_file import kinematics, read_bvh
from tests.shards.bvh_writer import ORDERS, Joint, depth_first, human, motion, truth, write

SMPL = SKELETONS["smpl22"].joints


def everything(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    read = read_bvh(data)
    return kinematics(read, [i for i, name in enumerate(read.names) if not name.endswith(" end")])


@pytest.mark.parametrize("order", ORDERS)
def test_rotation_order_is_that_of_the_channels(order: str) -> None:
    joints = human(order=order)
    values = motion(joints, 20, 120.0)
    for turning in values[1:]:
        turning *= 14  # angles up to 168 degrees: orders differ grossly
    places, turns = truth(joints, values)
    found = everything(write(joints, values))
    file = depth_first(joints)
    np.testing.assert_allclose(found[0], places[:, file], atol=1e-5)
    np.testing.assert_allclose(kin.to_matrix(found[1]), turns[:, file], atol=1e-5)


def test_every_joint_with_an_order_of_its_own() -> None:
    joints = human()
    values = motion(joints, 20, 120.0)
    found = everything(write(joints, values))
    np.testing.assert_allclose(found[0], truth(joints, values)[0][:, depth_first(joints)], atol=1e-5)


@pytest.mark.parametrize("adds", [False, True])
def test_positions_of_inner_joints_replace_the_offset_or_are_added(adds: bool) -> None:
    joints = human(six=True)
    values = motion(joints, 12, 30.0)
    for joint, own in zip(joints, values):
        if joint.parent >= 0:
            own[:, :3] += 0.004 * np.arange(12)[:, None]  # they may move: the first frame decides
            own[:, :3] -= np.array(joint.offset) if adds else 0
    found, _ = everything(write(joints, values))
    np.testing.assert_allclose(found, truth(joints, values, adds)[0][:, depth_first(joints)], atol=1e-5)


def test_rotations_before_positions_and_joints_without_channels() -> None:
    joints = [Joint("Hips", -1, (0, 0, 0), "ZYXxyz"), Joint("fixed", 0, (0, 2, 0), ""), Joint("tip", 1, (1, 0, 0), "Y")]
    values = motion(joints, 5, 30.0)
    found, _ = everything(write(joints, values))
    np.testing.assert_allclose(found, truth(joints, values)[0], atol=1e-5)


def test_two_roots_move_apart() -> None:
    joints = [Joint("a", -1, (0, 0, 0), "xyzZXY"), Joint("b", -1, (0, 0, 0), "xyzZXY"), Joint("c", 1, (0, 1, 0), "XYZ")]
    values = motion(joints, 5, 30.0, seed=3)
    found, _ = everything(write(joints, values))
    np.testing.assert_allclose(found, truth(joints, values)[0], atol=1e-5)


LAYOUTS = {
    "crlf": {"newline": "\r\n"},
    "tabs": {"separator": "\t"},
    "blanks": {"separator": "   "},
    "blank lines": {"newline": "\n\n"},
    "exponents": {"number": "{:.8e}"},
    "blank end": {"tail": "\n  \n"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_the_text(layout: str) -> None:
    joints = human()
    values = motion(joints, 9, 120.0)
    plain, other = read_bvh(write(joints, values)), read_bvh(write(joints, values, **LAYOUTS[layout]))
    np.testing.assert_allclose(other.frames, plain.frames, atol=1e-6)
    np.testing.assert_allclose(other.offsets, plain.offsets, atol=1e-6)
    assert (other.names, other.parents, other.channels, other.warnings) == (
        plain.names,
        plain.parents,
        plain.channels,
        (),
    )


def test_keywords_in_other_case_braces_on_the_line_and_names_with_blanks() -> None:
    text = write([Joint("My Hips", -1, (0, 1, 0), "xyzZXY")], [np.arange(12.0).reshape(2, 6)]).decode()
    text = (
        text.replace("\n{", " {").replace("HIERARCHY", "Hierarchy").replace("ROOT", "Root").replace("OFFSET", "offset")
    )
    text = text.replace("Zrotation", "ZROTATION").replace("MOTION", "Motion").replace("Frame Time:", "FRAME TIME :")
    read = read_bvh(text.encode())
    assert read.names == ("My Hips", "My Hips end")
    np.testing.assert_array_equal(read.frames, np.arange(12.0).reshape(2, 6))


def test_decimal_commas() -> None:
    joints = human()
    values = motion(joints, 9, 120.0)
    plain = write(joints, values)
    read = read_bvh(plain.replace(b".", b","))
    np.testing.assert_array_equal(read.frames, read_bvh(plain).frames)
    np.testing.assert_array_equal(read.offsets, read_bvh(plain).offsets)
    assert read.rate_hz == 120
    assert read.warnings == ("its numbers have decimal commas",)
    with pytest.raises(ValueError, match="both points and commas"):
        read_bvh(plain + b"1,5 2.5")


@pytest.mark.parametrize(
    ("stated", "rate"),
    [
        ("0.0083333", 120), ("0.008333", 120), (".0083333", 120), ("0.0333333", 30), ("0.033333", 30), ("0.016667", 60),
        ("0.04", 25), ("0.0416667", 24), ("0.010000", 100), ("0.0041667", 240), ("8.3333e-3", 120),
        ("0.0166834", 1 / 0.0166834), ("0.0333667", 1 / 0.0333667), ("0.0066667", 1 / 0.0066667), ("0.0084", 1 / 0.0084),
    ],
)  # fmt: skip
def test_frame_time_goes_to_a_common_rate_only_within_its_rounding(stated: str, rate: float) -> None:
    joints = human()
    assert read_bvh(write(joints, motion(joints, 3, 30), frame_time=stated)).rate_hz == rate


@pytest.mark.parametrize("stated", ["0", "nan", "-0.01", "30 fps", ""])
def test_no_frame_time_is_refused_unless_the_rate_is_given(stated: str) -> None:
    joints = human()
    data = write(joints, motion(joints, 3, 30), frame_time=stated)
    with pytest.raises(ValueError, match=r"Frame Time.*--fps"):
        read_bvh(data)
    assert read_bvh(data, rate_hz=48.0).rate_hz == 48


def test_wrong_count_of_frames_and_a_last_line_cut_off() -> None:
    joints = human()
    data = write(joints, motion(joints, 9, 30), frames="12")
    read = read_bvh(data)
    assert len(read.frames) == 9
    assert read.warnings == ("the number of frames it states is not that of its lines",)
    cut = read_bvh(write(joints, motion(joints, 9, 30), frames="9")[:-60])
    assert len(cut.frames) == 8
    assert "its last line is cut off" in cut.warnings
    np.testing.assert_array_equal(cut.frames, read.frames[:8])


def test_damaged_files_name_the_line() -> None:
    joints = human()
    data = write(joints, motion(joints, 9, 30))
    lines = data.split(b"\n")
    first = next(i for i, line in enumerate(lines) if line.startswith(b"Frame Time")) + 1

    def broken(number: int, line: bytes) -> bytes:
        return b"\n".join([*lines[:number], line, *lines[number + 1 :]])

    with pytest.raises(ValueError, match=rf"line {first + 3} has 68 numbers, its joints have 69 channels"):
        read_bvh(broken(first + 2, b" ".join(lines[first + 2].split()[:-1])))
    with pytest.raises(ValueError, match=rf"line {first + 5}: '1\.#QNAN' is no number"):
        read_bvh(broken(first + 4, b" ".join([b"1.#QNAN", *lines[first + 4].split()[1:]])))
    with pytest.raises(ValueError, match="no line MOTION"):
        read_bvh(data[:400])
    with pytest.raises(ValueError, match="no frames"):
        read_bvh(b"\n".join(lines[:first]))
    with pytest.raises(ValueError, match="never closed"):
        read_bvh(data.replace(b"}\nMOTION", b"MOTION"))
    with pytest.raises(ValueError, match="Hips/Spine: 'CHANNELS 3 Xrotation Yrotation' is not"):
        read_bvh(data.replace(b"CHANNELS 3 Xrotation Yrotation Zrotation", b"CHANNELS 3 Xrotation Yrotation", 1))
    with pytest.raises(ValueError, match="Hips/Spine: has no OFFSET"):
        read_bvh(data.replace(b"OFFSET 0.000000 0.110000 0.000000", b"", 1))
    with pytest.raises(ValueError, match="'Frame Time:'"):
        read_bvh(data.replace(b"Frame Time", b"Frames per", 1))


def test_numbers_that_are_nan_are_read() -> None:
    joints = human()
    data = write(joints, motion(joints, 3000, 120))
    lines = data.split(b"\n")
    lines[-3] = b" ".join([b"nan", b"-NaN", *lines[-3].split()[2:]])
    assert np.argwhere(np.isnan(read_bvh(b"\n".join(lines)).frames)).tolist() == [[2998, 0], [2998, 1]]
