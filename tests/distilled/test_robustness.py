import json
from functools import partial

import pytest
import torch
from torch import nn

from tutelage.distilled import DistilledSet
from tutelage.distilled.free_training import as_examples, train_freely
from tutelage.distilled.judging import ByFreeTraining, ByLessons, Verdict
from tutelage.distilled.perturbed import (
    at_mean_step,
    displayable,
    in_8_bit,
    in_one_batch,
    perturbations,
    rebatched,
    repeated,
    scaled,
    shuffled,
)
from tutelage.distilled.robustness import robustness
from tutelage.distilled.teaching import accuracies
from tutelage.distilled.variants import KINDS, Variant
from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import cross_entropy
from tutelage.nets import mlp
from tutelage.nets.initial import Scaled, filled
from tutelage.starts import Fresh

CHANGES = (
    *("step sizes x0.5", "step sizes x2", "mean step size", "schedule twice", "steps shuffled", "re-batched"),
    *("one batch", "8-bit", "clipped 8-bit"),
)


def made(steps=3, epochs=2, rows=4, soft=False, ordered=True):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(steps, rows, 1, 4, 4, generator=generator, dtype=torch.float64)
    labels = torch.randn(steps, rows, 3, generator=generator, dtype=torch.float64) if soft else torch.arange(rows) % 3
    sizes = torch.linspace(0.1, 0.6, steps * epochs, dtype=torch.float64)
    return DistilledSet(images, labels, sizes if ordered else sizes[:0], epochs)


def examples(distilled):
    """The images with what they are labelled, whatever their order: a set of (bytes, target)."""
    return {(tuple(x.flatten().tolist()), str(y.tolist())) for x, y in zip(*as_examples(distilled))}


def test_class_ids_may_differ_from_batch_to_batch():
    images = torch.zeros(2, 3, 5)
    labels = torch.tensor([[0, 1, 2], [2, 2, 1]])
    distilled = DistilledSet(images, labels, torch.ones(2))
    assert [lesson.target.tolist() for lesson in distilled.lessons()] == [[0, 1, 2], [2, 2, 1]]
    for wrong in (labels[:1], labels.T, torch.zeros(4).long(), torch.zeros(2, 3), torch.zeros(3, 2, 3)):
        with pytest.raises(ShapeError, match=r"class ids are \(n,\), or \(S, n\), soft labels \(S, n, C\)"):
            DistilledSet(images, wrong, torch.ones(2))


def test_step_sizes_are_scaled_or_at_their_mean():
    distilled = made()
    assert scaled(distilled, 0.5).step_sizes.tolist() == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
    assert at_mean_step(distilled).step_sizes.tolist() == pytest.approx([0.35] * 6)
    for changed in (scaled(distilled, 2.0), at_mean_step(distilled)):
        assert changed.images is distilled.images
        assert changed.labels is distilled.labels
        assert changed.epochs == 2


def test_the_schedule_is_repeated_as_a_whole():
    once, twice = made(), repeated(made(), 2)
    assert (twice.epochs, twice.applications) == (4, 12)
    assert twice.step_sizes.tolist() == once.step_sizes.tolist() * 2
    lessons = [lesson.x.tolist() for lesson in once.lessons()]
    assert [lesson.x.tolist() for lesson in twice.lessons()] == lessons * 2


@pytest.mark.parametrize("soft", [False, True])
def test_step_sizes_follow_their_batch_when_steps_are_shuffled(soft):
    distilled = made(soft=soft)
    changed = shuffled(distilled, seed=1)
    where = [next(i for i in range(3) if torch.equal(x, distilled.images[i])) for x in changed.images]
    assert sorted(where) == [0, 1, 2] != where
    sizes = distilled.step_sizes.tolist()
    assert changed.step_sizes.tolist() == [sizes[i] for i in where] + [sizes[3 + i] for i in where]
    for new, old in enumerate(where):
        assert torch.equal(changed.targets(new), distilled.targets(old))
    assert torch.equal(shuffled(distilled, seed=1).images, changed.images)


