"""Two moons in a five-second size: data, arms, options, the pictures, going on, and bad input."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage.cli import main
from tutelage.errors import ConfigError
from tutelage.recipes import two_moons
from tutelage.recipes.pseudo_labels.arms import ARMS
from tutelage.recipes.pseudo_labels.options import MOONS
from tutelage.recipes.pseudo_labels.phases import phases
from tutelage.recipes.pseudo_labels.trial import Trial
from tutelage.recipes.two_moons import GRID, RECIPE, Config, grid, run
from tutelage.report.drawing.boundaries import FRAMES, MOMENTS, Boundaries, animation, picture_grid
from tutelage.runs import RunFolder

SMALL = {"seeds": 2, "steps": 10, "rows": 60, "batch_size": 16, "evaluations": 5, "device": "cpu", "threads": 1}


def plan(**options):
    return RECIPE.prepare(Config(**SMALL | options), fresh=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    assert main(["run", "two-moons", "--teachers", "uda,mpl-soft", *arguments, "--out", str(out)]) == 0
    return json.loads((out / "result.json").read_text()), out


def test_the_data_of_the_specification():
    from sklearn.datasets import make_moons

    setting = RECIPE.prepare(Config(seeds=1, first_seed=100), fresh=True).settings[0]
    x, y = make_moons(2000, noise=0.1, random_state=100)
    assert np.allclose(setting.source.x, (x - x.mean(0)) / x.std(0), atol=1e-6)
    generator = np.random.RandomState(1100)
    labelled = [generator.choice(np.flatnonzero(y == c), 3, replace=False) for c in (0, 1)]
    assert (setting.roles.trusted == np.sort(np.concatenate(labelled))).all()
    assert len(setting.pool) == setting.test_rows == 2000


def test_the_settings_of_the_specification():
    found = RECIPE.prepare(Config(seeds=1), fresh=True)
    options, setting = found.options, found.settings[0]
    for name, value in (MOONS.values | {"seeds": 1}).items():
        assert getattr(options, name) == value
    assert (options.wait, options.uda_ramp, options.finetune_steps, options.ema) == (0, 500, 0, 0.0)
    student, teacher = phases(ARMS["mpl-soft"], setting, options)[0].make(None)
    assert [tuple(p.shape) for n, p in student.params.items() if "weight" in n] == [(16, 2), (16, 16), (2, 16)]
    assert (student.lr, teacher.network.optimiser.rule.lr) == (0.5, 1e-2)
    batch = setting.batch(0, 2000)
    rows = torch.from_numpy(setting.source.x[batch.index.numpy()])
    assert torch.equal(batch.views["weak"], rows)
    assert (batch.views["strong"] - rows).std() == pytest.approx(0.2, rel=0.1)
    assert torch.equal(batch.labelled.x, torch.from_numpy(setting.source.x[setting.roles.trusted]))


def test_every_arm(tmp_path):
    result = run(Config(**SMALL), tmp_path / "out")
    assert list(result["arms"]) == list(ARMS)
    assert result["data"]["labelled_rows"] == 6
    assert result["data"]["transductive"]
    assert result["data"]["unlabelled_rows"] == result["data"]["test_rows"] == 60


def test_the_files(finished):
    _, out = finished
    assert {"boundaries.png", "boundaries.gif", "report.html"} <= {p.name for p in out.iterdir()}


def test_the_pictures(finished):
    _, out = finished
    image = Image.open(out / "boundaries.gif")
    assert image.n_frames > 1
    page = (out / "report.html").read_text()
    assert 'href="boundaries.gif"' in page
    assert 'href="boundaries.png"' in page
    before = {name: (out / name).read_bytes() for name in ("boundaries.png", "boundaries.gif", "report.html")}
    assert main(["report", str(out)]) == 0
    assert {name: (out / name).read_bytes() for name in before} == before


def boundaries(values, steps):
    x = np.array([[-1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    frames = np.stack([np.full(GRID * GRID, value, dtype=np.uint8) for value in values])
    return Boundaries(frames, grid().numpy(), x, np.array([0, 1, 1]), np.array([0, 1]), steps, [0.5] * len(steps))


def test_a_frame_is_shown_at_its_share_of_training():
    found = boundaries([0, 128, 255], [10, 20, 40])
    assert [found.at(share) for share in (0.0, 0.3, 0.5, 1.0)] == [0, 0, 1, 2]


def test_what_is_drawn():
    """Class 0 is orange, class 1 purple; one row an arm, one column a moment."""
    arms = {"first": boundaries([0, 255], [1, 2]), "second": boundaries([255, 255], [1, 2])}
    image = np.asarray(Image.open(io.BytesIO(picture_grid(arms))).convert("RGB")).astype(int)
    height, width = image.shape[:2]

    def colour(row, column):
        """Near the lower left corner of a panel, away from the points."""
        return image[int((row + 0.88) * height / 2), int((column + 0.3) * width / MOMENTS)]

    orange, purple = colour(0, 0), colour(0, MOMENTS - 1)
    assert orange[0] > orange[2] + 20
    assert purple[2] > purple[1] + 20
    assert abs(colour(1, 0) - purple).max() < 12
    moving = Image.open(io.BytesIO(animation(arms)))
    assert 1 < moving.n_frames <= FRAMES


def test_the_probe_is_that_of_the_network_that_counts():
    found = plan(teachers="mpl-soft", ema=0.5, finetune_steps=3)
    running = Trial("mpl-soft", found.settings[0], found.options)
    while not running.finished:
        running.advance()
    assert len(running.frames) == len(running.records) == 7  # five, and two in three steps of fine-tuning
    seen = torch.softmax(running.student.predict(grid()), -1)[:, 1]
    assert torch.equal(running.frames[-1], (255 * seen).round().to(torch.uint8))
    assert found.settings[1].probe is None


def test_the_grid_goes_row_by_row_from_the_lower_left():
    points = grid().view(GRID, GRID, 2)
    assert points[0, 0].tolist() == pytest.approx([-2.6, -2.6])
    assert points[0, -1].tolist() == pytest.approx([2.6, -2.6])
    assert points[-1, 0].tolist() == pytest.approx([-2.6, 2.6])


def test_options():
    found = plan(labels_per_class=5, spread=0.3, weak_noise=0.1, strong_noise=0.4, labelled_noise=0.2)
    setting = found.settings[0]
    assert len(setting.roles.trusted) == 10
    assert (setting.views.weak, setting.views.strong, setting.views.labelled) == (0.1, 0.4, 0.2)
    assert abs(setting.source.x - plan(spread=0.0).settings[0].source.x).max() > 0.1
    narrow = plan(student="tutelage.recipes.two_moons:tanh_8").settings[0].net("tutelage.recipes.two_moons:tanh_8", "t")
    assert narrow[0].out_features == 8


def test_a_run_goes_on(tmp_path, monkeypatch):
    options = SMALL | {"teachers": "uda,mpl-scalar"}
    whole = run(Config(**options), tmp_path / "whole")

    class Killed(Exception):
        pass

    class Killer:
        count = 0

        def start(self, name, steps, done):
            pass

        def advance(self, accuracy):
            self.count += 1
            if self.count == 33:  # in the second seed of the second arm
                raise Killed

    with pytest.raises(Killed):
        run(Config(**options, checkpoint_seconds=0.0), tmp_path / "cut", Killer())
    again = two_moons.resume(RunFolder.open(tmp_path / "cut"))
    for result in (whole, again):
        result.pop("seconds")
        result["config"].pop("checkpoint_seconds")
    assert json.dumps(again, sort_keys=True) == json.dumps(whole, sort_keys=True)
    for name in ("metrics.jsonl", "arms/uda.safetensors", "arms/mpl-scalar.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels_per_class": 0}, "--labels-per-class is 0 of 60 points"),
        ({"labels_per_class": 31}, "--labels-per-class is 31 of 60 points; each moon has half"),
        ({"spread": -1.0}, "--spread is -1.0; it must be in 0..100"),
        ({"labelled_batch": 7}, "--labelled-batch 7 is larger than the 6 labelled rows"),
        ({"teachers": "moon"}, 'unknown teacher "moon"'),
        ({"teachers": "uda", "scale": "mean"}, "--scale is of mpl-scalar; none of them is among --teachers"),
    ],
)
def test_bad_input(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        run(Config(**SMALL | options), tmp_path / "out")
    assert not (tmp_path / "out").exists()
