"""The card of a released model, read back by the Hub's own parser."""

import copy
import subprocess
import sys

import pytest
import yaml
from huggingface_hub import ModelCard

from aura.model_card import model_card
from aura.model_card.licences import default_licence, terms_in
from shards.mocap_job import CMU_LICENCE
from shards.utd_mhad import LICENCE as UTD_LICENCE

CONFIG = {
    "format": "aura-model/1",
    "library": "aura",
    "version": "0.1.0",
    "name": "tiny",
    "step": 1500,
    "inputs": {
        "imu": {"kind": "imu", "rate_hz": 50.0, "sensors": 2, "placements": ["left wrist", "chest"]},
        "pose2d": {"kind": "pose2d", "rate_hz": 20.0, "skeleton": "coco17"},
        "text": {"kind": "text", "kinds": ["label"]},
    },
    "towers": {
        "imu": {"kind": "imu_transformer", "width": 96},
        "pose2d": {"kind": "motion_transformer"},
        "text": {"kind": "transformers_text", "model": "sentence/minilm"},
    },
    "objective": {"pairs": {"imu:text": 1.0}},
    "embedding": 96,
    "window": {"seconds": 4.0, "whole": False},
    "precision": "no",
    "referenced": {"text": {"source": "sentence/minilm", "revision": "abc", "sha256": "0" * 64}},
    "prompts": {"label": "activity", "templates": ["{}"], "classes": {"walking": ["walking"], "it's": ["sit"]}},
    "phrases": ["walking", "sitting"],
    "statistics": {},
    "training": {
        "recipe": {"seed": 3, "train": {"steps": 1500}},
        "git": "c2378d91ed51",
        "unknown": "",
        "datasets": [
            {"name": "sp_sw_har", "split": "train", "licences": ["CC BY 4.0"], "samples": 70, "hours": 0.3, "subjects": 12,
             "streams": ["imu"]},
            {"name": "synthetic", "split": "train", "licences": ["CC0-1.0"], "samples": 9, "hours": 1.2, "subjects": 24,
             "streams": ["imu", "mocap"]},
        ],
    },
}  # fmt: skip
ZEROSHOT = {
    "task": "zeroshot",
    "recipe": "tiny",
    "step": 1500,
    "window_s": 4.0,
    "stride_s": 2.0,
    "per_sample": True,
    "shards": {"data/berkeley_mhad:test": "9a2221"},
    "results": {"imu": {"accuracy": 0.60052, "macro_f1": 0.57029, "chance/accuracy": 0.0909, "n": 383.0, "pool": 11.0}},
    "intervals": {"imu": {"accuracy": [0.48204, 0.70833]}},
    "notes": ["intervals over 7 people are too narrow | <b>"],
    "prompts": {"file": "recipes/prompts/berkeley_mhad.yaml", "classes": 11},
    "leaks": [],
}
RETRIEVAL = {
    "task": "retrieval",
    "recipe": "tiny",
    "step": 1500,
    "shards": {"hf://datasets/x/cmu_bvh:test": "1"},
    "results": {
        "imu:pose2d": {"R@1": 0.6766, "R@5": 0.96, "MRR": None, "chance/R@1": 0.005, "n": 201.0, "pool": 201.0}
    },
    "intervals": {},
}


def trained_on(*licences, unknown=""):
    config = copy.deepcopy(CONFIG)
    datasets = [{"name": f"set{i}", "split": "train", "licences": [text]} for i, text in enumerate(licences)]
    config["training"] |= {"datasets": datasets, "unknown": unknown}
    return config


def test_the_head_is_what_the_hub_reads():
    text = model_card(CONFIG, [ZEROSHOT, RETRIEVAL])
    data = ModelCard(text).data
    assert (data.license, data.library_name, data.pipeline_tag, data.language) == (
        "apache-2.0", "aura", "feature-extraction", "en",
    )  # fmt: skip
    assert {"imu", "human-activity-recognition"} <= set(data.tags)
    assert data.datasets == ["sp_sw_har", "synthetic"]
    assert data.base_model == ["sentence/minilm"]
    assert data.model_name == "tiny"
    found = {(r.task_type, r.dataset_name, r.dataset_split, r.metric_type): r for r in data.eval_results}
    assert set(found) == {
        ("zero-shot-classification", "berkeley_mhad", "test", "accuracy"),
        ("zero-shot-classification", "berkeley_mhad", "test", "f1"),
        ("retrieval", "cmu_bvh", "test", "recall_at_1"),
    }
    accuracy = found["zero-shot-classification", "berkeley_mhad", "test", "accuracy"]
    assert accuracy.metric_value == 0.6005
    assert accuracy.metric_args == {"n": 383.0, "pool": 11.0, "chance": 0.0909, "interval_95": [0.48204, 0.70833]}
    assert accuracy.metric_name == "accuracy of imu"
    assert str(ModelCard(text)) == text, "the parser gives it back as it was"