@pytest.mark.parametrize("soft", [False, True])
def test_images_keep_their_labels_in_other_batches(soft):
    distilled = made(soft=soft)
    changed = rebatched(distilled, seed=1)
    assert changed.images.shape == distilled.images.shape
    assert not torch.equal(changed.images, distilled.images)
    assert examples(changed) == examples(distilled)
    assert changed.step_sizes is distilled.step_sizes
    again = rebatched(changed, seed=2)  # labels are of each batch by then
    assert examples(again) == examples(distilled)


def test_an_order_that_is_drawn_is_another_one():
    two = made(steps=2, epochs=1)
    for seed in range(20):
        assert torch.equal(shuffled(two, seed).images, two.images.flip(0))


@pytest.mark.parametrize("soft", [False, True])
def test_all_images_in_one_batch(soft):
    distilled = made(soft=soft)
    changed = in_one_batch(distilled)
    assert changed.images.shape == (1, 12, 1, 4, 4)
    assert (changed.epochs, changed.applications) == (6, 6)
    assert changed.step_sizes is distilled.step_sizes
    assert examples(changed) == examples(distilled)


def test_images_without_an_order_in_one_batch():
    changed = in_one_batch(made(ordered=False))
    assert (changed.images.shape[:2], changed.applications) == ((1, 12), 0)


def test_eight_bits_by_hand():
    images = torch.tensor([-1.0, 1.55, 0.2, 0.204]).view(1, 4, 1)
    changed = in_8_bit(DistilledSet(images, torch.zeros(4).long(), torch.ones(1))).images
    assert changed.flatten().tolist() == pytest.approx([-1.0, 1.55, 0.2, 0.2], abs=1e-6)  # levels are 0.01 apart
    flat = torch.full((1, 2, 3), 0.7)
    assert torch.equal(in_8_bit(DistilledSet(flat, torch.zeros(2).long(), torch.ones(1))).images, flat)


def test_eight_bits_move_no_pixel_by_more_than_half_a_level():
    distilled = made()
    changed = in_8_bit(distilled)
    width = float(distilled.images.max() - distilled.images.min())
    assert float((changed.images - distilled.images).abs().max()) <= width / 510 + 1e-12
    assert changed.images.max() == distilled.images.max()
    assert len(in_8_bit(_grown(distilled)).images.unique()) <= 256


def _grown(distilled):
    return DistilledSet(distilled.images.repeat(1, 50, 1, 1, 1), torch.zeros(200).long(), distilled.step_sizes, 2)


def test_displayable_images_are_pixels_of_a_screen():
    images = torch.tensor([-9.0, 0.0, 0.1, 9.0]).view(1, 4, 1, 1, 1)
    distilled = DistilledSet(images, torch.zeros(4).long(), torch.ones(1))
    changed = displayable(distilled, [0.5], [0.25]).images.flatten() * 0.25 + 0.5
    assert (changed * 255).tolist() == pytest.approx([0, 128, 134, 255], abs=1e-4)
    colours = DistilledSet(torch.zeros(1, 1, 3, 2, 2), torch.zeros(1).long(), torch.ones(1))
    shown = displayable(colours, [0.2, 0.4, 0.6], [1.0, 0.5, 0.25]).images[0, 0, :, 0, 0]
    assert shown.tolist() == pytest.approx([0, 0, 0], abs=1e-6)  # 51, 102 and 153 of 255
    with pytest.raises(ConfigError, match="normalisation: 2 numbers, but the images have 3 channels; it takes one"):
        displayable(colours, [0.2, 0.4], [1.0, 1.0])


