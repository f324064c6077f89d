"""What the documents say is run: code blocks, commands, the list of continuous integration."""

import importlib
import inspect
import re
import shlex
from dataclasses import is_dataclass, replace
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from tests.test_floors import FLOORS
from tutelage import SGD, Student, train
from tutelage.cli import app
from tutelage.nets import build
from tutelage.recipes import RECIPES, dataset_distillation
from tutelage.recipes.curricula import Config
from tutelage.recipes.dataset_distillation.options import filled
from tutelage.recipes.dataset_distillation.used import USED, baselines_of, check_together
from tutelage.recipes.distilling.options import Common, check
from tutelage.recipes.options import Options, check_ranges
from tutelage.recipes.used import check_used
from tutelage.testing import tiny_batch, tiny_net

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (
    "curricula",
    "mentornet",
    "deep-interactions",
    "pseudo-labels",
    "dataset_distillation",
    "selection",
    "classroom",
)
"""Documents whose commands are read."""
SHAPES = {"digits": ((1, 8, 8), 1297), "mnist": ((1, 28, 28), 60_000), "cifar10": ((3, 32, 32), 50_000)}
"""Of rows, and how many there are to learn from."""


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / path).read_text(), re.DOTALL)


def test_the_example_of_the_readme_runs(capsys):
    (code,) = blocks("README.md", "python")
    names = {}
    exec(code.replace("900", "120"), names)
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert names["net"] is names["student"].architecture


