"""Distillation: what the lesson tells, what the teacher keeps out of, chains of it."""

import copy

import pytest
import torch
from torch import nn

from tutelage import SGD, AdamW, Batch, Student, train
from tutelage.errors import ConfigError, ShapeError
from tutelage.frozen import Frozen
from tutelage.losses import cross_entropy
from tutelage.randomness import counter, stream
from tutelage.soft_targets import (
    DIST,
    DecoupledDistillation,
    HardLabels,
    KnowledgeDistillation,
    LabelSmoothing,
    LogitMatching,
    Noise,
    SoftTarget,
    StandardisedDistillation,
    confidence_weights,
    disturbed,
    permuted,
    top_logits,
)
from tutelage.stacked import StackedStudent
from tutelage.teachers import Distillation
from tutelage.testing import tiny_batch, tiny_net
from tutelage.training import train_stacked

BATCH = tiny_batch()
LOSSES = [
    KnowledgeDistillation(),
    LogitMatching(),
    DecoupledDistillation(),
    DIST(),
    StandardisedDistillation(),
    HardLabels(),
    LabelSmoothing(),
]


def student(kind="plain", seed=3):
    return Student(tiny_net(kind), SGD(0.1, momentum=0.9), seed=seed)


def frozen(kind="plain", **options):
    return Frozen(tiny_net(kind, seed=4), **options)


class Stored:
    """A source that is no live teacher."""

    def __init__(self, answers):
        self.answers = answers

    def answers_for(self, batch):
        return self.answers

    def notes(self, batch):
        return {"source": "stored"}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_lesson_is_the_loss_of_the_teachers_answers(loss):
    source, pupil = frozen(), student()
    lesson = Distillation(source, loss).teach(BATCH, pupil)
    assert lesson.x is BATCH.x
    assert lesson.target.y is BATCH.y
    assert torch.equal(lesson.target.logits, source.answers(BATCH.x))
    assert lesson.weight.tolist() == [1.0] * 12
    logits = pupil.logits(BATCH.x)
    needed = loss(logits, SoftTarget(BATCH.y, source.answers(BATCH.x))).detach()
    assert torch.equal(lesson.losses(logits), needed)
    assert float(pupil.study(lesson)["loss"]) == pytest.approx(float(needed.mean()))


def test_a_step_is_that_of_plain_torch():
    source = frozen("batchnorm")
    net, pupil = tiny_net().train(), Student(tiny_net(), AdamW(0.01))
    optimiser = torch.optim.AdamW(net.parameters(), 0.01, weight_decay=AdamW(0.01).weight_decay)
    teacher = Distillation(source, KnowledgeDistillation(3.0, 0.3, 0.7))
    for _ in range(5):
        z_s, z_t = net(BATCH.x), source.nets[0](BATCH.x).detach()
        divergence = nn.functional.kl_div(
            torch.log_softmax(z_s / 3, 1), torch.log_softmax(z_t / 3, 1), reduction="batchmean", log_target=True
        )
        loss = 0.3 * cross_entropy(z_s, BATCH.y).mean() + 0.7 * 9 * divergence
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pupil.study(teacher.teach(BATCH, pupil))
    for name, value in net.named_parameters():
        assert torch.allclose(value, pupil.params[name], atol=1e-10)


class Everything(nn.Module):
    """A parent of student, teacher and distillation, as a training script may have it."""

    def __init__(self, teacher, nets):
        super().__init__()
        self.teacher, self.nets = teacher, nn.ModuleList(nets)


def test_the_teacher_stays_out_of_gradients_buffers_optimisers_and_checkpoints():
    inside = tiny_net("batchnorm", seed=4)
    inside.train()(BATCH.x * 3)
    source = Frozen(inside)
    teacher, pupil = Distillation(source), student("batchnorm")
    parent = Everything(teacher, source.nets)
    before = copy.deepcopy(source.nets[0].state_dict())
    for step in range(5):
        parent.train()
        lesson = teacher.teach(tiny_batch(seed=step), pupil)
        assert not lesson.target.logits.requires_grad
        teacher.learn(lesson, pupil, None)
        pupil.study(lesson)
    after = source.nets[0].state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert not any(p.requires_grad or p.grad is not None for p in source.nets[0].parameters())
    assert not list(teacher.parameters()) + list(teacher.buffers())
    assert teacher.state_dict() == {}
    assert {name.partition(".")[0] for name in pupil.state_dict()} == {"params", "buffers", "rule", "step", "seed"}
    assert pupil.params["0.weight"].shape == inside[0].weight.shape
    assert sum(p.numel() for p in pupil.params.values()) == sum(p.numel() for p in inside.parameters())