def test_changes_that_make_no_sense_have_a_reason():
    def reasons(distilled, normalisation=None):
        found = perturbations(distilled, normalisation)
        assert tuple(found) == CHANGES
        return {name: reason for name, reason in found.items() if isinstance(reason, str)}

    one_batch = dict.fromkeys(("steps shuffled", "re-batched", "one batch"), "the set is one batch")
    unknown = {"clipped 8-bit": "the normalisation of the images is not known"}
    assert reasons(made(), ([0.0], [1.0])) == {}
    assert reasons(made(steps=1), ([0.0], [1.0])) == one_batch
    assert reasons(made(steps=1, epochs=1)) == {"mean step size": "the set is one step", **one_batch, **unknown}
    free = "the set has no step sizes: it is trained on freely"
    assert reasons(made(ordered=False)) == dict.fromkeys(CHANGES[:7], free) | unknown


def test_orders_are_drawn_several_times():
    found = perturbations(made(steps=5), orders=4)
    assert {name: len(forms) for name, forms in found.items() if len(forms) > 1 and not isinstance(forms, str)} == {
        "steps shuffled": 4,
        "re-batched": 4,
    }
    assert len({str(form.images.tolist()) for form in found["steps shuffled"]}) == 4
    others = perturbations(made(steps=5), orders=4, seed=1)["re-batched"]
    assert not {str(f.images.tolist()) for f in others} & {str(f.images.tolist()) for f in found["re-batched"]}


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3)).double()


@pytest.fixture
def setting():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(60, 1, 4, 4, generator=generator, dtype=torch.float64)
    y = x.flatten(1)[:, :3].argmax(1)
    net = perceptron()
    return net, Fresh(net, Scaled()).held_out(5), x, y


def by_hand(distilled, net, weights, x, y):
    """Each network by itself: T steps of plain gradient descent, written out."""
    found = []
    for k in range(len(next(iter(weights.values())))):
        alone = filled(net, {name: value[k] for name, value in weights.items()})
        for t, size in enumerate(distilled.step_sizes):
            batch = t % len(distilled.images)
            loss = cross_entropy(alone(distilled.images[batch]), distilled.targets(batch)).mean()
            for p, gradient in zip(alone.parameters(), torch.autograd.grad(loss, list(alone.parameters()))):
                p.data -= size * gradient
        found.append(float((alone(x).argmax(1) == y).double().mean()))
    return found


@pytest.mark.parametrize("chunk", [1, 2, 64])
@pytest.mark.parametrize("soft", [False, True])
def test_lessons_judge_as_each_network_by_itself(setting, chunk, soft):
    net, weights, x, y = setting
    distilled = rebatched(made(soft=soft))
    verdict = ByLessons(x, y, chunk)(distilled, net, weights)
    assert verdict.accuracies.tolist() == by_hand(distilled, net, weights, x, y)
    assert verdict.note == ""


def test_lessons_need_step_sizes(setting):
    net, weights, x, y = setting
    with pytest.raises(ConfigError, match="has no step sizes, so it makes no lessons: judge it by ByFreeTraining"):
        ByLessons(x, y)(made(ordered=False), net, weights)


def test_free_training_chooses_its_rate_on_training_data(setting):
    net, weights, x, y = setting
    train = partial(train_freely, epochs=30)
    distilled, rates = made(ordered=False), (1e-6, 0.05)
    verdict = ByFreeTraining(x[:30], y[:30], x[30:], y[30:], rates, nets=3, train=train)(distilled, net, weights)
    some = {name: value[:3] for name, value in weights.items()}
    students = {lr: train(net, some, *as_examples(distilled), lr=lr) for lr in rates}
    lr = max(rates, key=lambda lr: float(accuracies(students[lr], x[30:], y[30:]).mean()))
    assert verdict.accuracies.tolist() == accuracies(students[lr], x[:30], y[:30]).tolist()
    assert verdict.note == f"learning rate {lr:g}, by training data"
    # labels of the test take no part in the choice
    scrambled = ByFreeTraining(x[:30], y[:30].flip(0), x[30:], y[30:], rates, nets=3, train=train)
    assert scrambled(distilled, net, weights).note == verdict.note
    every = ByFreeTraining(x, y, x, y, (0.05,), nets=None, train=train)
    assert len(every(distilled, net, weights).accuracies) == 5


