"""Towers of published models: their numbers are those of the authors' modules, from weights under the authors' names."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch

from aura.body.placements import PLACEMENTS
from aura.data.batch import Stream
from aura.data.config import ImuInput, TextInput, VideoInput
from aura.model import empty_row
from aura.towers import build_tower
from aura.towers.outside import imagebind, unimts
from aura.towers.outside.imagebind import ImagebindImu, ImagebindImuConfig, ImagebindVideo, ImagebindVideoConfig
from aura.towers.outside.released import read_weights, tower_weights, wrapped
from aura.towers.outside.unimts import JOINT_OF, PARENTS, Unimts, UnimtsConfig
from aura.towers.text import ClipText, ClipTextConfig
from tests.towers.released import filled, names_and_shapes, weights

ONE = torch.ones(2, dtype=torch.bool)
SMALL = {"depth": 2, "heads": 4, "output": 40}  # ImageBind's towers, shrunken


def sensors(values, *places):
    """All of these sensors were worn all the time."""
    b, s, t, _ = values.shape
    there = torch.ones(b, s, dtype=torch.bool)
    placement = torch.tensor([PLACEMENTS.index(place) for place in places]).expand(b, s).clone()
    return Stream(
        values, there[:, 0], there[..., None].expand(b, s, t), there, there[..., None].expand(b, s, 6), placement
    )


def loaded(release, stream, tower, file):
    tower.load_state_dict(tower_weights(release, file, {stream: tower.state_dict()})[stream])
    return tower.eval()


def own(release, stream, tower):
    """A tower with values by the names that its tensors have in the published file."""
    file = {}
    for name, tensor in tower.state_dict().items():
        theirs = release.theirs(stream, name)
        transposed = theirs.endswith("proj.1.weight") and stream == "text"
        shape = tuple(tensor.T.shape) if transposed else tuple(tensor.shape)
        shape = (1, *shape) if theirs.endswith("text.pos_embed") else shape
        file[theirs] = tensor if name == "adjacency" else filled(theirs, shape)
    return loaded(release, stream, tower, file)


@pytest.mark.parametrize("gyroscope", [False, True])
def test_unimts_gives_its_authors_numbers(gyroscope):
    """Made by ST_GCN_18 of github.com/xiyuanzh/UniMTS (656fcda): three sensors at joints 21, 11 and 1, 6.5 s repeated to 10 s."""
    tower = own(unimts.RELEASE, "imu", Unimts(UnimtsConfig(gyroscope=gyroscope), ImuInput(rate_hz=20), 6.5))
    values = filled("values", (2, 3, 130, 6)) * 50 + filled("levels", (2, 3, 1, 6)) * 30
    expected = GOLDEN["unimts with gyroscope" if gyroscope else "unimts"]
    places = ["right wrist", "chest", "left thigh"]
    with torch.no_grad():
        found = tower(sensors(values, *places)).pooled
        turned = tower(sensors(values[:, [2, 0, 1]], *(places[i] for i in (2, 0, 1)))).pooled
    assert found.shape == (2, 512)
    torch.testing.assert_close(found[:, :6], torch.tensor(expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(turned, found, atol=1e-5, rtol=1e-5)


def test_the_graph_of_unimts():
    itself, others, nearer = unimts.adjacency()
    degree = np.array([1 + sum(p == joint for p in PARENTS) + (joint > 0) for joint in range(22)])
    np.testing.assert_allclose(np.diag(itself), 1 / degree, rtol=1e-6)
    assert (itself == np.diag(np.diag(itself))).all()
    assert [tuple(x) for x in np.argwhere(nearer).tolist()] == [(0, 1), (0, 5), (0, 9), (1, 2), (5, 6), (9, 10)]
    np.testing.assert_allclose((itself + others + nearer).sum(0), 1, rtol=1e-6)
    assert ((others + nearer > 0) == (others + nearer > 0).T).all()


def test_every_placement_but_the_unknown_one_has_a_joint_on_its_side():
    assert set(JOINT_OF) == set(PLACEMENTS) - {"unknown"}
    for place, joint in JOINT_OF.items():
        side, _, rest = place.partition(" ")
        if side == "left" and rest not in ("ear", "temple"):
            assert joint in {1, 2, 3, 4, 14, 15, 16, 17}
            assert JOINT_OF[f"right {rest}"] == joint + 4


def test_sensors_of_unimts_lie_at_their_joints():
    tower = Unimts(UnimtsConfig(), ImuInput(rate_hz=20), 10.0)
    values = torch.randn(2, 4, 200, 6)
    stream = sensors(values, "left hand", "left wrist", "head", "pelvis")
    stream = dataclasses.replace(stream, sensor_mask=torch.tensor([[True] * 4, [False, True, True, True]]))
    body = tower.body(stream)
    assert body.shape == (2, 22, 200, 3)
    for row, wrist in ((0, 0), (1, 1)):  # of two at one joint the first that there is
        for joint, sensor in ((17, wrist), (13, 2), (0, 3)):
            assert torch.equal(body[row, joint], values[row, sensor, :, :3])
    others = [joint for joint in range(22) if joint not in (17, 13, 0)]
    assert not body[:, others].any()


def test_a_sensor_somewhere_is_refused_by_unimts():
    tower = Unimts(UnimtsConfig(), ImuInput(rate_hz=20), 10.0)
    stream = sensors(torch.randn(2, 1, 200, 6), "unknown")
    with pytest.raises(ValueError, match="at a place that is not known"):
        tower(stream)
    tower.eval()(empty_row(stream))  # what stands for no row at all


def test_what_is_short_is_repeated_from_the_first_to_the_last_item():
    values = torch.arange(2 * 2 * 6.0).view(2, 2, 6, 1)
    known = torch.tensor([[[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]], [[0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0]]]).bool()
    found = wrapped(values, known, 10)[..., 0]
    for row, part in ((0, slice(0, 4)), (1, slice(1, 5))):
        short = values[row, :, part, 0].numpy()
        assert np.array_equal(found[row].numpy(), np.pad(short, ((0, 0), (0, 6)), mode="wrap"))
    assert torch.equal(wrapped(values, torch.ones_like(known), 6), values)


def test_windows_that_do_not_fit():
    with pytest.raises(ValueError, match=r"reads 20 Hz"):
        build_tower(UnimtsConfig(), ImuInput(rate_hz=50), 5.0)
    with pytest.raises(ValueError, match=r"set data\.window\.seconds to 10 or less"):
        build_tower(UnimtsConfig(), ImuInput(rate_hz=20), 12.0)
    with pytest.raises(ValueError, match=r"set data\.window\.seconds to 5 or less"):
        build_tower(ImagebindImuConfig(width=32, **SMALL), ImuInput(rate_hz=400), 10.0)
    build_tower(ImagebindImuConfig(width=32, **SMALL), ImuInput(rate_hz=200), 10.0)
    with pytest.raises(ValueError, match="pairs of frames"):
        build_tower(ImagebindVideoConfig(width=32, **SMALL), VideoInput(frames=3), 5.0)


def test_imagebind_gives_its_authors_numbers_for_an_imu():
    """Made by ImageBindModel of github.com/facebookresearch/ImageBind (53680b0), shrunken; its outputs are scaled by e^1.5."""
    config = ImagebindImuConfig(width=32, standardize=False, **SMALL)
    tower = own(imagebind.RELEASE, "imu", ImagebindImu(config, ImuInput(rate_hz=400), 5.0))
    with torch.no_grad():
        found = tower(sensors(filled("values", (2, 1, 2000, 6)), "head")).pooled
    found = torch.nn.functional.normalize(found, dim=-1) * math.exp(1.5)
    torch.testing.assert_close(found[:, :6], torch.tensor(GOLDEN["imagebind imu"]), atol=1e-5, rtol=1e-5)


def test_imagebind_gives_its_authors_numbers_for_video():
    tower = ImagebindVideo(ImagebindVideoConfig(width=32, **SMALL), VideoInput(frames=4), 5.0)
    tower = own(imagebind.RELEASE, "video", tower)
    frames = ((filled("frames", (1, 2 * 4 * 3 * 224 * 224)) * 5 + 1) * 127.5).to(torch.uint8).view(2, 4, 3, 224, 224)
    frames[0] //= 2
    stream = Stream(frames, ONE, torch.ones(2, 4, dtype=torch.bool))
    with torch.no_grad():
        out = tower(stream)
        torch.testing.assert_close(out.pooled[:, :6], torch.tensor(GOLDEN["imagebind video"]), atol=1e-5, rtol=1e-5)
        # Without its last three frames a row is its first one, as an image is: twice in one clip.
        stream.valid[0, 1:] = False
        short = tower(stream)
        frames[0, 1] = frames[0, 0]
        torch.testing.assert_close(short.pooled[0], tower(stream).tokens[0, 0, 0])
    assert short.mask.tolist() == [[[True, False]], [[True, True]]]


def test_imagebind_gives_its_authors_numbers_for_text():
    model = {
        "embed_dim": 40,
        "vision_cfg": {"image_size": 32, "patch_size": 32, "width": 64, "layers": 1},
        "text_cfg": {"vocab_size": 49408, "width": 48, "heads": 4, "layers": 2, "norm_kwargs": {"eps": 1e-6}},
    }
    tower = own(imagebind.RELEASE, "text", ClipText(ClipTextConfig(model=model), TextInput(), 5.0))
    ids = torch.zeros(2, 77, dtype=torch.int64)
    ids[0, :3] = torch.tensor([49406, 3144, 49407])
    ids[1, :5] = torch.tensor([49406, 320, 2533, 6765, 49407])
    with torch.no_grad():
        found = torch.nn.functional.normalize(tower.encode(ids), dim=-1) * math.exp(1.5)
    torch.testing.assert_close(found[:, :6], torch.tensor(GOLDEN["imagebind text"]), atol=1e-5, rtol=1e-5)


def test_imagebind_standardizes_what_was_measured():
    values = 5 + 3 * torch.randn(2, 1, 1000, 6)
    values[..., 5] = 7.0
    stream = sensors(values, "head")
    valid = stream.valid.clone()
    valid[:, :, 600:] = False
    values[:, :, 600:] = torch.nan
    found = imagebind.standardized(dataclasses.replace(stream, valid=valid).cleaned().values, valid)
    part = values[:, :, :600, :5]
    expected = (part - part.mean(2, keepdim=True)) / part.std(2, keepdim=True, unbiased=False)
    torch.testing.assert_close(found[:, :, :600, :5], expected, atol=1e-5, rtol=1e-4)
    assert not found[:, :, 600:].any()
    assert found[..., 5].abs().max() < 0.01
    values[..., 5] = 0.0
    config = ImagebindImuConfig(width=32, **SMALL)
    tower = ImagebindImu(config, ImuInput(rate_hz=400), 2.5).eval()
    short = tower(dataclasses.replace(stream, valid=valid))
    # Another unit or zero of a sensor's channels changes nothing.
    other = sensors(values * 9.81 + 4 * (values != 0), "head")
    torch.testing.assert_close(
        tower(dataclasses.replace(other, valid=valid)).pooled, short.pooled, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(("model", "release"), [("unimts", unimts.RELEASE), ("imagebind", imagebind.RELEASE)])
def test_a_file_that_does_not_fit_is_refused_by_name(model, release):
    """On one tower; the files as a whole are held in tests/tools/test_import_checkpoint.py."""
    shapes = names_and_shapes(model)
    with torch.device("meta"):
        tower = {
            "unimts": lambda: Unimts(UnimtsConfig(), ImuInput(rate_hz=20), 10.0),
            "imagebind": lambda: ImagebindImu(ImagebindImuConfig(), ImuInput(rate_hz=400), 5.0),
        }[model]()
        file = {name: torch.empty(shape) for name, shape in shapes.items()}
    wanted = {"imu": tower.state_dict()}
    assert tower_weights(release, file, wanted)["imu"].keys() == tower.state_dict().keys()
    lost = next(name for name in shapes if re.match(release.parts["imu"], name))
    for changed, message in (
        ({k: v for k, v in file.items() if k != lost}, rf"{re.escape(lost)} is missing \(imu\)"),
        (file | {lost: torch.empty(3)}, rf"{re.escape(lost)} has shape \(3,\), the tower of imu \("),
        (file | {"more.weight": torch.empty(3)}, r"more\.weight is left over"),
    ):
        with pytest.raises(ValueError, match=message):
            tower_weights(release, changed, wanted)
    with pytest.raises(ValueError, match=r"and \d+ more"):
        tower_weights(release, {}, wanted)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file was run')",))


def test_only_tensors_are_read(tmp_path):
    for value, message in (
        ({"weight": Evil()}, "is damaged, or holds something else than weights"),
        ({"weight": torch.ones(2), "epoch": 3}, "something else than tensors"),
        ([torch.ones(2)], "something else than tensors"),
    ):
        torch.save(value, tmp_path / "file.pth")
        with pytest.raises(ValueError, match=message):
            read_weights(tmp_path / "file.pth")
    (tmp_path / "file.pth").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match="is damaged"):
        read_weights(tmp_path / "file.pth")
    with pytest.raises(ValueError, match="cannot be read"):
        read_weights(tmp_path / "none.pth")
    for form in (True, False):
        torch.save(weights({"a.weight": (2, 3)}), tmp_path / "file.pth", _use_new_zipfile_serialization=form)
        assert torch.equal(read_weights(tmp_path / "file.pth")["a.weight"], filled("a.weight", (2, 3)))


# The first six numbers of each of two rows.
GOLDEN = {
    "unimts": [
        [0.356124, 0.161561, 0.584164, 0.475469, 0.8069, 1.877596],
        [0.18595, 0.186365, 0.135919, 0.272089, 0.758869, 1.545995],
    ],
    "unimts with gyroscope": [
        [0.228218, 0.139294, 0.17322, 0.2123, 0.696632, 1.448975],
        [0.261965, 0.163751, 0.115932, 0.31201, 0.774696, 1.600763],
    ],
    "imagebind imu": [
        [1.387187, 0.198744, 0.148208, 0.288831, -0.153173, 0.087175],
        [1.20929, 0.148022, 0.296747, 0.341091, -0.248052, -0.092426],
    ],
    "imagebind video": [
        [-0.023028, 0.276061, 0.361313, -0.272526, 0.134985, -0.234757],
        [-0.166835, 0.134052, 0.14951, -0.141355, 0.045324, 0.02276],
    ],
    "imagebind text": [
        [1.196382, -0.385122, 1.269976, -0.037744, -0.568277, 0.346127],
        [1.163267, -0.639057, 1.086002, 0.257018, -1.297397, -0.225473],
    ],
}
