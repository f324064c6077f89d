"""Dataset distillation: what options become, and each that is refused, in one line and before anything is written."""

import numpy as np
import pytest
import torch

from tutelage.cli import main
from tutelage.distilled.pools import NetPool, save_pool
from tutelage.errors import ConfigError, DataError, ShapeError, TutelageError
from tutelage.recipes.dataset_distillation import Config, run
from tutelage.recipes.dataset_distillation.options import filled
from tutelage.recipes.dataset_distillation.plan import prepare

from .dataset_runs import SMALL, plan


def chosen(**options):
    return prepare(Config(device="cpu", threads=1, **options), fresh=True).options


def test_defaults_on_digits_are_those_of_our_figures():
    found = chosen()
    assert (found.init, found.batches, found.epochs, found.per_class, found.steps) == ("random", 1, 3, 1, 500)
    assert (found.nets, found.real_batch, found.step_size) == (8, 512, 0.1)
    assert (found.lr_images, found.lr_steps, found.held_out, found.net) == (0.05, 0.05, 200, "mlp-128")
    fixed = chosen(init="fixed")
    assert (fixed.nets, fixed.steps, fixed.lr_steps, fixed.step_size) == (1, 400, 0.2, 0.1)
    adapt = chosen(objective="adapt", source="rotated")
    assert (adapt.init, adapt.step_size, adapt.pool_nets, adapt.held_out) == ("pretrained", 0.05, 40, 40)
    poison = chosen(objective="poison")
    assert (poison.poison, poison.steps, poison.step_size, poison.pool_nets) == ("0:1", 300, 0.02, 32)


def test_the_published_profile():
    found = chosen(schedule="published", net="mlp-8")
    assert (found.batches, found.epochs, found.real_batch, found.nets) == (10, 3, 1024, 4)
    assert (found.lr_images, found.lr_steps, found.step_size, found.seeds) == (0.01, 0.01, 0.02, 1)
    assert found.steps == 800  # 400 epochs of two batches of at most 1,024 of 1,297 rows


def published(shape, **options):
    return filled(Config(device="cpu", threads=1, schedule="published", **options), shape, 50_000)


def test_published_settings_of_each_application():
    """Wang et al., 2018: 10 x 3 steps, of ten MNIST images 1 x 3; pools by Adam, whose rate falls to halves."""
    grey, colour = (1, 28, 28), (3, 32, 32)
    assert published(grey, init="fixed").batches == 1
    assert published(colour, init="fixed").batches == published(grey).batches == 10
    known = published(colour, init="pretrained-fixed", objective="adapt", source="mine.npz")
    assert (known.batches, known.nets) == (1, 1)
    digits = published(grey, objective="adapt", source="mine.npz")
    assert (digits.pool_epochs, digits.pool_lr, digits.pool_halve) == (40, 2e-4, 20)
    attack = published(colour, objective="poison")
    assert (attack.pool_epochs, attack.pool_lr, attack.pool_halve, attack.pool_nets) == (50, 1e-3, 7, 2000)


def test_published_trajectories():
    """Cazenavette et al., 2022: one expert a step, ZCA of colour; their rate of eta, 1e-5, is 0.1 of rho at 0.01."""
    found = published((3, 32, 32), method="trajectory-matching")
    assert (found.whitening, found.nets, found.experts, found.inner_steps) == ("zca", 1, 100, 20)
    assert (found.lr_images, found.step_size, found.lr_steps) == (1000.0, 0.01, 0.1)
    assert published((1, 28, 28), method="trajectory-matching").whitening == "none"
    assert published((3, 32, 32), method="distribution-matching").whitening == "none"


def test_networks_that_are_trained_freely_are_some_that_judge():
    assert chosen(net="mlp-8", held_out=3).free_nets == 3
    assert chosen(net="mlp-8").free_nets == 10
    assert chosen(net="mlp-8", init="fixed", nets=2).free_nets == 2


def test_stored_options_give_the_same_plan():
    first = plan(robustness=False)
    again = prepare(first.options, fresh=False)
    assert again.options == first.options