@pytest.mark.parametrize("kind", ["plain", "dropout"])
def test_one_student_pass_and_one_teacher_pass_a_step(kind):
    source, pupil = frozen(kind), student(kind)
    passes = {"teacher": 0, "student": 0}

    def count(who):
        return lambda *_: passes.update({who: passes[who] + 1})

    source.nets[0].register_forward_hook(count("teacher"))
    pupil.architecture.register_forward_hook(count("student"))
    for loss in LOSSES:
        list(train(pupil, Distillation(source, loss), [BATCH, tiny_batch(seed=1)]))
    assert passes == {"teacher": 2 * len(LOSSES), "student": 2 * len(LOSSES)}


def test_noise_on_logits_comes_after_the_source_and_is_drawn_by_example_and_step():
    noise = Noise(probability=0.5, sigma=0.5)
    stored = Stored(frozen().answers(BATCH.x))
    pupil = student()
    teacher = Distillation(stored, LogitMatching(), noise=noise)
    first = teacher.teach(BATCH, pupil).target.logits
    key = counter(stream(pupil.seed, "noise of the teacher"), 0)
    changed = (first != stored.answers).any(1)
    assert torch.equal(changed, disturbed(BATCH.index, noise, key))
    assert 0 < int(changed.sum()) < 12
    assert torch.equal(first, teacher.teach(BATCH, pupil).target.logits)
    order = torch.arange(12).flip(0)
    turned = Batch(BATCH.x[order], BATCH.y[order], BATCH.index[order])
    other = Distillation(Stored(stored.answers[order]), LogitMatching(), noise=noise).teach(turned, pupil)
    assert torch.equal(other.target.logits, first[order])
    pupil.study(teacher.teach(BATCH, pupil))
    assert not torch.equal(teacher.teach(BATCH, pupil).target.logits, first)


def test_noise_does_not_change_what_the_student_draws():
    """A draw of the teacher's must not shift the student's dropout: methods stay paired."""
    source = frozen()
    quiet, loud = student("dropout"), student("dropout")
    noise = Noise(probability=1.0, sigma=0.0, mode="additive")
    list(train(quiet, Distillation(source), [BATCH] * 3))
    list(train(loud, Distillation(source, noise=noise), [BATCH] * 3))
    assert all(torch.equal(quiet.params[n], p) for n, p in loud.params.items())


def test_noise_on_inputs_and_by_dropout():
    source, pupil = frozen("dropout"), student()
    clean = source.answers(BATCH.x)
    noise = Noise(probability=0.5, sigma=0.5, stage="inputs")
    seen = Distillation(source, noise=noise).teach(BATCH, pupil)
    changed = (seen.target.logits != clean).any(1)
    assert torch.equal(changed, disturbed(BATCH.index, noise, counter(stream(3, "noise of the teacher"), 0)))
    assert seen.x is BATCH.x
    fickle = Distillation(source, noise=Noise(stage="dropout")).teach(BATCH, pupil).target.logits
    assert torch.equal(fickle, source.answers(BATCH.x, dropout=counter(stream(3, "noise of the teacher"), 0)))


def test_confidence_weights_and_permutation():
    source, pupil = frozen(), student()
    z = source.answers(BATCH.x)
    lesson = Distillation(source, KnowledgeDistillation(1.0, 1.0, 0.0), confidence_weighting=True).teach(BATCH, pupil)
    p = torch.softmax(z, 1).amax(1)
    assert torch.allclose(lesson.weight, 12 * p / p.sum())
    assert torch.equal(lesson.weight, confidence_weights(z))
    assert torch.allclose(lesson.losses(pupil.logits(BATCH.x)), cross_entropy(pupil.logits(BATCH.x), BATCH.y))
    shuffled = Distillation(source, permute=True).teach(BATCH, pupil).target.logits
    assert torch.equal(shuffled, permuted(z, BATCH.index, counter(stream(3, "permuted answers"), 0)))
    assert torch.equal(shuffled.amax(1), z.amax(1))
    assert torch.equal(shuffled.sort(1).values, z.sort(1).values)


def test_threshold_weighs_unsure_rows_by_nothing():
    source, pupil = frozen(), student()
    p = torch.softmax(source.answers(BATCH.x), 1).amax(1)
    cut = float(p.median())
    lesson = Distillation(source, HardLabels(), threshold=cut).teach(BATCH, pupil)
    assert lesson.weight.tolist() == (p >= cut).double().tolist()
    assert 0 < float(lesson.weight.sum()) < 12


