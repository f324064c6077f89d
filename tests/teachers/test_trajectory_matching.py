"""Trajectory matching: the distance, exact and approximate gradients, and what is drawn."""

import pytest
import torch
from torch import nn

from tutelage import SGD, Adam
from tutelage.distilled import labels_in_turn
from tutelage.errors import ConfigError, DataError, NotFiniteError, ShapeError
from tutelage.experts import Experts
from tutelage.hypergradient import Neumann, Recompute, Unrolled
from tutelage.siamese import Siamese
from tutelage.teachers import Tesla, TrajectoryMatching
from tutelage.teachers.synthesise.trajectory_matching import distance_to_target
from tutelage.testing import check_teacher, tiny_net

from .matching import check_differences, conv_net, draw, student_of


def experts(net=None, count=5, epochs=6, seed=3):
    """Walks of any kind will do."""
    net = net or tiny_net()
    size = sum(p.numel() for p in net.parameters())
    steps = draw(count, epochs + 1, size, seed=seed) * 0.3
    return Experts(net, steps.cumsum(1))


def teacher(each=2, given=None, **options):
    options = {"step_size": 0.3, "inner_steps": 4, "epochs": 2, "max_start": 5, "nets": 3, **options}
    return TrajectoryMatching(draw(1, 3 * each, 6), labels_in_turn(3, each), given or experts(), **options)


class TestDistance:
    def test_is_the_formula(self):
        weights, start, target = ({"a": draw(2, 3, 4, seed=s), "b": draw(2, 5, seed=s + 9)} for s in range(3))
        for k in range(2):
            above, below = (
                sum(float((one[n][k] - target[n][k]).square().sum()) for n in ("a", "b")) for one in (weights, start)
            )
            assert float(distance_to_target(weights, start, target)[k]) == pytest.approx(above / below, rel=1e-12)

    def test_is_one_before_a_step_and_zero_at_the_target(self):
        start, target = {"a": draw(2, 7)}, {"a": draw(2, 7, seed=1)}
        assert torch.allclose(distance_to_target(start, start, target), torch.ones(2).double())
        assert torch.equal(distance_to_target(target, start, target), torch.zeros(2).double())


def naive(made, images, size, expert, begin, *, held=False, batches=None):
    """J of one expert, one network and one step after another; ``held``: TESLA's, weights before steps constant."""
    net, (labels, epochs) = made.experts.net, (made.synthetic.labels, made.epochs)
    start, target = (made.experts.at(torch.tensor([expert]), t) for t in (begin, begin + epochs))
    weights = {name: value[0].clone().requires_grad_() for name, value in start.items()}
    first, total = weights, dict.fromkeys(weights, 0.0)
    for i in range(made.inner_steps):
        rows = slice(None) if batches is None else batches[i]
        loss = nn.functional.cross_entropy(torch.func.functional_call(net, weights, (images[rows],)), labels[rows])
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        total = {n: total[n] + g for n, g in zip(weights, slopes)}
        weights = {n: w - size * g for (n, w), g in zip(weights.items(), slopes)}
        if held:
            weights = {n: w.detach().requires_grad_() for n, w in weights.items()}
    last = {n: first[n].detach() - size * total[n] for n in first} if held else weights
    above = sum((last[n] - target[n][0]).square().sum() for n in last)
    return above / sum((start[n] - target[n]).square().sum() for n in last)


def drawn(made):
    """Which experts, from which epochs, the next step matches: found by their weights, there and where they lead."""
    start, target = (torch.cat([v.flatten(1) for v in weights.values()], dim=1) for weights in made._segment())
    found = [tuple(torch.nonzero((made.experts.flat == row).all(-1))[0].tolist()) for row in start]
    assert all(torch.equal(made.experts.flat[p, t + made.epochs], row) for (p, t), row in zip(found, target))
    return found


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "tesla"])
def test_loss_and_gradients_are_those_of_the_papers(exact):
    made = teacher(hypergradient=Unrolled() if exact else Tesla())
    images = made.distilled.images.detach()[0].requires_grad_()
    size = made.rate.detach().requires_grad_()
    needed = torch.stack([naive(made, images, size, p, t, held=not exact) for p, t in drawn(made)]).mean()
    loss, found = made.gradients()
    assert float(loss) == pytest.approx(float(needed.detach()), rel=1e-10)
    for one, other in zip(found, torch.autograd.grad(needed, [images, size])):
        assert torch.allclose(one.view_as(other), other, rtol=1e-9, atol=1e-12 * float(other.abs().max()))


