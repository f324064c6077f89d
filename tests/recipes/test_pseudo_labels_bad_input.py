"""Few labels: what cannot work is refused in one line, before anything is written."""

import numpy as np
import pytest

from tutelage.cli import main
from tutelage.data import DataSet, from_arrays
from tutelage.errors import ConfigError, DataError, NotDifferentiable, NotFiniteError, ShapeError
from tutelage.recipes import naming
from tutelage.recipes.pseudo_labels import Config, run
from tutelage.recipes.pseudo_labels.drawing import draw, roles

from .pseudo_runs import SMALL, colours, plan

HERE = "tests.recipes.test_pseudo_labels_bad_input"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": 7}, DataError, "7 labels are fewer than the 10 classes of digits; use --labels 10 or more"),
        ({"labels": 1500}, DataError, r"class \d has \d+ rows, too few for 150 labels; use fewer labels"),
        ({"labels": 20, "labels_per_class": 2}, ConfigError, "give one of --labels, --labels-per-class"),
        ({"labels": 0}, ConfigError, "--labels is 0; it must be at least 1"),
        (
            {"labelled_batch": 21},
            ConfigError,
            "--labelled-batch 21 is larger than the 20 labelled rows; use 20 or less",
        ),
        ({"finetune_batch": 21}, ConfigError, "--finetune-batch 21 is larger than the 20 labelled rows"),
        (
            {"batch_size": 1301, "replacement": False},
            ConfigError,
            "--batch-size 1301 is larger than the 1300 unlabelled rows; use 1300 or less, or --replacement",
        ),
        ({"teachers": "mpl"}, ConfigError, 'unknown teacher "mpl"'),
        ({"teachers": "uda", "uda_weight": 0.0}, ConfigError, "--uda-weight 0 makes uda the same as supervised"),
        (
            {"teachers": "mpl-soft", "meta_weight": 0.0},
            ConfigError,
            "--meta-weight 0 makes mpl-soft the same as distil",
        ),
        ({"teachers": "mpl-scalar", "scalar_weight": 0.0}, ConfigError, "--scalar-weight 0 makes mpl-scalar the same"),
        ({"teachers": "uda", "rounds": 2}, ConfigError, "--rounds is of offline; none of them is among --teachers"),
        ({"teachers": "uda", "meta_weight": 2.0}, ConfigError, "--meta-weight is of mpl-soft, mpl-per-sample"),
        ({"teachers": "supervised", "uda_weight": 2.0}, ConfigError, "--uda-weight is of uda, uda-2, distil"),
        ({"cutout": 4}, ConfigError, "--cutout does nothing with --views noise; leave it out"),
        ({"wait": 12}, ConfigError, "--wait 12 leaves the student none of the 12 steps"),
        ({"steps": 0}, ConfigError, "--steps is 0; it must be in 1.."),
        ({"student_lr": -1.0}, ConfigError, "--student-lr is -1.0; it must be in 0.."),
        ({"uda_threshold": 1.5}, ConfigError, "--uda-threshold is 1.5; it must be in 0..1"),
        ({"uda_temperature": 0.0}, ConfigError, "UDA: temperature is 0.0; it must be above 0"),
        ({"teacher_rule": "lion"}, ConfigError, 'unknown teacher rule "lion". Known: adam, adamw, sgd'),
        ({"momentum": 1.0}, ConfigError, r"momentum is 1.0; it must be in \[0, 1\)"),
        ({"strong_noise": -1.0}, ConfigError, "--strong-noise is -1.0; it must be in 0"),
        ({"test": 1.0}, ConfigError, "--test is 1.0; it is a share of the rows"),
        ({"first_seed": -1}, ConfigError, "--first-seed is -1"),
        ({"data": ""}, ConfigError, "--data is empty"),
        ({"unlabelled_rows": "x.csv"}, ConfigError, "--unlabelled-rows needs --labelled-rows"),
        ({"labelled_rows": "none.csv"}, DataError, "none.csv: not a readable CSV or Parquet file"),
        ({"student": "resnet9"}, ConfigError, "depth"),
        ({"teachers": "mpl-soft", "supervised_weight": -1.0}, ConfigError, "supervised_weight is -1.0"),
        ({"temperature": float("inf")}, ConfigError, "temperature is inf; it must be above 0, and finite"),
        ({"uda_weight": float("inf")}, ConfigError, "UDA: weight is inf; it must be at least 0, and finite"),
        ({"test": 1e-4}, DataError, "no row of digits is left to test on; raise --test, or name fewer rows"),
        ({"warmup": 5}, ConfigError, "--warmup does nothing with --rates cosine; leave it out"),
        (
            {"momentum": 0.9, "student_rule": "adam"},
            ConfigError,
            "--momentum does nothing with --teacher-rule adamw and --student-rule without sgd",
        ),
        ({"momentum": 0.9, "teachers": "uda"}, ConfigError, "--momentum does nothing with --teacher-rule adamw; leave"),
        (
            {"mask": "freematch", "uda_threshold": 0.9},
            ConfigError,
            "--uda-threshold does nothing with --mask freematch",
        ),
        ({"mask": "flexmatch", "mask_on": "plain"}, ConfigError, "--mask-on does nothing with --mask flexmatch"),
        (
            {"uda_weight": 0.0, "uda_ramp": 3, "teachers": "distil"},
            ConfigError,
            "--uda-ramp does nothing with --uda-weight 0; leave it out",
        ),
        ({"ema": 0.0, "ema_warm": True}, ConfigError, "--ema-warm does nothing with --ema 0; leave it out"),
        ({"finetune_steps": 0, "finetune_lr": 0.1}, ConfigError, "--finetune-lr does nothing with --finetune-steps 0"),
        (
            {"draw": "stratified", "labelled_rows": "none.csv"},
            ConfigError,
            "--draw does nothing with --labelled-rows; leave it out",
        ),
    ],
)
def test_bad_input(tmp_path, options, error, message):
    out = tmp_path / "out"
    with pytest.raises(error, match=message):
        run(Config(**SMALL | options), out)
    assert not out.exists()


