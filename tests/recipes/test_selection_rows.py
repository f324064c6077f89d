"""Which rows recipes that select are run on, what is refused before anything is written, and where sets are written."""

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage.cli import main
from tutelage.errors import ConfigError, DataError
from tutelage.recipes import explain, iterative, maxgrad
from tutelage.recipes.selection.options import check_export
from tutelage.recipes.selection.rows import draw
from tutelage.runs import RunFolder

MACHINE = {"device": "cpu", "threads": 1, "seeds": 1}
RECIPES = {
    "maxgrad": (maxgrad, {"size": 4, "teachers": "maxgrad", "noise": "0"}),
    "explain": (explain, {"size": 4, "teachers": "strict", "features": "pixels"}),
    "iterative": (iterative, {"problem": "digits", "steps": 3, "teachers": "omniscient"}),
}
MAXGRAD = {**MACHINE, **RECIPES["maxgrad"][1]}


def prepared(name, **options):
    from importlib import import_module

    recipe, own = RECIPES[name]
    plan = import_module(f"tutelage.recipes.{name}.plan")
    return plan.prepare(recipe.Config(**MACHINE | own | options), fresh=True)


def carried(name, out, **options):
    recipe, own = RECIPES[name]
    return recipe.run(recipe.Config(**MACHINE | own | options), out)