def test_tesla_is_its_formula_with_the_factor_two():
    """[2 eta (target - start) + 2 eta^2 G]^T dg_i/dx_i / denominator, all g_i at constant weights."""
    made = teacher(nets=1, hypergradient=Tesla())
    ((expert, begin),) = drawn(made)
    net, eta = made.experts.net, float(made.rate.detach())
    start, target = (
        {n: v[0] for n, v in made.experts.at(torch.tensor([expert]), t).items()} for t in (begin, begin + 2)
    )
    x = made.distilled.images.detach()[0].requires_grad_()
    weights, slopes = {n: w.clone().requires_grad_() for n, w in start.items()}, []
    for _ in range(4):
        loss = nn.functional.cross_entropy(torch.func.functional_call(net, weights, (x,)), made.synthetic.labels)
        slopes.append(torch.autograd.grad(loss, list(weights.values()), create_graph=True))
        weights = {n: (w - eta * g).detach().requires_grad_() for (n, w), g in zip(weights.items(), slopes[-1])}
    total = [sum(g[i].detach() for g in slopes) for i in range(len(start))]
    cotangent = [2 * eta * (target[n] - start[n]) + 2 * eta**2 * g for n, g in zip(start, total)]
    denominator = sum((start[n] - target[n]).square().sum() for n in start)
    needed = sum(torch.autograd.grad(g, [x], cotangent, retain_graph=True)[0] for g in slopes) / denominator
    assert torch.allclose(made.gradients()[1][0][0], needed, rtol=1e-9, atol=1e-14)


def test_tesla_is_not_exact():
    exact, held = teacher().gradients(), teacher(hypergradient=Tesla()).gradients()
    assert torch.equal(exact[0], held[0])
    for one, other in zip(exact[1], held[1]):
        assert (one - other).abs().max() > 1e-3 * one.abs().max()
    exact, held = (teacher(inner_steps=1, hypergradient=h).gradients() for h in (Unrolled(), Tesla()))
    assert torch.allclose(exact[1][0], held[1][0])  # nothing comes after a single step


@pytest.mark.parametrize("options", [{}, {"batch": 4}], ids=["whole", "minibatches"])
def test_gradients_equal_central_differences(options):
    made = teacher(**options)
    _, (images, rate) = made.gradients()
    check_differences(lambda: made.gradients()[0], made.synthetic.images, images, range(0, 36, 5))
    sigmoid = torch.sigmoid(made.raw.detach())
    check_differences(lambda: made.gradients()[0], made.raw, sigmoid * rate, [0])


def test_gradients_of_convolutions_with_augmentation():
    options = {"step_size": 0.3, "inner_steps": 3, "epochs": 2, "max_start": 5, "nets": 2, "batch": 4}
    net = conv_net()
    made = TrajectoryMatching(draw(1, 6, 2, 4, 4), labels_in_turn(3, 2), experts(net), siamese=Siamese(), **options)
    _, (images, _) = made.gradients()
    check_differences(lambda: made.gradients()[0], made.synthetic.images, images, range(0, 192, 17))


def test_each_inner_step_has_an_augmentation_of_its_own():
    """Also where it is of all rows; without one it is the same lesson each time."""
    net = conv_net()
    made = TrajectoryMatching(draw(1, 6, 2, 4, 4), labels_in_turn(3, 2), experts(net), max_start=3, siamese=Siamese())
    assert len({str(lesson.x.detach()) for lesson in made._lessons()}) == made.inner_steps == 20
    assert len({id(lesson) for lesson in teacher()._lessons()}) == 1


@pytest.mark.parametrize("options", [{}, {"batch": 4}], ids=["whole", "minibatches"])
def test_recompute_is_unrolled(options):
    one, other = (teacher(hypergradient=h, **options).gradients() for h in (Unrolled(), Recompute()))
    assert torch.allclose(one[0], other[0], rtol=1e-12)
    for a, b in zip(one[1], other[1]):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12 * float(a.abs().max()))


