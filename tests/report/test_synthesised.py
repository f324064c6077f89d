"""The page of a distilled data set: honest first, all parts there, pictures and tables beside it."""

import base64
import hashlib
import html
import math
import re
import shutil

import numpy as np
import pyarrow.csv
import pytest
import torch
from PIL import Image

from tutelage.checkpoint import save_checkpoint
from tutelage.distilled.robustness import Row
from tutelage.errors import CheckpointError
from tutelage.evaluation import summary
from tutelage.report import write
from tutelage.report.canvas import looks
from tutelage.report.reading import read
from tutelage.report.synthesised_plots import side_by_side
from tutelage.report.synthesised_rivals import simpler
from tutelage.runs import RunFolder
from tutelage.statistics import Runs, compare, table

SEEDS, NETS = 3, 6
LESSONS = {"distilled": [0.80, 0.82, 0.81], "random": [0.40, 0.45, 0.43], "k-means": [0.80, 0.83, 0.81]}
NEAR = {"distilled": [0.70, 0.71, 0.72], "random": [0.60, 0.61, 0.62], "k-means": [0.90, 0.90, 0.90]}
FREE = {"distilled": [0.85, 0.86, 0.87], "random": [0.60, 0.61, 0.62], "k-means": [0.84, 0.80, 0.82]}
CLASSES = ["cat", "<b>"]


def comparisons():
    def runs(name, values):
        return Runs(name, dict(enumerate(values)))

    def against(metric, values, prefix="", made=None):
        own = runs("distilled", made or values["distilled"])
        return table([compare(own, runs(prefix + n, v), metric) for n, v in values.items() if n != "distilled"])

    near = against("neighbour_accuracy", NEAR, "1-NN on ", LESSONS["distilled"])
    full = {**FREE, "full-data": [0.95, 0.96, 0.97]}
    return against("accuracy", LESSONS) + near + against("free_accuracy", full)


def along(last):
    generator = np.random.default_rng(0)
    values = np.stack([np.full(NETS, level) for level in (0.5, 0.6, last)]) + generator.uniform(-0.02, 0.02, (3, NETS))
    parts = {"mean": values.mean(1), "std": values.std(1), "least": values.min(1), "most": values.max(1)}
    parts |= {"before": values[0], "after": values[-1]}
    return {name: part.tolist() for name, part in parts.items()}


def a_set(seed):
    rates = {"rate": 0.3, "train_accuracy": 0.5, "accuracy": 0.41, "neighbour_accuracy": 0.6}
    return {
        "records": [{"step": s, "outer_loss": 2.0 / s, "train_accuracy": 0.2 * s / 5} for s in (5, 10)],
        "step_sizes": [0.1, 0.25],
        "along": along(LESSONS["distilled"][seed]),
        "attack": None,
        "baselines": {"random": [rates, rates], "k-means": [rates]},
        "free": {"distilled": {"accuracies": [0.85, 0.87], "rate": 0.05, "tried": {"0.01": 0.7, "0.05": 0.9}}},
    }


