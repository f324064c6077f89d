"""What a set of a file makes of networks: where they start, what they become, and which are refused."""

import copy

import pytest
import torch
from torch import nn

from tests.distilled.artefacts import SHAPE, by_hand, equal, fresh, made, numbers, stored, unordered
from tutelage import SGD, Student
from tutelage.distilled import DistilledSet, labels_in_turn
from tutelage.distilled.facts import OWN, Architecture, Evaluation, FreeRecipe, Start
from tutelage.distilled.free_training import train_freely
from tutelage.distilled.pools import weights_of
from tutelage.errors import ConfigError, ShapeError
from tutelage.nets import build
from tutelage.nets.initial import Scaled, filled
from tutelage.siamese import Siamese
from tutelage.starts import Fresh


def test_training_is_gradient_descent_from_the_named_initialisation():
    artefact = made()
    for seed in (0, 3):
        assert equal(artefact.train(seed=seed), by_hand(artefact, fresh(seed)))
    assert not equal(artefact.train(seed=0), artefact.train(seed=3))
    assert not artefact.train().training


def test_the_lessons_are_those_steps():
    artefact = made()
    lessons = list(artefact.lessons())
    assert [lesson.notes["application"] for lesson in lessons] == [0, 1, 2, 3]
    assert torch.equal(torch.stack([lesson.notes["step_size"] for lesson in lessons]), artefact.distilled.step_sizes)
    assert all(torch.equal(lesson.x, artefact.distilled.images[t % 2]) for t, lesson in enumerate(lessons))
    student = Student(fresh(0), SGD(lr=artefact.distilled.step_sizes))
    for lesson in lessons:
        student.study(lesson)
    assert equal(student.net, artefact.train(seed=0))


def test_a_seed_gives_the_network_that_the_file_states_first():
    artefact = made(start=Start("random", seed=5))
    x, y = numbers(50, *SHAPE, seed=1), torch.arange(50) % 3
    values = artefact.evaluate(x, y, 4)["values"]
    assert float((artefact.train(seed=5)(x).argmax(-1) == y).double().mean()) == values[0]
    assert artefact.evaluate(x, y, 2)["values"] == values[:2]
    assert artefact.evaluate(x, y, 4, seed=6)["values"] != values


def test_as_many_networks_as_the_file_states_and_else_200():
    x, y = numbers(5, *SHAPE, seed=1), torch.arange(5) % 3
    stated = Evaluation((0.5,) * 7, 5, "abc")
    found = made(evaluation=stated).evaluate(x, y)
    assert len(found["values"]) == 7
    assert found["mean"] == pytest.approx(sum(found["values"]) / 7)
    assert len(made().evaluate(x, y)["values"]) == 200


def test_looking_leaves_no_trace():
    artefact, before = made(), torch.get_rng_state()
    net = fresh(1)
    kept = copy.deepcopy(net.state_dict())
    artefact.train(net)
    artefact.evaluate(numbers(4, *SHAPE), torch.zeros(4).long(), 2, net=net)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in kept.items())
    assert torch.equal(torch.get_rng_state(), before)


# regimes


def test_a_fixed_set_starts_from_its_stored_weights_whatever_the_seed_of_the_software():
    artefact = made(start=stored("fixed", count=2))
    for seed in (0, 1, 2):
        weights = {name: value[seed % 2] for name, value in artefact.start.weights.items()}
        assert equal(artefact.train(seed=seed), by_hand(artefact, filled(build("mlp-8", SHAPE, 3), weights)))
    given = artefact.train(fresh(9))  # the weights of a given network do not count
    assert equal(given, artefact.train())
    x, y = numbers(50, *SHAPE, seed=1), torch.arange(50) % 3
    assert len(artefact.evaluate(x, y)["values"]) == 2
    assert len(artefact.evaluate(x, y, 1)["values"]) == 1


def test_a_fixed_set_refuses_other_networks_naming_both():
    artefact = made(start=stored("fixed"))
    for net in ("mlp-4", build("mlp-4", SHAPE, 3)):
        called = net if isinstance(net, str) else "Sequential"
        match = rf"^{called} is not mlp-8 as in the file: 1.weight is \(4, 16\) and \(8, 16\); .*stored weights alone"
        with pytest.raises(ShapeError, match=match):
            artefact.train(net)
    with pytest.raises(ShapeError, match=r"5\.weight is \(3, 8\) and absent"):
        artefact.train("mlp-8-8")
    with pytest.raises(ConfigError, match="3 networks are asked for, but the file stores 2 of the regime fixed"):
        artefact.evaluate(numbers(2, *SHAPE), torch.zeros(2).long(), 3)