def test_there_is_no_distance_where_the_set_leads_to_the_target():
    """Experts that took one step on the set itself."""
    made = teacher(nets=1, inner_steps=1, max_start=1, epochs=1)
    net = made.experts.net
    start = made.experts.at(torch.tensor([0]), 0)
    weights = {name: value[0].clone().requires_grad_() for name, value in start.items()}
    x, y = made.synthetic.examples()
    loss = nn.functional.cross_entropy(torch.func.functional_call(net, weights, (x,)), y)
    slopes = torch.autograd.grad(loss, list(weights.values()))
    later = torch.cat([(w - made.rate * g).flatten() for w, g in zip(weights.values(), slopes)]).detach()
    exact = Experts(net, torch.stack([made.experts.flat[0, 0], later]).unsqueeze(0))
    again = teacher(given=exact, nets=1, inner_steps=1, max_start=1, epochs=1)
    assert float(again.gradients()[0]) < 1e-25


def test_every_step_draws_experts_and_epochs_of_its_own():
    made = teacher(nets=4, max_start=5)
    seen = []
    for _ in range(60):
        now = drawn(made)
        assert len({expert for expert, _ in now}) == 4
        assert drawn(made) == now
        seen += now
        made.learn(None, None, None)
    assert {expert for expert, _ in seen} == set(range(5))
    assert {epoch for _, epoch in seen} == {0, 1, 2, 3, 4}
    assert any(len({epoch for _, epoch in seen[k : k + 4]}) == 4 for k in range(0, 240, 4))  # one a network
    assert drawn(teacher(nets=4, max_start=5, seed=1)) != seen[:4]


def test_every_step_has_orders_and_dropout_of_its_own():
    """Minibatches of N steps go through the set; another step, or another seed, has other ones."""

    class Noted(Unrolled):
        def differentiate(self, problem):
            lessons = [problem.lesson(t, problem.student) for t in range(problem.steps)]
            seen.append((problem.student.seed, tuple(tuple(lesson.target.tolist()) for lesson in lessons)))
            problem.forget()
            return super().differentiate(problem)

    seen = []
    for seed in range(2):
        made = teacher(each=4, batch=4, inner_steps=6, seed=seed, hypergradient=Noted())
        for _ in range(2):
            made.learn(None, None, None)
    for _, labels in seen:
        assert all(sorted(sum(epoch, ())) == [0] * 4 + [1] * 4 + [2] * 4 for epoch in (labels[:3], labels[3:]))
    assert len({seed for seed, _ in seen}) == len({labels for _, labels in seen}) == 4


def test_images_and_rate_follow_their_rules():
    made = teacher(rule=SGD(0.5), rate_rule=SGD(2.0))
    x, raw = made.synthetic.images.detach().clone(), made.raw.detach().clone()
    _, (images, rate) = made.gradients()
    found = made.learn(None, None, None)
    assert torch.allclose(made.synthetic.images, x - 0.5 * images)
    assert torch.allclose(made.raw, raw - 2.0 * torch.sigmoid(raw) * rate)
    assert float(found["step_size"]) == pytest.approx(0.3)


def test_the_rule_of_the_images_is_not_that_of_the_rate():
    """The published rule of the images would throw the rate to 1e-10 in one step."""
    made = teacher(step_size=0.01, rule=SGD(1000.0, momentum=0.5))
    for _ in range(3):
        made.learn(None, None, None)
    assert 0.009 < float(made.rate.detach()) < 0.011
    alone = teacher(step_size=0.01)
    assert made.for_rate.rule == alone.for_rate.rule == Adam(0.02, betas=(0.5, 0.999))


def test_what_a_published_rule_of_the_rate_is_for_its_raw_number():
    """SGD of eta at 1e-5 moves it as SGD of rho at 1e-5 / (1 - exp(-eta))^2, as long as the step is small."""
    size = 0.01
    made = teacher(step_size=size, rate_rule=SGD(1e-5 / (1 - torch.tensor(-size).double().exp().item()) ** 2))
    _, (_, slope) = made.gradients()
    made.learn(None, None, None)
    assert float(made.rate.detach()) - size == pytest.approx(-1e-5 * float(slope), rel=1e-2)


