import sys

import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError, ShapeError
from tutelage.nets import build, check_output, resnet, wide_resnet


def size(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("net", "parameters"),
    [
        (resnet((3, 32, 32), 10, depth=20), 269_722),
        (resnet((3, 32, 32), 10, depth=32), 464_154),
        (resnet((3, 32, 32), 10, depth=56), 853_018),
        (wide_resnet((3, 32, 32), 10, depth=16, width=2), 691_674),
        (wide_resnet((3, 32, 32), 10, depth=28, width=10), 36_479_194),
        (build("mlp", (1, 8, 8), 10), 64 * 256 + 256 + 256 * 256 + 256 + 2570),
        (build("lenet", (1, 28, 28), 10), 61_706),
    ],
    ids=["resnet20", "resnet32", "resnet56", "wrn-16-2", "wrn-28-10", "mlp", "lenet"],
)
def test_sizes_of_the_publications(net, parameters):
    assert size(net) == parameters


def test_the_seed_decides_and_global_state_stays():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    a, b, c = (build("mlp-8", (4,), 2, seed=s) for s in (1, 1, 2))
    assert torch.equal(a[1].weight, b[1].weight)
    assert not torch.equal(a[1].weight, c[1].weight)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "ownnets.py").write_text(
        "from torch import nn\n"
        "def make(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, classes))\n"
        "def fixed():\n    return nn.Linear(4, 7)\n"
        "def text(shape, classes):\n    return 'net'\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("ownnets", None)


def test_users_own(own):
    assert build("ownnets:make", (4,), 3)(torch.zeros(2, 4)).shape == (2, 3)
    assert build("ownnets:fixed", (4,), 7)(torch.zeros(2, 4)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("ownnets:fixed", ShapeError, r"student ownnets:fixed returned \(2, 7\) for 2 examples, but needs \(2, 3\)"),
        ("ownnets:text", ConfigError, r"returned a str, but needs to return an nn\.Module"),
        ("ownnets:number", ConfigError, "number is a int, but needs to be a function"),
        ("ownnets:mke", ConfigError, 'module "ownnets" has no "mke"'),
        ("nowhere.nets:make", ConfigError, 'cannot import "nowhere"; run from the folder that holds it'),
        ("reznet20", ConfigError, 'unknown student "reznet20". Did you mean "resnet20"'),
        ("cnn", ShapeError, r"cnn needs images \(C, H, W\), but the examples have shape \(4,\); use mlp"),
    ],
)
def test_bad_students(own, name, kind, message):
    with pytest.raises(kind, match=message.replace('". D', r'"\. D')):
        build(name, (4,), 3)


def test_images_too_small_for_lenet():
    with pytest.raises(ShapeError, match=r"lenet cannot be built for examples of shape \(1, 4, 4\)"):
        build("lenet", (1, 4, 4), 10)


def test_inputs_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"student mine cannot take inputs of shape \(2, 5\)"):
        check_output("mine", nn.Linear(4, 3), (5,), 3)


@pytest.mark.parametrize(
    "options", [{"width": 15}, {"width": 3}, {"width": 4, "stem": 9}, {"width": 6, "stem": 3}], ids=str
)
def test_resnets_of_odd_widths(options):
    net = resnet((3, 8, 8), 4, depth=8, **options).eval()
    assert net(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))).shape == (2, 4)


def test_shortcuts_pad_channels_on_both_sides():
    """One more behind than before where their number is odd."""
    block = resnet((3, 8, 8), 4, depth=8, width=3).eval().blocks[1]
    torch.nn.init.zeros_(block.norm2.weight)
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    out = block(x)
    assert out.shape == (1, 6, 2, 2)
    assert torch.equal(out[:, 1:4], x[:, :, ::2, ::2])
    assert not out[:, [0, 4, 5]].any()


@pytest.mark.parametrize(("name", "needed"), [("resnet21", r"6n \+ 2"), ("wrn-27-10", r"6n \+ 4")])
def test_depths(name, needed):
    with pytest.raises(ConfigError, match=f"{name}: the depth must be {needed}"):
        build(name, (3, 32, 32), 10)