def test_a_set_for_trained_networks_starts_where_these_are():
    artefact, net = made(start=Start("pretrained")), fresh(7)
    assert equal(artefact.train(net, seed=3), by_hand(artefact, net))
    with pytest.raises(ConfigError, match="were trained before, and the file holds none: give one"):
        artefact.train()
    with pytest.raises(ConfigError, match="were trained before, and the file holds none"):
        artefact.evaluate(numbers(2, *SHAPE), torch.zeros(2).long(), 3)
    pool = Scaled().draw(net, range(3))
    found = artefact.evaluate(numbers(6, *SHAPE), torch.zeros(6).long(), weights=pool)
    assert len(found["values"]) == 3


def test_a_set_for_trained_networks_may_bring_some():
    artefact = made(start=stored("pretrained", count=2))
    weights = {name: value[1] for name, value in artefact.start.weights.items()}
    assert equal(artefact.train(seed=1), by_hand(artefact, filled(build("mlp-8", SHAPE, 3), weights)))
    net = fresh(7)
    assert equal(artefact.train(net), by_hand(artefact, net))
    with pytest.raises(ShapeError, match="Sequential is not mlp-8 as in the file"):
        artefact.train("mlp-4")


def test_the_one_known_network_is_stored():
    artefact = made(start=stored("pretrained-fixed", count=1))
    weights = {name: value[0] for name, value in artefact.start.weights.items()}
    assert equal(artefact.train(seed=4), by_hand(artefact, filled(build("mlp-8", SHAPE, 3), weights)))


@pytest.mark.parametrize(
    ("regime", "known", "trained"),
    [("fixed", True, False), ("random", False, False), ("pretrained", False, True), ("pretrained-fixed", True, True)],
)
def test_regimes(regime, known, trained):
    start = Start(regime) if regime == "random" else stored(regime)
    assert (start.known, start.trained, start.stored) == (known, trained, 0 if regime == "random" else 2)


def test_networks_that_initialise_themselves():
    artefact = made(start=Start("random", scheme=OWN))
    assert equal(artefact.train(seed=1), artefact.train(seed=1))
    assert not equal(artefact.train(seed=1), artefact.train(seed=2))
    net = fresh(3)
    assert equal(artefact.train(net), by_hand(artefact, net))
    with pytest.raises(ConfigError, match=r"initialise themselves \(own\): give the network by its name, or weights"):
        artefact.evaluate(numbers(2, *SHAPE), torch.zeros(2).long(), 3, net=net)


def test_the_initialisation_of_the_file_counts():
    artefact = made(start=Start("random", scheme="kaiming-normal", gain=2.0))
    net = build("mlp-8", SHAPE, 3)
    weights = Fresh(net, Scaled("kaiming-normal", 2.0), 4).held_out(1)
    start = filled(net, {name: value[0] for name, value in weights.items()})
    assert equal(artefact.train(seed=4), by_hand(artefact, start))


def test_frozen_statistics_stay():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    net[1].running_mean.fill_(0.5)
    parts = {"architecture": Architecture.of(net, freeze_buffers=True), "start": Start("pretrained")}
    trained = made(**parts).train(net)
    assert torch.equal(trained[1].running_mean, net[1].running_mean)
    by_name = Architecture.of(build("resnet8x4", (3, 8, 8), 3), "resnet8x4", freeze_buffers=True)
    images = DistilledSet(numbers(1, 3, 3, 8, 8), labels_in_turn(3, 1), torch.ones(1))
    inputs = made().inputs.__class__((3, 8, 8), 1.0, torch.tensor(0.0), torch.tensor(1.0))
    with pytest.raises(ConfigError, match="statistics that the file does not hold: give the network itself"):
        made(distilled=images, inputs=inputs, architecture=by_name, start=Start("pretrained")).train()


# rows


def test_rows_that_do_not_fit_are_refused():
    artefact, y = made(), torch.zeros(2).long()
    with pytest.raises(
        ShapeError, match=r"test rows of shape \(2, 4, 4\) and 2 labels, but the set is for rows of shape"
    ):
        artefact.evaluate(numbers(2, 4, 4), y)
    with pytest.raises(ShapeError, match="at least one, each with a label"):
        artefact.evaluate(numbers(2, *SHAPE), y[:1])
    with pytest.raises(ShapeError, match="at least one"):
        artefact.evaluate(numbers(0, *SHAPE), y[:0])
    with pytest.raises(ConfigError, match="0 networks cannot judge a set; ask for at least 1"):
        artefact.evaluate(numbers(2, *SHAPE), y, 0)


