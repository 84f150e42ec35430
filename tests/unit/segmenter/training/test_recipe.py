"""One TOML per run: layered over the shipped one, checked as a whole, written out in full."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from segmenter.commands.train import train
from segmenter.errors import SegmenterError
from segmenter.training.options import TrainOptions
from segmenter.training.recipe import load_recipe, train_model, write_recipe
from segmenter.vnet.network import PRESETS


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_without_a_file_it_is_the_shipped_run():
    recipe = load_recipe()
    assert (recipe.name, recipe.coarse.stage, recipe.fine.stage) == ("qct-vnet", "coarse", "fine")
    assert 2 <= recipe.coarse_patients <= recipe.patients


def test_a_file_changes_what_it_names_and_options_have_the_last_word(tmp_path: Path):
    path = written(
        tmp_path, 'seed = 5\ndevice = "cpu"\n[fine]\nsteps = 9\nce = 1\nconvs = [1, 2]\ninit = "w/fine.st"\n'
    )
    recipe = load_recipe(path, {"patients": 7, "fine": {"steps": 11}})
    assert recipe.coarse == load_recipe(None, {"seed": 5, "device": "cpu"}).coarse
    assert (recipe.patients, recipe.seed, recipe.fine.seed, recipe.coarse.seed) == (7, 5, 5, 5)
    assert (recipe.fine.steps, recipe.fine.device, recipe.fine.init) == (11, "cpu", Path("w/fine.st"))
    assert (recipe.fine.ce, recipe.fine.convs, recipe.fine.dice) == (1.0, (1, 2), TrainOptions("fine", 1).dice)


def test_what_is_written_reads_as_the_same_run(tmp_path: Path):
    mine = {"name": 'a "name"\\', "fine": {"init": "a b.safetensors", "learning_rate": 1e-7, "convs": [1, 1, 3]}}
    recipe = load_recipe(None, mine)
    write_recipe(recipe, tmp_path / "run.toml")
    assert load_recipe(tmp_path / "run.toml") == recipe
    assert "for investigational use" in (tmp_path / "run.toml").read_text().lower()
    assert load_recipe(tmp_path / "run.toml", {"seed": 8}).fine.seed == 8


def test_the_papers_own_network_can_be_trained():
    layout = {"convs": [1, 2, 3, 3, 3], "kernel": 5, "convs_up": [3, 3, 2, 1], "wide_up": True, "sum_first": True}
    recipe = load_recipe(None, {"fine": {**layout, "normalised": False}})
    assert recipe.fine.network == PRESETS["milletari2016"]


def test_all_faults_are_said_at_once(tmp_path: Path):
    text = """
patients = "many"
seed = true
colour = "red"
[coarse]
steps = 0
kernel = 0
seed = 2
[fine]
steps = 2.5
learning_rate = -1
convs = [1, 0]
widht = 8
init = 3
stage = "coarse"
"""
    with pytest.raises(SegmenterError) as raised:
        load_recipe(written(tmp_path, text))
    head, *faults = str(raised.value).splitlines()
    assert head == f"{tmp_path / 'mine.toml'}: 12 settings cannot be used"
    assert sorted(faults) == [
        "coarse.kernel = 0: it should be greater than or equal to 1",
        "coarse.seed = 2: the run decides this, not a table",
        "coarse.steps = 0: it should be greater than or equal to 1",
        "colour = 'red': there is no such setting",
        "fine.convs.1 = 0: it should be greater than or equal to 1",
        "fine.init = 3: it should be a valid string",
        "fine.learning_rate = -1: it should be greater than 0",
        "fine.stage = 'coarse': the run decides this, not a table",
        "fine.steps = 2.5: it should be a valid integer",
        "fine.widht = 8: there is no such setting",
        "patients = 'many': it should be a valid integer",
        "seed = True: it should be a valid integer",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = ", "cannot be read as TOML"),
        ("fine = 3", "fine = 3: it should be"),
        ("[fine]\nkernel = 4", "fine: the kernel must be odd"),
        ("[fine]\nl2 = nan", "fine.l2 = nan: it should be a finite number"),
    ],
)
def test_nothing_ends_in_a_traceback(tmp_path: Path, text: str, said: str):
    with pytest.raises(SegmenterError) as raised:
        load_recipe(written(tmp_path, text))
    assert said in str(raised.value)


def test_a_folder_keeps_the_run_it_holds_and_only_what_may_change_changes(tmp_path: Path):
    write_recipe(load_recipe(None, {"patients": 95}), tmp_path / "run.toml")
    before = (tmp_path / "run.toml").read_text()
    for overrides, words in (
        ({"patients": 150}, "patients 95, now 150"),
        ({"patients": 95, "fine": {"width": 8}}, "fine.width 16, now 8"),
        ({"patients": 95, "device": "toaster"}, "the device 'toaster' cannot be used"),
        ({"patients": 95, "fine": {"init": "nowhere"}}, "no weights to start from at nowhere"),
    ):
        with pytest.raises(SegmenterError, match=words):
            train_model(load_recipe(None, overrides), tmp_path, 1)
    assert (tmp_path / "run.toml").read_text() == before
    assert not (tmp_path / "pool").exists()


@pytest.mark.parametrize("option", [["--folds", "5"], ["--distal", "150"]])
def test_options_of_the_protocol_are_not_taken_without_it(tmp_path: Path, option: list[str]):
    done = CliRunner().invoke(train, ["--cases", str(tmp_path), "--out", str(tmp_path / "out"), *option])
    assert done.exit_code == 2
    assert f"{option[0]} needs --protocol" in done.output
