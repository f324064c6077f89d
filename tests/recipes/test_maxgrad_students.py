"""Students of the study: linear on embeddings, networks with codewords, the published schedule."""

import json

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tutelage.codewords import Fit
from tutelage.errors import NotConverged
from tutelage.mcboost import mcboost, mcboost_published
from tutelage.recipes import maxgrad
from tutelage.recipes.maxgrad import Config, run
from tutelage.recipes.maxgrad.course import taught_alike
from tutelage.recipes.maxgrad.plan import prepare
from tutelage.recipes.maxgrad.students import taught, whole_pool
from tutelage.recipes.selection.embedding import embedded
from tutelage.recipes.selection.nets import Scaled, small, trained_before, with_codewords
from tutelage.rules import SGD
from tutelage.runs import RunFolder
from tutelage.sequences import PUBLISHED, Refitted, Studied
from tutelage.student import Student

from .interrupted import Stops, assert_same

SMALL = {"per_class": 20, "size": 5, "seeds": 1, "teachers": "maxgrad", "device": "cpu", "threads": 1, "noise": "0"}
NET = SMALL | {"student": "net", "before": 1, "steps": 8}


def prepared(**options):
    return prepare(Config(**options), fresh=True)


def rows(count, *shape, seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def test_pixels_are_centred_on_the_pool_and_of_norm_4():
    pool, test = embedded(rows(30, 1, 4, 4) + 3, rows(9, 1, 4, 4, seed=1) + 3)
    mean = (rows(30, 1, 4, 4) + 3).flatten(1).mean(0)
    expected = (rows(9, 1, 4, 4, seed=1) + 3).flatten(1) - mean
    assert torch.allclose(pool.norm(dim=1), torch.full((30,), 4.0))
    assert torch.allclose(test, 4 * expected / expected.norm(dim=1, keepdim=True), atol=1e-5)


def test_principal_components_are_those_of_a_singular_value_decomposition():
    x = rows(40, 9) * torch.arange(1.0, 10)
    pool, test = embedded(x, x[:5], components=3)
    centred = x - x.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False)[2][:3].T
    expected = centred @ axes
    expected = 4 * expected / expected.norm(dim=1, keepdim=True)
    assert torch.allclose(pool.abs(), expected.abs(), atol=1e-4)
    assert torch.allclose(pool @ pool.T, expected @ expected.T, atol=1e-3)
    assert torch.allclose(test, pool[:5], atol=1e-5)


def test_codewords_on_a_network():
    """A fresh head without bias on embeddings of mean norm 2; the trunk, and the network given, stay as they were."""
    net = small((1, 8, 8), 5)
    before = {n: p.clone() for n, p in net.state_dict().items()}
    x = rows(20, 1, 8, 8).abs()
    student = Student(with_codewords(net, x, 3, seed=4), SGD(0.1))
    features, logits = student.embed(x)
    words = student.head[1].detach()
    assert words.shape == (3, 64)
    assert float(features.norm(dim=1).mean()) == pytest.approx(2.0, rel=1e-5)
    assert torch.allclose(logits, features @ words.T, atol=1e-5)
    assert float(words.abs().max()) <= 1 / 8
    plain = nn.Sequential(*list(net)[:-1])(x)
    assert torch.allclose(features, plain * 2 / plain.norm(dim=1).mean(), atol=1e-4)
    assert all(torch.equal(p, before[n]) for n, p in net.state_dict().items())
    again = Student(with_codewords(net, x, 3, seed=4), SGD(0.1)).head[1]
    other = Student(with_codewords(net, x, 3, seed=5), SGD(0.1)).head[1]
    assert torch.equal(words, again)
    assert not torch.equal(words, other)


def test_a_network_that_is_one_linear_layer():
    found = with_codewords(nn.Linear(6, 4), rows(9, 6), 3, seed=0)
    assert isinstance(found[0], Scaled)
    assert found(rows(9, 6)).shape == (9, 3)


def test_training_before_lowers_the_loss_and_is_the_same_again():
    x = torch.cat([rows(40, 1, 4, 4) + 1, rows(40, 1, 4, 4) - 1])
    y = torch.arange(2).repeat_interleave(40)
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(small((1, 4, 4), 2))
    before = float(cross_entropy(made[0](x), y).detach())
    first, second = (trained_before(net, x, y, epochs=10, seed=1) for net in made)
    assert float(cross_entropy(first(x), y).detach()) < 0.5 * before
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters()))


def kinds(**options):
    found = prepared(**options)
    return taught(found.draw(0, 0.0), found.options, 5, found.trunk())


