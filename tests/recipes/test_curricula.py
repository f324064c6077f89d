"""The main job in a five-second size: what it writes, its options, and bad input."""

import json
import sys
from itertools import chain

import numpy as np
import pytest
import torch

from tutelage.cli import main
from tutelage.errors import CheckpointError, ConfigError, NotFiniteError
from tutelage.recipes import curricula
from tutelage.recipes.curricula import ARMS, Config, run
from tutelage.recipes.noisy_labels import prepare
from tutelage.recipes.options import parse_dropout
from tutelage.recipes.weighing import percentile
from tutelage.runs import RunFolder

DEFAULT = Config().teachers.split(",")
SMALL = {"seeds": 2, "epochs": 6, "student": "mlp-16"}


def settings():
    _, (plan,), _ = prepare(curricula.RECIPE, Config(**SMALL))
    return plan.settings


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return run(Config(**SMALL), out), out


def test_the_folder(finished):
    result, out = finished
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    assert json.loads((out / "config.json").read_text())["config"]["epochs"] == 6
    assert json.loads((out / "environment.json").read_text())["torch"] == torch.__version__
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    trajectories = set(DEFAULT) - {"early-stopping"}
    assert len(lines) == len(trajectories) * 2 * 6
    assert {line["arm"] for line in lines} == trajectories
    assert not (out / "checkpoint" / "state.safetensors").exists()


def test_the_result(finished):
    result, _ = finished
    assert list(result["arms"]) == DEFAULT
    for name, arm in result["arms"].items():
        assert len(arm["accuracy"]["values"]) == 2, name
        assert 0.05 < arm["accuracy"]["mean"] <= arm["best_epoch_accuracy"]["mean"] <= 1
    assert result["seeds"] == [0, 1]
    assert result["data"] == {
        "name": "digits", "classes": [str(i) for i in range(10)], "shape": [1, 8, 8],
        "train_rows": 1258, "trusted_rows": 126, "test_rows": 539,
    }  # fmt: skip
    assert result["noise"]["convention"].startswith("uniform")
    assert result["noise"]["expected"] == pytest.approx(0.36)
    assert result["noise"]["realised"] == pytest.approx([0.36, 0.36], abs=0.05)
    assert result["arms"]["oracle"]["weight_right"]["mean"] == 1.0
    assert result["arms"]["oracle"]["weight_wrong"]["mean"] == 0.0
    assert result["arms"]["oracle"]["auc"]["mean"] == 1.0
    assert result["arms"]["uniform"]["auc"]["mean"] == 0.5
    assert "auc" not in result["arms"]["trusted-only"]


def test_comparisons_are_paired(finished):
    result, _ = finished
    (found,) = [c for c in result["comparisons"] if (c["a"], c["b"]) == ("spcl", "trusted-only")]
    a, b = (np.array(result["arms"][n]["accuracy"]["values"]) for n in ("spcl", "trusted-only"))
    assert found["mean_difference"] == pytest.approx((a - b).mean())
    assert found["wins"] + found["ties"] + found["losses"] == 2


def test_early_stopping_reads_the_trusted_rows_only(finished):
    result, out = finished
    records = json.loads((out / "arms" / "uniform.json").read_text())["records"]
    for seed, accuracy in zip(records, result["arms"]["early-stopping"]["accuracy"]["values"]):
        best = max(r["trusted_accuracy"] for r in seed)
        assert accuracy == next(r["accuracy"] for r in seed if r["trusted_accuracy"] == best)


def test_no_label_of_a_test_row_is_wrong_and_roles_are_disjoint():
    for setting in settings():
        roles, mask = setting.roles, setting.noise.mask
        assert not mask[roles.test].any()
        assert len(np.intersect1d(roles.train, roles.test)) == 0
        assert np.isin(roles.trusted, roles.train).all()
        trusted = setting.trusted_batch()
        assert (trusted.y.numpy() == setting.source.y[trusted.index.numpy()]).all()
        assert mask[roles.train].mean() == pytest.approx(0.36, abs=0.05)


