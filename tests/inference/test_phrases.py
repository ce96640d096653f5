from pathlib import Path

import pytest

from aura.inference.phrases import bare, read_phrases, variants
from aura.tasks.zeroshot import load_prompts
from shards.synthetic_everyday_words import EVERYDAY
from shards.synthetic_words import ACTIVITIES

RECIPES = Path(__file__).parents[2] / "recipes"
FILE = RECIPES / "phrases" / "activities.txt"
PROMPTS = sorted((RECIPES / "prompts").glob("*.yaml"))
# Names of classes that nobody says, and what people say instead.
INSTEAD = {
    "sit down stand up": "sitting down and standing up",
    "seated": "being seated",
    "side step": "stepping sideways",
    "jumping jack": "jumping jacks",
    "torso twist": "twisting the torso",
    "tennis swing": "swinging a racket",
    "basketball shot": "shooting a basketball",
    "wipe": "wiping a table",
    "shake": "shaking a bottle",
    "pick up": "picking something up",
    "arm cross": "crossing the arms",
    "basketball shoot": "shooting a basketball",
    "draw x": "drawing an x in the air",
    "draw circle cw": "drawing a circle clockwise",
    "draw circle ccw": "drawing a circle counter-clockwise",
    "draw triangle": "drawing a triangle in the air",
    "baseball swing": "swinging a baseball bat",
    "arm curl": "arm curls",
    "tennis serve": "serving in tennis",
    "pickup throw": "picking up and throwing",
    "sit2stand": "standing up from a chair",
    "stand2sit": "sitting down on a chair",
}
BARE = {
    "sitting": "sit", "running": "run", "lying": "lie", "riding": "ride", "typing": "type", "hopping": "hop",
    "pressing": "press", "rolling": "roll", "rowing": "row", "boxing": "box", "playing": "play", "frying": "fry",
    "eating": "eat", "beating": "beat", "rotating": "rotate", "meditating": "meditate", "dancing": "dance",
    "carving": "carve", "raising": "raise", "closing": "close", "squeezing": "squeeze", "sledging": "sledge",
    "juggling": "juggle", "curling": "curl", "hurling": "hurl", "crawling": "crawl", "bowling": "bowl",
    "swinging": "swing", "changing": "change", "lunging": "lunge", "hammering": "hammer", "opening": "open",
    "combing": "comb", "climbing": "climb", "tying": "tie", "skiing": "ski", "tiptoeing": "tiptoe", "stirring": "stir",
    "shovelling": "shovel", "measuring": "measure", "using": "use", "being": "be", "reading": "read", "batting": "bat",
    "massaging": "massage", "planing": "plane", "planning": "plan", "sneezing": "sneeze", "stretching": "stretch",
}  # fmt: skip


@pytest.fixture(scope="module")
def phrases() -> list[str]:
    return read_phrases(FILE)


def test_many_different_phrases(phrases: list[str]) -> None:
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert len(set(lines)) == len(lines) >= 420
    assert len(set(phrases)) == len(phrases) >= 1200
    assert all(phrase == " ".join(phrase.split()).lower() for phrase in phrases), "lower case, single spaces"
    assert set(lines) <= set(phrases)


@pytest.mark.parametrize("file", PROMPTS, ids=[path.stem for path in PROMPTS])
def test_classes_and_gerunds_of_the_prompts_are_among_them(file: Path, phrases: list[str]) -> None:
    known, prompts = set(phrases), load_prompts(file)
    names = {name.replace("_", " ").lower() for name in prompts.classes}
    gerunds = {text.lower() for texts in prompts.classes.values() for text in texts if text.split()[0].endswith("ing")}
    assert {INSTEAD.get(name, name) for name in names} - known == set()
    assert gerunds - known == set()


def test_labels_of_the_synthetic_human_are_among_them(phrases: list[str]) -> None:
    assert {activity.label.lower() for activity in (ACTIVITIES | EVERYDAY).values()} - set(phrases) == set()


@pytest.mark.parametrize(("gerund", "verb"), BARE.items())
def test_bare_forms_of_verbs(gerund: str, verb: str) -> None:
    assert bare(gerund) == verb


def test_bare_forms_of_phrases() -> None:
    assert bare("walking up stairs") == "walk up stairs"
    assert bare("sitting down and then getting up") == "sit down and then get up"
    assert bare("buttoning and unbuttoning") == "button and unbutton"
    assert bare("rock climbing") == "rock climb"
    assert bare("walking while talking on the phone") == "walk while talking on the phone"
    assert bare("putting washing into neat piles") == "put washing into neat piles"


def test_names_are_played_done_or_have_a_verb_of_their_own() -> None:
    typing = ["typing on a keyboard", "a person is typing on a keyboard", "type on a keyboard"]
    assert variants("typing on a keyboard") == typing
    assert variants("soccer") == ["soccer", "playing soccer", "a person is playing soccer", "play soccer"]
    assert variants("karate") == ["karate", "doing karate", "a person is doing karate", "do karate"]
    assert variants("jumping jacks")[1:3] == ["doing jumping jacks", "a person is doing jumping jacks"]
    assert variants("dance") == ["dance", "dancing", "a person is dancing"]


def test_comments_and_twins_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "few.txt"
    file.write_text("# still\nsitting\n\n  sitting  \ndance\ndancing\n", encoding="utf-8")
    assert read_phrases(file) == ["sitting", "a person is sitting", "sit", "dance", "dancing", "a person is dancing"]
    file.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"few\.txt names no activity"):
        read_phrases(file)
