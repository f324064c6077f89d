"""The study of MaxGrad in small: what is compared, counted and kept; going on; refusals."""

import copy
import json
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage.checkpoint import load_checkpoint
from tutelage.cli import main
from tutelage.data.image_lists import read_image_list
from tutelage.errors import ConfigError, DataError
from tutelage.recipes import maxgrad
from tutelage.recipes.maxgrad import Config, run
from tutelage.recipes.maxgrad.arms import TEACHERS, arms_of
from tutelage.recipes.maxgrad.concluding import conclusion
from tutelage.recipes.maxgrad.plan import prepare
from tutelage.recipes.maxgrad.students import taught
from tutelage.recipes.selection.summing import sizes
from tutelage.runs import RunFolder
from tutelage.teaching_set_formats import from_image_list
from tutelage.teaching_sets import Picture, Shown, TeachingSet

from .interrupted import Stops, assert_same

SMALL = {
    **{"per_class": 30, "size": 8, "seeds": 3, "teachers": "maxgrad,herding", "steps": 30},
    **{"device": "cpu", "threads": 1},
}


@cache
def finished(base):
    out = base / "maxgrad" / "small"
    return run(Config(**SMALL), out), out


@pytest.fixture
def small(tmp_path_factory):
    return finished(tmp_path_factory.getbasetemp())


def plan(**options):
    return prepare(Config(**SMALL | options), fresh=True)


def test_what_is_compared(small):
    result, _ = small
    names = ["maxgrad (cross-fitted)", "herding (cross-fitted)", "maxgrad (no filter)", "herding (no filter)"]
    assert result["order"] == ["random", *names]
    assert list(result["selection"]["levels"]) == ["0", "0.1"]
    assert result["selection"]["sizes"] == [2, 4, 8]
    assert result["data"]["classes"] == ["3", "4", "5", "8", "9"]
    assert (result["data"]["pool_rows"], result["data"]["test_rows"]) == (120, 30)


def test_numbers_are_those_of_the_pieces(small):
    """Every number of the result by a plain loop over what the pieces left."""
    result, out = small
    for rate, level in result["selection"]["levels"].items():
        pieces = [json.loads((out / f"arms/noise-{rate}-{seed}.json").read_text())["facts"] for seed in range(3)]
        for name in result["order"]:
            own, found = level["arms"][name], [piece["arms"][name] for piece in pieces]
            for n in (2, 4, 8):
                assert own["accuracy"][str(n)]["values"] == [each["accuracy"][n - 1] for each in found]
            assert own["curves"] == [each["accuracy"] for each in found]
            for each, share in zip(found, own["wrong"]["values"]):
                wrong = [g for g, t in zip(each["given"], each["true"]) if g != t]
                assert share == len(wrong) / 8
                assert len(set(each["index"])) == 8
        for c in level["differences"]["8"]:
            a, b = (level["arms"][name]["accuracy"]["8"]["values"] for name in (c["a"], "random"))
            assert c["differences"] == pytest.approx([x - y for x, y in zip(a, b)], abs=1e-12)
        assert level["kept"]["none"] == level["pool"]
        assert sum(level["kept"]["cross-fitted"]) < sum(level["pool"])


def test_wrong_labels_are_those_that_the_noise_put_in(small):
    result, out = small
    levels = result["selection"]["levels"]
    assert levels["0"]["realised"] == [0, 0, 0]
    assert all(0 < share < 0.2 for share in levels["0.1"]["realised"])
    source = plan().material.source
    facts = json.loads((out / "arms/noise-0.1-0.json").read_text())["facts"]["arms"]["random"]
    assert [source.classes[source.y[i]] for i in facts["index"]] == [
        result["data"]["classes"][t] for t in facts["true"]
    ]


def test_eight_tenths_of_what_is_drawn_anew_is_wrong():
    drawn = plan(per_class=None).draw(0, 1.0)
    assert drawn.realised == pytest.approx(0.8, abs=0.04)
    assert float((drawn.pool.y != drawn.true).double().mean()) == drawn.realised


def test_rates_of_noise_share_rows_and_test():
    found = plan()
    clean, noisy = found.draw(1, 0.0), found.draw(1, 0.3)
    assert torch.equal(clean.pool.index, noisy.pool.index)
    assert torch.equal(clean.pool.x, noisy.pool.x)
    assert torch.equal(clean.true, noisy.true)
    assert torch.equal(clean.test_y, noisy.test_y)
    assert not torch.equal(clean.pool.index, found.draw(2, 0.0).pool.index)