def test_how_each_student_studies():
    linear = kinds(**SMALL)
    assert linear.study == Refitted(Fit(steps=150, lr=0.2))
    assert torch.equal(linear.start.head[1], 0.1 * torch.eye(5, 64))
    net = kinds(**NET)
    assert net.study == Studied(8, mcboost)
    assert (net.start.lr, net.start.rule.momentum, net.start.rule.weight_decay) == (0.003, 0.9, 1e-4)
    other = kinds(**NET | {"loss": "cross-entropy"})
    assert other.start.lr == 0.03
    assert other.loss.__name__ == "cross_entropy"
    frozen = kinds(**SMALL | {"student": "net", "before": 0, "backbone": "frozen"})
    assert isinstance(frozen.study, Refitted)
    assert frozen.drawn.pool.x.shape == (80, 64)


@pytest.mark.parametrize("student", ["linear", "net"])
def test_the_published_schedule(student):
    options = SMALL | {"student": student, "compat": True} | ({"before": 0} if student == "net" else {})
    options.pop("teachers")
    found = prepared(**options)
    assert (found.options.schedule, found.options.filters) == ("paper", "none")
    assert [arm.name for arm in found.arms] == ["random", "maxgrad (no filter)"]
    told = taught(found.draw(0, 0.0), found.options, 5, found.trunk())
    assert told.study == PUBLISHED
    assert told.loss is mcboost_published
    assert (told.start.lr, told.start.rule.momentum, told.start.rule.weight_decay) == (1e-4, 0.9, 1e-4)
    words = told.start.head[1].detach()
    assert 0.5 < float(words.abs().max()) * words.shape[1] ** 0.5 <= 1


def test_the_whole_pool_by_a_plain_loop():
    """The linear reference: 400 steps of the mean risk with momentum and decay, from 0, by autograd."""
    found = kinds(**SMALL | {"per_class": 8})
    pool, words = found.drawn.pool, torch.zeros(5, 64, requires_grad=True)
    moved = torch.zeros(5, 64)
    for _ in range(400):
        loss = mcboost(pool.x @ words.T, pool.y).mean()
        (slope,) = torch.autograd.grad(loss, words)
        with torch.no_grad():
            moved = 0.9 * moved + slope + 1e-3 * words
            words -= 0.2 * moved
    right = (found.drawn.test_x @ words.T).argmax(1) == found.drawn.test_y
    assert whole_pool(found, prepared(**SMALL).options) == pytest.approx(float(right.double().mean()))


def test_a_network_run_goes_on(tmp_path):
    options = Config(**NET | {"seeds": 2})
    result = run(options, tmp_path / "whole")
    assert result["config"]["backbone"] == "fine-tuned"
    assert set(result["seconds"]) == {"trunk", "noise-0"}
    with pytest.raises(KeyboardInterrupt):
        run(options, tmp_path / "run", Stops("noise-0", 18))
    maxgrad.resume(RunFolder.open(tmp_path / "run"))
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_frozen_network(tmp_path):
    run(Config(**SMALL | {"student": "net", "before": 1, "backbone": "frozen"}), tmp_path / "run")
    assert json.loads((tmp_path / "run/arms/trunk-0.json").read_text())["facts"] == {"rows": 897}


def test_your_own_network(tmp_path):
    options = SMALL | {"student": "tests.recipes.test_maxgrad_students:own", "steps": 5, "size": 3}
    assert run(Config(**options), tmp_path / "run")["config"]["before"] == 0


def own(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, classes))


def test_a_student_that_does_not_fit_is_refused():
    """A rate so small that nothing is learned: the arm is named."""
    found = prepared(**NET | {"lr": 1e-9, "teachers": "herding", "size": 10})
    with pytest.raises(NotConverged, match=r"^(random|herding \(\S+\)): after 10 rows the student is right on "):
        taught_alike(taught(found.draw(0, 0.0), found.options, 5, found.trunk()), found.arms, found.options, int)


def test_stale_scores_are_looked_at_anew_now_and_then(tmp_path):
    options = NET | {"teachers": "maxgrad,prototypes-then-maxgrad", "size": 8}
    run(Config(**options | {"stale": 1}), tmp_path / "each")
    run(Config(**options), tmp_path / "all")
    run(Config(**options | {"stale": 4}), tmp_path / "stale")
    arms = {
        name: json.loads((tmp_path / name / "result.json").read_text())["arms"] for name in ("each", "all", "stale")
    }
    assert arms["each"] == arms["all"] != arms["stale"]