def test_another_normalisation_than_the_files_is_refused():
    artefact = made()
    artefact.train(normalisation=(0.3, 0.4))
    with pytest.raises(ConfigError, match=r"mean 0 and std 1, but the set was made with mean 0\.3 and std"):
        artefact.train(normalisation=(0.0, 1.0))
    with pytest.raises(ConfigError, match=r"the set was made with mean 0\.3 and std 0\.4"):
        artefact.evaluate(numbers(2, *SHAPE), torch.zeros(2).long(), 1, normalisation=([0.5], [0.5]))


def test_float64_networks_learn_in_float64():
    net = fresh(1).double()
    trained = made(start=Start("pretrained")).train(net)
    assert next(trained.parameters()).dtype is torch.float64
    x = numbers(4, *SHAPE, dtype=torch.float64)
    assert made().evaluate(x, torch.zeros(4).long(), 2)["values"]


def test_a_network_learns_where_it_is_asked_to():
    for start in (Start("random"), stored("fixed")):
        net, weights = made(start=start).students.first(None, 0, "meta")
        assert {tensor.device.type for tensor in (*net.parameters(), *weights.values())} == {"meta"}


def test_soft_labels_teach_in_the_type_of_the_network():
    soft = DistilledSet(numbers(2, 3, *SHAPE), numbers(2, 3, 3, seed=2), torch.tensor([0.1, 0.2]))
    net = fresh(1).double()
    alone = copy.deepcopy(net)
    for s, size in enumerate(soft.step_sizes.double()):
        targets = soft.labels[s].double().softmax(-1)
        loss = -(targets * alone(soft.images[s].double()).log_softmax(-1)).sum(-1).mean()
        gradients = torch.autograd.grad(loss, list(alone.parameters()))
        with torch.no_grad():
            for p, gradient in zip(alone.parameters(), gradients):
                p -= size * gradient
    trained = made(distilled=soft, start=Start("pretrained")).train(net)
    assert all(torch.allclose(p, q, rtol=0, atol=1e-12) for p, q in zip(trained.parameters(), alone.parameters()))


def test_rows_of_one_channel_may_have_any_stride_there():
    """As numpy gives them where the channel is an axis that was added."""
    net, x = build("convnet2x4", SHAPE, 3), numbers(6, *SHAPE)
    odd = x.clone().as_strided(x.shape, (16, 1, 4, 1))
    assert odd.is_contiguous()
    artefact = made(architecture=Architecture.of(net, "convnet2x4"))
    starts = Scaled().draw(net, range(2))
    assert torch.equal(artefact.answers(odd, net, starts), artefact.answers(x, net, starts))


# without an order


def test_a_set_without_step_sizes_is_trained_on_as_the_file_says():
    recipe = FreeRecipe(lr=0.1, epochs=5, batch_size=2, augmentation=("crop",))
    artefact, start = unordered(free_training=recipe), fresh(4)
    images, labels = artefact.dataset()
    student = train_freely(
        start,
        {name: p.detach().unsqueeze(0) for name, p in start.named_parameters()},
        images,
        labels,
        lr=0.1,
        epochs=5,
        batch_size=2,
        rule=lambda lr: SGD(lr, momentum=0.9, weight_decay=5e-4),
        augment=Siamese(("crop",)).each,
        seed=4,
    )
    expected = filled(start, {name: value[0] for name, value in weights_of(student).items()})
    assert equal(artefact.train(seed=4), expected, tolerance=0)
    with pytest.raises(
        ConfigError, match="made by gradient-matching has no step sizes, so it makes no lessons: use train"
    ):
        list(artefact.lessons())
    x, y = numbers(50, *SHAPE, seed=1), torch.arange(50) % 3
    assert len(artefact.evaluate(x, y, 3)["values"]) == 3


def test_networks_that_judge_a_set_without_step_sizes_are_trained_by_its_seed():
    x, y = numbers(300, *SHAPE, seed=1), torch.arange(300) % 3
    recipe = FreeRecipe(lr=0.5, epochs=3, batch_size=1)
    first, again, other = (unordered(free_training=recipe, seed=s).evaluate(x, y, 3)["values"] for s in (0, 0, 1))
    assert first == again != other


def test_the_data_set_has_all_images_with_their_labels():
    images, labels = made().dataset()
    assert torch.equal(images, made().distilled.images.flatten(0, 1))
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
