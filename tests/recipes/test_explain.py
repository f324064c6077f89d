"""The study of learners with hypotheses in small: numbers against plain loops; going on; refusals; the command."""

import json
from functools import cache

import pytest
import torch

from tutelage.cli import main
from tutelage.errors import ConfigError, ShapeError
from tutelage.recipes import explain
from tutelage.recipes.explain import Config, run
from tutelage.recipes.explain.arms import TEACHERS
from tutelage.recipes.explain.concluding import conclusion
from tutelage.recipes.explain.course import opened
from tutelage.recipes.explain.plan import prepare
from tutelage.runs import RunFolder

from .interrupted import Stops, assert_same

SMALL = {
    **{"per_class": 30, "size": 8, "seeds": 3, "teachers": "strict,explain-dense", "number": 30, "learners": 20},
    **{"hypotheses": "rand"},
    **{"only": "3,4,5", "noise": "0,0.3", "device": "cpu", "threads": 1},
}


@cache
def finished(base):
    out = base / "explain" / "small"
    return run(Config(**SMALL), out), out


@pytest.fixture
def small(tmp_path_factory):
    return finished(tmp_path_factory.getbasetemp())


def plan(**options):
    return prepare(Config(**SMALL | options), fresh=True)


def test_what_is_compared(small):
    result, _ = small
    assert result["order"] == ["random", "strict", "explain-dense"]
    assert result["selection"]["sizes"] == [2, 4, 8]
    assert result["selection"]["hypotheses"] == 30
    assert (result["data"]["pool_rows"], result["data"]["test_rows"]) == (72, 18)
    assert (result["config"]["features"], result["config"]["explain"], result["config"]["net"]) == (
        *("pixels", "none"),
        None,
    )


def test_numbers_are_those_of_the_pieces(small):
    """Every number of the result by a plain loop over what the pieces left."""
    result, out = small
    for rate, level in result["selection"]["levels"].items():
        pieces = [json.loads((out / f"arms/noise-{rate}-{seed}.json").read_text())["facts"] for seed in range(3)]
        for name in result["order"]:
            own, found = level["arms"][name], [piece["arms"][name] for piece in pieces]
            for metric in ("error", "accuracy", "posterior", "entropy"):
                assert own["curves"][metric] == [each[metric] for each in found]
                for n in (2, 4, 8):
                    assert own[metric][str(n)]["values"] == [each[metric][n] for each in found]
            for each in found:
                assert len(set(each["index"])) == len(each["score"]) == 8
        for key, metric, sign in (("differences", "accuracy", 1), ("error_differences", "error", -1)):
            for c in level[key]["8"]:
                a, b = (level["arms"][name][metric]["8"]["values"] for name in (c["a"], "random"))
                assert c["differences"] == pytest.approx([sign * (x - y) for x, y in zip(a, b)], abs=1e-12)
        assert [c["a"] for c in level["from_strict"]["error"]] == ["explain-dense"]


def test_what_learners_are_left_with_by_a_plain_loop(small):
    """Expected error and entropy of one arm, hypothesis by hypothesis; labels as given, errors on right test labels."""
    _, out = small
    found, seed, rate = plan(), 1, 0.3
    drawn = found.draw(seed, rate)
    facts = json.loads((out / f"arms/noise-{rate}-{seed}.json").read_text())["facts"]["arms"]["strict"]
    own = opened(drawn, None, found.options, 3)
    margins = own.hypotheses.margins(own.drawn.pool.x).tolist()
    tests = own.hypotheses.margins(own.drawn.test_x).tolist()
    place = {index: row for row, index in enumerate(drawn.pool.index.tolist())}
    for shown in (0, 3, 8):
        errors, bits = [], []
        for c in range(3):
            q = [1.0] * 30
            for index in facts["index"][:shown]:
                row = place[index]
                positive = int(drawn.pool.y[row]) == c
                for h in range(30):
                    if (margins[row][h] > 0) != positive:
                        q[h] *= 1 / (1 + 2.718281828459045 ** (0.5 * abs(margins[row][h])))
            total = sum(q)
            wrong = [
                sum((t[h] > 0) != (int(y) == c) for t, y in zip(tests, drawn.test_y)) / len(tests) for h in range(30)
            ]
            errors.append(sum(a * b for a, b in zip(q, wrong)) / total)
            bits.append(-sum(a / total * torch.tensor(a / total).double().log2().item() for a in q if a > 0))
        assert facts["error"][shown] == pytest.approx(sum(errors) / 3, abs=1e-9)
        assert facts["entropy"][shown] == pytest.approx(sum(bits) / 3, abs=1e-6)


