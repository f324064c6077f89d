"""Where the networks of the unrolled teacher start."""

import copy

import pytest
import torch
from torch import nn

from tests.distilled.artefacts import made
from tests.teachers.distilling import DOUBLE, conv_net, images_of, real_rows, tanh_net, teacher_of
from tutelage.distilled import step_sizes
from tutelage.distilled.facts import Start
from tutelage.distilled.synthetic import started
from tutelage.errors import ConfigError, ShapeError
from tutelage.nets import mlp
from tutelage.nets.initial import Own, Scaled
from tutelage.nets.together import Together
from tutelage.randomness import counter, stream
from tutelage.rules import SGD
from tutelage.starts import Fresh, Pool
from tutelage.student import Student
from tutelage.teachers import DistributionMatching, GradientMatching


def test_networks_are_functions_of_seed_step_and_place():
    net = tanh_net()
    starts = Fresh(net, Scaled(), 5)
    many, few = starts.draw(3, 8), starts.draw(3, 2)
    assert all(torch.equal(many[n][:2], few[n]) for n in few)
    assert not torch.equal(starts.draw(4, 2)["1.weight"], few["1.weight"])
    assert not torch.equal(starts.held_out(2)["1.weight"], few["1.weight"])
    assert torch.equal(starts.held_out(4)["1.weight"][2:], starts.held_out(2, first=2)["1.weight"])


def test_dropout_draws_a_mask_a_network_and_step():
    net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)).to(DOUBLE)
    student, real = Student(net, SGD(0.1)), real_rows()
    teacher = teacher_of(net, engine="vmap", nets=2)
    same = {n: w[:1].expand(2, *w.shape[1:]) for n, w in teacher.starts.draw(0, 1).items()}
    twins = Student(Together(net, same), SGD(0.1))
    logits = twins.logits(real.x)
    assert not torch.equal(logits[:, 0], logits[:, 1])
    first, again = (teacher_of(net, engine="vmap").gradients(student, real)[1] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))


def test_a_pool_gives_networks_without_replacement_and_refuses_more_than_it_has():
    net = tanh_net()
    pool = Pool(net, Scaled().draw(net, range(5)), 0)
    drawn = pool.draw(0, 5)["1.weight"]
    assert len(torch.unique(drawn.flatten(1), dim=0)) == 5
    assert not torch.equal(drawn, pool.draw(1, 5)["1.weight"])
    with pytest.raises(ConfigError, match="6 networks a step, but the pool has 5"):
        pool.draw(0, 6)
    with pytest.raises(ShapeError, match="they are of another architecture"):
        Pool(conv_net(), Scaled().draw(net, range(5)))


@pytest.mark.parametrize(
    ("scheme", "spread"), [("xavier-normal", (2 / 96) ** 0.5), ("kaiming-normal", (2 / 64) ** 0.5)]
)
def test_initial_weights_have_the_spread_of_their_scheme(scheme, spread):
    net = mlp((64,), 10, widths=(32,))
    drawn = Scaled(scheme).draw(net, range(50))
    assert float(drawn["1.weight"].std()) == pytest.approx(spread, rel=0.02)
    assert not drawn["1.bias"].any()
    assert float(Scaled(scheme, 2.0).draw(net, [0])["1.weight"].std()) == pytest.approx(2 * spread, rel=0.1)


def test_own_initialisation_is_the_constructor_s():
    drawn = Own(lambda: mlp((6,), 3, widths=(8,))).draw(tanh_net(torch.float32), [1, 2])
    assert not torch.equal(drawn["1.weight"][0], drawn["1.weight"][1])
    torch_like = Scaled("torch").draw(mlp((64,), 10, widths=(32,)), range(40))
    assert float(torch_like["1.weight"].abs().max()) <= 1 / 8
    assert float(torch_like["1.bias"].abs().max()) > 0.1


def partly_frozen():
    """A perceptron whose first bias and last weights do not learn."""
    net = tanh_net()
    net[1].bias.requires_grad_(False)
    net[-1].weight.requires_grad_(False)
    return net


def two_drawings(net):
    """Fresh networks, whose biases are no zeros."""
    return Fresh(net, Scaled("torch"), 5)


def loss_of(net, teacher, real, step):
    """J by plain steps: frozen parameters are drawn, and stay."""
    drawn, batch, total = teacher.starts.draw(step, teacher.nets), teacher._real(real), 0.0
    learned = [name for name, p in net.named_parameters() if p.requires_grad]
    for k in range(teacher.nets):
        own = {name: value[k].to(DOUBLE) for name, value in drawn.items()}
        for t, size in enumerate(step_sizes(teacher.raw.detach())):
            own = {name: value.detach().requires_grad_() for name, value in own.items()}
            logits = torch.func.functional_call(net, own, (teacher.images[t % 2].detach(),))
            slopes = torch.autograd.grad(nn.functional.cross_entropy(logits, teacher.labels), [own[n] for n in learned])
            own |= {name: own[name] - size * slope for name, slope in zip(learned, slopes)}
        logits = torch.func.functional_call(net, own, (batch.x,))
        total += float(nn.functional.cross_entropy(logits, batch.y).detach()) / teacher.nets
    return total


