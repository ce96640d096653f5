import re
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from torch.nn import functional as F

from aura.tasks.zeroshot import (
    Prompts,
    class_embeddings,
    class_probabilities,
    default_prompts,
    fused,
    load_prompts,
    zeroshot,
)
from shards import berkeley_mhad_texts, egoexo4d_takes, pamap2_texts, sp_sw_har_texts, utd_mhad_texts
from shards.synthetic_words import ACTIVITIES

PROMPTS = Path(__file__).parents[2] / "recipes" / "prompts"


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_metrics_agree_with_scikit_learn_when_a_class_never_occurs():
    torch.manual_seed(0)
    names = ["a", "b", "c", "d"]
    classes = F.normalize(torch.randn(4, 8), dim=-1)
    truth = [names[i] for i in torch.randint(0, 3, (60,))]  # d never occurs
    x = F.normalize(torch.stack([classes[names.index(t)] for t in truth]) + 0.6 * torch.randn(60, 8), dim=-1)
    found = [names[i] for i in (x @ classes.T).argmax(1)]
    got = zeroshot(x, classes, truth, names)
    assert got["accuracy"] == pytest.approx(accuracy_score(truth, found))
    assert got["macro_f1"] == pytest.approx(f1_score(truth, found, labels=["a", "b", "c"], average="macro"))
    assert got["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, found))
    assert (got["n"], got["chance"]) == (60, 0.25)
    assert got["majority"] == max(truth.count(name) for name in names) / 60
    p = class_probabilities(x, classes, scale=14.0)
    torch.testing.assert_close(p.log().diff(dim=1).float(), 14.0 * (x @ classes.T).diff(dim=1))


def test_wordings_are_normalised_averaged_and_normalised_again():
    table = {"long": torch.tensor([10.0, 0.0]), "short": torch.tensor([0.0, 0.1]), "other": torch.tensor([-1.0, 0.0])}
    prompts = default_prompts({"x", "y"}).model_copy(update={"classes": {"x": ["long", "short"], "y": ["other"]}})
    found = class_embeddings(prompts, lambda words: torch.stack([table[w] for w in words]))
    torch.testing.assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]]))


def test_each_wording_goes_into_each_template():
    prompts = Prompts(templates=["a person is {}", "{} again"], classes={"x": ["walking", "going"], "y": ["{"]})
    assert prompts.sentences("x") == ["a person is walking", "walking again", "a person is going", "going again"]
    assert prompts.sentences("y") == ["a person is {", "{ again"]
    table = {text: torch.eye(4)[i] * (i + 1) for i, text in enumerate(prompts.sentences("x"))}
    found = class_embeddings(prompts, lambda words: torch.stack([table.get(w, torch.ones(4)) for w in words]))
    torch.testing.assert_close(found[0], torch.full((4,), 0.5), msg="each sentence counts the same")


def test_the_hash_is_of_what_is_said(tmp_path):
    def of(text):
        (tmp_path / "p.yaml").write_text(text)
        return load_prompts(tmp_path / "p.yaml").hash

    base = of("classes: {a: [x], b: [y, z]}")
    assert of("# words\nlabel: activity\ntemplates: ['{}']\nclasses:\n  b:\n  - y\n  - z\n  a: ['x']") == base
    assert of("label: activity\nclasses: {a: [x], b: [y]}") != base
    assert of("label: action\nclasses: {a: [x], b: [y, z]}") != base
    assert of("templates: ['a {}']\nclasses: {a: [x], b: [y, z]}") != base
    assert len(base) == 64


def test_streams_that_are_there_are_fused_and_others_never_read():
    x = {"imu": torch.tensor([[2.0, 0.0], [0.0, 1.0], [torch.nan, 0.0]]), "video": torch.tensor([[0.0, 1.0], [torch.nan] * 2, [0.0, 0.0]])}  # fmt: skip
    present = {"imu": torch.tensor([True, True, False]), "video": torch.tensor([True, False, False])}
    found, there = fused(x, present)
    torch.testing.assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0], [0.0, 0.0]]))
    assert there.tolist() == [True, True, False]


LABELS = {
    "egoexo4d_scenarios": ("scenario", set(egoexo4d_takes.SCENARIOS.values())),
    "pamap2_12": ("activity12", {a.name for a in pamap2_texts.ACTIVITIES.values() if a.subset12}),
    "pamap2_18": ("activity", {a.name for a in pamap2_texts.ACTIVITIES.values()}),
    "berkeley_mhad": ("activity", {a.name for a in berkeley_mhad_texts.ACTIONS}),
    "sp_sw_har": ("activity", {a.name for a in sp_sw_har_texts.ACTIVITIES.values()}),
    "utd_mhad": ("activity", {a.name for a in utd_mhad_texts.ACTIONS}),
    "synthetic": ("activity", set(ACTIVITIES)),
}


@pytest.mark.parametrize("file", sorted(path.stem for path in PROMPTS.glob("*.yaml")))
def test_prompt_files_have_the_labels_that_the_converters_write(file):
    prompts = load_prompts(PROMPTS / f"{file}.yaml")
    assert (prompts.label, set(prompts.classes)) == LABELS[file]
    sentences = [text for name in prompts.classes for text in prompts.sentences(name)]
    assert len(set(sentences)) == len(sentences), "no two classes share words"


def test_the_literature_asks_by_bare_names():
    for file, count in (("egoexo4d_scenarios", 8), ("pamap2_12", 12)):
        prompts = load_prompts(PROMPTS / f"{file}.yaml")
        assert [prompts.sentences(name) for name in prompts.classes] == [[name] for name in prompts.classes]
        assert len(prompts.classes) == count


def test_faults_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no prompts for the classes \['z'\]"):
        zeroshot(torch.ones(1, 2), torch.ones(2, 2), ["z"], ["x", "y"])
    with pytest.raises(ValueError, match="no prompt file at"):
        load_prompts(tmp_path / "none.yaml")
    (tmp_path / "p.yaml").write_text("classes: {a: [x]}")
    with pytest.raises(ValueError, match=r"p\.yaml: classes: .*at least 2"):
        load_prompts(tmp_path / "p.yaml")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("classes: {a: [x], b: []}", "class 'b' has no wording"),
        ("classes: {a: [x], b: [' ']}", "class 'b' has an empty wording"),
        ("templates: [a person]\nclasses: {a: [x], b: [y]}", r"template 'a person' needs one \{\}"),
        ("templates: ['{} or {}']\nclasses: {a: [x], b: [y]}", r"template '\{\} or \{\}' needs one"),
        ("templates: []\nclasses: {a: [x], b: [y]}", "templates: .*at least 1"),
        ("classes: {a: x, b: y}", r"classes\.a: .*list"),
        ("classes: {a: [x], b: [y], a: [z]}", "'a' is there twice"),
        ("classes: {a: [x], yes: [y]}", "classes.*string"),
        (
            "clases: {a: [x], b: [y]}",
            r"clases: unknown key; did you mean 'classes'\? \(known: classes, label, templates\)",
        ),
        ("temlate: ['{}']\nclasses: {a: [x], b: [y]}", "temlate: unknown key; did you mean 'templates'"),
        ("- a\n- b", r"p\.yaml: the file: should be a section, is \['a', 'b'\].*holds label, templates and classes"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path, text, fault):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"p\.yaml") as error:
        load_prompts(tmp_path / "p.yaml")
    assert re.search(fault, str(error.value)), error.value