REFUSED = {
    r"--per-class is 0; it must be in 1\.\.100000000": {"per_class": 0},
    r"--step-size is 0; it must be above 0": {"step_size": 0},
    r"--step-size is -1; it must be above 0": {"step_size": -1},
    r"--clip is 0\.0; it must be above 0": {"clip": 0.0},
    r"--lr-steps is -1; it must be in 0\.\.1000000": {"lr_steps": -1},
    r"--test is 1\.5; it is a share": {"test": 1.5},
    r"--split-seed is -1": {"split_seed": -1},
    r'unknown initialisation "xavier"\. Did you mean "xavier-normal"': {"initialisation": "xavier"},
    r"--gain does nothing with --initialisation own": {"initialisation": "own", "gain": 2.0},
    r'unknown baseline "class-mean"\. Did you mean "class-means"': {"baselines": "class-mean"},
    r"--baselines is empty": {"baselines": ","},
    r"--data is empty": {"data": ""},
    r"--init pretrained does not fit --objective train: use fixed or random": {"init": "pretrained"},
    r"--init random does not fit --objective poison: use pretrained": {"objective": "poison", "init": "random"},
    r"--objective adapt needs the domain that the networks know": {"objective": "adapt"},
    r"--nets is 2, but --init pretrained-fixed teaches one known network": {
        **{"objective": "adapt", "source": "rotated", "init": "pretrained-fixed", "nets": 2, "held_out": None}
    },
    r"--nets 9 an outer step is more than --pool-nets 4": {
        **{"objective": "adapt", "source": "rotated", "nets": 9, "pool_nets": 4}
    },
    r"--images mean with --per-class 2: images of a class and batch that start alike": {
        **{"images": "mean", "per_class": 2}
    },
    r"--truncate 9 is more than the 3 steps": {"truncate": 9},
    r'--poison "0:12" is not of the form a:b with two of the classes 0, 1,': {"objective": "poison", "poison": "0:12"},
    r'--poison "0" is not of the form': {"objective": "poison", "poison": "0"},
    r'--poison "4:4" takes a class for itself': {"objective": "poison", "poison": "4:4"},
    r"--poison is for runs with --objective poison": {"poison": "0:1"},
    r"--source is for runs with --objective adapt": {"source": "rotated"},
    r"--pool-nets is for runs with --init pretrained without --pool": {"pool_nets": 9},
    r"--held-out is for runs with --init random or pretrained": {"init": "fixed"},
    r"--draws is for random, flipped-real": {"baselines": "class-means"},
    r"--experts is for runs with --method trajectory-matching": {"experts": 9},
    r"--free-epochs is for runs with --objective train or adapt": {"objective": "poison", "free_epochs": 3},
    r"--method distribution-matching makes images for fresh networks": {
        **{"method": "distribution-matching", "init": "fixed", "held_out": None, "nets": None}
    },
    r"--method siamese without --augmentation is gradient-matching": {
        **{"method": "siamese", "augmentation": "none", "nets": None}
    },
    r'unknown augmentation "turn"': {"method": "siamese", "augmentation": "turn", "nets": None},
    r"--learn-labels is for --method unrolled": {"method": "siamese", "learn_labels": True, "nets": None},
    r"--nets 4 is more than --experts 2": {"method": "trajectory-matching", "experts": 2},
    r"--max-start 15 and --span 2 need experts of 16 passes, but --expert-epochs is 3": {
        **{"method": "trajectory-matching", "expert_epochs": 3}
    },
    r"--net resnet20 has norms with running statistics.* with --freeze-buffers": {"net": "resnet20"},
    r"--freeze-buffers does nothing: --net mlp-8 has no running statistics": {"freeze_buffers": True},
    r"--free-epochs 0 leaves nothing to judge --method siamese by": {
        **{"method": "siamese", "nets": None, "free_epochs": 0}
    },
    r"--free-nets 6 is more than the 5 networks that judge": {"free_nets": 6},
    r"--free-nets does nothing with --free-epochs 0 and --full-epochs 0": {
        **{"free_nets": 3, "free_epochs": 0, "full_epochs": 0}
    },
    r"--resize is for images in files, which digits is not": {"resize": 4},
    r"--classes is for files that do not name their classes, which digits is not": {"classes": 5},
    r'unknown source "rotate"\. Did you mean "rotated"\? Known: rotated, shifted, inverted, digits': {
        **{"objective": "adapt", "source": "rotate"}
    },
    r"--pool-lr is for runs with --init pretrained or pretrained-fixed without --pool": {"pool_lr": 0.1},
    r"--pool-lr is 0; it must be above 0": {"objective": "adapt", "source": "rotated", "pool_lr": 0},
    r"--clip is for runs with --method unrolled": {"method": "gradient-matching", "nets": None, "clip": 1.0},
    r"--inner-batch is for runs with --method trajectory-matching": {"inner_batch": 5},
    r"--memory is for runs with --method unrolled, or runs with --method trajectory-matching and --no-tesla": {
        **{"method": "trajectory-matching", "nets": None, "tesla": True, "memory": "tape"}
    },
    r"--truncate 21 is more than the 20 steps that there are \(inner-steps\)": {
        **{"method": "trajectory-matching", "nets": None, "truncate": 21}
    },
    r"200 images a class \(batches x per-class\) are more than the 121 training rows of class 4": {"per_class": 200},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_before_anything_is_written(message, tmp_path):
    options = {**SMALL, **REFUSED[message]}
    with pytest.raises(TutelageError, match=message) as caught:
        run(Config(**options), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def npz(path, y, x=None, **more):
    y = np.asarray(y)
    x = np.random.default_rng(0).normal(size=(len(y), 1, 4, 4)).astype(np.float32) if x is None else x
    np.savez(path, x=x, y=y, **more)
    return str(path)


def test_a_class_without_a_training_row(tmp_path):
    data = npz(tmp_path / "mine.npz", [0, 1] * 20, classes=np.array(["one", "two", "three"]))
    with pytest.raises(DataError, match=r"class three has no training row, and images of it can be neither made nor"):
        plan(data=data)


def test_one_class_is_no_task(tmp_path):
    data = npz(tmp_path / "mine.npz", np.zeros(40, dtype=int), classes=np.array(["one"]))
    with pytest.raises(DataError, match=r"mine.npz has one class, and nothing to tell it from"):
        plan(data=data)


def test_resize_counts_for_a_source_of_images(tmp_path, monkeypatch):
    """Data that resizing does not reach, but a domain that it brings to its size."""
    table = npz(tmp_path / "table.npz", np.arange(40) % 4)
    with pytest.raises(DataError, match=r"has rows of shape \(1, 4, 4\)"):
        plan(objective="adapt", source=table, resize=8)
    with pytest.raises(ConfigError, match=r"--resize is for images in files"):
        plan(objective="adapt", source="rotated", resize=8)


def test_domains_that_do_not_fit(tmp_path):
    small = npz(tmp_path / "small.npz", np.arange(40) % 10)
    with pytest.raises(DataError, match=r"small.npz has rows of shape \(1, 4, 4\), but digits \(1, 8, 8\)"):
        plan(objective="adapt", source=small, pool_nets=8)
    few = npz(tmp_path / "few.npz", np.arange(40) % 3, np.ones((40, 1, 8, 8), dtype=np.float32))
    with pytest.raises(DataError, match=r"class 3 has no training row"):
        plan(objective="adapt", source=few, pool_nets=8)
    table = npz(tmp_path / "table.npz", np.arange(40) % 4, np.ones((40, 5), dtype=np.float32))
    with pytest.raises(DataError, match=r"--source rotated needs square images \(N, C, H, H\)"):
        plan(data=table, classes=4, objective="adapt", source="rotated", pool_nets=8)
    with pytest.raises(DataError, match=r"--channels needs images of 1 or 3 channels"):
        plan(data=table, classes=4, channels=3)


def test_channels_of_data_and_source(tmp_path):
    assert plan(channels=3).domain.shape == (3, 8, 8)
    x = np.random.default_rng(0).integers(0, 255, (80, 3, 8, 8)).astype(np.uint8)
    colour = npz(tmp_path / "colour.npz", np.arange(80) % 10, x)
    found = plan(objective="adapt", source=colour, channels=1, pool_nets=8)
    assert found.known.shape == found.domain.shape == (1, 8, 8)
    np.testing.assert_array_equal(found.known.source.x[:, 0], x.mean(1).astype(np.uint8))


def test_data_with_test_rows_of_its_own(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 1, 4, 4)).astype(np.float32)
    data = npz(tmp_path / "mine.npz", np.arange(40) % 4, x, x_test=x[:8], y_test=np.arange(8) % 4)
    found = plan(data=data, classes=4)
    assert (len(found.domain.y), len(found.domain.test_y)) == (40, 8)
    with pytest.raises(ConfigError, match=r"--test is for data without test rows of its own, but .*mine.npz has 8"):
        plan(data=data, classes=4, test=0.2)


def pool_file(path, net, count=8):
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(count, *p.shape, generator=generator) for name, p in net.named_parameters()}
    save_pool(NetPool(weights, "mlp-9", "0" * 64, 1, {"initialisation": 0}), path)
    return str(path)