def test_answers_with_positions_inside_a_row():
    """As of sequences: a row has one weight, and each position an order of its own."""
    z, y = torch.randn(12, 4, 3, generator=torch.Generator().manual_seed(1)), torch.zeros(12, 4, dtype=torch.long)
    batch = Batch(BATCH.x, y, BATCH.index)
    weights = Distillation(Stored(z), confidence_weighting=True).teach(batch, student()).weight
    assert torch.allclose(weights, confidence_weights(z).double())
    cut = float(z.softmax(-1).amax(-1).mean(1).median())
    lesson = Distillation(Stored(z), threshold=cut, permute=True, noise=Noise()).teach(batch, student())
    assert 0 < float(lesson.weight.sum()) < 12
    assert lesson.losses(torch.randn(12, 4, 3)).shape == (12,)


def test_warm_up_lets_the_teachers_weight_grow():
    teacher = Distillation(frozen(), DecoupledDistillation(kd_weight=2.0), warm_up=20 / 240)
    pupil, weights = student(), []
    for epoch in (0, 5, 10, 20, 200):
        lesson = teacher.teach(tiny_batch(progress=epoch / 240), pupil)
        weights.append(lesson.loss.kd_weight)
        assert lesson.loss.ce_weight == 1.0
        assert lesson.notes.get("warm_up", 1.0) == pytest.approx(min(epoch / 20, 1.0))
    assert weights == pytest.approx([0.0, 0.5, 1.0, 2.0, 2.0])


def test_notes_say_what_was_done():
    notes = Distillation(frozen(), KnowledgeDistillation(2.0)).teach(BATCH, student()).notes
    assert notes == {
        "method": "KnowledgeDistillation(temperature=2.0, ce_weight=0.1, kd_weight=0.9)",
        "source": "live",
        "teacher": frozen().identity,
    }


def test_degenerate_rows_are_counted():
    net = tiny_net()
    nn.init.zeros_(net[3].weight)
    nn.init.zeros_(net[3].bias)
    blank = Student(net, SGD(0.1))
    lesson = Distillation(frozen(), StandardisedDistillation()).teach(BATCH, blank)
    assert int(lesson.notes["degenerate_rows"]) == 12
    assert float(blank.study(lesson)["loss"]) == pytest.approx(0.1 * float(torch.tensor(3.0).log()))
    assert int(Distillation(frozen(), StandardisedDistillation()).teach(BATCH, student()).notes["degenerate_rows"]) == 0
    with pytest.raises(ConfigError, match="ce_weight"):
        Distillation(frozen(), StandardisedDistillation(ce_weight=0.0)).teach(
            BATCH, Student(copy.deepcopy(net), SGD(0.1))
        )


def test_top_logits_teach_as_they_are():
    z = frozen().answers(BATCH.x)
    lesson = Distillation(Stored(top_logits(z, 2, (1.0, 4.0))), KnowledgeDistillation(4.0)).teach(BATCH, student())
    whole = Distillation(Stored(z), KnowledgeDistillation(4.0)).teach(BATCH, student())
    logits = student().logits(BATCH.x)
    assert torch.allclose(lesson.losses(logits), whole.losses(logits))  # k = C - 1


def test_generations_are_a_chain_and_an_ensemble_of_them_is_the_mean_of_their_probabilities():
    """Born again: CE + KL at T = 1, the teacher of each is the one before."""
    nets, source = [], frozen()
    for k in range(3):
        pupil = Student(tiny_net(seed=10 + k), SGD(0.3))
        list(train(pupil, Distillation(source, KnowledgeDistillation(1.0, 1.0, 1.0)), [BATCH] * 4))
        nets.append(pupil.net)
        after, source = source, Frozen(pupil.net)
        assert source.identity != after.identity
    together = Frozen(nets).answers(BATCH.x)
    with torch.no_grad():
        needed = torch.stack([torch.softmax(net.eval()(BATCH.x), 1) for net in nets]).mean(0)
    assert torch.allclose(torch.softmax(together, 1), needed, atol=1e-12)


def test_the_frozen_teacher_does_not_follow_the_student_it_was_made_of():
    pupil = student()
    source = Frozen(pupil.net)
    needed, identity = source.answers(BATCH.x), source.identity
    list(train(pupil, Distillation(source), [tiny_batch(seed=s) for s in range(3)]))
    pupil.net  # noqa: B018  (writes the values into the module that was given)
    assert torch.equal(source.answers(BATCH.x), needed)
    assert source.fingerprint() == Frozen(source.nets).fingerprint()
    assert Frozen(pupil.net).identity != identity


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"threshold": 1.5}, r"threshold is 1\.5; it is a probability, in 0\.\.1"),
        ({"warm_up": -0.1}, r"warm_up is -0\.1; it is a share of the training"),
        ({"warm_up": 0.1, "loss": LabelSmoothing()}, "warm_up lets kd_weight grow, which LabelSmoothing has not"),
        ({"confidence_weighting": True, "loss": DIST()}, "DIST couples the rows of a batch.*allow_coupled=True"),
        ({"threshold": 0.5, "loss": DIST()}, "DIST couples the rows"),
    ],
)
def test_options_that_do_not_go_together(made, message):
    with pytest.raises(ConfigError, match=message):
        Distillation(frozen(), **made)