def test_networks_with_running_statistics():
    """Frozen they are those of the experts' network, as a network in evaluation mode has them."""
    net = conv_net("batch")
    net[1].running_mean.copy_(draw(4, seed=7))
    net[1].running_var.copy_(draw(4, seed=8).exp())
    options = {"step_size": 0.3, "inner_steps": 2, "epochs": 2, "max_start": 5, "nets": 2}
    parts = draw(1, 6, 2, 4, 4), labels_in_turn(3, 2), experts(net)
    made = TrajectoryMatching(*parts, freeze_buffers=True, hypergradient=Unrolled(), **options)
    loss, found = made.gradients()
    images, size = made.distilled.images.detach()[0].requires_grad_(), made.rate.detach().requires_grad_()
    net.eval()
    needed = torch.stack([naive(made, images, size, p, t) for p, t in drawn(made)]).mean()
    assert float(loss) == pytest.approx(float(needed.detach()), rel=1e-10)
    for one, other in zip(found, torch.autograd.grad(needed, [images, size])):
        assert torch.allclose(one.view_as(other), other, rtol=1e-9, atol=1e-12 * float(other.abs().max()))
    refused = TrajectoryMatching(*parts, **options)
    with pytest.raises(ConfigError, match=r"layer 1 \(BatchNorm2d\) keeps running statistics.*freeze_buffers"):
        refused.gradients()


def test_experts_of_another_type_have_buffers_of_the_images_type():
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    made = teacher(given=experts(net), freeze_buffers=True)
    assert (made.gradients()[0].dtype, net[0].weight.dtype) == (torch.float64, torch.float32)


def test_the_rate_stays_positive():
    made = teacher(rate_rule=SGD(1e3))
    made.raw.data.fill_(-40.0)
    assert made.rate > 0
    with pytest.raises(ConfigError, match="a step size is 0; it must be finite and above 0"):
        teacher(step_size=0.0)
    with pytest.raises(ShapeError, match=r"step_size has shape \(4,\); all steps have one rate, so give one number"):
        teacher(step_size=torch.full((4,), 0.1))


@pytest.mark.parametrize("options", [{}, {"batch": 4, "hypergradient": Tesla()}], ids=["whole", "tesla"])
def test_it_goes_on_with_the_same_bytes(options):
    whole, first, second = (teacher(**options) for _ in range(3))
    for _ in range(8):
        whole.learn(None, None, None)
    for _ in range(4):
        first.learn(None, None, None)
    second.load_state_dict(first.state_dict())
    for _ in range(4):
        second.learn(None, None, None)
    assert torch.equal(whole.synthetic.images, second.synthetic.images)
    assert torch.equal(whole.raw, second.raw)


def test_lessons_carry_the_rate():
    made, student = teacher(batch=4), student_of(tiny_net())
    lesson = made.teach(None, student)
    assert len(lesson) == 4
    assert float(lesson.notes["step_size"]) == pytest.approx(0.3)
    assert made.distilled.applications == 0


def test_it_keeps_the_laws():
    def made():
        return TrajectoryMatching(
            draw(1, 6, 6).float(), labels_in_turn(3, 2), experts(tiny_net()), inner_steps=3, epochs=2, max_start=5
        )

    check_teacher(made, descends_validation=False)


def test_nothing_moves_when_it_is_not_finite():
    wild = experts()
    wild.flat.mul_(1e200)
    made = teacher(given=wild)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with pytest.raises(NotFiniteError, match=r"The step size is 0\.3: start it lower, or lower the rate of its rule"):
        made.learn(None, None, None)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_errors():
    for name in ("inner_steps", "epochs", "max_start", "nets", "batch"):
        with pytest.raises(ConfigError, match=f"{name} is 0; it must be at least 1"):
            teacher(**{name: 0})
    with pytest.raises(
        ConfigError, match="epochs 3 from a start of up to 4 need experts of 7 epochs, but these have 6"
    ):
        teacher(epochs=3)
    with pytest.raises(ConfigError, match="6 experts an outer iteration, but there are 5: add some, or lower nets"):
        teacher(nets=6)
    with pytest.raises(ConfigError, match=r"Neumann cannot match trajectories: .*use Unrolled, Recompute or Tesla"):
        teacher(hypergradient=Neumann(0.1))
    still = Experts(tiny_net(), torch.zeros_like(experts().flat))
    with pytest.raises(DataError, match=r"expert \d does not move from epoch \d to \d: train experts at a higher rate"):
        teacher(given=still).learn(None, None, None)
    flat = experts().flat.clone()
    flat[:, 4:, 3] = torch.nan
    lost = teacher(given=Experts(tiny_net(), flat), nets=5, max_start=5)
    with pytest.raises(DataError, match=r"expert \d has weights that are not finite from epoch [234] to [456]: train"):
        lost.learn(None, None, None)