def test_bad_input_in_files(tmp_path):
    def given(first, second=None):
        (tmp_path / "a.csv").write_text(first)
        files = {"labelled_rows": str(tmp_path / "a.csv")}
        if second is not None:
            (tmp_path / "b.csv").write_text(second)
            files["unlabelled_rows"] = str(tmp_path / "b.csv")
        return {**files, "include_labelled": False}

    rows = "index\n" + "\n".join(map(str, range(40)))
    cases = {
        (rows, "index\n39\n40"): "labelled and unlabelled rows share 1 ids, e.g. 39; remove them from one, or pass",
        ("index\n1\n1", None): "index 1 comes twice",
        ("index\n1\n9999", None): r"index 9999 is outside 0..1796",
        ("row\n1", None): 'needs one column "index", but has row',
        ("index\n0.5", None): 'column "index" must hold whole numbers',
        ("index\n0\n1\n2", None): "3 labelled rows hold 3 of the 10 classes of digits; each needs at least one",
    }
    for files, message in cases.items():
        with pytest.raises(DataError, match=message):
            run(Config(**SMALL | given(*files)), tmp_path / "out")


def test_no_unlabelled_row_is_left():
    with pytest.raises(DataError, match="no unlabelled row is left"):
        roles(np.arange(3), np.arange(0), np.arange(3, 5), include_labelled=False)


