"""What a run of learned teachers says of itself: by fixed rules, from paired seeds."""

from dataclasses import dataclass

import pytest

from tutelage.recipes.conclusion import conclude, too_slow
from tutelage.recipes.outcome import Outcome


def arms(**values):
    return {name.replace("_", "-"): {"accuracy": {"values": each}} for name, each in values.items()}


def test_it_helps_only_if_the_interval_excludes_0():
    found = conclude(
        "flip 0.4",
        arms(surface=[0.8, 0.7, 0.75], deep=[0.9, 0.81, 0.86], bilinear=[0.9, 0.6, 0.8], l2rw=[0.95, 0.95, 0.95]),
    )
    assert found["lines"][0] == "flip 0.4: looking inside the student: helps (deep); no difference shown (bilinear)."
    assert found["lines"][1] == "deep − surface +10.7 ± 1.4 points, above 0 on 3 of 3 seeds: helps."
    assert found["lines"][2] == ("bilinear − surface +1.7 ± 25.9 points, above 0 on 2 of 3 seeds: no difference shown.")
    assert found["lines"][3] == "deep: no difference shown to l2rw (−9.3 ± 11.2 points, above 0 on 0 of 3 seeds)."
    assert [(c["a"], c["b"]) for c in found["comparisons"]] == [
        ("deep", "surface"), ("bilinear", "surface"), ("deep", "l2rw"), ("bilinear", "l2rw"), ("surface", "l2rw"),
    ]  # fmt: skip


def test_it_may_hurt():
    found = conclude("x", arms(surface=[0.9, 0.91, 0.9], deep=[0.8, 0.81, 0.79], trusted_only=[0.7, 0.7, 0.7]))
    assert found["lines"][0] == "x: looking inside the student: hurts (deep)."
    assert found["lines"][2].startswith("deep: beats trusted-only (+10.0 ± ")


def test_one_seed_has_no_verdict():
    found = conclude("x", arms(surface=[0.9], bilinear=[0.8], early_stopping=[0.7]))
    assert found["lines"][0] == "x: looking inside the student: one seed, no verdict (bilinear)."
    assert found["lines"][2] == (
        "bilinear: one seed, no verdict against early-stopping (+10.0 points, above 0 on 1 of 1 seeds)."
    )


def test_nothing_to_compare():
    assert conclude("x", arms(uniform=[0.9, 0.8])) == {"lines": [], "comparisons": []}


@dataclass
class Noise:
    realised: float


@dataclass
class Setting:
    noise: Noise


@pytest.mark.parametrize(
    ("records", "needed"),
    [
        ([(0.97, 0.62), (0.61, 0.98)], ["deep, 1 of 2 seeds: the student gives 97 % of the noisy labels"]),
        ([(0.97, 0.62), (0.87, 0.5)], ["deep, 2 of 2 seeds: the student gives 92 % of the noisy labels"]),
        ([(0.97, 0.71), (0.61, 0.5)], []),
        ([(0.749, 0.5), (0.7, None)], []),
    ],
)
def test_a_teacher_that_is_too_slow(records, needed):
    last = [[{"noisy_fit": fit, "auc": area}] for fit, area in records]
    outcomes = {"deep": Outcome(last, {}, True, 0.0)}
    found = too_slow(["deep"], outcomes, [Setting(Noise(0.4))] * 2, 0.4)
    assert [line[: len(start)] for line, start in zip(found, needed, strict=True)] == needed
    assert too_slow(["deep"], outcomes, [Setting(Noise(0.0))] * 2, 0.0) == []
