"""Published settings and numbers, against the same tables written down a second time in the layout of their source."""

from dataclasses import FrozenInstanceError

import pytest
import torch

from tutelage import SGD
from tutelage.data import Augmentation, Crop, Flip, Standardise
from tutelage.errors import ConfigError
from tutelage.example_dropout import per_percent
from tutelage.pacing import Pacing
from tutelage.recipes import mentornet_published as paper
from tutelage.schedules import StepDecay

# Schedules


@pytest.mark.parametrize(
    ("student", "steps", "drops", "pad", "momentum", "decay"),
    [("resnet101", 39_000, (19_531, 25_000, 30_000), 2, 0.9, 2e-4), ("inception", 120_000, (78_125,), 8, 0.0, 0.0)],
)
def test_schedules(student, steps, drops, pad, momentum, decay):
    found = paper.schedule(student)
    assert found == paper.Schedule(
        rule="sgd",
        lr=0.1,
        drops=tuple(d / steps for d in drops),
        steps=steps,
        batch_size=128,
        pad=pad,
        momentum=momentum,
        weight_decay=decay,
        scaling="each",
    )
    assert tuple(round(share * found.steps) for share in found.drops) == drops
    with pytest.raises(FrozenInstanceError):
        found.lr = 1.0


def test_drops_in_epochs():
    epochs = {
        name: [round(share * s.steps * s.batch_size / 50_000) for share in (*s.drops, 1.0)]
        for name, s in paper.SCHEDULES.items()
    }
    assert epochs == {"resnet101": [50, 64, 77, 100], "inception": [200, 307]}


def test_the_published_baseline_of_the_resnet_has_one_drop():
    for compat in ("written", "effective"):
        assert paper.schedule("resnet101", "uniform", compat).drops == (19_531 / 39_000,)
        assert paper.schedule("inception", "uniform", compat) == paper.schedule("inception")
        for arm in paper.ARMS[1:]:
            assert paper.schedule("resnet101", arm, compat) == paper.schedule("resnet101")
    assert paper.schedule("resnet101", "uniform") == paper.schedule("resnet101")