def test_arms_are_paired(finished):
    """All arms of a seed start from the same student and see the same batches."""
    _, out = finished
    first = {}
    for line in (out / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["epoch"] == 0 and record["arm"] in ("uniform", "self-paced", "spcl"):  # burn-in: all weights 1
            first.setdefault(record["seed"], set()).add(record["loss"])
    assert {seed: len(losses) for seed, losses in first.items()} == {0: 1, 1: 1}


def test_stacked_seeds_give_the_same_result(tmp_path):
    """In float32 over so few steps, to 1e-5; and the result says which way it was."""
    names = "uniform,self-paced,predefined"
    together = run(Config(**SMALL, teachers=names), tmp_path / "a")
    alone = run(Config(**SMALL, teachers=names, stack=False), tmp_path / "b")
    assert set(together["training"]["stacked"].values()) == {True}
    assert set(alone["training"]["stacked"].values()) == {False}
    for arm in together["arms"]:
        a = json.loads((tmp_path / "a" / "arms" / f"{arm}.json").read_text())["records"]
        b = json.loads((tmp_path / "b" / "arms" / f"{arm}.json").read_text())["records"]
        for x, y in zip(chain(*a), chain(*b)):
            assert x["loss"] == pytest.approx(y["loss"], abs=1e-5)
            assert x["accuracy"] == pytest.approx(y["accuracy"], abs=2 / 539)


@pytest.mark.parametrize("student", ["cnn", "mlp-16"])
def test_users_data_and_students(tmp_path, student):
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 240)
    x = (60 * y[:, None, None, None] + generator.integers(0, 60, (240, 1, 8, 8))).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    options = {"data": str(tmp_path / "mine.npz"), "classes": 3, "teachers": "uniform,spcl", "batch_size": 32}
    result = run(Config(**SMALL | {"student": student} | options), tmp_path / "out")
    assert result["data"]["classes"] == ["0", "1", "2"]
    assert result["training"]["stacked"]["uniform"] is (student == "mlp-16")


@pytest.mark.parametrize(
    "options",
    [
        {"noise_kind": "pair-flip"},
        {"preset": "mentornet"},
        {"preset": "l2t-di", "noise_kind": "pair-flip"},
        {"augment": "randaugment", "student": "cnn"},
        {"noise_kind": "symmetric-exact"},
        {"noise": 0.0},
        {"percentile": "trusted"},
        {"rule": "sgd", "lr": 0.05},
        {"rule": "adamw", "scale_decay": False, "weight_decay": 0.01},
        {"normalise": "weights", "interpolation": "nearest", "bias_correction": False, "moving_average": 0.9},
        {"dropout": "0.5,50,0.05,50", "dropout_mode": "actual", "burn_in": 0},
        {"dropout": "none", "gamma": 0.5, "keep_positive": True, "allow_empty": True},
        {"augment": "crop-flip", "seeds": 1, "first_seed": 7, "trusted": 0.02, "test": 0.5, "threads": 1},
    ],
    ids=str,
)
def test_every_option_runs(tmp_path, options):
    small = SMALL | {"epochs": 1, "teachers": "uniform,self-paced,spcl,focal,mixture-mask"} | options
    result = run(Config(**small), tmp_path / "out")
    assert len(result["arms"]) == 5


def test_trusted_percentile_is_the_share_of_right_labels():
    (setting, _) = settings()
    right = 1 - setting.noise.mask[setting.roles.trusted].mean()
    assert percentile(Config(percentile="trusted"), setting) == pytest.approx(right)


@pytest.mark.parametrize("text", ["0.5x17,0.05x83", "0.5,17,0.05,83"])
def test_dropout_is_read(text):
    assert parse_dropout(text) == ((0.5, 17), (0.05, 83))