def test_weights_may_differ_with_a_coupled_loss_if_one_says_so():
    lesson = Distillation(frozen(), DIST(), confidence_weighting=True, allow_coupled=True).teach(BATCH, student())
    assert float(lesson.weight.std()) > 0
    Distillation(frozen(), DIST(gamma=0.0), confidence_weighting=True)


@pytest.mark.parametrize("stage", ["inputs", "dropout"])
def test_only_a_live_teacher_can_be_disturbed_inside(stage):
    with pytest.raises(ConfigError, match=f'noise at the stage "{stage}" needs a live teacher, Frozen, .* Stored'):
        Distillation(Stored(torch.zeros(12, 3)), noise=Noise(stage=stage))


def test_the_largest_logits_are_enough_to_weigh_by():
    z, pupil = frozen().answers(BATCH.x), student()
    for options in ({"confidence_weighting": True}, {"threshold": float(torch.softmax(z, 1).amax(1).mean())}):
        found, needed = (
            Distillation(Stored(answers), **options).teach(BATCH, pupil).weight for answers in (top_logits(z, 2), z)
        )
        assert torch.allclose(found, needed)
        with pytest.raises(ConfigError, match="temperature is 1, but the top logits were stored for 4 only"):
            Distillation(Stored(top_logits(z, 2, [4.0])), **options).teach(BATCH, pupil)


@pytest.mark.parametrize("options", [{"noise": Noise()}, {"permute": True}], ids=str)
def test_what_needs_all_logits(options):
    teacher = Distillation(Stored(top_logits(torch.zeros(12, 3), 2)), **options)
    with pytest.raises(ConfigError, match=f"{next(iter(options))} needs .* all classes, but only the largest 2 are"):
        teacher.teach(BATCH, student())


def test_classes_that_differ_name_both():
    teacher = Distillation(Frozen(nn.Linear(6, 5).double()))
    pupil = student()
    with pytest.raises(ShapeError, match=r"student answers with 3 classes, but the teacher with 5.*class_map"):
        pupil.study(teacher.teach(BATCH, pupil))
    mapped = Distillation(Frozen(nn.Linear(6, 5).double(), class_map=[4, 0, 2]))
    pupil.study(mapped.teach(BATCH, pupil))


def test_a_dropout_stage_needs_dropout():
    with pytest.raises(ConfigError, match="no dropout layer"):
        Distillation(frozen(), noise=Noise(stage="dropout")).teach(BATCH, student())


def test_unlabelled_rows_learn_from_the_teacher_alone():
    y = BATCH.y.clone()
    y[::2] = -1
    batch = Batch(BATCH.x, y, BATCH.index)
    pupil = student()
    losses = Distillation(frozen()).teach(batch, pupil).losses(pupil.logits(batch.x))
    only = (
        Distillation(frozen(), KnowledgeDistillation(4.0, 0.0, 0.9)).teach(batch, pupil).losses(pupil.logits(batch.x))
    )
    both = 0.1 * cross_entropy(pupil.logits(batch.x), BATCH.y) + only
    assert torch.allclose(losses, torch.where(y >= 0, both, only))


@pytest.mark.parametrize("loss", [KnowledgeDistillation(), DIST()], ids=lambda loss: type(loss).__name__)
def test_a_stack_of_students_is_taught_as_one_by_one(loss):
    """Each by a teacher of its own."""
    alone, together = ([Student(tiny_net(seed=s), SGD(0.1, 0.9), seed=s) for s in range(3)] for _ in range(2))
    teachers = [Distillation(Frozen(tiny_net(seed=40 + s)), loss, noise=Noise()) for s in range(3)]
    streams = [[tiny_batch(seed=10 * s + t) for t in range(4)] for s in range(3)]
    for pupil, teacher, stream_ in zip(alone, teachers, streams):
        list(train(pupil, teacher, stream_))
    stack = StackedStudent(together)
    list(train_stacked(stack, teachers, zip(*streams), [None] * 3))
    for pupil, other in zip(alone, stack.students()):
        assert all(torch.allclose(other.params[n], p, atol=1e-12) for n, p in pupil.params.items())
