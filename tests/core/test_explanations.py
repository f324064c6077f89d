"""Explanations: maps against their definitions, by loops; no trace on the network; images and scores."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from tutelage import SGD, Student
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.explanations import (
    blurred,
    class_activation,
    entropy_scores,
    explained,
    explanation_path,
    mask,
    occlusion,
    placed,
    save_explanations,
)
from tutelage.nets import build

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


def images(count=5, channels=1, side=16, seed=0):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def net(name="cue-net", classes=3, side=16):
    made = build(name, (1, side, side), classes)
    made(images(8, side=side))  # running statistics that are not those of the start
    return made


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exact_map_by_a_loop(device, dtype):
    made, x = net().to(device, dtype), images().to(device, dtype)
    target = torch.tensor([0, 1, 2, 1, 0], device=device)
    found = class_activation(made, x, target, batch_size=2)
    maps, weights = made.eval()[:-3](x).detach(), made[-1].weight.detach()
    assert found.shape == (5, 4, 4)
    assert found.dtype == dtype
    for n in range(5):
        for i in range(4):
            for j in range(4):
                value = sum(weights[target[n], c] * maps[n, c, i, j] for c in range(64))
                assert float(found[n, i, j]) == pytest.approx(max(float(value), 0.0), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["cue-net", "cnn", "resnet8", "explain-net"])
def test_networks_with_a_mean_and_a_linear_layer_get_the_exact_map(name):
    """Its mean is the logit less the bias where nothing is cut off."""
    made = net(name).eval().double()
    x = images().double()
    linear = [m for m in made.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():  # weights and maps >= 0: relu cuts nothing
        linear.weight.abs_()
        logits = made(x) - (0 if linear.bias is None else linear.bias)
    for label in range(3):
        found = class_activation(made, x, label)
        torch.testing.assert_close(found.mean((1, 2)), logits[:, label].detach(), rtol=1e-9, atol=1e-12)


class Scaled(nn.Module):
    """Logits that are a linear layer's, of the mean of maps, times a factor: unless it is 1, no longer that layer's."""

    def __init__(self, made, factor):
        super().__init__()
        self.trunk, self.head, self.factor = made[:-3], made[-1], factor

    def forward(self, x):
        logits = self.head(self.trunk(x).mean((2, 3)))
        return logits if self.factor == 1 else self.factor * logits


def test_the_gradient_form_equals_the_exact_one_but_for_a_factor():
    made, x = net(), images()
    exact = class_activation(made, x, 1)
    assert exact.max() > 0
    torch.testing.assert_close(class_activation(Scaled(made, 1), x, 1), exact)
    found = class_activation(Scaled(made, 2), x, 1, layer="trunk")
    torch.testing.assert_close(found, 2 * exact / 16, rtol=1e-4, atol=1e-7)


def test_grad_cam_by_finite_differences():
    """A network without a mean: the weights of the maps are the mean slopes of the logit in them."""
    made = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(48, 4), nn.Tanh()).double()
    x = images(2, side=4).double()
    found = class_activation(made, x, torch.tensor([2, 3]))
    maps, rest = made[0](x).detach(), made[1:]
    for n, label in enumerate((2, 3)):
        total = torch.zeros(4, 4, dtype=torch.float64)
        for c in range(3):
            slope = 0.0
            for i in range(4):
                for j in range(4):
                    step = torch.zeros_like(maps[n : n + 1])
                    step[0, c, i, j] = 1e-5
                    up, down = (rest(maps[n : n + 1] + s)[0, label].item() for s in (step, -step))
                    slope += (up - down) / 2e-5 / 16
            total += slope * maps[n, c]
        torch.testing.assert_close(found[n], total.clamp_min(0), rtol=1e-6, atol=1e-9)


def test_a_layer_in_place_behind_the_maps():
    layers = [nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3 * 36, 2)]
    apart = copy.deepcopy(layers)
    apart[1] = nn.ReLU()
    x = images(2, side=8)
    torch.testing.assert_close(
        class_activation(nn.Sequential(*layers), x, 0), class_activation(nn.Sequential(*apart), x, 0), rtol=0, atol=0
    )


def test_looking_leaves_no_trace():
    made, x = net("cnn"), images()
    made.train()
    before = {n: t.clone() for n, t in made.state_dict().items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    class_activation(made, x, 0)
    class_activation(made, x, 0, layer="0")
    assert all(torch.equal(t, before[n]) for n, t in made.state_dict().items())
    assert all(module.training for module in made.modules())
    assert not any(module._forward_hooks for module in made.modules())
    assert all(p.grad is None and p.requires_grad for p in made.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_student_is_seen_where_it_stands():
    """Its parameters, not those of the module that it was made of, which stays as it is."""
    made, x = net(), images()
    student = Student(made, SGD(0.1))
    elsewhere = student.at({"16.weight": -student.params["16.weight"]})
    before = copy.deepcopy(made.state_dict())
    with torch.no_grad():
        negative = copy.deepcopy(made)
        negative[16].weight.neg_()
    assert torch.equal(class_activation(elsewhere, x, 1), class_activation(negative, x, 1))
    assert torch.equal(class_activation(student, x, 1), class_activation(made, x, 1))
    assert all(torch.equal(t, before[n]) for n, t in made.state_dict().items())


@pytest.mark.parametrize(("side", "patch", "stride"), [(16, 4, 4), (13, 5, 3), (9, 9, 2)])
def test_occlusion_by_a_loop(side, patch, stride):
    made, x = net(side=side).eval(), images(2, side=side)
    target = torch.tensor([2, 0])
    found = occlusion(made, x, target, patch=patch, stride=stride, batch_size=3)
    starts = [*range(0, side - patch, stride), side - patch]
    for n in range(2):
        drops = [[[] for _ in range(side)] for _ in range(side)]
        plain = made(x[n : n + 1]).softmax(1)[0, target[n]].item()
        for top in starts:
            for left in starts:
                covered = x[n : n + 1].clone()
                covered[..., top : top + patch, left : left + patch] = 0
                drop = plain - made(covered).softmax(1)[0, target[n]].item()
                for i in range(top, top + patch):
                    for j in range(left, left + patch):
                        drops[i][j].append(drop)
        needed = torch.tensor([[sum(d) / len(d) for d in row] for row in drops])
        torch.testing.assert_close(found[n], needed, rtol=1e-4, atol=1e-6)


def test_occlusion_finds_the_only_pixels_that_count():
    def predict(x):
        score = x[:, 0, 8:12, 0:4].mean((1, 2))
        return torch.stack([10 * score, torch.zeros_like(score)], 1)

    found = occlusion(predict, torch.ones(1, 1, 16, 16), 0, patch=4, stride=4)[0]
    assert (found[8:12, 0:4] > 0.4).all()
    found[8:12, 0:4] = 0
    assert not found.any()


def test_blur_is_that_of_scipy():
    maps = images(3, side=21).double()[:, 0]
    for sigma in (0.7, 1.5, 8.0):  # the last reaches over the image and its mirror images
        needed = np.stack([gaussian_filter(m, sigma, mode="reflect") for m in maps.numpy()])
        np.testing.assert_allclose(blurred(maps, sigma).numpy(), needed, rtol=1e-12)
    assert torch.equal(blurred(maps, 0), maps)


def test_maps_are_placed_in_the_middle_of_the_canvas():
    found = placed(torch.ones(1, 4, 4), (8, 8), (12, 14), sigma=0)
    assert found.shape == (1, 12, 14)
    assert (found[0, 2:10, 3:11] == 1).all()
    assert found.sum() == 64
    corner = torch.zeros(1, 2, 2)
    corner[0, 0, 1] = 1
    large = placed(corner, (8, 8))[0]
    assert divmod(int(large.argmax()), 8) == (0, 7)


def test_masks_and_explanation_images():
    maps = torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[7.0, 7.0], [7.0, 7.0]]])
    found = mask(maps)
    for value, share in zip(found[0].flatten().tolist(), (0.0, 0.25, 0.5, 1.0)):
        assert value == pytest.approx(0.99 * math.exp(3 * share - 3) + 0.01, rel=1e-6)
    x = images(2, 3, side=2)
    bright = explained(x, maps)
    torch.testing.assert_close(bright[0], x[0] * found[0])
    torch.testing.assert_close(bright[1], x[1], rtol=1e-6, atol=0)  # a constant map: the plain image


def test_explanations_are_saved_in_a_parallel_tree(tmp_path):
    from PIL import Image

    x, maps = images(2, 3), images(2, seed=1)[:, 0]
    paths = [tmp_path / "images" / "set" / "images" / "a" / name for name in ("1.png", "2.jpg")]
    written = save_explanations(x, maps, paths)
    assert written == [tmp_path / "images/set/explanations/a" / name for name in ("1.png", "2.png")]
    pixels = np.asarray(Image.open(written[1])).transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels, (explained(x, maps)[1] * 255).round().numpy())


def test_scores_by_a_loop():
    maps = images(12, side=5, seed=3)[:, 0].double()
    maps[4] = 0.3  # no evidence anywhere
    right = torch.tensor([True] * 12)
    right[[2, 9]] = False
    labels = torch.arange(12) % 3 * 5
    raw = []
    for m in maps:
        low, high = float(m.min()), float(m.max())
        shares = [(v - low) / (high - low) + 1e-7 if high > low else 1e-7 for v in m.flatten().tolist()]
        raw.append(sum(-p * math.log(p) for p in shares) / 25)
    most = max(raw)
    raw = [most if i in (2, 4, 9) else value for i, value in enumerate(raw)]
    centred = [v - sum(raw[i % 3 :: 3]) / 4 for i, v in enumerate(raw)]
    needed = [(v - min(centred)) / (max(centred) - min(centred)) for v in centred]
    torch.testing.assert_close(entropy_scores(maps, right, labels).tolist(), needed, rtol=1e-12, atol=1e-12)


def test_a_compact_map_scores_lower():
    maps = torch.zeros(2, 8, 8)
    maps[0, 3, 3] = 1
    maps[1] = torch.linspace(0, 1, 64).view(8, 8)
    both, one_class = torch.tensor([True, True]), torch.zeros(2, dtype=torch.long)
    assert entropy_scores(maps, both, one_class).tolist() == [0, 1]
    assert entropy_scores(maps[:1].expand(2, 8, 8), both, one_class).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: class_activation(net("mlp-8"), images(), 0), ConfigError, "no nn.Conv2d that its pass reaches"),
        (lambda: class_activation(net(), images(), 3), ConfigError, r"names class 3; the network has 0\.\.2"),
        (lambda: class_activation(net(), images(), 0, layer="21"), ConfigError, 'unknown layer of the network "21"'),
        (lambda: class_activation(net(), images(), 0, layer="16"), ShapeError, "layer 16 has no output of shape"),
        (lambda: class_activation(net(), images()[0], 0), ShapeError, r"needs float images \(N, C, H, W\)"),
        (lambda: class_activation(net(), images().byte(), 0), ShapeError, "x is torch.uint8 .* divide bytes by 255"),
        (lambda: class_activation(net(), images(), torch.tensor([0, 1])), ShapeError, "needs 5 classes, one an image"),
        (lambda: occlusion(net(), images(), 0, patch=17), ShapeError, r"patch of 17 is larger than images of \(16, 16"),
        (lambda: occlusion(net(), images(), 0, patch=4, stride=5), ConfigError, "stride is 5; above the patch of 4"),
        (lambda: occlusion(net(), images(), -1, patch=4), ConfigError, r"names class -1; the network has 0\.\.2"),
        (lambda: placed(images()[:, 0], (16, 16), (8, 20)), ShapeError, "canvas .* is smaller than the crop"),
        (lambda: placed(images(), (16, 16)), ShapeError, r"maps are .* need floats \(N, h, w\)"),
        (lambda: explained(images(), images(side=8)[:, 0]), ShapeError, "use placed to enlarge"),
        (lambda: mask(torch.full((2, 3, 3), math.nan)), DataError, "map 0 is not finite"),
        (lambda: save_explanations(images(), images()[:, 0], []), ShapeError, "0 paths for 5 images"),
        (lambda: entropy_scores(images()[:, 0], torch.ones(4), torch.ones(5)), ShapeError, "right has shape .* 5 maps"),
    ],
)
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_path_without_images(tmp_path):
    with pytest.raises(DataError, match="not below a folder images"):
        explanation_path(tmp_path / "pictures" / "images.png")
