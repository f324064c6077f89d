"""What recipes in which networks teach networks keep for their pages, and that pages are made of what they wrote."""

import pytest
import torch

from tutelage.checkpoint import load_checkpoint, without_prefix
from tutelage.data import load
from tutelage.data.view_names import BANKS, named_views, view_name
from tutelage.data.views import Shift, Warp
from tutelage.evaluation import summary
from tutelage.nets import build
from tutelage.recipes import data_distillation, distillation
from tutelage.recipes.assistant.telling import lines
from tutelage.recipes.distilling.summing import _lines
from tutelage.report import write
from tutelage.runs import RunFolder
from tutelage.statistics import Runs, compare, power_warning, table, told

SMALL = {"seeds": 2, "steps": 12, "batch_size": 16, "evaluations": 3, "device": "cpu", "threads": 1}
NETS = {"teacher": "mlp-gelu-24-dropout-0.3", "student": "mlp-gelu-8", "teacher_batch": 16}


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    path = tmp_path_factory.mktemp("distilled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_CACHE", str(path / "cache"))
        config = distillation.Config(**SMALL | NETS, arms="scratch,kd", cache=True, cache_mode="force")
        return distillation.run(config, path / "run"), path / "run"


@pytest.fixture(scope="module")
def viewed(tmp_path_factory):
    out = tmp_path_factory.mktemp("viewed") / "run"
    config = data_distillation.Config(**SMALL, student="mlp-gelu-8", arms="supervised,views-hard")
    return data_distillation.run(config, out), out


def answers(out, stage, name):
    """Positions, labels and logits of the first seed's test rows, by the network that a stage left."""
    source = load("digits").train
    tested = torch.randperm(1797, generator=torch.Generator().manual_seed(1000))[:597]
    tensors, _ = load_checkpoint(out / f"arms/{stage}.safetensors")
    net = build(name, (1, 8, 8), 10, seed=9).eval()
    net.load_state_dict(without_prefix("network.0.0", tensors))
    with torch.no_grad():
        return tested, torch.from_numpy(source.y)[tested], net(torch.from_numpy(source.x)[tested].float() / 16).double()


def test_the_example_of_a_confused_pair_is_the_one_nearest_to_a_mistake(distilled):
    """Of all test rows of the class, not only of those that are kept."""
    result, out = distilled
    tensors, facts = load_checkpoint(out / "dark_knowledge.safetensors")
    tested, y, z = answers(out, "teacher", NETS["teacher"])
    p = torch.softmax(z, 1)
    pairs = result["distillation"]["dark_knowledge"]["confused"]
    means = {(a, b): float(p[y == a, b].mean()) for a in range(10) for b in range(10) if a != b}
    most = sorted(means, key=means.get, reverse=True)[:10]
    assert [(pair["class"], pair["taken_for"]) for pair in pairs] == most
    assert [pair["probability"] for pair in pairs] == pytest.approx([means[pair] for pair in most], rel=1e-4)
    rows = [max((y == a).nonzero().squeeze(1).tolist(), key=lambda row, b=b: p[row, b]) for a, b in most]
    assert tensors["confused.index"].tolist() == tested[rows].tolist()
    assert tensors["confused.label"].tolist() == [a for a, _ in most]
    assert torch.equal(tensors["confused.image"], torch.from_numpy(load("digits").train.x[tested[rows].numpy()]))
    soft = torch.softmax(z[rows] / facts["temperature"], 1).float()
    torch.testing.assert_close(tensors["confused.teacher"], soft, rtol=1e-4, atol=1e-6)


def test_soft_answers_are_right_ones_and_apart_those_of_two_minds(distilled):
    result, out = distilled
    tensors, facts = load_checkpoint(out / "dark_knowledge.safetensors")
    tested, y, z_t = answers(out, "teacher", NETS["teacher"])
    z_s = answers(out, "kd", NETS["student"])[2]
    sure = torch.softmax(z_t / facts["temperature"], 1).amax(1)
    right = [row for row in range(597) if z_t[row].argmax() == y[row]]
    assert tensors["soft.index"].tolist() == tested[sorted(right, key=lambda row: sure[row])[:12]].tolist()
    apart = [row for row in range(597) if z_t[row].argmax() != z_s[row].argmax()]
    assert tensors["apart.index"].tolist() == tested[apart[:12]].tolist()
    assert result["distillation"]["dark_knowledge"]["disagreements"] == len(apart)
    assert torch.equal(tensors["apart.label"], y[apart[:12]])