def test_strict_shows_the_argmin_of_what_is_left(small):
    """Its first row by a plain loop over rows, tasks and hypotheses."""
    _, out = small
    found = plan()
    own = opened(found.draw(0, 0.0), None, found.options, 3)
    pool = own.drawn.pool
    margins = own.hypotheses.margins(pool.x).tolist()
    kept, labels = own.kept.nonzero().squeeze(1).tolist(), pool.y.tolist()
    errors = [
        [sum((margins[r][h] > 0) != (labels[r] == c) for r in kept) / len(kept) for h in range(30)] for c in range(3)
    ]
    left = {}
    for row in kept:
        total = 0.0
        for c in range(3):
            for h in range(30):
                right = (margins[row][h] > 0) == (labels[row] == c)
                total += (
                    errors[c][h] * (1 if right else 1 / (1 + 2.718281828459045 ** (0.5 * abs(margins[row][h])))) / 30
                )
        left[int(pool.index[row])] = total
    facts = json.loads((out / "arms/noise-0-0.json").read_text())["facts"]["arms"]["strict"]
    assert facts["index"][0] == min(left, key=left.get)


def test_all_teachers_choose_what_the_filter_leaves(tmp_path):
    options = SMALL | {"per_class": 90, "noise": "0.6", "seeds": 1, "teachers": "strict,maxgrad,prototypes,balanced"}
    result = run(Config(**options), tmp_path / "run")
    found = plan(**options)
    own = opened(found.draw(0, 0.6), None, found.options, 3)
    allowed = set(own.drawn.pool.index[own.kept].tolist())
    level = result["selection"]["levels"]["0.6"]
    assert sum(level["kept"]) == len(allowed) < len(own.kept) == sum(level["pool"])
    for arm in level["sets"].values():
        assert set(arm["index"]) <= allowed


def test_the_best_hypotheses_are_those_of_least_error(small):
    _, out = small
    found = plan()
    own = opened(found.draw(0, 0.0), None, found.options, 3)
    pool, test = (
        own.hypotheses.tasks(x, y, 3).errors
        for x, y in ((own.drawn.pool.x, own.drawn.pool.y), (own.drawn.test_x, own.drawn.test_y))
    )
    best = json.loads((out / "arms/noise-0-0.json").read_text())["facts"]["best"]
    assert best["error"] == pytest.approx(float(test[torch.arange(3), pool.argmin(1)].mean()), abs=1e-12)


def test_nothing_hangs_on_which_arms_there_are(small, tmp_path):
    result, _ = small
    others = run(Config(**SMALL | {"teachers": "maxgrad,prototypes,strict,balanced", "noise": "0.3"}), tmp_path / "run")
    assert others["order"] == ["random", "balanced", "strict", "prototypes", "maxgrad"]
    for name in ("random", "strict"):
        a, b = (r["selection"]["levels"]["0.3"]["arms"][name] for r in (result, others))
        assert a == b


def test_several_rows_at_a_time(tmp_path):
    result = run(Config(**SMALL | {"rows": 4, "seeds": 1, "noise": "0", "filter": "none"}), tmp_path / "run")
    level = result["selection"]["levels"]["0"]
    assert result["selection"]["sizes"] == [4, 8]
    assert len(level["arms"]["strict"]["curves"]["error"][0]) == 3
    assert len(level["sets"]["strict"]["undecided"]) == 8
    assert level["kept"] == level["pool"]


@pytest.mark.parametrize("after", [1, 20, 60])
def test_a_stopped_run_ends_with_the_same_bytes(after, small, tmp_path):
    _, whole = small
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(Config(**SMALL), out, Stops("noise-0.3", after))
    explain.resume(RunFolder.open(out))
    assert_same(out, whole)
    for path in whole.glob("arms/*.safetensors"):
        assert (out / "arms" / path.name).read_bytes() == path.read_bytes()


