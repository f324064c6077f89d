"""Gradient matching: the distance, the gradient, and the course of an outer iteration."""

import copy

import pytest
import torch
from torch import nn

from tutelage import SGD, Batch, Lesson, Student
from tutelage.distilled import labels_in_turn
from tutelage.distilled.synthetic import real_rows
from tutelage.errors import ConfigError, DataError, NotFiniteError
from tutelage.losses import cross_entropy
from tutelage.siamese import Siamese
from tutelage.teachers import GradientMatching
from tutelage.teachers.synthesise.gradient_matching import gradient_distance, schedule, with_statistics
from tutelage.testing import check_teacher

from .matching import check_differences, conv_net, draw, fresh, real_images, student_of


def teacher(each=2, **options):
    options = {"outer": 1, "inner": 0, "real_batch": 4, **options}
    return GradientMatching(draw(1, 3 * each, 2, 4, 4), labels_in_turn(3, each), **options)


def gradients(seed=0):
    shapes = {"conv": (4, 2, 3, 3), "conv bias": (4,), "linear": (3, 5), "linear bias": (3,)}
    return {name: draw(*shape, seed=seed + i) for i, (name, shape) in enumerate(shapes.items())}


def naive_distance(a, b):
    total = 0.0
    for name in ("conv", "linear"):
        for u, v in zip(a[name], b[name]):
            u, v = u.flatten(), v.flatten()
            total += 1 - float(u @ v) / (float(u @ u) ** 0.5 * float(v @ v) ** 0.5 + 1e-6)
    return total


class TestDistance:
    def test_is_the_formula(self):
        a, b = gradients(), gradients(10)
        assert float(gradient_distance(a, b)) == pytest.approx(naive_distance(a, b), rel=1e-12)

    def test_is_zero_for_equal_gradients(self):
        assert abs(float(gradient_distance(gradients(), gradients(), eps=0.0))) < 1e-12
        assert 0 <= float(gradient_distance(gradients(), gradients())) < 1e-5

    def test_does_not_change_with_the_size_of_a_row(self):
        a, b = gradients(), gradients(10)
        scaled = {name: value * torch.rand(len(value), *[1] * (value.ndim - 1)) * 9 for name, value in a.items()}
        assert float(gradient_distance(scaled, b, eps=0.0)) == pytest.approx(float(gradient_distance(a, b, eps=0.0)))
        assert float(gradient_distance(scaled, b)) == pytest.approx(float(gradient_distance(a, b)), abs=1e-4)

    def test_does_not_see_tensors_of_one_axis(self):
        a, b = gradients(), gradients(10)
        other = a | {"conv bias": draw(4, seed=99), "linear bias": draw(3, seed=98)}
        assert torch.equal(gradient_distance(a, b), gradient_distance(other, b))
        assert float(gradient_distance({"bias": draw(3)}, {"bias": draw(3, seed=1)})) == 0

    def test_a_unit_without_gradient_counts_one_and_has_a_derivative(self):
        zero, other = torch.zeros(2, 3, requires_grad=True), draw(2, 3)
        found = gradient_distance({"w": zero}, {"w": other.float()})
        assert float(found.detach()) == 2
        assert torch.autograd.grad(found, [zero])[0].isfinite().all()


def test_the_schedule():
    assert [schedule(n) for n in (1, 2, 10, 20, 50, 600)] == [(1, 1), (2, 250), (10, 50), (20, 25), (50, 10), (600, 1)]
    made = GradientMatching(draw(2, 15, 4), labels_in_turn(3, 5))
    assert (made.outer, made.inner) == (10, 50)  # two batches of five a class are one set


def naive_loss(net, images, labels, real, real_labels):
    """Algorithm 1 with all real rows of each class."""
    total = 0.0
    weights = [p for p in net.parameters() if p.ndim > 1]
    for c in range(3):
        found = []
        for x, y in ((images, labels), (real, real_labels)):
            loss = nn.functional.cross_entropy(net(x[y == c]), y[y == c])
            found.append(torch.autograd.grad(loss, weights, create_graph=True))
        for a, b in zip(*found):
            a, b = a.flatten(1), b.detach().flatten(1)
            total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    return total