def test_every_row_is_there_with_its_drop(setting):
    net, weights, x, y = setting
    wide = Variant("width", "mlp-7", mlp((1, 4, 4), 3, widths=(7,)).double(), {})
    wide = wide._replace(weights=Fresh(wide.net, Scaled()).held_out(2))
    other = wide._replace(kind="architecture", name="mlp-7-7")
    freely = ByFreeTraining(x, y, x, y, (0.05,), train=partial(train_freely, epochs=3))
    distilled, judge = made(), ByLessons(x, y)
    rows = robustness(
        *(distilled, net, weights, judge),
        variants=iter([other, wide]),
        freely=freely,
        normalisation=([0.5], [0.2]),
        reasons={"initial weights": "initial weights are drawn anew in any case"},
        orders=2,
    )
    assert [row["name"] for row in rows] == [
        *("none", *CHANGES, "initialisation", "width: mlp-7", "depth", "architecture: mlp-7-7", "initial weights"),
        *("free training", "free training: mlp-7-7"),
    ]
    by_name = {row["name"]: row for row in rows}
    base = by_name["none"]["mean"]
    assert by_name["none"]["drop"] == 0.0
    for name, changed in perturbations(distilled, ([0.5], [0.2]), orders=2).items():
        values = [value for form in changed for value in by_hand(form, net, weights, x, y)]
        row = by_name[name]
        assert row["values"] == values
        assert row["mean"] == pytest.approx(sum(values) / len(values))
        assert row["std"] == pytest.approx(float(torch.tensor(values, dtype=torch.float64).std()))
        assert row["drop"] == pytest.approx(base - row["mean"])
    assert len(by_name["width: mlp-7"]["values"]) == 2
    assert by_name["free training"]["note"] == "learning rate 0.05, by training data"
    absent = {"mean": None, "std": None, "values": None, "drop": None}
    assert by_name["depth"] == {"name": "depth", **absent, "note": "no such networks were given"}
    assert by_name["initial weights"]["note"] == "initial weights are drawn anew in any case"
    assert json.loads(json.dumps(rows)) == rows


def test_the_seed_draws_other_orders(setting):
    seen = {}

    def judge(distilled, net, weights):
        seen.setdefault(seed, []).append(distilled.images.tolist())
        return Verdict(torch.tensor([0.5]))

    for seed in (0, 1):
        robustness(made(steps=5), *setting[:2], judge, orders=2, seed=seed)
    assert [a != b for a, b in zip(seen[0], seen[1])] == [False] * 5 + [True] * 4 + [False] * 2


def test_without_free_training_its_row_says_so(setting):
    rows = robustness(made(), *setting[:2], ByLessons(*setting[2:]))
    assert [row["name"] for row in rows] == ["none", *CHANGES, *KINDS, "free training"]
    assert rows[-1]["note"] == "it was not asked for"


def test_a_set_without_step_sizes_is_judged_freely(setting):
    net, weights, x, y = setting
    judge = ByFreeTraining(x, y, x, y, (0.05,), train=partial(train_freely, epochs=3))
    rows = {row["name"]: row for row in robustness(made(ordered=False), net, weights, judge)}
    assert rows["step sizes x2"]["mean"] is None
    assert rows["8-bit"]["mean"] is not None


def test_one_network_has_no_deviation():
    def judge(distilled, net, weights):
        return Verdict(torch.tensor([0.5], dtype=torch.float64))

    rows = robustness(made(), nn.Linear(1, 1), {}, judge)
    assert rows[0] == {"name": "none", "mean": 0.5, "std": None, "values": [0.5], "drop": 0.0, "note": ""}


def test_the_set_that_is_judged_does_not_change(setting):
    distilled = made()
    before = [t.clone() for t in (distilled.images, distilled.labels, distilled.step_sizes)]
    state = torch.get_rng_state()
    robustness(distilled, *setting[:2], ByLessons(*setting[2:]))
    after = (distilled.images, distilled.labels, distilled.step_sizes)
    assert all(torch.equal(a, b) for a, b in zip(before, after))
    assert torch.equal(state, torch.get_rng_state())
