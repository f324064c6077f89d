"""The unrolled teacher: exact gradients, equal engines, exact resume."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.teachers.distilling import DOUBLE, conv_net, real_rows, soft_labels, tanh_net, teacher_of
from tutelage.distilled import DistilledSet, raw_of, step_sizes
from tutelage.hypergradient import Recompute, Unrolled
from tutelage.losses import cross_entropy
from tutelage.rules import SGD
from tutelage.student import Student
from tutelage.teachers import DatasetDistillation
from tutelage.testing import check_teacher


def outer_loss(teacher, net, real):
    """J by a plain loop over networks and applications, without this library's student."""
    weights = teacher.starts.draw(teacher.steps, teacher.nets)
    batch = teacher._real(real)
    sizes, total = torch.log1p(teacher.raw.detach().exp()), 0.0
    for k in range(teacher.nets):
        own = {name: value[k].to(DOUBLE).requires_grad_() for name, value in weights.items()}
        for t, size in enumerate(sizes):
            s = t % len(teacher.images)
            soft = teacher.labels.is_floating_point()
            target = teacher.labels[s].softmax(-1).detach() if soft else teacher.labels
            logits = torch.func.functional_call(net, own, (teacher.images[s].detach(),))
            loss = nn.functional.cross_entropy(logits, target)
            slopes = torch.autograd.grad(loss, list(own.values()))
            own = {n: (p - size * g).detach().requires_grad_() for (n, p), g in zip(own.items(), slopes)}
        logits = torch.func.functional_call(net, own, (batch.x,))
        total += float(nn.functional.cross_entropy(logits, batch.y).detach()) / teacher.nets
    return total


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("engine", ["loop", "vmap", "hand"])
def test_gradients_equal_central_differences(engine, labels):
    net, real = tanh_net(), real_rows()
    teacher = teacher_of(net, engine=engine, labels=soft_labels() if labels == "soft" else None)
    student = Student(net, SGD(0.1))
    loss, gradients = teacher.gradients(student, real)
    assert float(loss) == pytest.approx(outer_loss(teacher, net, real), rel=1e-12)
    parts = [teacher.images, *([teacher.labels] if labels == "soft" else []), teacher.raw]
    gradients[-1] = gradients[-1] * torch.sigmoid(teacher.raw.detach())
    generator = torch.Generator().manual_seed(4)
    for part, gradient in zip(parts, gradients, strict=True):
        flat = part.data.view(-1)
        for i in torch.randperm(flat.numel(), generator=generator)[:5].tolist():
            center = float(flat[i])
            flat[i] = center + 1e-6
            above = outer_loss(teacher, net, real)
            flat[i] = center - 1e-6
            found = (above - outer_loss(teacher, net, real)) / 2e-6
            flat[i] = center
            assert abs(found - float(gradient.view(-1)[i])) <= 1e-6 * float(gradient.abs().max()) + 1e-9


def recursion(teacher, net, real):
    """The adjoint recursion, a network at a time: J and its derivatives in the images and step sizes."""
    weights, batch = teacher.starts.draw(teacher.steps, teacher.nets), teacher._real(real)
    sizes = step_sizes(teacher.raw.detach())
    images = teacher.images.detach()
    to_images, to_sizes = torch.zeros_like(images), torch.zeros_like(sizes)
    names = [name for name, _ in net.named_parameters()]

    def descent(own, x):
        logits = torch.func.functional_call(net, dict(zip(names, own)), (x,))
        loss = cross_entropy(logits, teacher.labels).mean()
        return torch.autograd.grad(loss, own, create_graph=True)

    for k in range(teacher.nets):
        path = [[weights[n][k].to(DOUBLE) for n in names]]
        for t, size in enumerate(sizes):
            here = [p.detach().requires_grad_() for p in path[-1]]
            path.append([p - size * g for p, g in zip(here, descent(here, images[t % len(images)]))])
        end = [p.detach().requires_grad_() for p in path[-1]]
        logits = torch.func.functional_call(net, dict(zip(names, end)), (batch.x,))
        adjoint = torch.autograd.grad(cross_entropy(logits, batch.y).mean() / teacher.nets, end)
        for t in reversed(range(len(sizes))):
            here = [p.detach().requires_grad_() for p in path[t]]
            x = images[t % len(images)].clone().requires_grad_()
            g = descent(here, x)
            to_sizes[t] -= sum((a * slope).sum() for a, slope in zip(adjoint, g)).detach()
            pulled = torch.autograd.grad(g, [x, *here], [-sizes[t] * a for a in adjoint])
            to_images[t % len(images)] += pulled[0]
            adjoint = [a + p for a, p in zip(adjoint, pulled[1:])]
    return to_images, to_sizes