def test_networks_are_counted_and_files_measured(distilled):
    result, _ = distilled
    assert result["stages"]["kd"]["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    facts = result["distillation"]["caches"]["seed 1, teacher"]
    assert (facts["rows"], facts["views"], facts["classes"], facts["storage"]) == (100, 1, 10, "float16")
    assert facts["bytes"] > 100 * 10 * 2
    assert facts["file"].endswith(f"{facts['fingerprint'][:32]}.logits")


def test_who_has_seen_more(distilled, tmp_path):
    result, _ = distilled
    assert result["conclusion"]["lines"][1] == (
        "the teacher learned from 1,200 labelled rows, the students from 100 of them: a gain may be for the most part "
        "what it knows from the other 1,100, not the way of teaching; with --train-rows 1200 both learn from the same."
    )
    config = distillation.Config(**SMALL | NETS | {"seeds": 1}, arms="kd", train_rows=1200)
    assert not any("rows" in line for line in distillation.run(config, tmp_path / "run")["conclusion"]["lines"])


def test_labels_by_confidence(viewed):
    result, out = viewed
    for end in RunFolder.open(out).read("arms/views-hard.json")["ends"]:
        right, wrong = sum(end["right_by_confidence"]), sum(end["wrong_by_confidence"])
        assert right + wrong == result["data_distillation"]["other_rows"]
        assert right / (right + wrong) == pytest.approx(end["label_accuracy"])


def test_views_of_rows_without_a_label(viewed):
    _, out = viewed
    tensors, facts = load_checkpoint(out / "views.safetensors")
    source, bank = load("digits").train, named_views(",".join(facts["views"]))
    index = tensors["index"].numpy()
    assert bank == BANKS["digits"]
    assert torch.equal(tensors["view.0"], torch.from_numpy(source.x[index]).float())
    assert torch.allclose(tensors["view.3"], bank[3].apply(tensors["view.0"]))
    assert (source.y[index] == tensors["label"].numpy()).all()
    assert torch.allclose(tensors["p"].mean(1), tensors["mean"])
    against = (tensors["p"].argmax(2) != tensors["mean"].argmax(1, keepdim=True)).sum(1).tolist()
    assert against == sorted(against, reverse=True)


def test_pages_of_what_was_written(distilled, viewed):
    for (result, out), words in ((distilled, "Soft targets"), (viewed, "of the views of an example")):
        text = write(out).read_text()
        assert words in text
        accuracy = next(iter(result["arms"].values()))["accuracy"]
        assert f"{100 * accuracy['mean']:.2f} ± {100 * accuracy['ci95']:.2f}" in text


@pytest.mark.parametrize("bank", BANKS.values(), ids=BANKS)
def test_names_of_views_make_them_again(bank):
    assert named_views(",".join(map(view_name, bank))) == bank


def test_names_of_other_views():
    assert view_name(Shift(1, 2)) == "Shift(dy=1, dx=2)"
    assert view_name(Warp(12.0, 0.6)) == "Warp(degrees=12.0, dy=0.6, dx=0.0)"
    assert list(map(view_name, named_views("upside-down+scale0.75,y-0.6"))) == ["upside-down+scale0.75", "y-0.6"]


def paired(a, b, other="scratch"):
    return compare(Runs("kd", dict(enumerate(a))), Runs(other, dict(enumerate(b))), "accuracy")


def test_the_first_line_says_how_much_better_and_does_not_say_more():
    better = paired([0.9, 0.91, 0.92], [0.8, 0.8, 0.81])
    assert _lines([better])[0] == "against scratch, better: kd (+10.7 ± 1.4 points, above it on 3 of 3 seeds)."
    unclear = paired([0.9, 0.8, 0.7], [0.8, 0.8, 0.8]) | {"a": "hints"}
    worse = paired([0.8, 0.8, 0.81], [0.9, 0.91, 0.92])
    assert _lines([unclear, worse])[0] == (
        "against scratch, worse: kd (−10.7 ± 1.4 points, below it on 3 of 3 seeds); not shown: hints."
    )


def test_a_difference_that_only_the_table_does_not_show_says_so():
    alone = paired([0.83, 0.84, 0.82], [0.80, 0.80, 0.80])
    unclear = paired([0.9, 0.8, 0.7], [0.8, 0.81, 0.8])
    assert alone["verdict"] == "better"
    assert "Holm" not in told(alone)
    several = table([alone, unclear, unclear])
    assert several[0]["verdict"] == "not shown"
    assert told(several[0]).endswith("above 0 on 3 of 3 seeds, Holm's p over the table 0.11): not shown")


def test_no_number_of_seeds_shows_a_difference_of_rounding():
    found = paired([0.81, 0.80, 0.83], [0.80, 0.83, 0.81])
    assert abs(found["mean_difference"]) < 1e-15
    assert found["seeds_needed"] is None
    assert power_warning(found) is None
    tiny = paired([0.81, 0.80, 0.8301], [0.80, 0.83, 0.81])
    assert "more than 10,000 are needed" in power_warning(tiny)


def test_chains_are_judged_first():
    hop = {"name": "4", "accuracy": summary([0.8, 0.9])}
    direct = {"arm": "direct", "path": [], "hops": [hop], "difference": None, "verdict": None}
    worth = {"mean_difference": -0.005, "ci95": 0.01}
    chain = {"arm": "via-16", "path": ["16"], "hops": [hop, hop], "difference": worth, "verdict": "not shown"}
    facts = {"teacher": {"name": "64", "accuracy": summary([0.9])}, "paths": [direct, chain], "planned": None}
    assert lines(facts) == [
        "assistants against direct distillation, not shown: via-16 (−0.50 ± 1.00 points).",
        "64 90.00 → 4 85.00 → 4 85.00 % (via-16): −0.50 points against direct: not shown.",
        "64 90.00 → 4 85.00 % (direct).",
    ]
    assert lines(facts | {"paths": [direct]}) == ["64 90.00 → 4 85.00 % (direct)."]
