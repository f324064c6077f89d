"""Options of the recipe: how its teachers learn, and bad input."""

import pytest

from tutelage.recipes.deep_interactions import Config, run
from tutelage.recipes.learned import Maker

from .deep_runs import COMMAND, SMALL, planned
from .interrupted import read
from .test_curricula import line_of

LEARNING = SMALL | {"epochs": 1, "student": "mlp-16-16", "teachers": "meta-weight-net,deep"}


@pytest.fixture(scope="module")
def by_default(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "default"
    run(Config(**LEARNING), out)
    return out


@pytest.mark.parametrize(
    "options",
    [
        {"look_ahead": 2, "every": 3, "window": "back"},
        {"look_ahead": 3, "every": 2, "inputs": "detached"},
        {"strategy": "unrolled"},
        {"strategy": "recompute"},
        {"strategy": "reversible"},
        {"strategy": "one-step", "look_ahead": 1},
        {"strategy": "finite-difference", "look_ahead": 1, "every": 1},
        {"teacher_lr": 0.1, "teacher_decay": 0.0},
        {"teacher_normalise": "mean"},
        {"layers": "1,3"},
        {"validation_rows": 30},
        {"virtual_step": "plain"},
        {"rule": "adam", "lr": 0.01},
        {"stack": False},
    ],
    ids=str,
)
def test_options_of_learning(options, by_default, tmp_path):
    result = run(Config(**LEARNING | options), tmp_path / "run")
    assert set(result["training"]["stacked"].values()) == {"layers" not in options and "stack" not in options}
    curves = [read(folder, "arms/deep.json")["records"] for folder in (tmp_path / "run", by_default)]
    losses = [[r[0]["loss"] for r in each] for each in curves]
    if options.get("strategy") in ("unrolled", "recompute", "reversible") or "stack" in options:
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    else:
        assert losses[0] != pytest.approx(losses[1], rel=1e-7)


def test_layers_are_read():
    plan = planned(student="mlp-16-12", layers="1,3", teachers="deep")
    teacher = Maker(plan.options, "deep").untaught(plan.settings[0])
    assert (teacher.layers, teacher.features) == (("1", "3"), 28)
    plan = planned(student="mlp-16-12", teachers="deep")
    assert Maker(plan.options, "deep").untaught(plan.settings[0]).features == 12


def test_single_steps():
    plan = planned(teachers="deep-1,deep,meta-weight-net-1", look_ahead=4, every=3)
    found = {name: plan.trajectories[name].teacher(plan.settings[0], None).look_ahead for name in plan.names}
    assert {name: (each.steps, each.every) for name, each in found.items()} == {
        "deep-1": (1, 1), "deep": (4, 3), "meta-weight-net-1": (1, 1),
    }  # fmt: skip


# bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teachers", "depe"], 'unknown teacher "depe". Did you mean "deep"? Known: uniform, mixed-in, trusted-only'),
        (["--strategy", "rolled"], 'unknown strategy "rolled". Did you mean "unrolled"? Known: auto, unrolled, recomp'),
        (["--layers", "7"], 'unknown layer of the network "7". Known: 0, 1, 2, 3.'),
        (["--window", "back", "--look-ahead", "0"], "--look-ahead is 0; it must be in 1..1000000."),
        (["--every", "0"], "--every is 0; it must be in 1..1000000."),
        (["--validation-rows", "0"], "--validation-rows is 0; it must be in 1..1000000."),
        (["--episodes", "0"], "--episodes is 0; it must be in 1..1000000."),
        (["--keep-episodes", "0"], "--keep-episodes is 0; it must be in 1..1000000."),
        (["--keep-budget", "0"], "--keep-budget is 0; it must be in 1..1000000."),
        (["--keep-accumulate", "-3"], "--keep-accumulate is -3; it must be in 1..1000000."),
        (["--tau", "80"], "--tau is 80.0; it is an accuracy on the validation rows and must be in (0, 1]."),
        (["--tau", "nan"], "--tau is nan; it is an accuracy"),
        (["--teacher-lr", "-1"], "--teacher-lr is -1.0; it must be in 0..1000000."),
        (["--teacher-decay", "inf"], "--teacher-decay is inf; it must be in 0..1000000."),
        (["--window", "forward"], "forward"),
        (["--inputs", "cut"], "cut"),
        (["--strategy", "one-step"], "--strategy one-step looks one step ahead, not 5; pass --look-ahead 1."),
        (["--strategy", "reversible", "--rule", "adam"], "Reversible"),
        (["--strategy", "reversible", "--rule", "adam", "--window", "back"], "nesterov, not Adam: use Recompute."),
        (["--strategy", "reversible", "--virtual-step", "plain"], "with momentum; leave out --virtual-step plain."),
        (["--strategy", "reversible", "--look-ahead", "115"], "over 115 steps; pass --look-ahead 114 or less, or"),
        (["--schedule", "published"], "--schedule published is for resnet32 and wrn-28-10, not mlp-16."),
        (["--noise", "1"], "perfect-filter: no training row of seed 0 has a right label; leave it out of --teachers."),
        (["--noise", "1.1"], "--noise is 1.1; it is a share of the labels and must be in [0, 1]."),
        (
            ["--noise-kind", "pair-flip,pair-flip"],
            '--noise-kind is "pair-flip,pair-flip"; give each kind once, such as',
        ),
        (["--noise-kind", "pair-flip,"], '--noise-kind is "pair-flip,"; give each kind once'),
        (["--noise-kind", "pairflip"], 'unknown label noise "pairflip". Did you mean "pair-flip"?'),
        (["--preset", "mentornet"], "--preset mentornet has no trusted rows outside its training rows, which this rec"),
        (["--teacher-from", "gone"], "gone does not exist; a teacher file is made by save_teacher."),
        (["--teacher-from", "."], " has no teacher of the arm meta-weight-net; it has none at all. Pass --teachers"),
        (["--teacher-from", "x", "--episodes", "2"], "--teacher-from uses a teacher as it is; leave out --episodes."),
        (["--teacher-from", "x", "--teachers", "deep-frozen"], "--teacher-from freezes its teachers anyway; name the"),
        (["--export", "list.csv"], "--export is for one rate of noise; leave it out"),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in line_of(capsys, *COMMAND, *arguments)
    assert list(tmp_path.iterdir()) == []