def result():
    metrics = {"accuracy": LESSONS, "neighbour_accuracy": NEAR, "free_accuracy": FREE}
    arms = {arm: {m: summary(v[arm]) for m, v in metrics.items()} for arm in LESSONS}
    arms["full-data"] = {"free_accuracy": summary([0.95, 0.96, 0.97])}
    arms["distilled"]["before"] = summary([0.5] * SEEDS)
    rows = [
        Row(name="none", mean=0.80, std=0.01, values=[0.8, 0.8], drop=0.0, note=""),
        Row(name="step sizes x2", mean=0.55, std=0.2, values=[0.5, 0.6], drop=0.25, note=""),
        Row(name="steps shuffled", mean=None, std=None, values=None, drop=None, note="the set is one batch"),
    ]
    return {
        "recipe": "dataset-distillation",
        "seeds": list(range(SEEDS)),
        "config": {"net": "mlp-8", "per_class": 1, "batches": 1, "epochs": 2, "steps": 10, "nets": 8},
        "data": {
            "name": "pets", "source": None, "classes": CLASSES, "shape": [1, 4, 4], "train_rows": 90, "test_rows": 50,
        },
        "distillation": {
            "objective": "train", "init": "random", "method": "unrolled", "images": 2, "applications": 2,
            "attack": None, "initialisation": "xavier-normal", "parameters": 99,
        },
        "order": list(arms),
        "about": {"random": "Random real examples."},
        "metric": "accuracy",
        "arms": arms,
        "comparisons": comparisons(),
        "robustness": rows,
        "scores": {"HLR": summary([0.10, 0.10, 0.10]), "IOR": summary([0.2, 0.25, 0.3])},
        "sets": {str(seed): a_set(seed) for seed in range(SEEDS)},
        "conclusion": {"lines": ["2 images in 2 steps: 81.0 % after.", "against real sets, better: random."]},
        "environment": {"device": "cpu"},
        "seconds": {"distilled": 12.0, "judged": 0.5},
    }  # fmt: skip


def tensors(frames):
    generator = torch.Generator().manual_seed(0)
    found = {"images": torch.randn(1, 2, 1, 4, 4, generator=generator), "labels": torch.arange(2)}
    found["step_sizes"] = torch.tensor([0.1, 0.25])
    if frames:
        found["frames"] = torch.randn(3, 1, 2, 1, 4, 4, generator=generator)
        found["frame_step_sizes"] = torch.rand(3, 2, generator=generator)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthesised") / "run"
    folder = RunFolder.create(path, "dataset-distillation", {}, {}, {})
    for seed in range(SEEDS):
        for arm in ("distilled", "random", "k-means"):
            file = path / f"arms/{arm}-{seed}.safetensors"
            save_checkpoint(file, tensors(arm == "distilled" and seed == 0), {})
    folder.write("result.json", result())
    return path


@pytest.fixture(scope="module")
def raw(made):
    return write(made).read_text()


@pytest.fixture
def text(raw):
    return plain(raw)


@pytest.fixture
def folder(made, tmp_path):
    return RunFolder.open(shutil.copytree(made, tmp_path / "run"))


def plain(raw):
    return html.unescape(re.sub(r"<[^>]+>", " ", raw)).replace("\N{NO-BREAK SPACE}", " ").replace("  ", " ")


def changed(folder, **parts):
    folder.write("result.json", result() | parts)
    return plain(write(folder.path).read_text())


def test_what_does_better_is_said_first(made, text):
    """1-NN on centroids is better, k-means taught alike no worse; free training is compared by means."""
    found = {rival.name: (rival.better, rival.told) for rival in simpler(read(made))}
    assert found == {
        "1-NN on k-means": (True, "worse"),
        "k-means in as many steps": (None, "not shown"),
        "k-means trained on freely": (True, "compared by means"),
    }
    first = text.index("Better, with as many real images and no distillation")
    assert first < text.index("not shown to be better than") < text.index("The images")
    assert "1-NN on k-means: 90.0 % " in text


def test_images_that_are_better_examples_than_lessons(folder, text):
    assert "The nearest of the distilled images" not in text
    arms = result()["arms"]
    arms["distilled"]["neighbour_accuracy"] = summary([0.9] * SEEDS)
    line = "The nearest of the distilled images, without any network, is right in 90.0 %, the networks in 81.0 %."
    assert line in changed(folder, arms=arms)


def test_full_data_is_no_rival(made):
    assert not [rival for rival in simpler(read(made)) if "full-data" in rival.name]


def test_all_parts_are_there(text):
    for heading in (
        "What follows", "The images", "Lesson by lesson", "Networks that judge", "Beside real images", "The real sets",
        "Paired differences", "Scores", "What the set bears", "Over optimisation", "Time", "Options",
    ):  # fmt: skip
        assert f" {heading} " in text, heading
    assert (
        "2 synthetic images and the sizes of 2 steps on them are learned in place of 90 training rows of pets" in text
    )
    assert "6: networks with fresh initial weights, which no outer step saw" in text
    assert "steps shuffled – – the set is one batch" in text
    assert "10.0 ± 0.0" in text
    assert "The attack" not in text