def test_the_body_says_what_a_reader_needs():
    text = ModelCard(model_card(CONFIG, [ZEROSHOT, RETRIEVAL])).text
    for words in (
        "| imu | 0.601 (0.482 to 0.708), chance 0.091 | 0.570 | 383 | 11 |",
        "Windows of 4 s, every 2 s; a whole sample at a time",
        "11 classes in the words of berkeley_mhad.yaml",
        "intervals over 7 people are too narrow | &lt;b>",
        "2 sensor(s) (left wrist, chest) at 50 Hz: acceleration with gravity (m/s²)",
        "skeleton coco17, at 20 Hz",
        "sentence/minilm abc, not in this repository",
        "| sp_sw_har | train | CC BY 4.0 | 70 | 0.3 | 12 | imu |",
        "12 people are named",
        "Not for medical, safety",
        "Step 1500 of the recipe below, with aura 0.1.0 (commit c2378d91ed51)",
    ):
        assert words in text, words
    recipe = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert recipe["train"] == {"steps": 1500}
    assert recipe["towers"] == CONFIG["towers"]
    assert not text.lstrip().partition("\n\n")[2].startswith(">"), "no warning where all licences are open"


def test_its_lines_of_use_are_python():
    for change in ({}, {"prompts": None}, {"towers": {"imu": {"kind": "x"}}}, {"towers": {"pose2d": {"kind": "x"}}}):
        text = model_card(CONFIG | change)
        code = text.partition("```python\n")[2].partition("```")[0]
        assert code.count("\n") == 3
        compile(code, "card", "exec")
        assert ("classify" in code) == ("text" in (CONFIG | change)["towers"])


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("CC0-1.0", "open"),
        ("CC BY 4.0", "open"),
        ("CC-BY-4.0", "open"),
        (CMU_LICENCE, "open"),
        (UTD_LICENCE, "open"),
        ("Apache License 2.0", "open"),
        ("Creative Commons Attribution 4.0 International", "open"),
        ("BSD 3-Clause License", "open"),
        (f"{CMU_LICENCE}; not for weapons", "research"),
        ("CMU Graphics Lab: free for research and commercial use", "research"),
        ("CC BY 4.0 except for commercial use", "other"),
        ("CC BY 4.0; commercial use excluded", "other"),
        ("cannot be used for research and commercial use", "research"),
        ("MIT license, not for use in weapons or any commercial setting", "other"),
        ("CC0: no restriction on commercial use", "non-commercial"),
        ("MIT", "open"),
        ("CC BY-NC 4.0, Bandai Namco Research Inc.; changed: a subset", "non-commercial"),
        ("non-commercial, registration", "non-commercial"),
        ("not for commercial use", "non-commercial"),
        ("not for research and commercial use", "research"),
        ("no commercial use", "non-commercial"),
        ("on request, for research alone, no redistribution; cite Trumble et al.", "research"),
        ("free for scientific use, with citation of two papers; the UCI archive says CC BY 4.0", "research"),
        ("not stated with the data: research use with citation of Ofli et al.", "unknown"),
        ("unknown: the code is Apache-2.0, the data's terms are not stated; ask the authors before use", "unknown"),
        ("", "unknown"),
        ("Ego-Exo4D licence agreement, to be signed before download; no redistribution", "other"),
        ("CC BY-SA 4.0", "other"),
        ("CC-BY-ND-4.0", "other"),
        ("something new", "other"),
    ],
)
def test_what_licences_in_words_allow(licence, expected):
    assert (terms_in(licence) == ["open"]) if expected == "open" else (expected in terms_in(licence))


@pytest.mark.parametrize(
    ("licence", "gives"),
    [
        ("CC BY-NC 4.0", "cc-by-nc-4.0"),
        ("CC BY-NC-SA 4.0", "other"),
        ("non-commercial research only, agreement to be signed, no redistribution", "other"),
        ("CC BY 4.0, commercial use prohibited", "other"),
        ("research and commercial use need a licence", "other"),
        ("free for research and commercial use", "other"),
        ("CC BY 4.0 but commercially restricted", "other"),
        ("All rights reserved, BSD University", "other"),
        ("MIT Motion licence: contact", "other"),
    ],
)
def test_the_strictest_term_decides(licence, gives):
    data = CONFIG["training"] | {"unknown": "", "datasets": [{"name": "a", "licences": [licence]}]}
    assert default_licence(CONFIG | {"training": data, "referenced": {}}) == gives


