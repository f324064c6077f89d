"""Learners who look at a network's features: how it is trained, what it explains, and teaching sets as files."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage.errors import NotConverged
from tutelage.explain_teach import Experiment
from tutelage.explanations import class_activation, entropy_scores
from tutelage.recipes import explain
from tutelage.recipes.explain import Config, run
from tutelage.recipes.explain.explaining import Network, check_learned
from tutelage.recipes.explain.plan import prepare
from tutelage.runs import RunFolder
from tutelage.student import Student
from tutelage.teaching_sets import TeachingSet

from .interrupted import Stops

OPTIONS = {
    **{"features": "net", "epochs": 25, "size": 6, "seeds": 2, "number": 30, "learners": 20, "noise": "0"},
    **{"hypotheses": "rand"},
    **{"teachers": "strict,explain", "device": "cpu", "threads": 1},
}
ROWS, SIDE = 30, 12


def drawn_folder(path):
    """Images with a bright bar that lies or stands, or a square, somewhere; their files by class."""
    generator = np.random.default_rng(0)
    for name, (high, wide) in (("lying", (2, 6)), ("square", (4, 4)), ("standing", (6, 2))):
        (path / "images" / name).mkdir(parents=True)
        for k in range(ROWS):
            pixels = generator.normal(40, 8, (SIDE, SIDE))
            top, left = (generator.integers(1, SIDE - size) for size in (high, wide))
            pixels[top : top + high, left : left + wide] = 220
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path / "images" / name / f"{k:02d}.png")
    return path


@cache
def finished(base):
    folder = drawn_folder(base / "explained" / "data")
    options = OPTIONS | {"data": str(folder), "export": str(base / "explained" / "sets")}
    return run(Config(**options), base / "explained" / "run"), options, base / "explained"


@pytest.fixture
def explained(tmp_path_factory):
    return finished(tmp_path_factory.getbasetemp())


def planned(options):
    """The plan of a run that was done: its export is there already."""
    return prepare(Config(**options | {"export": None}), fresh=True)


def pieces(out, stage, seed):
    from tutelage.checkpoint import load_checkpoint

    return load_checkpoint(out / "run" / f"arms/{stage}-{seed}.safetensors")[0]


def test_small_rows_are_pixels_and_larger_ones_features():
    assert prepare(Config(threads=1), fresh=True).options.features == "pixels"
    assert prepare(Config(threads=1, explain="cam"), fresh=True).options.teachers.split(",")[4] == "explain"


def test_what_is_chosen_if_nothing_is_said(explained):
    _, options, _ = explained
    given = {name: value for name, value in options.items() if name not in ("features", "teachers", "epochs", "export")}
    found = prepare(Config(**given | {"resize": 20}), fresh=True).options
    assert (found.features, found.net, found.epochs, found.explain) == ("net", "cue-net", 40, "cam")


def test_difficulties_are_those_of_the_explanations(explained):
    """Those that explain ranked by, computed here from the network that the run left."""
    result, options, out = explained
    plan = planned(options)
    for seed in (0, 1):
        tensors, pool = pieces(out, "network-0", seed), plan.draw(seed, 0.0).pool
        net = plan.network(seed)
        net.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("net.")})
        right = net.eval()(pool.x).argmax(1) == pool.y
        expected = entropy_scores(class_activation(net, pool.x, pool.y), right, pool.y)
        assert torch.allclose(tensors["difficulty"], expected, atol=1e-6)
        facts = json.loads((out / f"run/arms/noise-0-{seed}.json").read_text())["facts"]["arms"]["explain"]
        place = {index: row for row, index in enumerate(pool.index.tolist())}
        assert facts["plainness"] == pytest.approx([float(expected[place[i]]) for i in facts["index"]], abs=1e-6)
    assert result["selection"]["levels"]["0"]["network"]["pool_accuracy"]["mean"] > 0.5


def test_hypotheses_look_at_the_features_of_that_network(explained):
    _, options, out = explained
    plan = planned(options)
    from tutelage.recipes.explain.course import opened
    from tutelage.rules import SGD

    drawn = plan.draw(0, 0.0)
    net = plan.network(0)
    net.load_state_dict({n[4:]: v for n, v in pieces(out, "network-0", 0).items() if n.startswith("net.")})
    student = Student(net, SGD(1.0))
    found = opened(drawn, lambda x: student.embed(x)[0], plan.options, 3)
    assert found.hypotheses.weights.shape == (30, 65)
    facts = json.loads((out / "run/arms/noise-0-0.json").read_text())["facts"]
    errors = found.hypotheses.tasks(found.drawn.test_x, found.drawn.test_y, 3).errors
    assert facts["arms"]["random"]["error"][0] == pytest.approx(float(errors.mean()), abs=1e-6)


def test_explanations_change_what_is_shown_and_their_weight_counts(explained, tmp_path):
    result, options, _ = explained
    own = result["selection"]["levels"]["0"]["sets"]["explain"]["index"]
    options = options | {"export": None, "seeds": 1, "teachers": "explain,explain-dense"}
    heavy = run(Config(**options, sigma_e=50.0), tmp_path / "heavy")["selection"]["levels"]["0"]["sets"]
    assert heavy["explain"]["index"] != own
    assert np.mean(heavy["explain"]["plainness"]) < np.mean(heavy["explain-dense"]["plainness"])


def test_the_network_sees_the_pool_alone(explained):
    """Other test rows, the same network."""
    from tutelage.recipes.explain.explaining import trained

    _, options, out = explained
    plan = planned(options)
    pool = plan.draw(1, 0.0).pool
    again = trained(plan.network(1), pool, epochs=25, seed=1, advance=lambda: None).net.state_dict()
    for name, value in again.items():
        assert torch.equal(value, pieces(out, "network-0", 1)[f"net.{name}"])


def test_a_network_that_learned_nothing_is_refused(explained):
    _, options, _ = explained
    plan = planned(options)
    pool, net = plan.draw(0, 0.0).pool, plan.network(0)
    for p in net.parameters():
        torch.nn.init.zeros_(p)
    with pytest.raises(
        NotConverged, match=r"no more than a guess of the commonest class \(\d+ %\): take more --epochs"
    ):
        check_learned(Network(net), pool, 3)


def test_occlusion(explained, tmp_path):
    _, options, _ = explained
    changed = options | {"export": None, "seeds": 1, "explain": "occlusion", "net": "cnn"}
    result = run(Config(**changed), tmp_path / "run")
    plain = result["selection"]["levels"]["0"]["sets"]["explain"]["plainness"]
    assert all(0 <= value <= 1 for value in plain)
    assert len(set(plain)) > 1


def test_a_stopped_run_ends_with_the_same_bytes(explained, tmp_path):
    """Stopped in the second network."""
    _, options, whole = explained
    options = options | {"export": str(tmp_path / "sets")}
    with pytest.raises(KeyboardInterrupt):
        run(Config(**options), tmp_path / "run", Stops("network-0", 30))
    explain.resume(RunFolder.open(tmp_path / "run"))
    for path in (whole / "run/arms").glob("*.safetensors"):
        assert (tmp_path / "run/arms" / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (whole / "run/metrics.jsonl").read_bytes()
    for path in (p for p in (whole / "sets").rglob("*") if p.is_file() and p.name != "settings.json"):
        assert (tmp_path / "sets" / path.relative_to(whole / "sets")).read_bytes() == path.read_bytes(), path


def test_teaching_sets_can_be_played(explained):
    """They hold what the first seed showed, with files that are there and are those of the data."""
    result, options, out = explained
    folder, material = out / "sets", planned(options).material
    for name in result["order"]:
        own = result["selection"]["levels"]["0"]["sets"][name]
        found = TeachingSet.load(folder / f"{name}.json")
        assert list(found.labels) == own["given"]
        assert [item.score for item in found.items] == own["score"]
        for item, index, after in zip(found.items, own["index"], own["error"][1:]):
            assert item.sha256 == material.images.items[index].sha256
            assert item.notes["index"] == index
            assert f"{100 * after:.1f} % after; explanation difficulty" in item.reason
            assert (folder / item.explanation.path).is_file()
            assert item.explanation.path == item.path.replace("images/", "explanations/")
        lines = (folder / f"{name}.txt").read_text().splitlines()
        assert [line.split()[0] for line in lines] == [f"./{item.path}" for item in found.items]


def test_explanations_are_darker_images(explained):
    _, _, out = explained
    found = TeachingSet.load(out / "sets/explain.json")
    for item in found.items:
        image, other = (
            np.asarray(Image.open(out / "sets" / p)).astype(int) for p in (item.path, item.explanation.path)
        )
        assert image.shape == other.shape == (SIDE, SIDE)
        assert (other <= image).all()
        assert (other < image).any()


def test_test_items_are_of_the_test(explained):
    _, options, out = explained
    drawn = planned(options).draw(0, 0.0)
    known = {row.numpy().tobytes(): int(label) for row, label in zip(drawn.test_x, drawn.test_y)}
    found = TeachingSet.load(out / "sets/strict.json")
    assert len(found.test) == len(known)
    for item in found.test:
        pixels = np.array(Image.open(out / "sets" / item.path))
        assert found.classes[known[(torch.from_numpy(pixels)[None].float() / 255).numpy().tobytes()]] == item.label


def test_test_items_are_the_files_of_the_data(explained, tmp_path):
    """Also where a run brings them to another size, and where lists name them."""
    _, options, out = explained
    files = {item.sha256 for item in planned(options).material.images.items}
    assert {item.sha256 for item in TeachingSet.load(out / "sets/strict.json").test} <= files
    folder = out / "data"
    for role, rows in (("tr", range(20)), ("te", range(20, 30))):
        lines = [f"./x/{c}/{k:02d}.png {i} 0" for i, c in enumerate(("lying", "square", "standing")) for k in rows]
        (tmp_path / f"{role}.txt").write_text("\n".join(lines))
    given = options | {"lists": f"{tmp_path}/tr.txt,{tmp_path}/te.txt", "resize": 8, "seeds": 1}
    given |= {"export": str(tmp_path / "sets"), "features": "pixels", "epochs": None, "filter": "none"}
    run(Config(**given | {"teachers": "strict"}), tmp_path / "run")
    found = TeachingSet.load(tmp_path / "sets/strict.json").test
    assert len(found) == 30
    for item in found:
        original = folder / "images" / item.label / item.path.rpartition("test-")[2]
        assert (tmp_path / "sets" / item.path).read_bytes() == original.read_bytes()
        assert int(original.stem) >= 20


def test_the_experiment_of_explain_teach(explained):
    _, _, out = explained
    found = Experiment.read(out / "sets")
    assert set(found.strategies) == {"strict", "explain"}
    own = TeachingSet.load(out / "sets/explain.json")
    shown = [found.images[i].image_url for i in found.strategies["explain"].im_ids]
    assert shown == [item.path for item in own.items]


def test_wrong_labels_lie_in_the_folder_of_what_is_told(tmp_path):
    options = OPTIONS | {"data": str(drawn_folder(tmp_path / "data")), "features": "pixels", "epochs": None}
    options |= {"noise": "0,0.6", "seeds": 1, "filter": "none", "teachers": "strict", "export": str(tmp_path / "sets")}
    result = run(Config(**options), tmp_path / "run")
    own = result["selection"]["levels"]["0.6"]["sets"]["random"]
    classes = result["data"]["classes"]
    found = TeachingSet.load(tmp_path / "sets/noise-0.6/random.json")
    assert [item.notes["true"] for item in found.items] == [classes[t] for t in own["true"]]
    assert any(given != true for given, true in zip(own["given"], own["true"]))
    for item in found.items:
        assert item.path.startswith(f"images/{item.label}/")
        assert item.explanation is None


def test_rows_of_arrays_are_written_as_images(tmp_path):
    options = {"per_class": 20, "only": "3,4", "size": 4, "seeds": 1, "number": 20, "teachers": "strict"}
    options |= {"device": "cpu", "threads": 1, "learners": 5, "export": str(tmp_path / "sets")}
    result = run(Config(**options), tmp_path / "run")
    source = planned(options).material.source
    found = TeachingSet.load(tmp_path / "sets/strict.json")
    for item, index in zip(found.items, result["selection"]["levels"]["0"]["sets"]["strict"]["index"]):
        pixels = np.array(Image.open(tmp_path / "sets" / item.path))
        assert np.array_equal(pixels, np.rint(source.x[index][0] / 16 * 255).astype(np.uint8))
    assert len(found.test) == 8


@pytest.mark.parametrize("suffix", ["json", "strat"])
def test_a_classroom_takes_them(suffix, explained, tmp_path):
    from tutelage.classroom.new import NewArm, new_experiment

    _, _, out = explained
    arms = [NewArm(name, out / "sets" / f"{name}.{suffix}") for name in ("strict", "explain")]
    made = new_experiment(tmp_path / "room", arms, out / "sets", "I agree.", title="Bars", planned_n=3)
    assert [arm.name for arm in made.arms] == ["strict", "explain"]