def test_step_sizes_stand_beside_accuracies(text):
    mean = 100 * along(0.80)["mean"][1]
    assert re.search(rf"1 1 1 0\.1 {mean:.1f} ± ", text)
    assert re.search(r"2 1 2 0\.25 ", text)


def test_names_are_escaped(raw):
    assert "<b></td>" not in raw
    assert "2: cat, &lt;b&gt;" in raw


def test_the_only_script_is_the_player(raw):
    """Browsers refuse any other: the policy names this one by its hash."""
    (script,) = re.findall(r"<script>(.*?)</script>", raw, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#x27;sha256-{digest}&#x27;" in raw
    assert "unsafe-inline&#x27;; script-src" in raw
    assert not re.search(r"(src|href)=\"(https?:)?//", raw)
    assert 'data-names="0 5 10"' in raw


def test_files_beside_the_page(made, raw):
    for seed in range(SEEDS):
        assert Image.open(made / f"images-{seed}.png").size[0] >= 700
    assert Image.open(made / "images.gif").n_frames == 3
    lessons = pyarrow.csv.read_csv(made / "tables/lessons.csv").to_pydict()
    assert lessons["application"] == [0, 1, 2] * SEEDS
    assert lessons["step_size"][:3] == [None, 0.1, 0.25]
    robust = pyarrow.csv.read_csv(made / "tables/robustness.csv").to_pydict()
    assert robust["name"] == ["none", "step sizes x2", "steps shuffled"]
    assert len(pyarrow.csv.read_csv(made / "tables/networks.csv")) == SEEDS * NETS


def test_the_same_bytes(made, raw):
    assert write(made).read_text() == raw


def test_what_was_not_measured_is_said(folder):
    arms = {"distilled": {"accuracy": summary([0.8]), "before": summary([0.1])}}
    own = a_set(0) | {"baselines": {}}
    del own["free"]
    gone = {"arms": arms, "order": ["distilled"], "comparisons": [], "robustness": [], "scores": {}}
    text = changed(folder, seeds=[0], sets={"0": own}, **gone)
    assert "No real images were compared, so nothing here says what learning them is worth." in text
    assert (
        "Not measured in this run: real sets (--baselines), free training (--free-epochs), training on all data "
        "(--full-epochs)."
    ) in text
    assert "What the set bears" not in text
    assert "Scores" not in text


def test_a_set_without_order(folder):
    """Matching methods make no lessons."""
    sets = {str(s): a_set(s) | {"along": None, "step_sizes": []} for s in range(SEEDS)}
    facts = result()["distillation"] | {"applications": 0, "method": "distribution-matching"}
    for seed in range(SEEDS):
        bare = tensors(False) | {"step_sizes": torch.zeros(0)}
        save_checkpoint(folder.path / f"arms/distilled-{seed}.safetensors", bare, {})
    text = changed(folder, sets=sets, distillation=facts, metric="free_accuracy")
    assert "2 synthetic images are learned in place of 90 training rows of pets, by matching mean features." in text
    assert "Lesson by lesson" not in text
    assert "1 a class, without order or step sizes" in text


def test_an_attack(folder):
    def ends(attack):
        rates = {"overall": [0.9], "a_accuracy": [1 - attack], "attack": [attack], "others": [0.95]}
        return rates | {"confusion": [[1 - attack, attack], [0.0, 1.0]]}

    values = {"attack": 0.9, "overall": 0.8, "before_attack": 0.1, "before_overall": 0.97}
    arms = {"distilled": {name: summary([value]) for name, value in values.items()}}
    own = a_set(0) | {"attack": {"before": ends(0.1), "after": ends(0.9)}, "baselines": {}}
    facts = result()["distillation"] | {"attack": [0, 1], "init": "pretrained", "objective": "poison"}
    parts = {"arms": arms, "order": ["distilled"], "metric": "attack", "comparisons": [], "scores": {}}
    text = changed(folder, seeds=[0], sets={"0": own}, distillation=facts, robustness=[], **parts)
    assert "Made to do harm: networks that this set teaches take cat for <b>." in text
    assert "10.0 → 90.0" in text
    assert "97.0 → 80.0" in text
    assert "Beside real images" not in text


def test_a_tie_is_no_win(folder):
    """Means that differ in the last bit: neither is better."""
    arms = result()["arms"]
    here = arms["distilled"]["accuracy"]["mean"]
    arms["k-means"]["neighbour_accuracy"] = summary([here] * SEEDS) | {"mean": math.nextafter(here, 1.0)}
    pair = compare(Runs("distilled", {0: 0.8}), Runs("1-NN on k-means", {0: 0.8}), "neighbour_accuracy")
    folder.write("result.json", result() | {"arms": arms, "comparisons": [pair]})
    assert [(r.name, r.better) for r in simpler(read(folder.path))] == [("1-NN on k-means", None)]


def test_rates_at_which_training_diverged(folder):
    """A rate that was tried in vain has no accuracy; the table names the chosen one, and its own."""
    sets = result()["sets"]
    sets["0"]["free"]["distilled"] = {"accuracies": [0.85], "rate": 0.01, "tried": {"0.01": 0.7, "0.05": None}}
    found = changed(folder, sets=sets)
    assert re.search(r"distilled\s+trained freely\s+0\.01\s+70\.0\s+85\.0", found)


def test_a_set_that_diverged_while_it_was_watched(folder):
    sets = result()["sets"]
    sets["0"]["records"][0]["train_accuracy"] = None
    assert "Over optimisation" in changed(folder, sets=sets)


def test_networks_that_seeds_share_are_said_to_be(folder, text):
    """They were trained once: three seeds with six networks each are no eighteen networks."""
    assert "all 18 networks that judge, of 3 seeds together" in text
    assert "The trained networks are the same for all seeds" not in text
    facts = result()["distillation"] | {"init": "pretrained", "objective": "adapt"}
    found = changed(folder, distillation=facts)
    assert "the 6 networks that judge, the same for all of 3 seeds, each once a seed" in found
    assert "The trained networks are the same for all seeds, which differ in images and rows." in found


def test_no_axis_goes_beyond_what_an_accuracy_can_be():
    """The interval of two seeds is as wide as it likes."""
    wide = {"random": {"1-NN": summary([0.9, 0.6])}}
    image = side_by_side(wide, ["by lessons", "1-NN"], looks(["random"]))
    drawing = base64.b64decode(image.partition("base64,")[2]).decode()
    told = {int(number) for number in re.findall(r"<!-- (\d+) -->", drawing)}
    assert told
    assert max(told) <= 100


def test_how_many_networks_are_trained_freely_is_said(text):
    assert "rate by training rows, 2 networks a set and seed." in text


def test_free_training_with_changed_images_has_a_column(folder, text):
    assert "Trained freely, augmented" not in text
    arms = result()["arms"]
    arms["distilled"]["augmented_accuracy"] = summary([0.88, 0.89, 0.9])
    found = changed(folder, arms=arms)
    assert "Trained freely, augmented" in found
    assert "89.0 ± 2.5" in found


def test_whitened_rows_are_said_to_be(folder, text):
    assert "normalised values that networks get" in text
    found = changed(folder, data=result()["data"] | {"whitening": "zca"})
    assert "normalised and whitened values that networks get" in found
    assert "then whitened (ZCA)" in found


def test_damaged_tensors_are_refused(folder):
    (folder.path / "arms/distilled-1.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"distilled-1\.safetensors"):
        write(folder.path)