def test_a_pool_that_does_not_fit(tmp_path):
    other = pool_file(tmp_path / "other.safetensors", plan(net="mlp-9").net)
    with pytest.raises(ShapeError, match=r"do not fit the network: 1.weight is \(9, 64\) there, \(8, 64\) here"):
        plan(objective="adapt", pool=other)
    few = pool_file(tmp_path / "few.safetensors", plan().net)
    with pytest.raises(ConfigError, match=r"has 8 networks, but --nets 8 and --held-out 5 need more"):
        plan(objective="adapt", pool=few)
    with pytest.raises(ConfigError, match=r"give one of --source and --pool"):
        plan(objective="adapt", pool=few, source="rotated", nets=3)
    assert plan(objective="adapt", pool=few, nets=3).given is not None
    with pytest.raises(ConfigError, match=r"--pool-nets is for runs with --init pretrained without --pool"):
        plan(objective="adapt", pool=few, nets=3, pool_nets=9)


def test_a_network_that_cannot_take_an_outer_step(tmp_path):
    options = {**SMALL, "net": "tests.recipes.test_dataset_distillation_options:fixed_rows"}
    with pytest.raises(ConfigError, match=r"fixed_rows cannot take an outer step: RuntimeError"):
        run(Config(**options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class TwoRows(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)) if len(x) <= 2 else super().forward(x.view(2, -1))


def fixed_rows(shape, classes):
    return TwoRows(64, classes)


def test_messages_repeat_what_was_given(capsys, tmp_path):
    """A terminal that makes pictures of words would make one of :b:."""
    options = ["--objective", "poison", "--poison", "a:b:cat", "--out", str(tmp_path / "run")]
    assert main(["run", "dataset-distillation", *options]) == 2
    assert '--poison "a:b:cat" is not of the form' in capsys.readouterr().err


def test_the_command_line_says_it_in_one_line(capsys, tmp_path):
    out = tmp_path / "run"
    assert main(["run", "dataset-distillation", "--objective", "poison", "--poison", "0:0", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "takes a class for itself" in said
    assert not out.exists()