@pytest.mark.parametrize("engine", ["loop", "vmap", "hand", "compile"])
def test_frozen_parameters_are_those_of_the_networks_that_are_drawn(engine, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    net, real = partly_frozen(), real_rows()
    teacher, student = teacher_of(net, starts=two_drawings(net), engine=engine), Student(net, SGD(0.1))
    for step in range(3):
        needed = loss_of(net, teacher, real, step)
        assert float(teacher.learn(None, student, real)["outer_loss"]) == pytest.approx(needed, rel=1e-12)


@pytest.mark.parametrize("engine", ["loop", "vmap", "hand"])
def test_a_partly_frozen_network_goes_on_to_the_bit(engine):
    net, real = partly_frozen(), real_rows()
    options = {"starts": two_drawings(net), "engine": engine}
    whole, first, second = (teacher_of(net, **options) for _ in range(3))
    for teacher, steps in ((whole, 4), (first, 2)):
        for _ in range(steps):
            teacher.learn(None, Student(net, SGD(0.1)), real)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(2):
        second.learn(None, Student(net, SGD(0.1)), real)
    assert torch.equal(whole.images, second.images)
    assert torch.equal(whole.raw, second.raw)


def test_matching_teachers_start_with_drawn_frozen_parameters():
    net = partly_frozen()
    starts = two_drawings(net)
    drawn = starts.draw(2, 1)
    found = dict(started(Student(net, SGD(0.1)), starts, 2).net.named_parameters())
    assert all(torch.equal(found[name], value[0].to(DOUBLE)) for name, value in drawn.items())
    assert not found["1.weight"].grad_fn


def test_a_teacher_serves_several_networks_in_turn():
    narrow, wide, real = tanh_net(), mlp((6,), 3, widths=(8, 4), activation=nn.Tanh).double(), real_rows()
    deep = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3)).double()
    for engine in ("loop", "vmap", "hand"):
        teacher = teacher_of(narrow, engine=engine)
        for net in (narrow, wide, deep, narrow):
            teacher.starts = Fresh(net, Scaled(), 5)
            _, found = teacher.gradients(Student(net, SGD(0.1)), real)
            _, needed = teacher_of(net, engine=engine).gradients(Student(net, SGD(0.1)), real)
            assert all(torch.equal(a, b) for a, b in zip(found, needed))


def test_the_compiled_step_is_made_for_each_network(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    first, real = tanh_net(), real_rows()
    second = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3)).double()
    teacher = teacher_of(first, engine="compile", starts=None)
    for net in (first, second):
        _, found = teacher.gradients(Student(net, SGD(0.1)), real)
        _, needed = teacher_of(net, starts=None, engine="loop").gradients(Student(net, SGD(0.1)), real)
        assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(found, needed))


def test_a_choice_of_engine_that_changes_keeps_statistics_frozen(monkeypatch):
    net = batch_norm_net()
    student, real = Student(net, SGD(0.1)), real_rows()
    teacher = teacher_of(net, freeze_buffers=True)
    needed = teacher.gradients(student, real)[1]
    for how in ("vmap", None, "vmap"):
        monkeypatch.setattr(teacher, "_how", lambda student, real, how=how: how)
        found = teacher.gradients(student, real)[1]
        assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(found, needed))


def batch_norm_net():
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).to(DOUBLE)
    net[1].running_mean.copy_(torch.linspace(-0.5, 0.5, 8, dtype=DOUBLE))
    return net


@pytest.mark.parametrize("engine", ["loop", "vmap", "compile"])
@pytest.mark.parametrize("starts", [True, False])
def test_frozen_statistics_are_those_of_the_student(engine, starts, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    net, real = batch_norm_net(), real_rows()
    options = {"engine": engine, "freeze_buffers": True} | ({} if starts else {"starts": None})
    teacher, student = teacher_of(net, **options), Student(net, SGD(0.1))
    teacher.learn(None, student, real)
    moved = student.at({}, buffers={"1.running_mean": torch.full((8,), 0.7, dtype=DOUBLE)})
    before = {name: value.clone() for name, value in moved.state_dict().items()}
    _, found = teacher.gradients(moved, real)
    assert all(torch.equal(value, before[name]) for name, value in moved.state_dict().items())
    assert torch.equal(net[1].running_mean, torch.linspace(-0.5, 0.5, 8, dtype=DOUBLE))
    alone = teacher_of(net, **options | {"engine": "loop"})
    alone.load_state_dict(teacher.state_dict())
    _, needed = alone.gradients(Student(moved.net, SGD(0.1)), real)
    assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(found, needed))