@pytest.mark.parametrize("student", paper.STUDENTS)
def test_our_parts_can_carry_a_schedule_out(student):
    s = paper.schedule(student)
    rule = SGD(StepDecay(s.lr, tuple(round(d * s.steps) for d in s.drops)), s.momentum, weight_decay=s.weight_decay)
    edges = [round(d * s.steps) for d in s.drops]
    for k, edge in enumerate(edges):
        assert rule.rate(edge - 1) == pytest.approx(0.1 * 0.1**k)
        assert rule.rate(edge) == pytest.approx(0.1 * 0.1 ** (k + 1))
    assert rule.rate(s.steps - 1) == pytest.approx(0.1 * 0.1 ** len(edges))

    images = torch.randint(1, 256, (6, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    crop = Crop(s.pad)
    dy, dx = crop.draw(0, 0, torch.arange(2000))
    assert (dy.min(), dy.max(), dx.min(), dx.max()) == (0, 2 * s.pad, 0, 2 * s.pad)
    padded = crop.pad(images)
    assert padded.shape == (6, 3, 32 + 2 * s.pad, 32 + 2 * s.pad)
    assert int(padded.sum()) == int(images.sum())  # zeros around
    ops = Augmentation(crop, Flip(), Standardise())
    out = ops.apply(images, ops.draw(0, 0, torch.arange(6)))
    assert out.shape == images.shape
    assert out.flatten(1).mean(1).abs().max() < 1e-5
    assert (out.flatten(1).std(1, unbiased=False) - 1).abs().max() < 1e-5


# Commands

NONE = None
TWO = ((0.5, 17), (0.05, 83))
THREE = ((0.5, 17), (0.05, 78), (0.9, 5))
COMMANDS = [  # arm, percentiles, burn-in, fixed time, dropout of resnet101, of inception
    ("self-paced", (0.7, 0.7, 0.7), 0, False, NONE, NONE),
    ("focal", (0.7, 0.7, 0.7), 0, False, NONE, NONE),
    ("mentornet-pd", (0.75, 0.75, 0.5), 0, False, TWO, TWO),
    ("mentornet-dd", (0.8, 0.6, 0.5), 18, True, THREE, TWO),
]


@pytest.mark.parametrize(("arm", "percentiles", "burn_in", "fixed", "resnet", "inception"), COMMANDS)
def test_commands(arm, percentiles, burn_in, fixed, resnet, inception):
    for student, dropout in (("resnet101", resnet), ("inception", inception)):
        for noise, p in zip((0.2, 0.4, 0.8), percentiles, strict=True):
            written = paper.command(arm, noise, student)
            assert written == paper.command(arm, noise, student, "written")
            assert written == paper.Command(p, burn_in, fixed, dropout, 0.5)
            assert paper.command(arm, noise, student, "effective") == paper.Command(0.7, burn_in, fixed, dropout, 0.5)


@pytest.mark.parametrize("compat", ["written", "effective"])
@pytest.mark.parametrize("student", paper.STUDENTS)
def test_uniform_needs_no_options_and_the_others_are_accepted(student, compat):
    assert paper.command("uniform", 0.4, student, compat) is None
    for arm in paper.ARMS[1:]:
        c = paper.command(arm, 0.4, student, compat)
        Pacing(percentile=c.percentile, burn_in=c.burn_in, dropout=c.dropout, decay=c.decay)
        assert c.dropout is None or len(per_percent(c.dropout)) == 100


@pytest.mark.parametrize(
    ("noise", "percentile"),
    [(0.0, 0.8), (0.29, 0.8), (0.3, 0.6), (0.31, 0.6), (0.59, 0.6), (0.6, 0.5), (0.61, 0.5), (1.0, 0.5)],
)
def test_other_rates_take_the_nearest_column(noise, percentile):
    assert paper.command("mentornet-dd", noise, "resnet101").percentile == percentile


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paper.command("mentornet-pp", 0.4, "resnet101"), r'"mentornet-pp"\. Did you mean "mentornet-pd"\?'),
        (lambda: paper.command("focal", 0.4, "resnet110"), r'unknown student of the MentorNet tables "resnet110"'),
        (
            lambda: paper.command("focal", 0.4, "inception", "writen"),
            r'unknown compat "writen"\. Did you mean "written',
        ),
        (lambda: paper.command("focal", 40, "inception"), r"noise is 40; it is a share of the labels .* in \[0, 1\]"),
        (lambda: paper.command("focal", float("nan"), "inception"), r"noise is nan; it is a share"),
        (lambda: paper.command("uniform", -0.1, "inception"), r"noise is -0\.1; it is a share"),
        (lambda: paper.schedule("mlp"), r'unknown student of the MentorNet tables "mlp"'),
        (lambda: paper.schedule("inception", "hard"), r'unknown arm of the MentorNet tables "hard"'),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


# Numbers

COLUMNS = [("cifar100", "resnet101"), ("cifar10", "resnet101"), ("cifar100", "inception"), ("cifar10", "inception")]
ICML = {  # a column each, at noise .2/.4/.8
    "full-model": ".60/.45/.08, .82/.69/.18, .43/.38/.15, .76/.73/.42",
    "forgetting": ".61/.44/.16, .78/.63/.35, .42/.37/.17, .76/.71/.44",
    "self-paced": ".70/.55/.13, .89/.85/.28, .44/.38/.14, .80/.74/.33",
    "focal": ".59/.44/.09, .79/.65/.28, .43/.38/.15, .77/.74/.40",
    "reed-soft": ".62/.46/.08, .81/.63/.18, .42/.39/.12, .78/.73/.39",
    "mentornet-pd": ".72/.56/.14, .91/.77/.33, .44/.39/.16, .79/.74/.44",
    "mentornet-dd": ".73/.68/.35, .92/.89/.49, .46/.41/.20, .79/.76/.46",
}
README = {  # noise .2; .4; .8, in each the five arms
    ("cifar10", "resnet101"): ".796/.822/.797/.910/.914; .568/.802/.634/.776/.887; .238/.297/.25/.283/.463",
    ("cifar100", "resnet101"): ".624/.652/.613/.733/.726; .448/.509/.467/.567/.675; .084/.089/.079/.193/.301",
    ("cifar10", "inception"): ".775/.784/.747/.798/.800; .72/.733/.695/.731/.763; .29/.272/.309/.312/.461",
    ("cifar100", "inception"): ".42/.408/.391/.451/.466; .346/.32/.313/.386/.411; .108/.091/.107/.125/.203",
}


@pytest.mark.parametrize("noise", range(3), ids=["0.2", "0.4", "0.8"])
@pytest.mark.parametrize("column", range(4), ids=[" ".join(c) for c in COLUMNS])
def test_published_numbers(column, noise):
    rate, place = (0.2, 0.4, 0.8)[noise], COLUMNS[column]
    icml = {arm: float(line.split(",")[column].split("/")[noise]) for arm, line in ICML.items()}
    again = map(float, README[place].split(";")[noise].split("/"))
    readme = dict(zip(paper.ARMS, again, strict=True))
    for arm in {*icml, *readme}:
        assert paper.published(*place, arm, rate) == {"icml": icml.get(arm), "readme": readme.get(arm)}, arm


def test_the_headline():
    assert paper.published("cifar10", "resnet101", "mentornet-dd", 0.4) == {"icml": 0.89, "readme": 0.887}
    assert paper.published("cifar10", "resnet101", "full-model", 0.4) == {"icml": 0.69, "readme": None}
    assert paper.published("cifar10", "resnet101", "uniform", 0.4) == {"icml": None, "readme": 0.568}
    assert paper.published("cifar10", "resnet101", "uniform", 0.7 + 0.1) == {"icml": None, "readme": 0.238}  # rounded


@pytest.mark.parametrize(
    "asked",
    [
        ("digits", "resnet101", "uniform", 0.4),
        ("cifar10", "mlp", "uniform", 0.4),
        ("cifar10", "resnet101", "oracle", 0.4),
        ("cifar10", "resnet101", "uniform", 0.3),
        ("cifar10", "resnet101", "uniform", 0.0),
    ],
)
def test_nothing_was_published(asked):
    assert paper.published(*asked) is None