@pytest.mark.parametrize("text", ["0.5x17,0.05", "half", "0.5x"])
def test_dropout_that_cannot_be_read(text):
    with pytest.raises(ConfigError, match=r"is not of the form 0\.5x17,0\.05x83"):
        parse_dropout(text)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    out = tmp_path / "run"
    options = SMALL | {"teachers": "uniform", "epochs": 6, "checkpoint_seconds": 0.0}
    from tutelage import training

    look = training._check
    monkeypatch.setattr(training, "_check", lambda n, t, lr, loss: look(n, t, lr, float("nan") if n == 30 else loss))
    message = (
        r"uniform: the loss is nan at step 30 \(teacher Uniform, learning rate 0.0001\).*last good checkpoint is kept"
    )
    with pytest.raises(NotFiniteError, match=message):
        run(Config(**options), out)
    saved = RunFolder.open(out).load()
    assert saved is not None
    assert saved[1]["done"] == 30
    monkeypatch.undo()
    curricula.resume(RunFolder.open(out))
    assert (out / "result.json").is_file()


def line_of(capsys, *arguments):
    """Run the command line; return the one line on standard error of a refused call."""
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "curiccula"], 'Unknown command "curiccula". Did you mean "curricula"?'),
        (["run", "curricula", "--nois", "0.2"], "Unknown option: --nois. Did you mean --noise?"),
        (["run", "curricula", "--noise", "much"], '--noise is "much"; give a share of the labels, or several'),
        (["run", "curricula", "--noise", "1.5"], "--noise is 1.5; it is a share of the labels and must be in [0, 1]."),
        (["run", "curricula", "--noise=-0.1"], "--noise is -0.1"),
        (["run", "curricula", "--noise-kind", "unifrm"], 'unknown label noise "unifrm". Did you mean "uniform"?'),
        (["run", "curricula", "--preset", "mentor-net"], 'unknown preset "mentor-net". Did you mean "mentornet"?'),
        (["run", "curricula", "--preset", "dividemix"], "--preset dividemix has no trusted rows"),
        (["run", "curricula", "--preset", "mpl"], "--preset mpl has no label noise; pass --noise 0."),
        (["run", "curricula", "--preset", "meta-weight-net"], "its counts are for 50,000 rows, not 1,797"),
        (["run", "curricula", "--preset", "mentornet", "--noise-kind", "flip"], 'unknown noise of mentornet "flip"'),
        (["run", "curricula", "--teachers", "self_paced"], 'unknown teacher "self_paced". Did you mean "self-paced"?'),
        (["run", "curricula", "--teachers", ","], "--teachers is empty"),
        (["run", "curricula", "--data", "digit"], 'unknown data set "digit". Did you mean "digits"?'),
        (["run", "curricula", "--data", "gone.parquet"], "gone.parquet: no such file or folder."),
        (["run", "curricula", "--student", "mpl"], 'unknown student "mpl". Did you mean "mlp"?'),
        (["run", "curricula", "--student", "nowhere:net"], 'cannot import "nowhere"'),
        (["run", "curricula", "--seeds", "0"], "--seeds is 0; it must be at least 1."),
        (["run", "curricula", "--trusted", "0"], "--trusted is 0.0; it is a share of the rows"),
        (["run", "curricula", "--trusted", "0.0001"], "digits: 1797 rows are too few"),
        (["run", "curricula", "--batch-size", "5000"], "batch size 5000 is larger than the 1258 training rows"),
        (["run", "curricula", "--rule", "adm"], 'unknown rule "adm". Known: adam, adamw, sgd.'),
        (["run", "curricula", "--weight-decay", "nan"], "--weight-decay is nan; it must be in 0..1000000."),
        (["run", "curricula", "--threads", "1000000000"], "--threads is 1000000000; it must be at most 1024."),
        (["run", "curricula", "--device", "meta"], '--device "meta" is not supported'),
        (["run", "curricula", "--student", ":"], 'student ":" is not of the form package.module:function.'),
        (["run", "curricula", "--data", ""], "--data is empty"),
        (["run", "curricula", "--out", "/dev/null/run"], "/dev/null/run"),
        (
            ["run", "curricula", "--dropout", "0.5x17,0.05x78,1.0x5"],
            "leaves none of 128 rows; lower it, or pass allow_empty",
        ),
        (["run", "curricula", "--lr", "-1"], "--lr is -1.0; it must be in 0..1000000."),
        (["run", "curricula", "--percentile", "half"], '--percentile is "half"; give a number between 0 and 1'),
        (["run", "curricula", "--percentile", "1.5"], "percentile is 1.5; it must lie between 0 and 1"),
        (["run", "curricula", "--dropout", "0.5x17"], "covers 17 percent, but needs 100"),
        (["run", "curricula", "--device", "cuda:9"], "CUDA devices here; use cpu."),
        (["run", "curricula", "--device", "tpu"], 'unknown device "tpu"'),
        (["run", "curricula", "--config", "gone.toml"], "--config gone.toml: cannot be read"),
        (["run", "curricula", "extra"], "extra"),
        (["resume", "nowhere"], "nowhere is not a run folder: it has no config.json."),
        (["report", "nowhere"], "nowhere is not a run folder: it has no config.json."),
        (["resume"], "requires an argument"),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert message in line_of(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_the_wrong_shape(capsys, tmp_path, monkeypatch):
    (tmp_path / "wrongnet.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    line = line_of(capsys, "run", "curricula", "--student", "wrongnet:make")
    assert "student wrongnet:make returned (2, 3) for 2 examples, but needs (2, 10), one logit per class." in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def make(shape, classes):\n    raise ValueError('my own bug')\n",
            "ValueError: my own bug (ownnet.py, line 2)",
        ),
        ("def make(shape, classes)\n", "importing ownnet failed: SyntaxError"),
        ("import nosuchpackage\n", 'cannot import "nosuchpackage"'),
        ("raise SystemExit(7)\n", "importing ownnet failed: SystemExit: 7"),
        ("def make(a, b, c):\n    pass\n", "TypeError"),
        ("from torch import nn\ndef make():\n    return nn.Flatten()\n", "has no parameters to train"),
        (
            "from torch import nn\nclass N(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.l = nn.Linear(64, 10)\n    def forward(self, x):\n        if self.training:\n"
            "            raise KeyError('only in training')\n        return self.l(x.flatten(1))\n"
            "def make():\n    return N()\n",
            "KeyError: 'only in training' (ownnet.py, line 8)",
        ),
    ],
    ids=["raises", "syntax", "import", "exit", "arguments", "shape", "training"],
)
def test_a_network_that_fails(code, message, capsys, tmp_path, monkeypatch):
    (tmp_path / "ownnet.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        assert message in line_of(capsys, "run", "curricula", "--student", "ownnet:make")
    finally:
        sys.modules.pop("ownnet", None)
    assert not (tmp_path / "runs").exists()


def test_divergence_in_the_last_step_of_an_epoch_is_named(tmp_path):
    options = {"teachers": "trusted-only", "rule": "sgd", "lr": 1e6, "seeds": 1, "epochs": 40, "student": "mlp"}
    with pytest.raises(NotFiniteError, match=r"trusted-only: .*lower the learning rate"):
        run(Config(**options), tmp_path / "run")


def test_what_cannot_be_resumed(finished, capsys, tmp_path):
    import shutil

    _, out = finished
    stored = json.loads((out / "config.json").read_text())
    for change, message in (
        ({"recipe": "curriclua"}, 'unknown recipe "curriclua". Did you mean "curricula"?'),
        ({"data": {"training": "other"}}, "the training data has changed since the run started"),
        ({"config": {"seeds": 2}}, "config.json is damaged"),
        ({"config": stored["config"] | {"seeds": "many"}}, "config.json is damaged"),
    ):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(out, copy)
        (copy / "config.json").write_text(json.dumps(stored | change))
        assert message in line_of(capsys, "resume", str(copy))
    for text in ("[]", "null", "{"):
        (copy / "config.json").write_text(text)
        assert "config.json" in line_of(capsys, "resume", str(copy))
        assert "config.json" in line_of(capsys, "report", str(copy))
    shutil.rmtree(copy)
    shutil.copytree(out, copy)
    (copy / "arms" / "spcl.json").write_text("{}")
    assert "arms/spcl is damaged" in line_of(capsys, "resume", str(copy))


def test_two_processes_do_not_write_one_run(finished):
    _, out = finished
    folder = RunFolder.open(out)
    with folder.locked(), pytest.raises(CheckpointError, match="is being written by another process"):
        curricula.resume(RunFolder.open(out))
    curricula.resume(folder)


def test_a_crash_before_the_checkpoint_is_removed_leaves_no_double_lines(tmp_path):
    out = tmp_path / "run"
    run(Config(**SMALL, teachers="uniform,spcl"), out)
    before = (out / "metrics.jsonl").read_bytes()
    folder = RunFolder.open(out)
    folder.save({}, {"trajectory": "spcl", "records": json.loads((out / "arms" / "spcl.json").read_text())["records"]})
    curricula.resume(folder)
    assert (out / "metrics.jsonl").read_bytes() == before
    assert folder.load() is None


def test_trusted_rows_for_learning_teachers_come_from_all_classes():
    """Also where the rows of the source are sorted by class, and there are more than the limit."""
    (setting, _) = settings()
    batch = setting.trusted_batch(40)
    assert len(batch) == 40
    assert len(batch.y.unique()) >= 9
    assert np.isin(batch.index.numpy(), setting.roles.trusted).all()
    assert not torch.equal(batch.index, torch.from_numpy(setting.roles.trusted[:40]))


def test_labels_outside_the_classes(capsys, tmp_path):
    np.savez(tmp_path / "bad.npz", x=np.zeros((4, 2), np.float32), y=np.array([0, 1, 2, 1]))
    line = line_of(capsys, "run", "curricula", "--data", str(tmp_path / "bad.npz"), "--classes", "2")
    assert "label 2 at index 2; K is 2." in line


def test_a_truncated_file(capsys, tmp_path, real_data):
    cut = tmp_path / "mnist-train.parquet"
    cut.write_bytes((real_data / "mnist-train.parquet").read_bytes()[:100_000])
    assert str(cut) in line_of(capsys, "run", "curricula", "--data", str(cut))


def test_a_folder_that_exists(capsys, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").touch()
    line = line_of(capsys, "run", "curricula", "--out", str(tmp_path / "old"))
    assert line.endswith("old exists; give another --out or remove it.")
    (tmp_path / "old" / "config.json").touch()
    line = line_of(capsys, "run", "curricula", "--out", str(tmp_path / "old"))
    assert line.endswith(f"old exists; give another --out, or go on with: tutelage resume {tmp_path}/old.")


def test_options_from_a_file(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options.toml").write_text(
        'seeds = 2\nepochs = 9\nstudent = "mlp-8"\nteachers = "uniform"\nscale_decay = false\n'
    )
    assert main(["run", "curricula", "--config", "options.toml", "--epochs", "1"]) == 0
    config = json.loads((tmp_path / "runs" / "curricula-001" / "config.json").read_text())["config"]
    assert (config["seeds"], config["epochs"], config["student"], config["scale_decay"]) == (2, 1, "mlp-8", False)
    assert "report.html" in capsys.readouterr().out
    (tmp_path / "bad.toml").write_text("epoch = 9\n")
    assert 'unknown option "epoch". Did you mean "epochs"?' in line_of(
        capsys, "run", "curricula", "--config", "bad.toml"
    )
    (tmp_path / "broken.toml").write_text("epochs = \n")
    assert "broken.toml: not valid TOML" in line_of(capsys, "run", "curricula", "--config", "broken.toml")
    (tmp_path / "type.toml").write_text('epochs = "many"\n')
    assert "many" in line_of(capsys, "run", "curricula", "--config", "type.toml")


def test_list_names_all(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in [*ARMS, "curricula"]:
        assert name in out


def test_a_finished_run_can_be_resumed_and_reported(finished, capsys):
    _, out = finished
    before = (out / "result.json").read_bytes()
    assert main(["resume", str(out)]) == 0
    assert (out / "result.json").read_bytes() == before
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").stat().st_size > 10_000
    assert "self-paced" in capsys.readouterr().out
