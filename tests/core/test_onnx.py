"""Networks exported to ONNX answer as they do here."""

import logging
import sys
import warnings

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError, DataError
from tutelage.export import export_onnx
from tutelage.nets import build


def answers(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"x": x.numpy()})[0])


def used(net, shape):
    """The network with running statistics that differ from those at the start."""
    net.train()
    with torch.no_grad():
        net(torch.randn(8, *shape, generator=torch.Generator().manual_seed(1)))
    return net


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape"),
    [("mlp-gelu-16", (1, 8, 8)), ("plain4", (3, 32, 32)), ("resnet20", (3, 32, 32)), ("resnet8x1", (1, 28, 28))],
)  # fmt: skip
def test_onnxruntime_answers_as_torch(name, shape, tmp_path, capfd):
    net = used(build(name, shape, 10, seed=1), shape)
    path = tmp_path / "net.onnx"
    before = {n: t.clone() for n, t in net.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(net, shape, path)
    assert capfd.readouterr() == ("", "")
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert logging.root.manager.disable == logging.NOTSET
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    for rows in (1, 5):
        x = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(rows))
        with torch.no_grad():
            needed = net.eval()(x)
        assert torch.allclose(answers(path, x), needed, atol=1e-5, rtol=1e-5)
        net.train()


@pytest.mark.slow
def test_what_the_file_says(tmp_path):
    """A network of float64 with dropout: the same bytes twice, and no training in it."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 2)).double()
    for name in ("a", "b"):
        export_onnx(net, (3,), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert b".py" not in (tmp_path / "a").read_bytes()  # nothing of the machine
    graph = onnx.load(tmp_path / "a").graph
    (x,), (logits,) = graph.input, graph.output
    assert (x.name, logits.name) == ("x", "logits")
    dims = x.type.tensor_type.shape.dim
    assert (bool(dims[0].dim_param), dims[1].dim_value) == (True, 3)
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(answers(tmp_path / "a", x), net.eval()(x), atol=1e-12)


class Choosing(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else self.linear(-x)


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x.reshape(2, 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Choosing, r"^Choosing cannot be exported to ONNX with inputs \(batch, 3\): \S.*$"),
        (Fixed, r"^Fixed cannot be exported to ONNX for any batch size: its forward pass fixes the number of rows"),
    ],
)
def test_what_cannot_be_exported(kind, message, tmp_path, capfd):
    with pytest.raises(ConfigError, match=message):
        export_onnx(kind(), (3,), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_without_the_packages(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r'needs onnx and onnxscript: pip install "tutelage\[onnx\]"'):
        export_onnx(nn.Linear(3, 2), (3,), tmp_path / "net.onnx")


@pytest.mark.slow
def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"net\.onnx: cannot be written"):
        export_onnx(nn.Linear(3, 2), (3,), tmp_path / "nowhere" / "net.onnx")
