"""Which networks a set can teach beside its own: by name, of users, and which are refused."""

import pytest
import torch
from torch import nn

from tests.distilled.artefacts import SHAPE, by_hand, equal, fresh, made, numbers, stored
from tutelage.distilled.facts import OWN, Architecture, Start
from tutelage.distilled.files import load, save
from tutelage.errors import ConfigError, ShapeError
from tutelage.nets import build
from tutelage.nets.initial import Scaled

OWN_NETS = """
from torch import nn

def tiny(shape, classes):
    print("ran")
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes))

def wide(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Linear(4, classes))
"""


@pytest.fixture
def own_nets(tmp_path, monkeypatch):
    """A user's module in the current folder."""
    (tmp_path / "own_nets_of_sets.py").write_text(OWN_NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_nets_of_sets"


def test_fresh_networks_may_be_others_if_they_take_the_images():
    artefact = made()
    assert artefact.train("mlp-4")(numbers(2, *SHAPE)).shape == (2, 3)
    with pytest.raises(ShapeError, match=r"Linear cannot take inputs of shape \(1, 4, 4\), as the images of the file"):
        artefact.train(nn.Linear(7, 3))
    with pytest.raises(ShapeError, match=r"Sequential answers \(2, 5\) to 2 images, but the 3 classes of the set need"):
        artefact.train(build("mlp-4", SHAPE, 5))
    with pytest.raises(ConfigError, match='unknown student "mlq"'):
        artefact.train("mlq")


def test_a_name_that_makes_another_network_now_is_noticed():
    artefact = made(architecture=Architecture("mlp-8", {"1.weight": (9, 16)}))
    match = r"mlp-8 is not mlp-8 as in the file: 1.weight is \(8, 16\) and \(9, 16\).*Another version"
    with pytest.raises(ShapeError, match=match):
        artefact.train()


def test_a_function_that_only_the_file_names_is_not_run(own_nets, capsys):
    shapes = {"1.weight": (3, 16), "1.bias": (3,)}
    artefact = made(architecture=Architecture(f"{own_nets}:tiny", shapes))
    with pytest.raises(
        ConfigError, match=rf"which is code: a file does not run it; give net \({own_nets}:tiny\) if you"
    ):
        artefact.train()
    with pytest.raises(ConfigError, match="which is code"):
        artefact.evaluate(numbers(2, *SHAPE), torch.zeros(2).long(), 1)
    assert "ran" not in capsys.readouterr().out
    assert artefact.train(f"{own_nets}:tiny")(numbers(2, *SHAPE)).shape == (2, 3)
    assert "ran" in capsys.readouterr().out


def test_a_network_without_a_name_must_be_given():
    net = fresh(0)
    artefact = made(architecture=Architecture.of(net))
    with pytest.raises(ConfigError, match="made for its maker's own network, of which the file knows the shapes only"):
        artefact.train()
    assert equal(artefact.train(net, seed=2), by_hand(artefact, fresh(2)))


# networks of users


class Given(nn.Module):
    """A linear layer behind whatever a test wants."""

    def __init__(self, before):
        super().__init__()
        self.linear, self.before = nn.Linear(16, 3), before

    def forward(self, x):
        return self.linear(self.before(x.flatten(1)))


def test_a_network_that_raises_anything_is_refused_in_one_line():
    for error in (ValueError("bad\nrows"), KeyError("x"), AssertionError()):

        def fails(x, error=error):
            raise error

        match = (
            rf"^Given cannot take inputs of shape \(1, 4, 4\), as the images .*: {type(error).__name__}.*artefact_nets"
        )
        with pytest.raises(ShapeError, match=match) as caught:
            made().train(Given(fails))
        assert "\n" not in str(caught.value)


def test_a_network_without_parameters_is_refused():
    with pytest.raises(ConfigError, match="Flatten has no parameters, so a set can teach it nothing"):
        made().train(nn.Flatten())


def test_a_network_that_draws_when_it_answers_leaves_no_trace():
    net, before = Given(lambda x: x + torch.rand_like(x)), torch.get_rng_state()
    made(start=Start("pretrained")).students.network(net)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_empty_name_is_no_name(own_nets, capsys):
    artefact = made(architecture=Architecture(f"{own_nets}:tiny", {"1.weight": (3, 16), "1.bias": (3,)}))
    with pytest.raises(ConfigError, match='unknown student ""'):
        artefact.train("")
    assert "ran" not in capsys.readouterr().out


def test_a_function_that_only_the_file_names_is_not_run_to_draw_weights(own_nets, capsys):
    shapes = {"1.weight": (3, 16), "1.bias": (3,)}
    artefact = made(architecture=Architecture(f"{own_nets}:tiny", shapes), start=Start("random", scheme=OWN))
    with pytest.raises(ConfigError, match="which is code: a file does not run it"):
        artefact.students.initialiser()
    assert "ran" not in capsys.readouterr().out
    drawn = artefact.students.initialiser(f"{own_nets}:tiny").draw(nn.Linear(1, 1), [1, 2])
    assert {name: tuple(value.shape) for name, value in drawn.items()} == {n: (2, *s) for n, s in shapes.items()}


def test_a_given_name_that_makes_another_network_now_is_noticed(own_nets):
    artefact = made(architecture=Architecture(f"{own_nets}:wide", {"1.weight": (3, 16), "1.bias": (3,)}))
    match = rf"{own_nets}:wide is not {own_nets}:wide as in the file: 1.weight is \(4, 16\) and \(3, 16\).*Another vers"
    with pytest.raises(ShapeError, match=match):
        artefact.train(f"{own_nets}:wide")
    assert artefact.train(f"{own_nets}:tiny")(numbers(2, *SHAPE)).shape == (2, 3)


def test_a_named_function_may_return_a_trained_network(tmp_path, monkeypatch):
    code = "from torch import nn\n\ndef net():\n    made = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))\n"
    code += "    nn.init.constant_(made[1].weight, 0.25)\n    nn.init.zeros_(made[1].bias)\n    return made\n"
    (tmp_path / "trained_net_of_students.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    artefact = made(start=Start("pretrained"))
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    nn.init.constant_(net[1].weight, 0.25)
    nn.init.zeros_(net[1].bias)
    assert equal(artefact.train("trained_net_of_students:net", seed=3), by_hand(artefact, net))
    with pytest.raises(ConfigError, match="were trained before, and the file holds none"):
        artefact.train("mlp-8")
    assert not equal(made().train("trained_net_of_students:net"), by_hand(artefact, net))  # there it is drawn anew


def test_a_named_function_of_a_set_that_stores_trained_networks_is_filled_with_these(tmp_path, monkeypatch):
    code = "from tutelage.nets import build\n\ndef net(shape, classes):\n    return build('mlp-8', shape, classes)\n"
    (tmp_path / "known_net_of_sets.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    artefact = made(start=stored("pretrained"))
    assert equal(artefact.train("known_net_of_sets:net", seed=1), artefact.train(seed=1), tolerance=0)


def test_looking_at_a_network_leaves_its_mode():
    net = fresh(0)
    for training in (True, False):
        made().students.network(net.train(training))
        assert {module.training for module in net.modules()} == {training}


def test_a_set_for_a_module_is_used_with_that_module(tmp_path):
    """From Python a network may have no name: its shapes are in the file."""
    net = Given(torch.tanh)
    artefact = made(architecture=Architecture.of(net))
    save(artefact, tmp_path / "a.safetensors")
    back = load(tmp_path / "a.safetensors")
    assert back.architecture == Architecture(None, {"linear.weight": (3, 16), "linear.bias": (3,)})
    with pytest.raises(ConfigError, match="of which the file knows the shapes only; give net"):
        back.train()
    assert equal(back.train(net, seed=4), artefact.train(net, seed=4), tolerance=0)
    x, y = numbers(9, *SHAPE, seed=1), torch.arange(9) % 3
    assert back.evaluate(x, y, 3, net=net) == artefact.evaluate(x, y, 3, net=net)
    kept = made(architecture=Architecture.of(net), start=Start("fixed", weights=Scaled().draw(net, range(2))))
    with pytest.raises(ShapeError, match=r"is not its maker's own network as in the file: linear\.weight is absent"):
        kept.train(fresh(0))
    assert kept.train(net)(x).shape == (9, 3)


def test_what_is_no_architecture():
    for parts in ((None, {}), ("", {"w": (1,)})):
        with pytest.raises(ConfigError, match="needs a name or None, and a parameter that can be taught"):
            Architecture(*parts)
