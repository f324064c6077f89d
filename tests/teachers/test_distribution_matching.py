"""Distribution matching: the distance, its gradient, and what the networks see."""

import pytest
import torch

from tutelage import SGD, Batch
from tutelage.distilled import labels_in_turn
from tutelage.distilled.synthetic import real_rows, started
from tutelage.errors import ConfigError, DataError, NotFiniteError
from tutelage.nets.initial import filled
from tutelage.siamese import Siamese
from tutelage.teachers import DistributionMatching
from tutelage.teachers.synthesise import distribution_matching
from tutelage.teachers.synthesise.distribution_matching import distance_of_means
from tutelage.testing import check_teacher

from .matching import check_differences, conv_net, draw, fresh, real_images, student_of


def teacher(each=2, **options):
    return DistributionMatching(draw(1, 3 * each, 2, 4, 4), labels_in_turn(3, each), **{"real_batch": 4, **options})


def plain(net):
    return started(student_of(net), None, 0)


def test_the_distance_is_the_formula():
    a, b = [draw(4, 5), draw(3, 5, seed=1)], [draw(2, 5, seed=2), draw(6, 5, seed=3)]
    needed = sum(sum((float(u[:, j].mean()) - float(v[:, j].mean())) ** 2 for j in range(5)) for u, v in zip(a, b))
    assert float(distance_of_means(a, b)) == pytest.approx(needed, rel=1e-12)
    assert float(distance_of_means(a, [x.flip(0) for x in a])) == pytest.approx(0, abs=1e-30)


@pytest.mark.parametrize("siamese", [None, Siamese()], ids=["plain", "siamese"])
def test_a_set_of_all_real_rows_has_no_distance(siamese):
    """With siamese augmentation, because both sides are changed alike."""
    real = real_images(6)
    order = torch.argsort(real.y, stable=True)
    made = DistributionMatching(real.x[order].unsqueeze(0), real.y[order], siamese=siamese)
    loss, gradient = made.gradients(plain(conv_net()), *real_rows("", real, 3))
    assert float(loss) < 1e-25
    assert gradient.abs().max() < 1e-12


def test_the_loss_is_that_of_the_paper():
    """Features are what the last linear layer takes, of a network that starts anew from seed and step."""
    net, real = conv_net(), real_images()
    made = teacher(starts=fresh(net), real_batch=99)
    for step in range(3):
        one = filled(net, {name: value[0] for name, value in fresh(net).draw(step, 1).items()})[:-1]
        images, y = made.distilled.images[0], made.distilled.labels
        needed = sum(
            float((one(real.x[real.y == c]).mean(0) - one(images[y == c]).mean(0)).square().sum().detach())
            for c in range(3)
        )
        found = made.learn(None, student_of(conv_net()), real)["outer_loss"]
        assert float(found) == pytest.approx(needed, rel=1e-9)
    assert made.steps == 3


@pytest.mark.parametrize("siamese", [None, Siamese()], ids=["plain", "siamese"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_the_gradient_equals_central_differences(siamese, norm):
    made, net, real = teacher(siamese=siamese), plain(conv_net(norm)), real_rows("", real_images(), 3)
    _, gradient = made.gradients(net, *real)
    check_differences(lambda: made.gradients(net, *real)[0], made.synthetic.images, gradient, range(0, 192, 17))


def test_rows_may_go_through_the_network_in_pieces(monkeypatch):
    net, real = plain(conv_net()), real_rows("", real_images(), 3)
    whole = teacher().gradients(net, *real)
    monkeypatch.setattr(distribution_matching, "_ROWS", 5)
    pieces = teacher().gradients(net, *real)
    assert torch.allclose(whole[0], pieces[0])
    assert torch.allclose(whole[1], pieces[1])


def test_batch_norm_sees_all_classes_at_once(monkeypatch):
    """Statistics of the rows of one class alone would hide how its mean differs; nor does it see pieces."""
    monkeypatch.setattr(distribution_matching, "_ROWS", 5)
    net, real = conv_net("batch"), real_images()
    made = teacher(real_batch=99)
    loss, _ = made.gradients(plain(net), *real_rows("", real, 3))
    images, y = made.distilled.images[0].detach(), made.distilled.labels
    a, b = net[:-1](real.x), net[:-1](images)
    needed = sum(float((a[real.y == c].mean(0) - b[y == c].mean(0)).square().sum().detach()) for c in range(3))
    assert float(loss) == pytest.approx(needed, rel=1e-9)


def test_the_rate_follows_the_number_of_images():
    assert teacher(2).synthetic.optimiser.rule == SGD(1.0, momentum=0.5)
    assert DistributionMatching(draw(1, 300, 2), labels_in_turn(3, 100)).synthetic.optimiser.rule.lr == 10.0
    assert DistributionMatching(draw(2, 150, 2), labels_in_turn(3, 50)).synthetic.optimiser.rule.lr == 10.0


def test_dropout_is_drawn_anew_at_each_step():
    """Of a network that starts where it did, with the same real rows in any order: nothing else changes."""
    y = torch.arange(30) % 3
    real = Batch(draw(3, 2, 4, 4)[y], y, torch.arange(30))
    net, seen = torch.nn.Sequential(conv_net("none")[:-1], torch.nn.Dropout(0.5), conv_net("none")[-1]), []
    made = teacher(real_batch=99, rule=SGD(1e-12))
    for _ in range(3):
        seen.append(float(made.learn(None, student_of(net), real)["outer_loss"]))
    assert len({round(value, 6) for value in seen}) == 3
    again = teacher(real_batch=99, rule=SGD(1e-12))
    assert float(again.learn(None, student_of(net), real)["outer_loss"]) == seen[0]


def test_images_follow_the_rule():
    """Gradient descent with momentum 1/2, by hand."""
    net, real, made = conv_net(), real_images(), teacher()
    x, velocity = made.distilled.images.detach().clone(), 0.0
    for _ in range(3):
        _, gradient = made.gradients(plain(net), *real_rows("", real, 3))
        velocity = 0.5 * velocity + gradient
        x = x - velocity
        made.learn(None, student_of(net), real)
        assert torch.allclose(made.distilled.images, x)


def test_it_goes_on_with_the_same_bytes():
    net, real = conv_net(), real_images()
    options = {"starts": fresh(net), "siamese": Siamese()}
    whole, first, second = (teacher(**options) for _ in range(3))
    for _ in range(6):
        whole.learn(None, student_of(net), real)
    for _ in range(3):
        first.learn(None, student_of(net), real)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.learn(None, student_of(net), real)
    assert torch.equal(whole.synthetic.images, second.synthetic.images)


def test_it_keeps_the_laws():
    def made():
        return DistributionMatching(draw(1, 6, 6).float(), labels_in_turn(3, 2), rule=SGD(0.1), real_batch=4)

    check_teacher(made, descends_validation=False, own_forwards=2)


def test_errors():
    net, real = student_of(conv_net()), real_images()
    with pytest.raises(ConfigError, match=r"DistributionMatching\.learn needs real examples"):
        teacher().learn(None, net, None)
    with pytest.raises(DataError, match="class 2 has no real example"):
        teacher().learn(None, net, Batch(real.x, real.y % 2, real.index))
    with pytest.raises(ConfigError, match="real_batch is 0; it must be at least 1"):
        teacher(real_batch=0)
    made = teacher()
    before = made.synthetic.images.detach().clone()
    real.x[:] = torch.nan
    with pytest.raises(NotFiniteError, match="the loss is not finite at step 1 of the images"):
        made.learn(None, net, real)
    assert torch.equal(made.synthetic.images, before)