@pytest.mark.parametrize("engine", ["loop", "vmap", "hand", "compile", "auto"])
def test_networks_of_another_architecture_are_refused(engine, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    net, real = tanh_net(), real_rows()
    student = Student(net, SGD(0.1))
    shapes = r"1\.weight has shape \(3, 9, 6\), but 3 networks need \(3, 8, 6\)"
    for widths, message in (((9,), shapes), ((8, 8), r"the network lacks 5\.bias")):
        other = mlp((6,), 3, widths=widths)
        pool = Pool(other, Scaled().draw(other, range(3)))
        with pytest.raises(ShapeError, match=message):
            teacher_of(net, engine=engine, starts=pool, nets=3).learn(None, student, real)


@pytest.mark.parametrize("kind", [GradientMatching, DistributionMatching])
def test_matching_teachers_refuse_networks_of_another_architecture(kind):
    deep = mlp((6,), 3, widths=(8, 8))
    teacher = kind(images_of(), torch.arange(3), starts=Pool(deep, Scaled().draw(deep, range(3))))
    with pytest.raises(ShapeError, match=r"the network lacks 5\.bias; they are of another architecture"):
        teacher.learn(None, Student(tanh_net(), SGD(0.1)), real_rows())


def test_starts_give_as_many_networks_as_are_asked_for():
    class Two:
        def draw(self, step, count):
            return Scaled().draw(tanh_net(), [1, 2])

    with pytest.raises(ShapeError, match="Two drew 2 networks, but 3 were asked for"):
        teacher_of(tanh_net(), starts=Two(), nets=3).learn(None, Student(tanh_net(), SGD(0.1)), real_rows())


@pytest.mark.parametrize("engine", ["loop", "vmap", "hand"])
def test_weights_that_are_parameters_elsewhere_stay_them(engine):
    net, real = partly_frozen(), real_rows()
    elsewhere = nn.ParameterDict({n.replace(".", "_"): p for n, p in two_drawings(net).draw(0, 2).items()}).double()

    class Elsewhere:
        def draw(self, step, count):
            return {n: elsewhere[n.replace(".", "_")] for n, _ in net.named_parameters()}

    _, found = teacher_of(net, starts=Elsewhere(), engine=engine).gradients(Student(net, SGD(0.1)), real)
    _, needed = teacher_of(net, starts=two_drawings(net), engine=engine).gradients(Student(net, SGD(0.1)), real)
    assert all(torch.equal(a, b) for a, b in zip(found, needed))
    assert all(p.requires_grad and p.grad is None for p in elsewhere.values())


def test_each_outer_step_draws_real_rows_of_its_own():
    net, real = tanh_net(), real_rows()
    teacher, student, seen = teacher_of(net), Student(net, SGD(0.1)), []
    for step in range(4):
        key = counter(stream(0, "real rows"), step)
        needed = [(counter(key, i) >> 32) * 20 >> 32 for i in range(8)]
        batch = teacher._real(real)
        assert batch.index.tolist() == needed
        assert torch.equal(batch.x, real.x[needed])
        assert torch.equal(batch.y, real.y[needed])
        seen.append(tuple(needed))
        teacher.learn(None, student, real)
    assert len(set(seen)) == 4


def different(*weights):
    """How many networks are different among several of them."""
    return len(torch.unique(torch.cat([w["1.weight"].flatten(1) for w in weights]), dim=0))


def test_no_network_that_judges_was_distilled_for():
    net = tanh_net()
    starts = Fresh(net, Scaled(), 5)
    drawn = [starts.draw(step, 4) for step in range(12)]
    assert different(starts.held_out(24), *drawn) == 24 + 48
    assert different(starts.held_out(12), starts.held_out(12, first=12), *drawn) == 24 + 48
    key = stream(5, "held-out networks")
    needed = Scaled().draw(net, [counter(key, k) for k in (3, 4)])
    assert torch.equal(starts.held_out(2, first=3)["1.weight"], needed["1.weight"])


def test_no_network_that_judges_a_file_was_distilled_for():
    artefact = made(start=Start("random", seed=5))
    net, judges = artefact.students.several(None, 24, None)
    starts = Fresh(net, artefact.students.initialiser(), 5)
    assert different(judges, *(starts.draw(step, 4) for step in range(12))) == 24 + 48


@pytest.mark.parametrize("how", ["loop", "vmap", "hand"])
def test_shared_parameters_are_shared(how):
    net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    net[2].weight = net[0].weight
    student, real = Student(net, SGD(0.1)), real_rows()
    teacher = teacher_of(net, engine=how, starts=Fresh(net, Scaled("torch"), 5))
    loss, gradients = teacher.gradients(student, real)
    assert float(loss) == pytest.approx(loss_of(net, teacher, real, 0), rel=1e-12)
    _, needed = teacher_of(net, engine="loop", starts=teacher.starts).gradients(student, real)
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(gradients, needed))