def told(result, **verdicts):
    """The conclusion of a result with other verdicts from strict."""
    changed = json.loads(json.dumps(result))
    for level in changed["selection"]["levels"].values():
        for c in level["from_strict"]["accuracy"]:
            c["verdict"] = verdicts[c["a"].replace("-", "_")]
    return " ".join(conclusion(changed))


def test_explain_is_never_called_better_than_strict(small):
    result, _ = small
    for verdict in ("better", "worse", "equivalent", "not shown", "identical", "numbers only"):
        words = told(result, explain_dense=verdict)
        assert "better than strict" not in words
        assert "neither for nor against" in words
    assert "says nothing of other data" in told(result, explain_dense="better")
    assert "no difference from strict shown" in told(result, explain_dense="not shown")


REFUSED = [
    ({"teachers": "explain"}, "teacher explain ranks by how compact explanations are: give --explain cam"),
    ({"teachers": "strikt"}, 'unknown teacher "strikt".*strict'),
    ({"size": 9, "rows": 2}, "--size 9 is no multiple of --rows 2"),
    ({"size": 73}, "--size 73 is more than the 72 rows of the pool"),
    (
        {"size": 216, "per_class": 90, "noise": "0.6"},
        r"--size 216 is more than the \d+ of 216 rows that may be shown; ask for fewer, or give --filter",
    ),
    (
        {"number": 11, "hypotheses": "cluster_rand"},
        "--number 11 is fewer than the 12 hypotheses that cluster_rand learns from 3 classes",
    ),
    ({"number": 2}, "--number 2 is fewer than the 3 hypotheses that rand learns"),
    ({"hypotheses": "cluster"}, "--number is for runs with --hypotheses cluster_rand, rand or sparse"),
    ({"alpha": 0.0}, "--alpha is 0.0; it must be above 0"),
    ({"sigma_d": -1.0}, "--sigma-d is -1.0; it must be in 0"),
    ({"sigma_d": 2.0, "teachers": "strict"}, "--sigma-d is for explain-dense, explain; nothing in this run looks"),
    ({"sigma_e": 2.0}, "--sigma-e is for explain; nothing in this run looks at it"),
    ({"dist_scale": "raw", "teachers": "strict"}, "--dist-scale is for explain-dense, explain"),
    ({"net": "cue-net"}, "--net is for runs with --features net, or runs with --explain cam or occlusion"),
    ({"epochs": 3}, "--epochs is for runs with --features net"),
    ({"learners": 0}, "--learners is 0; it must be in 1"),
    ({"noise": "2"}, "--noise is 2; it is a share of the labels"),
    ({"only": "3"}, "--only is 3; name two classes or more"),
    ({"features": "net", "net": "nett"}, 'unknown student "nett"'),
    ({"features": "net", "net": "mlp"}, "class_activation: the network has no nn.Conv2d"),
    ({"export": "/no/such/folder/sets"}, "--export /no/such/folder/sets: there is no folder /no/such/folder"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_refusals(options, message, tmp_path):
    with pytest.raises((ConfigError, ShapeError), match=message) as caught:
        run(Config(**SMALL | options), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_rows_that_are_no_images_have_no_explanations(tmp_path):
    table = tmp_path / "rows.csv"
    lines = [f"{k % 7},{k % 5},{'ab'[k % 2]}" for k in range(40)]
    table.write_text("\n".join(["first,second,label", *lines]))
    base = {"data": str(table), "size": 4, "device": "cpu", "threads": 1}
    for option in ({"explain": "cam"}, {"export": str(tmp_path / "sets")}):
        with pytest.raises(ConfigError, match=f"--{next(iter(option))} needs grey or colour images, but a row has"):
            run(Config(**base | option), tmp_path / "out")


def test_every_teacher_has_a_line():
    assert set(explain.ABOUT) == set(TEACHERS)
    assert all(line.endswith(".") for line in explain.ABOUT.values())


def test_the_command_line(tmp_path, capsys):
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in (SMALL | {"seeds": 1}).items()]
    assert main(["run", "explain", *arguments, "--out", str(tmp_path / "run")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "explain-dense" in shown
    assert "8 of 72 rows shown" in shown
    assert (tmp_path / "run/report.html").is_file()