def write_folder(path, counts, *, apart=100.0, side=6):
    """Noise around a brightness of each class."""
    generator = np.random.default_rng(0)
    for k, (name, count) in enumerate(counts.items()):
        (path / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.clip(40 + apart * k + generator.normal(0, 20, (side, side)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(path / name / f"{i:02d}.png")
    return path


@pytest.mark.parametrize("name", RECIPES)
def test_the_name_of_a_known_set_is_that_set_whatever_lies_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "digits", {"a": 5, "b": 5})
    plan = prepared(name)
    assert (plan.options.data, len(plan.material.source)) == ("digits", 1797)
    assert len(prepared(name, data="./digits").material.source) == 10


def test_lists_are_of_a_folder_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "digits", {"a": 6, "b": 6})
    for role, rows in (("tr", range(4)), ("te", range(4, 6))):
        lines = [f"./x/{c}/{k:02d}.png {label} 0" for label, c in enumerate("ab") for k in rows]
        (tmp_path / f"{role}.txt").write_text("\n".join(lines))
    plan = prepared("maxgrad", data="digits", lists="tr.txt,te.txt")
    assert plan.options.data == str(tmp_path / "digits")
    assert (len(plan.material.source), len(plan.material.test)) == (8, 4)


@pytest.mark.parametrize("name", RECIPES)
def test_one_class(name, tmp_path):
    folder = write_folder(tmp_path / "data", {"only": 6})
    with pytest.raises(ConfigError, match=r"^the data has one class, only, but"):
        prepared(name, data=str(folder))


@pytest.mark.parametrize("name", RECIPES)
def test_an_empty_class_folder(name, tmp_path):
    folder = write_folder(tmp_path / "data", {"a": 5, "b": 5, "empty": 0})
    with pytest.raises(DataError, match=r'class "empty" is empty'):
        prepared(name, data=str(folder))


def test_too_few_rows_say_of_per_class_only_where_it_was_given(tmp_path):
    folder = write_folder(tmp_path / "data", {"a": 5, "b": 1})
    with pytest.raises(DataError, match=r"class b has 1 rows, but 2 are needed: leave it out with --only\.$"):
        carried("maxgrad", tmp_path / "run", data=str(folder))
    with pytest.raises(DataError, match=r"class a has 5 rows, but 9 are needed: .* --only, or lower --per-class\.$"):
        carried("maxgrad", tmp_path / "run", data=str(folder), per_class=9)


@pytest.mark.parametrize(
    ("name", "remedy"), [("maxgrad", "give --quota 1, or --filters none"), ("iterative", "give --filter none")]
)
def test_a_filter_that_empties_a_class_names_it_and_the_option(name, remedy, tmp_path, capsys):
    """Classes that differ in nothing: a model that has not seen a row guesses its label."""
    folder = write_folder(tmp_path / "data", {"cat": 3, "dog": 3, "emu": 3}, apart=0.0)
    arguments = ["--data", str(folder), "--seeds", "1", "--noise", "0", "--out", str(tmp_path / "run")]
    problem = ["--problem", "digits"] if name == "iterative" else ["--size", "4"]
    assert main(["run", name, *problem, *arguments]) == 2
    told = capsys.readouterr().err
    assert remedy in told
    assert any(f"leaves no row of class {c} (" in told for c in ("cat", "dog", "emu"))
    assert not (tmp_path / "run").exists()


def test_more_rows_than_a_filter_leaves_are_refused_before_anything_is_written(tmp_path):
    options = {"per_class": 20, "size": 78, "noise": "0.6", "filters": "none,cross-fitted", "quota": 1}
    with pytest.raises(
        ConfigError,
        match=r"^--size 78 is more than the \d+ rows of the pool that the filter cross-fitted leaves of 80; ask for",
    ):
        carried("maxgrad", tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_later_seed_that_is_left_too_few_rows_is_named(tmp_path):
    """A size that the filter of the first seed leaves exactly, and that of a later one does not."""
    options = {"per_class": 20, "noise": "0.3", "filters": "cross-fitted", "quota": 1, "seeds": 6}
    plan = prepared("maxgrad", **options)
    from tutelage.recipes.maxgrad.students import taught
    from tutelage.recipes.selection.filters import filter_of

    left = []
    for seed in plan.seeds:
        pool = taught(plan.draw(seed, 0.3), plan.options, 5, None).drawn.pool
        left.append(int(filter_of("cross-fitted", seed=seed, quota=1)(pool, 5).sum()))
    first = next(seed for seed in range(5) if left[seed + 1] < left[seed])
    options |= {"first_seed": first, "seeds": 2, "size": left[first]}
    with pytest.raises(ConfigError, match=rf"noise 0.3, seed {first + 1}: --size {left[first]} is more than the "):
        carried("maxgrad", tmp_path / "run", **options)


def test_test_rows_know_where_they_are_from():
    plan = prepared("maxgrad", per_class=10)
    drawn = draw(plan.material, plan.options, 0, 0.0)
    source, files = plan.material.tested
    assert files is None
    assert torch.equal(drawn.test_x, torch.from_numpy(source.x[drawn.test_index]).float() / source.scale)
    assert not set(drawn.test_index.tolist()) & set(drawn.pool.index.tolist())


@pytest.mark.parametrize("name", ["maxgrad", "explain"])
def test_sets_are_not_mixed_with_what_lies_there(name, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "maxgrad.json").write_text("{}")
    (tmp_path / "file").write_text("")
    for target in ("full", "file"):
        with pytest.raises(
            ConfigError, match=rf"--export .*{target}: it exists and is not an empty folder; give another"
        ):
            carried(name, tmp_path / "run", export=str(tmp_path / target))
    assert not (tmp_path / "run").exists()
    (tmp_path / "empty").mkdir()
    check_export(str(tmp_path / "empty"))


def test_a_finished_run_writes_its_sets_again(tmp_path):
    carried("maxgrad", tmp_path / "run", per_class=10, filters="none", export=str(tmp_path / "sets"))
    path = tmp_path / "sets/noise-0/seed-0/maxgrad-no-filter.json"
    before = path.read_bytes()
    path.unlink()
    maxgrad.resume(RunFolder.open(tmp_path / "run"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["maxgrad", "explain"])
def test_a_run_whose_sets_cannot_be_written_keeps_its_result(name, tmp_path, monkeypatch):
    """A file is put where the sets should go while the run is under way; it goes on when that is out of the way."""
    from importlib import import_module

    running = import_module(f"tutelage.recipes.{name}.running")
    sets, summed_up = tmp_path / "sets", running.summed_up

    def meanwhile(*arguments):
        sets.touch()
        return summed_up(*arguments)

    monkeypatch.setattr(running, "summed_up", meanwhile)
    options = {"per_class": 10, "export": str(sets)} | (
        {"filters": "none"} if name == "maxgrad" else {"filter": "none"}
    )
    with pytest.raises(DataError, match=r"cannot be made .* give another --export"):
        carried(name, tmp_path / "run", **options)
    before = (tmp_path / "run/result.json").read_bytes()
    monkeypatch.undo()
    sets.unlink()
    RECIPES[name][0].resume(RunFolder.open(tmp_path / "run"))
    assert sets.is_dir()
    assert (tmp_path / "run/result.json").read_bytes() == before