def test_what_the_student_had_answered(small):
    """The first answer is that of the student that nobody has taught, worked out here by hand."""
    from tutelage.codewords import centred

    _, out = small
    drawn = plan().draw(0, 0.1)
    x = centred(drawn.pool.x)
    logits = x @ (0.1 * torch.eye(5, 64)).T
    facts = json.loads((out / "arms/noise-0.1-0.json").read_text())["facts"]["arms"]
    for own in facts.values():
        row = int((drawn.pool.index == own["index"][0]).nonzero())
        label = own["given"][0]
        rivals = [float(logits[row, k]) for k in range(5) if k != label]
        assert own["answer"][0] == int(logits[row].argmax())
        assert own["margin"][0] == pytest.approx(float(logits[row, label]) - max(rivals), abs=1e-4)


def test_the_filtered_teacher_shows_kept_rows_only(small):
    from tutelage.pools import Consistent
    from tutelage.recipes.maxgrad.students import taught

    _, out = small
    found = plan()
    pool = taught(found.draw(2, 0.1), found.options, 5, None).drawn.pool
    kept = Consistent(seed=2)(pool, 5)
    allowed = set(pool.index[kept].tolist())
    facts = json.loads((out / "arms/noise-0.1-2.json").read_text())["facts"]["arms"]
    assert set(facts["maxgrad (cross-fitted)"]["index"]) <= allowed
    assert facts["maxgrad (cross-fitted)"]["class_counts"] == torch.bincount(pool.y[kept], minlength=5).tolist()


def test_every_teacher_with_every_filter(tmp_path):
    every = ",".join(TEACHERS)
    options = SMALL | {"teachers": every, "filters": "none,in-sample,cross-fitted", "seeds": 1, "noise": "0.1"}
    result = run(Config(**options), tmp_path / "run")
    assert len(result["order"]) == 1 + 3 * (len(TEACHERS) - 1)
    assert set(result["selection"]["levels"]["0.1"]["kept"]) == {"none", "in-sample", "cross-fitted"}


@pytest.mark.parametrize(("size", "rows", "expected"), [(20, 1, (5, 10, 20)), (1, 1, (1,)), (12, 4, (4, 12))])
def test_sizes_of_the_tables(size, rows, expected):
    assert sizes(size, rows) == expected


def test_random_takes_no_filter():
    assert [arm.name for arm in arms_of(["random", "el2n"], ["none"])] == ["random", "el2n (no filter)"]


def test_several_rows_at_a_time(tmp_path):
    result = run(Config(**SMALL | {"rows": 4, "seeds": 1, "noise": "0"}), tmp_path / "run")
    level = result["selection"]["levels"]["0"]
    assert len(level["arms"]["random"]["curves"][0]) == 2
    assert len(level["sets"]["random"]["index"]) == 8


@pytest.mark.parametrize("after", [1, 30, 90])
def test_a_stopped_run_ends_with_the_same_bytes(after, small, tmp_path):
    _, whole = small
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(Config(**SMALL), out, Stops("noise-0.1", after))
    maxgrad.resume(RunFolder.open(out))
    assert_same(out, whole)
    for path in whole.glob("arms/*.safetensors"):
        assert (out / "arms" / path.name).read_bytes() == path.read_bytes()


def test_a_finished_run_gives_its_result_again(small):
    result, out = small
    again = maxgrad.resume(RunFolder.open(out))
    assert json.dumps(again, sort_keys=True) == json.dumps(json.loads(json.dumps(result)), sort_keys=True)


def test_teaching_sets_are_exported(tmp_path):
    options = SMALL | {"seeds": 1, "export": str(tmp_path / "sets"), "teachers": "maxgrad", "filters": "none"}
    result = run(Config(**options), tmp_path / "run")
    path = tmp_path / "sets/noise-0.1/seed-0/maxgrad-no-filter.json"
    found = TeachingSet.load(path, check_files=False)
    own = result["selection"]["levels"]["0.1"]["sets"]["maxgrad (no filter)"]
    assert list(found.labels) == own["given"]
    assert [item.notes["index"] for item in found.items] == own["index"]
    assert [item.log_score for item in found.items] == own["score"]
    assert found.provenance.options == {"rows": 1, "space": "functional", "pairs": False, "stale": None}
    assert (found.provenance.teacher, found.provenance.filter, found.provenance.seed) == ("maxgrad", None, 0)
    assert not path.with_suffix(".txt").exists()


def test_scores_of_prototypes_are_no_logarithms(tmp_path):
    options = SMALL | {"seeds": 1, "noise": "0", "teachers": "prototypes-then-maxgrad", "filters": "none"}
    run(Config(**options, export=str(tmp_path / "sets")), tmp_path / "run")
    path = tmp_path / "sets/noise-0/seed-0/prototypes-then-maxgrad-no-filter.json"
    items = TeachingSet.load(path, check_files=False).items
    assert [item.log_score is None for item in items] == [True] * 5 + [False] * 3
    assert [item.score is None for item in items] == [False] * 5 + [True] * 3