@pytest.mark.parametrize(
    ("config", "licence", "says"),
    [
        (trained_on("CC0-1.0", "CC BY-NC 4.0"), "cc-by-nc-4.0", "> **Not for commercial use:** trained on set1 (CC BY-NC 4.0)."),
        (trained_on("CC0-1.0", "for research alone"), "other", "> **For research alone:** trained on set1"),
        (trained_on("CC BY-NC 4.0", ""), "other", "> **Terms unknown:** trained on set1 (no licence stated)."),
        (trained_on("CC0-1.0", unknown="what it began with"), "other", "> **Terms unknown:** trained on data that are not all"),
        (trained_on(), "other", "> **Terms unknown:**"),
        (trained_on("signed agreement"), "other", "> **Terms of their own:**"),
    ],
)  # fmt: skip
def test_terms_stand_in_the_first_lines(config, licence, says):
    assert default_licence(config) == licence
    card = ModelCard(model_card(config))
    assert card.data.license == licence
    assert ("license_name" in card.data.to_dict()) == (licence == "other")
    first = card.text.lstrip().partition("\n\n")[2].partition("\n\n")[0]
    assert says in first
    assert first.startswith(">")


def test_people_that_are_made_up_are_no_people():
    made = {"name": "synthetic", "licences": ["CC0-1.0"]}
    real = {"name": "set", "licences": ["CC0-1.0"]}
    cards = [
        model_card(CONFIG | {"training": {"datasets": data, "unknown": unknown}})
        for data, unknown in (([made], ""), ([made, real], ""), ([made], "what it began with"), ([real], ""))
    ]
    alone, beside = "has seen no real recording", "Of its training data `synthetic` is a procedural human"
    assert [alone in card for card in cards] == [True, False, False, False]
    assert [beside in card for card in cards] == [False, True, True, False]


def test_a_licence_that_is_named_holds_but_hides_nothing():
    card = ModelCard(model_card(trained_on("CC BY-NC 4.0"), licence="mit"))
    assert card.data.license == "mit"
    assert "**Not for commercial use:**" in card.text
    assert "`mit` of the weights was chosen by who published them" in card.text


def test_results_that_do_not_hold_are_not_in_the_head():
    leaky = ZEROSHOT | {"leaks": ["3 people"]}
    early = ZEROSHOT | {"step": 500}
    card = ModelCard(model_card(CONFIG, [leaky, early]))
    assert card.data.eval_results is None
    assert "**Leak:** 3 people. These figures are too good." in card.text
    assert "Measured at step 500; the weights here are of step 1500." in card.text
    with pytest.raises(ValueError, match="are not of this model, tiny"):
        model_card(CONFIG, [ZEROSHOT | {"recipe": "other"}])


def test_what_the_run_measured_itself_is_told_apart_from_tests():
    config = copy.deepcopy(CONFIG)
    config["training"]["recipe"]["data"] = {"eval": [{"path": "sp_sw_har", "split": "val"}]}
    config["training"]["evaluation"] = {
        "retrieval/imu:pose2d/late/R@1": 0.2882,
        "retrieval/imu:pose2d/late/chance": 0.0035,
        "retrieval/imu:pose2d/late/pool": 288.0,
        "zeroshot/imu/accuracy": 0.809,
        "zeroshot/imu/chance": 0.0278,
        "zeroshot/imu/n": 288.0,
    }
    for results in ([], [ZEROSHOT]):
        card = ModelCard(model_card(config, results))
        tests, _, own = card.text.partition("### In training: step 1500, on `sp_sw_har:val`")
        assert "| imu:pose2d/late (the query first) | R@1 | 0.288 | 0.0035 | 288 |" in own
        assert "| imu, by words | accuracy | 0.809 | 0.0278 | 288 |" in own
        assert "this is no test" in own
        assert ("No test was measured" in tests) == (not results)
        assert (card.data.eval_results is None) == (not results), "no index takes it for a test"


def test_results_of_another_model_are_refused():
    known = copy.deepcopy(CONFIG)
    known["training"]["recipe_sha256"] = "a" * 64
    assert model_card(known, [ZEROSHOT | {"recipe_sha256": "a" * 64}])
    with pytest.raises(ValueError, match="are not of this model, tiny"):
        model_card(known, [ZEROSHOT | {"recipe": "other"}])
    with pytest.raises(ValueError, match="of runs/second, whose recipe is another"):
        model_card(known, [ZEROSHOT | {"recipe_sha256": "b" * 64, "checkpoint": "runs/second"}])


def test_unknown_facts_are_called_so():
    config = copy.deepcopy(CONFIG) | {"training": {}, "version": "0.1.0"}
    config["inputs"]["imu"].pop("placements")
    text = model_card(config)
    assert "What it was trained on is not known here." in text
    assert "(commit unknown)" in text
    assert "No test was measured for this card" in text
    assert "### In training" not in text
    assert "Where sensors were worn is not recorded here" in text


def test_the_card_needs_no_torch():
    code = "import sys, aura.model_card, aura.hub; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