def test_the_teacher_of_the_docs_keeps_the_laws(tmp_path, monkeypatch):
    (tmp_path / "teacher_of_the_docs.py").write_text(blocks("docs/teachers.md", "python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("teacher_of_the_docs")  # ends with check_teacher


@pytest.mark.slow
def test_the_data_of_the_docs_runs(real_data, monkeypatch):
    monkeypatch.setenv("TUTELAGE_DATA", str(real_data))
    (code,) = blocks("docs/data.md", "python")
    names = {}
    exec(code.replace("3900", "3"), names)
    assert names["batch"].x.shape == (128, 3, 32, 32)


def test_the_pipelines_of_the_docs_run():
    first, second = blocks("docs/pipeline.md", "python")
    exec(first, {})
    exec(second, {})


def test_the_student_of_the_docs_follows_its_teacher():
    (code,) = blocks("docs/distillation.md", "python")
    names = {}
    exec(code, names)
    x = names["step"].batch.x
    assert (names["small"].predict(x).argmax(1) == names["large"].predict(x).argmax(1)).double().mean() > 0.8


def test_the_large_teacher_of_the_docs_labels_and_learns():
    (code,) = blocks("docs/pseudo-labels.md", "python")
    names = {}
    exec(code, names)
    batch = tiny_batch(6)
    batch = replace(batch, index=torch.arange(6))
    labelled = replace(batch, y=torch.arange(6) % 3)
    teacher, student = names["adjusted"](torch.randn(6, 3)).double(), Student(tiny_net(), SGD(0.1))
    (step,) = train(student, teacher, [replace(batch, labelled=labelled)])
    assert "h" in step.metrics


def test_the_course_of_the_docs(capsys):
    (code,) = blocks("docs/selection.md", "python")
    names = {}
    exec(code, names)
    indices, accuracy = capsys.readouterr().out.splitlines()
    assert len(set(names["course"].index.tolist())) == 20 == indices.count(",") + 1
    assert float(accuracy) > 0.7


def test_the_set_of_the_docs_teaches_in_any_loop(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    distil, use = blocks("docs/dataset_distillation.md", "python")
    names = {}
    exec(distil.replace("500", "20").replace("(200)", "(20)"), names)
    assert len(capsys.readouterr().out.splitlines()) >= 2
    assert names["along"][-1].mean() > names["along"][0].mean() + 0.3
    exec(use, names)
    for by_hand, trained in zip(names["net"].parameters(), names["trained"].parameters(), strict=True):
        torch.testing.assert_close(by_hand, trained)
    assert names["images"].shape == (10, 1, 8, 8)


@pytest.mark.parametrize(
    "path",
    ["README.md", *(f"docs/{name}.md" for name in SHOWN)],
)
def test_commands_parse(path):
    for block in blocks(path, "sh"):
        for line in block.splitlines():
            call = line.split("#")[0].split("&&")[-1].strip().removeprefix(".venv/bin/")
            if call.startswith("tutelage "):
                arguments = shlex.split(call)[1:]
                app.parse_args([a for a in arguments if a != "--config" and ".toml" not in a], exit_on_error=False)


def test_the_configuration_file_of_the_docs():
    import tomllib

    (text,) = blocks("docs/curricula.md", "toml")
    Config(**tomllib.loads(text))


def test_the_floors_of_the_docs():
    rows = re.findall(r"^\| (\d) \|(.*)\|$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    told = {name.strip("/"): int(floor) for floor, text in rows for name in re.findall(r"`([a-z_]+/?)`", text)}
    kinds = {folder.name for folder in (ROOT / "src/tutelage/teachers").iterdir()}
    assert {name: floor for name, floor in told.items() if name not in kinds} == {
        name: floor for name, floor in FLOORS.items() if name != "__main__"
    }


def test_continuous_integration_runs_the_second_command_of_the_readme():
    commands = [line for block in blocks("README.md", "sh") for line in block.splitlines() if "pip install" in line]
    assert len(commands) == 2
    assert commands[1].endswith("-m pytest")
    assert "README.md" in (ROOT / ".ci" / "run").read_text()
    for command in commands:
        assert "-c constraints.txt" in command


@pytest.mark.parametrize("example", sorted((ROOT / "examples").rglob("*.toml")), ids=lambda path: path.stem)
def test_the_configuration_files_of_the_examples(example):
    import tomllib

    recipe = RECIPES[example.parent.name]
    given = {name.replace("-", "_"): value for name, value in tomllib.loads(example.read_text()).items()}
    options = TypeAdapter(recipe.Config).validate_python(given)
    if isinstance(options, Options):
        check_ranges(options)
        recipe.RECIPE.check(options)
    elif isinstance(options, Common):
        check(options)
    else:
        recipe.check(options)


@pytest.mark.parametrize(
    "example", sorted((ROOT / "examples" / "dataset-distillation").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_examples_of_dataset_distillation_are_complete(example):
    """Their options go together, each counts, and the networks can be made for the data."""
    import tomllib

    given = dataset_distillation.Config(
        **{name.replace("-", "_"): value for name, value in tomllib.loads(example.read_text()).items()}
    )
    shape, rows = SHAPES[given.data]
    shape = (given.channels or shape[0], *([given.resize] * 2 if given.resize else shape[1:]))
    options = filled(replace(given, device="cpu"), shape, rows)
    check_together(options)
    check_used(given, options, USED, baselines_of(options.baselines))
    build(options.net, shape, 10)
    assert options.schedule == ("digits" if given.data == "digits" else "published")
    assert (options.augmentation == "all") == (options.method not in ("unrolled", "gradient-matching"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_option_is_described(recipe):
    import ast

    described = set()
    for room in filter(is_dataclass, RECIPES[recipe].Config.__mro__):
        (tree,) = ast.parse(inspect.getsource(room)).body
        fields = [(i, node.target.id) for i, node in enumerate(tree.body) if isinstance(node, ast.AnnAssign)]
        assert all(isinstance(tree.body[i + 1], ast.Expr) for i, _ in fields)
        described |= {name for _, name in fields}
    assert described == set(RECIPES[recipe].Config.__dataclass_fields__)


def test_the_mentor_of_the_docs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("docs/mentornet.md", "python")
    names = {}
    exec(code, names)
    assert names["teacher"].mentor.settings.burn_in == 18