def test_pairs_are_kept_and_exported(tmp_path):
    """Beside a row stands the nearest row, of those that may be shown, of the class that it is taken for."""
    options = SMALL | {"seeds": 1, "noise": "0", "teachers": "prototypes-then-maxgrad", "pairs": True}
    options |= {"filters": "none", "export": str(tmp_path / "sets")}
    result = run(Config(**options), tmp_path / "run")
    own = result["selection"]["levels"]["0"]["sets"]["prototypes-then-maxgrad (no filter)"]
    assert "counterfactual" not in result["selection"]["levels"]["0"]["sets"]["random"]
    assert own["counterfactual"][:5] == own["counter_class"][:5] == [-1] * 5
    whole = plan(**options | {"export": None})
    drawn = taught(whole.draw(0, 0.0), whole.options, 5, None).drawn
    place = {index: row for row, index in enumerate(drawn.pool.index.tolist())}
    tensors, _ = load_checkpoint(tmp_path / "run/arms/noise-0-0.safetensors")
    for index, label, beside in list(zip(own["index"], own["counter_class"], own["counterfactual"]))[5:]:
        x, y = drawn.pool.x, drawn.pool.y
        distances = [float((x[place[index]] - row).norm()) if y[k] == label else np.inf for k, row in enumerate(x)]
        assert place[beside] == int(np.argmin(distances))
        assert beside in tensors["shown"]
    items = TeachingSet.load(
        tmp_path / "sets/noise-0/seed-0/prototypes-then-maxgrad-no-filter.json", check_files=False
    ).items
    names = result["data"]["classes"]
    assert [item.counterfactual is None for item in items] == [True] * 5 + [False] * 3
    for item, label, beside in list(zip(items, own["counter_class"], own["counterfactual"]))[5:]:
        assert item.notes["counter_class"] == names[label]
        (other,) = whole.material.items([beside])
        assert item.counterfactual == Picture(other.path, other.sha256)


def test_equal_means_are_all_highest(small):
    result, _ = small
    found = copy.deepcopy(result)
    for level in found["selection"]["levels"].values():
        for own in level["arms"].values():
            own["accuracy"]["8"] |= {"mean": 0.5}
    line = next(line for line in conclusion(found) if line.startswith("Highest"))
    assert "without noise, random and maxgrad (cross-fitted) and herding (cross-fitted)" in line
    assert line.count("50.0 %") == 2