def test_the_loss_and_its_gradient_are_those_of_the_paper():
    made, net, real = teacher(real_batch=99), conv_net(), real_images()
    loss, gradient = made.gradients(student_of(net), *real_rows("", real, 3))
    images = made.synthetic.images.detach()[0].clone().requires_grad_()
    needed = naive_loss(net, images, made.synthetic.labels, real.x, real.y)
    assert float(loss) == pytest.approx(float(needed.detach()), rel=1e-12)
    assert torch.allclose(gradient, torch.autograd.grad(needed, [images])[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("siamese", [None, Siamese()], ids=["plain", "siamese"])
def test_the_gradient_equals_central_differences(siamese):
    made, net, real = teacher(siamese=siamese), student_of(conv_net()), real_rows("", real_images(), 3)
    _, gradient = made.gradients(net, *real)
    check_differences(lambda: made.gradients(net, *real)[0], made.synthetic.images, gradient, range(0, 192, 17))


def test_equal_rows_have_no_distance_with_siamese_augmentation():
    """The same change on both sides: a set that is all real rows of a class has its gradient."""
    real = real_images(6)
    order = torch.argsort(real.y, stable=True)
    options = {"outer": 1, "real_batch": 99, "eps": 0.0}
    made = GradientMatching(real.x[order].unsqueeze(0), real.y[order], siamese=Siamese(), **options)
    loss, _ = made.gradients(student_of(conv_net("none")), *real_rows("", real, 3))
    assert abs(float(loss)) < 1e-9


def naive_iteration(made, net, real, outer, inner):
    """An outer iteration by torch.optim: matchings, and epochs between them."""
    images = made.synthetic.images.detach()[0].clone().requires_grad_()
    labels = made.synthetic.labels
    for_images = torch.optim.SGD([images], 0.1, momentum=0.5)
    for_net = torch.optim.SGD(net.parameters(), 0.01)
    losses = []
    for o in range(outer):
        loss = naive_loss(net, images, labels, real.x, real.y)
        (images.grad,) = torch.autograd.grad(loss, [images])
        for_images.step()
        losses.append(float(loss.detach()))
        for _ in range(inner if o + 1 < outer else 0):
            for_net.zero_grad()
            nn.functional.cross_entropy(net(images.detach()), labels).backward()
            for_net.step()
    return sum(losses) / outer, images.detach()


def test_an_outer_iteration_is_algorithm_1():
    made, net, real = teacher(outer=3, inner=2, real_batch=99), conv_net(), real_images()
    found = made.learn(None, student_of(net), real)
    plain = teacher(outer=3, inner=2)
    loss, images = naive_iteration(plain, copy.deepcopy(net), real, 3, 2)
    assert float(found["outer_loss"]) == pytest.approx(loss, rel=1e-9)
    assert torch.allclose(made.synthetic.images[0], images, rtol=1e-8, atol=1e-10)
    assert (made.steps, made.synthetic.steps) == (1, 3)


def test_every_iteration_has_a_network_of_its_own():
    """From the run's seed and the iteration alone, whatever the student is."""
    net, real = conv_net(), real_images()
    found = []
    for start in (net, conv_net()):
        made = teacher(starts=fresh(net))
        found.append([float(made.learn(None, student_of(start), real)["outer_loss"]) for _ in range(2)])
    assert found[0] == found[1]
    other = teacher(starts=fresh(net, seed=1))
    assert float(other.learn(None, student_of(net), real)["outer_loss"]) != found[0][0]


@pytest.mark.parametrize("siamese", [None, Siamese()], ids=["plain", "siamese"])
def test_it_goes_on_with_the_same_bytes(siamese):
    net, real = conv_net(), real_images()
    options = {"starts": fresh(net), "outer": 2, "inner": 2, "batch": 4, "siamese": siamese}
    whole, first, second = (teacher(**options) for _ in range(3))
    for _ in range(4):
        whole.learn(None, student_of(net), real)
    for _ in range(2):
        first.learn(None, student_of(net), real)
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.learn(None, student_of(net), real)
    assert torch.equal(whole.synthetic.images, second.synthetic.images)


def followed(made, monkeypatch, iterations, norm="none"):
    """The networks that images are matched in, at each matching, and the lessons that these learn from in between."""
    pupils, lessons = [], []
    gradients, lesson = type(made).gradients, type(made.synthetic).lesson

    def matched(self, pupil, *rest):
        pupils.append((pupil.seed, pupil.step))
        return gradients(self, pupil, *rest)

    def taught(self, key, step, size, siamese):
        lessons.append((key, step, size, siamese))
        return lesson(self, key, step, size, siamese)

    monkeypatch.setattr(type(made), "gradients", matched)
    monkeypatch.setattr(type(made.synthetic), "lesson", taught)
    for _ in range(iterations):
        made.learn(None, student_of(conv_net(norm)), real_images())
    return pupils, lessons


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_network_lives_on_through_an_iteration(norm, monkeypatch):
    """Its rule remembers all that it learned, also where statistics are taken anew; the next network is another."""
    made = teacher(outer=3, inner=1, batch=4)  # an epoch is two minibatches
    pupils, _ = followed(made, monkeypatch, 2, norm)
    assert [step for _, step in pupils] == [0, 2, 4, 0, 2, 4]
    seeds = [seed for seed, _ in pupils]
    assert len(set(seeds[:3])) == len(set(seeds[3:])) == 1
    assert seeds[0] != seeds[3]


def test_a_network_learns_from_orders_of_its_own_between_matchings(monkeypatch):
    siamese = Siamese()
    made = teacher(outer=3, inner=2, batch=4, siamese=siamese)
    _, lessons = followed(made, monkeypatch, 2)
    assert [step for _, step, _, _ in lessons] == [0, 1, 2, 3] * 4
    assert {(size, change) for _, _, size, change in lessons} == {(4, siamese)}
    keys = [key for key, step, _, _ in lessons if step == 0]
    assert keys == [key for key, step, _, _ in lessons if step == 3]
    assert len(set(keys)) == 4


def test_every_matching_draws_real_rows_of_its_own():
    seen = []

    class Noted(Siamese):
        def __call__(self, x, key):
            seen.append((x.detach(), key))
            return x

    teacher(outer=3, inner=1, siamese=Noted()).learn(None, student_of(conv_net()), real_images())
    real = [seen[6 * o][0] for o in range(3)]
    assert len({str(x) for x in real}) == 3
    assert len({key for _, key in seen}) == 9


def test_every_matching_takes_statistics_of_a_few_rows_of_its_own():
    net, batch = student_of(conv_net("batch")), real_images()
    made, seen = teacher(starts=fresh(net.architecture), outer=2, inner=0, statistics=2), []
    for _ in range(2):
        real, classes = real_rows("", batch, 3)
        for _ in range(2):
            rows = made._sample(real, classes)
            places = [int((batch.x == row).flatten(1).all(1).nonzero()) for row in rows]
            assert [p % 3 for p in places] == [0, 0, 1, 1, 2, 2]
            assert len(set(places)) == 6
            seen.append(tuple(places))
        made.learn(None, net, batch)
    assert seen[0] == seen[1] != seen[2] == seen[3]


def test_norms_have_the_statistics_of_real_rows_and_keep_them():
    net, x = conv_net("batch"), draw(20, 2, 4, 4, seed=5) + 2.0
    before = copy.deepcopy(net.state_dict())
    made = with_statistics(net, x)
    inside = net[0](x)
    assert torch.allclose(made[1].running_mean, inside.mean((0, 2, 3)))
    assert torch.allclose(made[1].running_var, inside.var((0, 2, 3)))
    assert made.training
    assert not made[1].training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    student = Student(made, SGD(0.1))
    student.study(Lesson(x, torch.arange(20) % 3, torch.ones(20).double(), cross_entropy))
    assert torch.equal(student.buffers["1.running_mean"], made[1].running_mean)


def test_a_network_with_batch_norm():
    """Classes are judged with statistics of all classes, not of their own rows."""
    net, real = conv_net("batch"), real_images()
    made = teacher(starts=fresh(net), outer=2, inner=1, statistics=16)
    student = student_of(net)
    before = copy.deepcopy(student.state_dict())
    assert made.learn(None, student, real)["outer_loss"].isfinite()
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    alone = teacher(starts=fresh(net), outer=1, statistics=999)
    found = alone.learn(None, student, real)["outer_loss"]
    start = fresh(net).draw(0, 1)
    for name, p in net.named_parameters():
        p.data.copy_(start[name][0])
    pupil = Student(with_statistics(net, real.x), SGD(0.1))
    needed, _ = teacher().gradients(pupil, *real_rows("", real, 3))
    assert float(found) == pytest.approx(float(needed), rel=1e-9)


def test_lessons_go_through_the_whole_set():
    made, student = teacher(4, batch=5), student_of(conv_net())
    seen = []
    for _ in range(6):  # two epochs of 5 + 5 + 2 rows
        lesson = made.teach(real_images(), student)
        seen.append(lesson.x.detach())
        assert torch.equal(made.teach(real_images(), student).x, lesson.x)
        student.study(lesson)
    assert [len(x) for x in seen] == [5, 5, 2, 5, 5, 2]
    for epoch in (seen[:3], seen[3:]):
        rows = {tuple(row.flatten().tolist()) for row in torch.cat(epoch)}
        assert rows == {tuple(row.flatten().tolist()) for row in made.distilled.images[0]}
    assert not torch.equal(seen[0], seen[3])


def test_the_set_has_no_step_sizes():
    distilled = teacher().distilled
    assert (distilled.images.shape, distilled.applications) == ((1, 6, 2, 4, 4), 0)
    assert distilled.labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("options", [{}, {"outer": 2, "inner": 3, "batch": 4}], ids=["one", "two"])
def test_it_keeps_the_laws(options):
    options = {"outer": 1, "inner": 1, **options}

    def made():
        return GradientMatching(draw(1, 6, 6).float(), labels_in_turn(3, 2), real_batch=4, **options)

    check_teacher(made, descends_validation=False, own_forwards=7 * options["outer"] + 6)


def test_nothing_has_moved_when_it_is_not_finite():
    made, net = teacher(outer=3, inner=1, net_rule=SGD(1e200)), student_of(conv_net())
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with pytest.raises(NotFiniteError, match="not finite at step 2 of the images: lower their learning rate"):
        made.learn(None, net, real_images())
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_errors():
    net = student_of(conv_net())
    with pytest.raises(ConfigError, match=r"GradientMatching\.learn needs real examples: pass them as validation"):
        teacher().learn(None, net, None)
    real = real_images()
    with pytest.raises(DataError, match="class 2 has no real example"):
        teacher().learn(None, net, Batch(real.x, real.y % 2, real.index))
    with pytest.raises(ConfigError, match="class 1 has no synthetic image; give at least one of each class"):
        GradientMatching(draw(1, 2, 4), torch.tensor([0, 2]))
    with pytest.raises(ConfigError, match="must be class ids, not soft labels"):
        GradientMatching(draw(1, 2, 4), draw(1, 2, 3))
    for name, value, least in (("outer", 0, 1), ("inner", -1, 0), ("batch", 0, 1), ("statistics", 0, 1)):
        with pytest.raises(ConfigError, match=f"{name} is {value}; it must be at least {least}"):
            teacher(**{name: value})
