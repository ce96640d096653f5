from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from aura.data.index import open_split
from aura.train.checks import check_data
from aura.train.recipe import RecipeError, differences, load_recipe, make_recipe, to_yaml
from aura.train.schedule import lr_factor
from tests.data.samples import write_set

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted([*FOLDER.glob("*.yaml"), *(FOLDER / "outside").glob("*.yaml")])
QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_resolved_recipe_reads_back_equal(path, tmp_path):
    recipe = load_recipe(path)
    (tmp_path / "r.yaml").write_text(to_yaml(recipe))
    assert load_recipe(tmp_path / "r.yaml") == recipe
    assert path.read_text().startswith("#"), "a recipe opens with what it is, its source and what it needs"


def test_overrides():
    recipe = load_recipe(QUICKSTART, ["train.steps=7", "train.warmup=2", "run_dir=/tmp/x", "data.sources.0.path=a/b"])
    assert (recipe.train.steps, recipe.run_dir, recipe.data.sources[0].path) == (7, "/tmp/x", "a/b")
    assert load_recipe(QUICKSTART).run_dir == "runs/quickstart"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.step=7", ["train.step", "unknown key", "'steps'"]),
        ("inputs.imu.rate=7", ["inputs.imu", "unknown key", "'rate_hz'"]),
        ("data.sources.0.paths=7", ["unknown key", "'path'"]),
        ("towers.imu.kind=imu_transformers", ["towers.imu", "imu_transformer"]),
        ("trian.steps=7", ["trian", "unknown key", "'train'"]),
        ("train.steps=many", ["train.steps", "integer"]),
        ("train.steps=-1", ["train.steps", "greater than 0"]),
        ("inputs.imu.rate_hz=-1", [" inputs.imu.rate_hz: ", "greater than 0, is -1"]),
        ("towers.imu.tuning={kind: lora, rnk: 3}", [" towers.imu.tuning.rnk: unknown key", "'rank'"]),
        ("data.sources=a", ["data.sources: should be a list, is 'a'"]),
        ("train.steps", ["write key.sub=value"]),
        ("data.sources.4.path=a", ["no place in a list of 1"]),
        ("objective.pairs=[imu:pose2d]", ["pose2d", "inputs lacks"]),
        ("objective.pairs=[imu]", ["imu:text"]),
        ("objective.pairs=[[imu]]", [" objective.pairs: ", "is [['imu']]"]),
        ("data.eval=3", [" data.eval: ", "is 3"]),
        ("inputs.imu.placements=3", [" inputs.imu.placements: ", "is 3"]),
        ("objective.same_text=strings", ["same_text", "label:<name>"]),
    ],
)
def test_a_wrong_override_names_the_key_and_the_remedy(override, words):
    with pytest.raises(RecipeError) as error:
        load_recipe(QUICKSTART, [override])
    for word in words:
        assert word in str(error.value), str(error.value)


def test_windows_aligned_by_tokens_are_cut_whole_tokens_apart():
    with pytest.raises(RecipeError, match=r"shift_step_s 0.3 must be towers.\w+.token_s 0.2"):
        load_recipe(QUICKSTART.parent / "aura_fine.yaml", ["data.window.shift_step_s=0.3"])


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match="no recipe at"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(RecipeError, match="not YAML"):
        load_recipe(tmp_path / "broken.yaml")


def test_differences_name_what_decides_the_result():
    values = yaml.safe_load(QUICKSTART.read_text())
    recipe = make_recipe(values)
    free = load_recipe(
        QUICKSTART, ["run_dir=x", "data.workers=0", "train.chunk=8", "eval.pool=300", "log.row_ids=true"]
    )
    assert differences(recipe, free) == []
    other = load_recipe(QUICKSTART, ["train.optimizer.lr=0.5", "seed=3"])
    assert [line.split(":")[0] for line in differences(recipe, other)] == ["seed", "train.optimizer.lr"]


def test_learning_rate_warms_up_and_falls():
    train = load_recipe(QUICKSTART, ["train.steps=100", "train.warmup=10", "train.min_lr=0.1"]).train
    values = [lr_factor(step, train) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert values[9] == pytest.approx(1.0)
    assert values[10] == pytest.approx(1.0)
    assert values[55] == pytest.approx(0.55)
    assert values[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(values[10:]))


def test_a_prompt_file_lies_beside_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(QUICKSTART)
    assert recipe.eval.prompts == str(QUICKSTART.with_name("prompts") / "synthetic.yaml")
    (tmp_path / "mine.yaml").touch()
    assert load_recipe(QUICKSTART, ["eval.prompts=mine.yaml"]).eval.prompts == "mine.yaml"


def test_windows_that_no_sample_has_room_to_move(tmp_path):
    """Samples of 6 s: a token loss of windows that lie at one place would have no anchor, and count as solved."""
    write_set(tmp_path / "set", 3)
    splits = [open_split(str(tmp_path / "set"), "train")]
    fine = QUICKSTART.parent / "aura_fine.yaml"
    check_data(load_recipe(fine, ["data.window.seconds=5.8"]), splits, [], None)
    with pytest.raises(RecipeError, match=r"no sample of data.sources lasts 6.2 s, which a window of 6 s needs"):
        check_data(load_recipe(fine, ["data.window.seconds=6"]), splits, [], None)
    check_data(load_recipe(fine, ["data.window.seconds=6", "data.window.shift_s=0"]), splits, [], None)