def test_the_tape_equals_the_adjoint_recursion():
    net, real = tanh_net(), real_rows()
    teacher = teacher_of(net)
    _, gradients = teacher.gradients(Student(net, SGD(0.1)), real)
    for found, needed in zip(gradients, recursion(teacher, net, real)):
        assert torch.allclose(found, needed, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize("kind", ["perceptron", "convolutions"])
def test_engines_and_strategies_agree(kind, dtype, error):
    net, shape = (tanh_net(dtype), (6,)) if kind == "perceptron" else (conv_net(dtype), (1, 4, 4))
    student, real = Student(net, SGD(0.1)), real_rows(shape, dtype=dtype)
    _, needed = teacher_of(net, shape, engine="loop").gradients(student, real)
    engines = ["loop", "vmap", "auto", *(["hand"] if kind == "perceptron" else [])]
    for engine in engines:
        for strategy in (Unrolled(), Recompute(), Recompute(segment=2)):
            _, found = teacher_of(net, shape, engine=engine, hypergradient=strategy).gradients(student, real)
            for a, b in zip(found, needed, strict=True):
                assert float((a - b).abs().max() / b.abs().max()) <= error


@pytest.mark.parametrize("engine", ["loop", "vmap", "hand"])
def test_recompute_equals_the_tape_to_the_bit(engine):
    """Where each batch is used once: else the sums over epochs round in another order."""
    net, real = tanh_net(torch.float32), real_rows(dtype=torch.float32)
    student, once = Student(net, SGD(0.1)), {"epochs": 1, "steps": 4, "engine": engine}
    tape = teacher_of(net, **once).gradients(student, real)[1]
    again = teacher_of(net, **once, hypergradient=Recompute()).gradients(student, real)[1]
    assert all(torch.equal(a, b) for a, b in zip(tape, again))


def test_the_gradient_of_shared_images_is_the_sum_over_epochs():
    net, real = tanh_net(), real_rows()
    student = Student(net, SGD(0.1))
    tied = teacher_of(net, epochs=2)
    free = teacher_of(net, epochs=1, steps=2)
    untied = DatasetDistillation(
        tied.images.repeat(2, 1, 1), tied.labels, epochs=1, step_size=0.3, nets=2, real_batch=8, starts=free.starts
    )
    _, (images, sizes) = tied.gradients(student, real)
    _, (copies, apart) = untied.gradients(student, real)
    assert torch.allclose(images, copies[:2] + copies[2:], rtol=1e-10, atol=1e-14)
    assert torch.allclose(sizes, apart, rtol=1e-10)


def test_the_derivative_in_one_step_size_is_minus_a_product_of_two_gradients():
    net, real = tanh_net(), real_rows()
    teacher = teacher_of(net, epochs=1, steps=1, nets=1)
    student = Student(net, SGD(0.1))
    _, (_, size) = teacher.gradients(student, real)
    start = student.at({n: w[0].to(DOUBLE).requires_grad_() for n, w in teacher.starts.draw(0, 1).items()})
    lesson = teacher.distilled.lesson(0)
    slope = start.descent(lesson).gradients
    end = start.with_rule(SGD(0.3)).after(lesson, differentiable=False)
    batch = teacher._real(real)
    pulled = torch.autograd.grad(cross_entropy(end.logits(batch.x), batch.y).mean(), list(end.params.values()))
    needed = -sum((a * slope[n]).sum() for a, n in zip(pulled, end.params))
    assert float(size[0]) == pytest.approx(float(needed), rel=1e-12)


def test_linear_regression_forgets_where_it_started_with_as_many_rows_as_dimensions():
    generator = torch.Generator().manual_seed(6)
    size, dims = 0.3, 5
    q, _ = torch.linalg.qr(torch.randn(dims, dims, generator=generator, dtype=DOUBLE))
    x, goal = (dims / size) ** 0.5 * q, torch.randn(dims, 1, generator=generator, dtype=DOUBLE)
    distilled = DistilledSet(x[None], (x @ goal)[None], torch.tensor([size], dtype=DOUBLE))
    lesson = replace(distilled.lesson(0, lambda z, y: 0.5 * (z - y).square().sum(-1)), target=x @ goal)
    for seed in range(3):
        net = nn.Linear(dims, 1, bias=False).to(DOUBLE)
        nn.init.normal_(net.weight, generator=torch.Generator().manual_seed(seed))
        student = Student(net, SGD(lr=distilled.step_sizes))
        student.study(lesson)
        assert torch.allclose(student.params["weight"].T, goal, atol=1e-10, rtol=0)


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.02, 1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_step_sizes_come_back_from_their_raw_form(size, dtype):
    given = torch.tensor([size], dtype=dtype)
    raw = raw_of(given)
    assert raw.isfinite().all()
    assert float(step_sizes(raw)) == pytest.approx(float(given), rel=1e-6)


def test_truncation_keeps_the_last_applications_alone():
    net, real = tanh_net(), real_rows()
    student = Student(net, SGD(0.1))
    whole = teacher_of(net).gradients(student, real)[1]
    same = teacher_of(net, hypergradient=Unrolled(truncate=4)).gradients(student, real)[1]
    assert all(torch.equal(a, b) for a, b in zip(whole, same))
    for strategy in (Unrolled(truncate=1), Recompute(truncate=1)):
        images, sizes = teacher_of(net, hypergradient=strategy).gradients(student, real)[1]
        assert torch.equal(sizes[:3], torch.zeros(3, dtype=DOUBLE))
        assert float(sizes[3]) == pytest.approx(float(whole[1][3]), rel=1e-12)
        assert not images[0].any()
        assert images[1].any()


def test_the_outer_gradient_is_cut_to_a_norm_and_shorter_ones_are_left():
    def after(clip):
        net, real = tanh_net(), real_rows()
        teacher = teacher_of(net, clip=clip)
        teacher.learn(None, Student(net, SGD(0.1)), real)
        return torch.cat([teacher.images.grad.flatten(), teacher.raw.grad])

    whole = after(None)
    norm = float(whole.norm())
    torch.testing.assert_close(after(norm / 3), whole / 3, rtol=1e-12, atol=0)
    assert torch.equal(after(2 * norm), whole)


def test_the_student_stays_as_it_is():
    net, real = tanh_net(), real_rows()
    student = Student(net, SGD(0.1, momentum=0.9))
    teacher = teacher_of(net, starts=None)
    before = {n: t.clone() for n, t in student.state_dict().items()}
    state = torch.get_rng_state()
    teacher.learn(teacher.teach(real, student), student, real)
    assert all(torch.equal(t, before[n]) for n, t in student.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def stand(teacher):
    return {n: t.clone() for n, t in teacher.state_dict().items()}


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_twenty_steps_equal_ten_and_ten_after_loading(labels):
    net, real = tanh_net(torch.float32), real_rows(dtype=torch.float32)
    soft = soft_labels().float() if labels == "soft" else None
    student = Student(net, SGD(0.1))
    whole, first = teacher_of(net, labels=soft), teacher_of(net, labels=soft)
    for _ in range(20):
        whole.learn(None, student, real)
    for _ in range(10):
        first.learn(None, student, real)
    second = teacher_of(net, labels=soft)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(10):
        second.learn(None, student, real)
    assert all(torch.equal(a, b) for a, b in zip(stand(whole).values(), stand(second).values()))


def test_applications_follow_the_progress():
    teacher, student = teacher_of(tanh_net()), Student(tanh_net(), SGD(0.1))
    batch = real_rows()
    seen = [teacher.teach(replace(batch, progress=k / 8), student).notes["application"] for k in range(8)]
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3]
    lesson = teacher.teach(replace(batch, progress=0.75), student)
    assert torch.equal(lesson.x, teacher.images[1])
    assert float(lesson.notes["step_size"]) == pytest.approx(0.3)


def test_it_keeps_the_laws_of_teachers():
    net, options = tanh_net(torch.float32), {"own_forwards": 20, "descends_validation": False}
    check_teacher(lambda: teacher_of(net, starts=None, freeze_buffers=True), **options)