@pytest.fixture
def folder(tmp_path):
    """Twelve images a class, dark and bright."""
    generator = np.random.default_rng(0)
    for name, level in (("dark", 40), ("bright", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(12):
            pixels = np.clip(level + generator.normal(0, 20, (6, 6)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{k:02d}.png")
    return tmp_path


FOLDER = {"size": 4, "seeds": 1, "noise": "0", "teachers": "maxgrad", "filters": "none", "device": "cpu", "threads": 1}


def test_an_image_folder_and_its_lists(folder, tmp_path):
    run(Config(**FOLDER, data=str(folder), export=str(tmp_path / "sets")), tmp_path / "run")
    path = tmp_path / "sets/noise-0/seed-0/random.json"
    found = TeachingSet.load(path, root=folder)
    lines = path.with_suffix(".txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == [item.path for item in found.items]
    assert found.classes == ("bright", "dark")
    assert {line.split()[1] for line in lines} <= {"0", "1"}


def test_labels_of_a_list_are_alphabetical_whatever_the_order_of_the_classes(folder, tmp_path):
    options = FOLDER | {"only": "dark,bright", "data": str(folder), "export": str(tmp_path / "sets")}
    result = run(Config(**options), tmp_path / "run")
    assert result["data"]["classes"] == ["dark", "bright"]
    path = tmp_path / "sets/noise-0/seed-0/maxgrad-no-filter.json"
    listed = read_image_list(path.with_suffix(".txt"), ["bright", "dark"])
    assert [image.folder for image in listed.images] == [
        item.label for item in TeachingSet.load(path, root=folder).items
    ]


def test_a_list_of_wrong_labels_is_read_again_as_it_was_told(folder, tmp_path):
    options = FOLDER | {"noise": "0.5", "data": str(folder), "export": str(tmp_path / "sets")}
    run(Config(**options), tmp_path / "run")
    path = tmp_path / "sets/noise-0.5/seed-0/maxgrad-no-filter.json"
    items = TeachingSet.load(path, root=folder).items
    listed = read_image_list(path.with_suffix(".txt"), ["bright", "dark"], told=True)
    told = [item.label for item in items]
    assert [listed.classes[image.label] for image in listed.images] == told
    assert [image.folder for image in listed.images] == [item.notes["true"] for item in items] != told
    assert from_image_list(listed, teacher="maxgrad", folder=folder).items == tuple(
        Shown(item.path, item.label, item.sha256) for item in items
    )


def test_published_lists(folder, tmp_path):
    for role, rows in (("tr", range(8)), ("te", range(8, 12))):
        lines = [f"./x/{c}/{k:02d}.png {label} 0" for label, c in enumerate(("bright", "dark")) for k in rows]
        (tmp_path / f"{role}.txt").write_text("\n".join(lines))
    lists = f"{tmp_path}/tr.txt,{tmp_path}/te.txt"
    result = run(Config(**FOLDER, data=str(folder), lists=lists), tmp_path / "run")
    assert (result["data"]["pool_rows"], result["data"]["test_rows"]) == (16, 8)


REFUSED = [
    ({"folds": 3, "filters": "none"}, "--folds is for cross-fitted; nothing in this run looks at it, so leave it out"),
    ({"quota": 3, "teachers": "random"}, "--quota is for cross-fitted, in-sample; nothing in this run looks at it"),
    ({"space": "head", "teachers": "herding"}, "--space is for maxgrad, prototypes-then-maxgrad; nothing in this run"),
    ({"pairs": True, "teachers": "herding"}, "--pairs is for maxgrad"),
    ({"stale": 4}, "--stale is for networks"),
    ({"stale": 4, "pairs": True, "student": "net"}, "leave out --stale"),
    ({"components": 9}, "--components is for runs with --embedding pca"),
    ({"embedding": "pca", "components": 99}, "--components 99 is more than the 64 that the pool has"),
    ({"embedding": "pca", "student": "net"}, "--embedding is for runs with --student linear"),
    ({"backbone": "frozen"}, "--backbone is for networks, and --student linear is none"),
    ({"before": 3}, "--before is for networks, and --student linear is none"),
    ({"loss": "cross-entropy"}, "--loss is for runs with --backbone fine-tuned and --schedule converged"),
    ({"schedule": "paper", "steps": 9}, "--steps is for runs with --schedule converged"),
    ({"compat": True, "steps": 9}, "--steps is set by --compat; leave one of them out"),
    ({"compat": True, "filters": "none"}, "--filters is set by --compat"),
    ({"size": 0}, "--size is 0; it must be in 1..1000000"),
    ({"size": 9, "rows": 2}, "--size 9 is no multiple of --rows 2"),
    ({"size": 121}, "--size 121 is more than the 120 rows of the pool; ask for fewer"),
    ({"lr": 0.0}, "--lr is 0.0; it must be above 0"),
    ({"noise": "0,2"}, "--noise is 2; it is a share of the labels"),
    ({"noise": "0,0"}, "each rate can come once"),
    ({"teachers": "maxgrat"}, 'unknown teacher "maxgrat".*maxgrad'),
    ({"filters": "crossfitted"}, 'unknown filter "crossfitted".*cross-fitted'),
    ({"only": "3"}, "--only is 3; name two classes or more, each once"),
    ({"only": "3,3,4"}, "--only is 3,3,4; name two classes or more, each once"),
    ({"only": "3,cat"}, 'unknown class "cat"'),
    ({"per_class": 1}, "--per-class is 1; it must be in 2"),
    ({"test": 1.5}, "--test is 1.5; it is a share of the rows"),
    ({"label": "y"}, "--label is for Parquet, csv, TFRecord or Hub data"),
    ({"lists": "a.txt"}, "--lists is a.txt; give the two lists"),
    ({"export": "/no/such/folder/sets"}, "--export /no/such/folder/sets: there is no folder /no/such/folder"),
    ({"student": "net", "only": "0,1,2,3,4,5,6,7,8,9"}, "--student net is trained before on the classes that are not"),
    ({"student": "net", "teachers": "iterative"}, "teacher iterative knows a target for codewords"),
    ({"teachers": "iterative", "rows": 2}, "teacher iterative shows one row at a time"),
    ({"teachers": "prototypes-then-maxgrad", "rows": 2}, "n = 5, but the first teacher shows 2 rows at a time"),
    ({"student": "nett"}, 'unknown student "nett"'),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_refusals(options, message, tmp_path):
    base = {k: v for k, v in SMALL.items() if not (k == "steps" and {"schedule", "compat"} & options.keys())}
    with pytest.raises(ConfigError, match=message) as caught:
        run(Config(**base | options), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_class_with_too_few_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"class 8 has 174 rows, but 175 are needed: leave it out with --only"):
        run(Config(**SMALL | {"per_class": 175}), tmp_path / "out")


def test_the_command_line(tmp_path, capsys):
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in (SMALL | {"seeds": 1}).items()]
    assert main(["run", "maxgrad", *arguments, "--out", str(tmp_path / "run")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "herding (cross-fitted)" in shown
    assert "8 of 120 rows shown" in shown
    assert (tmp_path / "run/report.html").is_file()