def three_classes(shape, classes):
    """A network with too few classes after the first look."""
    from torch import nn

    class Shrinking(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, classes)

        def forward(self, x):
            z = self.layer(x.flatten(1))
            return z if len(x) == 2 else z[:, :3]  # two rows: the look of build

    return Shrinking()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_teacher_and_student_of_different_classes(tmp_path, weight):
    options = {"teacher_net": f"{HERE}:three_classes", "teachers": "mpl-soft", "supervised_weight": weight}
    with pytest.raises(ShapeError, match="the teacher answers with 3 classes, but the student's answers are of shape"):
        run(Config(**SMALL | options), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def normalised(shape, classes):
    """A network whose batch norm needs two rows."""
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


@pytest.mark.parametrize("options", [{"labelled_batch": 1}, {"teachers": "distil", "finetune_batch": 1}])
def test_batches_too_small_for_batch_norm(tmp_path, options):
    """Also those of the phase at the end: it is not left for the end to say so."""
    with pytest.raises(
        ConfigError, match=r"a network cannot take a step with .*: ValueError: Expected more than 1 val"
    ):
        run(Config(**SMALL | options | {"student": f"{HERE}:normalised"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def bent(shape, classes):
    """A network without forward mode."""
    from torch import nn

    from tests.teachers.meta_pseudo import Bent

    class Bending(nn.Module):
        def forward(self, x):
            return Bent.apply(x)

    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), Bending(), nn.Linear(8, classes))


def test_a_network_without_forward_mode_is_refused_before_anything_is_written(tmp_path):
    """Though feedback begins only after the wait; another way to find the gradient is named, and works."""
    options = SMALL | {"teachers": "mpl-soft", "student": f"{HERE}:bent", "wait": 8, "seeds": 1}
    with pytest.raises(NotDifferentiable, match=r"autograd.Function has no .*--soft fd"):
        run(Config(**options), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run(Config(**options, soft="fd"), tmp_path / "out")["arms"]


def test_labels_without_a_gradient_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(NotDifferentiable, match="the meta-gradient is 0 at the first step"):
        run(Config(**SMALL, temperature=1e-30), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_explodes(tmp_path):
    """Its metrics are looked at, too: the result could not be written with them."""
    options = SMALL | {"teachers": "mpl-soft", "meta_weight": 1e30, "wait": 4}
    with pytest.raises(NotFiniteError, match=r"mpl-soft: meta_norm is inf after 8 steps; lower the .*checkpoint"):
        run(Config(**options), tmp_path / "out")


def test_files_that_leave_no_row_to_test_on(tmp_path):
    (tmp_path / "a.csv").write_text("index\n" + "\n".join(map(str, range(60))))
    (tmp_path / "b.csv").write_text("index\n" + "\n".join(map(str, range(60, 1797))))
    files = {"labelled_rows": str(tmp_path / "a.csv"), "unlabelled_rows": str(tmp_path / "b.csv")}
    with pytest.raises(DataError, match=r"no row of digits is left to test on; .* fewer rows in --labelled-rows"):
        run(Config(**SMALL | files), tmp_path / "out")


def test_a_share_to_test_on_where_test_rows_are_there(monkeypatch):
    both = DataSet(*[from_arrays(np.eye(20, 3, dtype=np.float32), np.arange(20) % 2, num_classes=2)] * 2)
    monkeypatch.setattr(naming, "load", lambda *_, **__: both)
    with pytest.raises(ConfigError, match=r"--test does nothing with .*, which has test rows of its own; leave it out"):
        plan(test=0.3)


def test_a_loss_that_explodes(tmp_path):
    options = {"teachers": "supervised", "teacher_rule": "sgd", "teacher_lr": 1e6, "rates": "constant", "steps": 60}
    with pytest.raises(NotFiniteError, match=r"supervised: .*no checkpoint was made yet"):
        run(Config(**SMALL | options), tmp_path / "out")


def test_the_command_line_says_it_in_one_line(tmp_path, capsys):
    assert main(["run", "pseudo-labels", "--labels", "7", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "fewer than the 10 classes" in error
    assert len(error.splitlines()) == 1


def test_kornia_is_missing(tmp_path, monkeypatch):
    from tutelage.data import randaugment

    monkeypatch.setattr(randaugment, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="RandAugment needs kornia"):
        plan(**colours(tmp_path), student_view="weak")


def test_a_source_of_a_class_without_rows():
    source = from_arrays(np.zeros((20, 3), np.float32), np.zeros(20, np.int64), num_classes=2)
    with pytest.raises(DataError, match="class 1 has 0 rows, too few for 1 labels"):
        draw(DataSet(source), 0, 2, test=0.2, how="stratified", include_labelled=False)
