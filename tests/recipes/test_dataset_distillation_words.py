"""What a run of dataset distillation says of itself: no more than its numbers, and the simpler thing first."""

import math

from tutelage.evaluation import summary
from tutelage.recipes.dataset_distillation.concluding import conclusion
from tutelage.statistics import Runs, compare, table


def result(made, means, near, *, free=None, seeds=5):
    """A result of sets whose accuracies are these, a little spread over seeds."""
    spread = [0.004, -0.003, 0.001, -0.002, 0.0][:seeds]

    def values(mean, turn=1):
        return [mean + turn * s for s in spread]

    arms = {
        "distilled": {"accuracy": values(made), "before": values(0.1), "neighbour_accuracy": values(0.5)},
        "class-means": {"accuracy": values(means, -1), "neighbour_accuracy": values(near, 0)},
    }
    pairs = [("class-means", "accuracy", arms["class-means"]["accuracy"])]
    pairs += [("1-NN on class-means", "neighbour_accuracy", arms["class-means"]["neighbour_accuracy"])]
    if free is not None:
        arms["class-means"]["free_accuracy"] = values(free)
        arms["distilled"]["free_accuracy"] = values(0.8, -1)
    found = []
    for name, metric, rival in pairs:
        ours = Runs("distilled", dict(enumerate(arms["distilled"]["accuracy"])))
        found += table([compare(ours, Runs(name, dict(enumerate(rival))), metric)])
    if free is not None:
        ours = Runs("distilled", dict(enumerate(arms["distilled"]["free_accuracy"])))
        theirs = Runs("class-means", dict(enumerate(arms["class-means"]["free_accuracy"])))
        found += table([compare(ours, theirs, "free_accuracy")])
    return {
        "seeds": list(range(seeds)),
        "metric": "accuracy",
        "distillation": {"images": 10, "applications": 3, "init": "random", "attack": None},
        "arms": {name: {m: summary(v) for m, v in metrics.items()} for name, metrics in arms.items()},
        "comparisons": found,
        "sets": {"0": {"along": {"after": [0.9] * 200}}},
    }


def test_the_first_line_says_before_after_and_over_what():
    (first, *_) = conclusion(result(0.92, 0.74, 0.9))
    assert first.startswith("10 images in 3 steps: 10.0 ± 0.3 % before, 92.0 ± 0.3 % after, over 200 fresh networks")


def test_neighbours_that_do_better_come_first():
    lines = conclusion(result(0.85, 0.44, 0.904))
    assert lines[1] == ("1-NN on class-means reaches 90.4 % with as many images and no distillation, more than 85.0 %.")


def test_what_does_worse_is_not_said_to_do_better():
    assert not any("no distillation" in line for line in conclusion(result(0.92, 0.74, 0.904)))


def test_a_difference_that_is_not_shown_is_called_so():
    lines = conclusion(result(0.85, 0.8501, 0.5))
    assert "against real sets taught alike, not shown: class-means." in lines
    near = conclusion(result(0.85, 0.5, 0.8505))
    assert near[1].endswith("more than 85.0 % (equivalent over these seeds).")


def test_two_seeds_give_numbers_only():
    lines = conclusion(result(0.85, 0.44, 0.904, seeds=2))
    assert lines[1].endswith("(too few seeds for a verdict).")
    assert "against real sets taught alike, numbers only: class-means." in lines


def test_free_training_that_does_better_than_the_lessons():
    lines = conclusion(result(0.85, 0.44, 0.5, free=0.89))
    assert lines[1] == (
        "free training on class-means reaches 89.0 % with as many images and no distillation, more than 85.0 % "
        "(by the means; the paired difference is of another pair)."
    )


def test_a_tie_is_no_win_of_either():
    """Shares of networks and of rows are summed in other orders: the last bit says nothing."""
    lines = conclusion(result(0.85, 0.44, math.nextafter(0.85, 1.0)))
    assert lines[1].startswith("1-NN on class-means reaches 85.0 % with as many images and no distillation, as much as")
    assert conclusion(result(0.85, 0.44, math.nextafter(0.85, 0.0)))[1] == lines[1]


def test_networks_that_seeds_share_have_no_interval():
    """Before it is taught, each seed's networks are the same: an interval over seeds would be 0."""
    found = result(0.85, 0.44, 0.5)
    found["distillation"]["init"] = "pretrained"
    first = conclusion(found)[0]
    assert first.startswith("10 images in 3 steps: 10.0 % before, 85.0 ± 0.3 % after")
    assert first.endswith("(mean over 5 seeds, which share these networks).")
