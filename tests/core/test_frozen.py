"""Frozen networks: they answer, never change, and are in nothing that is saved or trained."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from tutelage.errors import ConfigError, ShapeError
from tutelage.frozen import Frozen
from tutelage.lesson import Batch
from tutelage.testing import tiny_batch, tiny_net

X = tiny_batch(9, dtype=torch.float32).x


def net(kind="plain", seed=0):
    return tiny_net(kind, seed=seed, dtype=torch.float32)


def moved_batchnorm(seed=0):
    """A network whose running statistics are not those it was made with."""
    made = net("batchnorm", seed)
    made.train()(X * 3 + 1)
    return made


class Pair(nn.Module):
    """Answers with (logits, features), and has layers that work in place, answer with tuples, or are not reached."""

    def __init__(self):
        super().__init__()
        self.inner, self.act, self.head = nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)
        self.unused, self.cell = nn.Linear(6, 3), nn.LSTM(8, 8, batch_first=True)

    def forward(self, x):
        hidden = self.act(self.inner(x))
        self.cell(hidden.unsqueeze(1))
        return self.head(hidden), hidden


@pytest.mark.parametrize("kind", ["plain", "batchnorm", "dropout"])
def test_answers_are_those_of_evaluation_without_gradient(kind):
    made = net(kind).train()
    frozen = Frozen(made)
    answers = frozen.answers(X)
    with torch.no_grad():
        assert torch.equal(answers, made.eval()(X))
    assert not answers.requires_grad
    assert not answers.is_inference()
    x = X.clone().requires_grad_()
    assert not frozen.answers(x).requires_grad
    assert torch.equal(frozen.answers_for(Batch(X, torch.zeros(9), torch.arange(9))), answers)


def test_evaluation_mode_is_set_before_every_pass():
    frozen = Frozen(moved_batchnorm())
    parent = nn.ModuleList(frozen.nets)
    needed, before = frozen.answers(X), copy.deepcopy(frozen.nets[0].state_dict())
    for _ in range(5):
        parent.train()
        assert torch.equal(frozen.answers(X), needed)
    after = frozen.nets[0].state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert not any(module.training for module in frozen.nets[0].modules())


def test_the_given_network_stays_as_it_is():
    made = net("batchnorm")
    frozen = Frozen(made)
    assert made.training
    assert all(p.requires_grad for p in made.parameters())
    assert not any(p.requires_grad for p in frozen.nets[0].parameters())
    needed = frozen.answers(X)
    with torch.no_grad():
        made[0].weight += 1.0
    assert torch.equal(frozen.answers(X), needed)


def test_pickle_and_deepcopy_answer_the_same():
    frozen = Frozen([moved_batchnorm(), net("dropout", 1)], class_map=[2, 0, 1], temperature=4.0)
    for twin in (pickle.loads(pickle.dumps(frozen)), copy.deepcopy(frozen)):  # noqa: S301
        assert torch.equal(twin.answers(X), frozen.answers(X))
        assert twin.fingerprint() == frozen.fingerprint()
        assert twin.nets[0] is not frozen.nets[0]


def test_several_networks_by_their_probabilities_and_by_their_logits():
    nets = [net(seed=s) for s in range(3)]
    logits = torch.stack([n.eval()(X).detach() for n in nets])
    for temperature in (1.0, 4.0):
        found = torch.softmax(Frozen(nets, temperature=temperature).answers(X) / temperature, -1)
        assert torch.allclose(found, torch.softmax(logits / temperature, -1).mean(0), atol=1e-6)
    assert torch.allclose(Frozen(nets, average="logits").answers(X), logits.mean(0), atol=1e-6)
    assert torch.equal(Frozen(nets[:1]).answers(X), logits[0])


def test_class_map_reorders_and_may_leave_classes_out():
    logits = Frozen(net()).answers(X)
    assert torch.equal(Frozen(net(), class_map=[2, 0, 1]).answers(X), logits[:, [2, 0, 1]])
    assert torch.equal(Frozen(net(), class_map=[2, 0]).answers(X), logits[:, [2, 0]])
    assert torch.equal(Frozen(net(), class_map=(1, 2, 0)).answers_with(X, [])[0], logits[:, [1, 2, 0]])


def test_dropout_draws_by_its_key_and_leaves_batch_norm_and_the_global_state_alone():
    made = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    made.train()(X * 3)
    frozen = Frozen(made)
    buffers, state = copy.deepcopy(dict(frozen.nets[0].named_buffers())), torch.get_rng_state()
    one, two, other = (frozen.answers(X, dropout=key) for key in (7, 7, 8))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert not torch.equal(one, frozen.answers(X))
    assert torch.equal(frozen.answers(X), frozen.answers(X))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(buffers[name], value) for name, value in frozen.nets[0].named_buffers())
    mean = frozen.answers(X.repeat(4000, 1), dropout=7).view(4000, *one.shape).mean(0)
    assert torch.allclose(mean, frozen.answers(X), atol=0.05)  # the last layer is linear: dropout is unbiased


def test_networks_of_an_ensemble_draw_apart():
    made = net("dropout")
    frozen = Frozen([made, made], average="logits")
    alone = Frozen(made)
    assert not torch.allclose(frozen.answers(X, dropout=7), alone.answers(X, dropout=7))


@pytest.mark.parametrize(
    ("dtype", "needed"),
    [(torch.float64, torch.float64), (torch.bfloat16, torch.float32), (torch.float16, torch.float32)],
)
def test_answers_have_the_type_of_the_inputs_and_at_least_float32(dtype, needed):
    frozen = Frozen(net())
    answers, layers = frozen.answers_with(X.to(dtype), ["0"])
    assert answers.dtype == layers["0"].dtype == needed
    assert torch.equal(answers, frozen.answers(X.to(dtype).float()).to(needed))
    assert Frozen(nn.Embedding(5, 3)).answers(torch.tensor([1, 4])).dtype == torch.float32


def test_large_answers_to_inputs_in_float16_are_finite():
    made = net()
    with torch.no_grad():
        made[-1].weight.mul_(1e6)
    answers = Frozen(made).answers(X.half())
    assert float(answers.abs().max()) > 65504
    assert bool(answers.isfinite().all())


def test_precision_is_that_of_the_teacher_alone():
    frozen, low = Frozen(net()), Frozen(net(), precision=torch.bfloat16)
    answers = frozen.answers(X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(frozen.answers(X), answers)
    assert low.answers(X).dtype == torch.float32
    assert torch.equal(low.answers(X), low.answers(X).bfloat16().float())
    assert torch.allclose(low.answers(X), answers, atol=0.05)
    assert not torch.equal(low.answers(X), answers)


def test_layers_by_name_from_the_pass_of_the_logits():
    frozen, passes = Frozen(Pair()), []
    inside = frozen.nets[0]
    inside.register_forward_hook(lambda *_: passes.append(1))
    logits, layers = frozen.answers_with(X, ["inner", "act"])
    assert len(passes) == 1
    assert torch.equal(logits, frozen.answers(X))
    assert torch.equal(layers["inner"], nn.functional.linear(X, inside.inner.weight, inside.inner.bias))
    assert float(layers["inner"].min()) < 0 <= float(layers["act"].min())  # as it was before the layer in place
    assert not inside.inner._forward_hooks
    assert not any(t.requires_grad for t in (logits, *layers.values()))
    assert frozen.answers_with(X.double(), ["act"])[1]["act"].dtype == torch.float64


def test_hooks_are_gone_after_a_pass_that_fails():
    frozen = Frozen(Pair())
    with pytest.raises(RuntimeError):
        frozen.answers_with(X[:, :2], ["inner"])
    assert not frozen.nets[0].inner._forward_hooks


def test_fingerprint_names_what_changed_and_survives_saving():
    frozen = Frozen(moved_batchnorm())
    before = frozen.fingerprint()
    again = net("batchnorm", seed=5)
    again.load_state_dict(load(save(frozen.nets[0].state_dict())))
    assert Frozen(again).fingerprint() == before
    for name in ("0.weight", "1.running_mean", "1.num_batches_tracked"):
        changed = copy.deepcopy(again)
        changed.state_dict()[name].view(-1)[0] += 1
        after = Frozen(changed).fingerprint()
        assert [key for key in before if before[key] != after[key]] == [f"tensor {name}"]
    assert all(len(value) == 64 for key, value in before.items() if key.startswith("tensor"))


def test_fingerprint_sees_one_bit_the_type_the_shape_and_the_options():
    made = net()
    base = Frozen(made).fingerprint()
    bit = copy.deepcopy(made)
    bit[0].bias.data.view(torch.int32)[0] ^= 1
    others = [Frozen(bit), Frozen(copy.deepcopy(made).double()), Frozen(made, class_map=[1, 0, 2])]
    others += [
        Frozen(made, precision=torch.bfloat16),
        Frozen(nn.Sequential(*made, nn.Identity())),
        Frozen([made, made]),
    ]
    prints = [frozen.fingerprint() for frozen in others]
    assert all(print_ != base for print_ in prints)
    assert Frozen([made, made], temperature=2.0).fingerprint() != prints[-1]
    assert Frozen([made, made], average="logits").fingerprint() != prints[-1]
    assert {"0.architecture", "1.architecture", "average", "tensor 1.3.weight"} <= prints[-1].keys()


class Scaled(nn.Module):
    """Has a plain attribute, and functions of its own."""

    def __init__(self, scale=2.0, **more):
        super().__init__()
        self.inner, self.scale = nn.Linear(6, 3), scale
        vars(self).update(more)

    def forward(self, x):
        return self.inner(x) * self.scale


def scaled(scale=2.0, **more):
    torch.manual_seed(0)
    made = Scaled(scale, **more)
    nn.init.ones_(made.inner.weight)
    nn.init.zeros_(made.inner.bias)
    return made


def changed_by(change):
    made = scaled()
    change(made)
    return [
        key for key, value in Frozen(made).fingerprint().items() if Frozen(scaled()).fingerprint().get(key) != value
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda net: setattr(net, "scale", 2.5), ["attributes"]),
        (lambda net: setattr(net, "scale", "2.0"), ["attributes"]),
        (lambda net: setattr(net, "more", [1, (2, {"a": None})]), ["attributes"]),
        (lambda net: setattr(net, "more", torch.ones(2)), ["attributes"]),
        (lambda net: setattr(net, "more", [nn.Linear(2, 2)]), ["attributes"]),
        (lambda net: setattr(net, "forward", lambda x: net.inner(x)), ["attributes"]),
        (lambda net: setattr(net.inner, "scale", 1), ["attributes inner"]),
        (lambda net: net.inner.register_forward_hook(lambda module, x, out: 2 * out), ["attributes inner"]),
        (lambda net: net.register_forward_pre_hook(lambda module, x: x), ["attributes"]),
    ],
)
def test_fingerprint_sees_plain_attributes_and_hooks(change, named):
    assert changed_by(change) == named


def test_fingerprint_sees_a_changed_forward_and_its_constants():
    def renamed(forward, **more):
        kind = type("Scaled", (Scaled,), {"forward": forward, "__module__": Scaled.__module__, **more})
        kind.__qualname__ = Scaled.__qualname__
        made = scaled()
        made.__class__ = kind
        return Frozen(made).fingerprint()

    def once(self, x):
        return self.inner(x) * self.scale

    def with_constant(self, x):
        return self.inner(x) * self.scale * 1.5

    def with_other_constant(self, x):
        return self.inner(x) * self.scale * 1.25

    def returning(k):
        return lambda self: k

    def by_helper(self, x):
        return self.inner(x) * self.help()

    forms = [renamed(f) for f in (once, with_constant, with_other_constant)]
    forms += [renamed(by_helper, help=returning(k)) for k in (1, 2)]
    forms += [renamed(once, gain=1.0), renamed(once, gain=2.0)]
    assert renamed(once) == forms[0]
    for k, one in enumerate(forms):
        for other in forms[:k]:
            assert [key for key, value in one.items() if other[key] != value] == ["code Scaled"]


def test_fingerprint_is_that_of_the_answers():
    """Not of the mode, of gradients, of the device or of passes that were made."""
    made = scaled(unit=torch.device("cpu"))
    before = Frozen(made).fingerprint()
    made.train().requires_grad_(False)
    frozen = Frozen(made)
    frozen.answers(X)
    made.unit = torch.device("meta")
    assert frozen.fingerprint() == Frozen(made).fingerprint() == before
    assert pickle.loads(pickle.dumps(frozen)).fingerprint() == before  # noqa: S301
    assert set(before) == {
        "architecture", "attributes", "attributes inner", "class_map", "code Scaled", "precision",
        "tensor inner.bias", "tensor inner.weight",
    }  # fmt: skip


def test_notes_have_one_digest_of_the_teacher():
    frozen = Frozen(net())
    assert frozen.notes(Batch(X, torch.zeros(9), torch.arange(9))) == {"source": "live", "teacher": frozen.identity}
    assert len(frozen.identity) == 16
    assert Frozen(net()).identity == frozen.identity != Frozen(net(seed=1)).identity


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Frozen([]), "no network given; give one, or several to be averaged"),
        (lambda: Frozen(net(), average="logit"), r'unknown average "logit"\. Did you mean "logits"'),
        (lambda: Frozen(net(), temperature=0.0), "temperature is 0.0; it must be above 0"),
        (lambda: Frozen(net(), class_map=[0, 0, 1]), r"class_map is \[0, 0, 1\]; it needs .* all different"),
        (lambda: Frozen(net(), class_map=[]), r"class_map is \[\]"),
        (lambda: Frozen(net(), class_map=[0, 1, 3]).answers(X), r"class_map names class 3, but .* are 0\.\.2"),
        (lambda: Frozen(net()).answers(X, dropout=1), "have no dropout layer"),
        (lambda: Frozen([net(), net()]).answers_with(X, ["0"]), "layers of one network can be seen, but there are 2"),
        (
            lambda: Frozen(Pair()).answers_with(X, ["iner"]),
            r'unknown layer of the teacher\'s network "iner"\. Did you mean "inner"\? Known: inner, act',
        ),
    ],
)
def test_options_that_do_not_fit(made, message):
    with pytest.raises(ConfigError, match=message):
        made()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Frozen([net(), nn.Linear(6, 5)]).answers(X), "networks answer with 3, 5 classes; give equal ones"),
        (lambda: Frozen(nn.Flatten(0)).answers(X), r"returned \(54,\), but needs logits of shape \(9, classes\)"),
        (lambda: Frozen(nn.Identity()).answers_with(X, [""]), "unknown layer"),
        (
            lambda: Frozen(Pair()).answers_with(X, ["unused"]),
            "unused of the teacher .* the forward pass does not reach",
        ),
        (lambda: Frozen(Pair()).answers_with(X, ["cell"]), r"cell of the teacher needs .* but its output is tuple"),
    ],
)
def test_answers_that_do_not_fit(made, message):
    with pytest.raises((ShapeError, ConfigError), match=message):
        made()


def test_a_network_that_answers_with_something_else():
    class Words(nn.Module):
        def forward(self, x):
            return {"logits": x}

    with pytest.raises(ShapeError, match=r"returned dict, but needs logits of shape \(9, classes\)"):
        Frozen(Words()).answers(X)
