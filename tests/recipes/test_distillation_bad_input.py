"""Bad input of distillation is one line, and nothing is written."""

import os

import pytest
from torch import nn

from tutelage.cli import main
from tutelage.recipes.distillation import Config, run

from .distillation_runs import FROM_FILE, REVERSED, images, saved_teacher


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path):
    return saved_teacher(tmp_path)


def seven_classes(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))


BAD = [
    (["--temperature", "0"], "--temperature is 0.0; it must be above 0, at most 1000."),
    (["--temperature=-4"], "--temperature is -4.0; it must be above 0"),
    (["--arms", "kd-t2"], 'unknown arm "kd-t2"'),
    (["--arms", ""], "--arms is empty"),
    (["--teacher", "mpl"], 'unknown teacher "mpl"'),
    (["--student", "mpl"], 'unknown student "mpl"'),
    (["--teacher", "tests.recipes.test_distillation_bad_input:seven_classes"],
     "returned (2, 7) for 2 examples, but needs (2, 10), one logit per class. Teacher and student both answer with the "
     "10 classes of digits."),
    (["--teacher-weights", "there-is-none.safetensors"], "there-is-none.safetensors does not exist"),
    (["--ce-weight", "0", "--kd-weight", "0"],
     "--ce-weight and --kd-weight are both 0, which leaves kd nothing to learn from."),
    (["--kd-weight", "0", "--arms", "ensemble"], "--kd-weight 0 makes ensemble the same as scratch; leave it out."),
    (["--lskd-ce-weight", "0", "--lskd-weight", "0", "--arms", "lskd"], "which leaves lskd nothing to learn from."),
    (["--dist-beta", "0", "--dist-gamma", "0", "--arms", "dist"],
     "--dist-beta and --dist-gamma 0 makes dist the same as scratch"),
    (["--hard-threshold", "1", "--arms", "hard-labels"], "--hard-threshold 1 leaves hard-labels nothing to learn"),
    (["--smoothing", "0", "--arms", "label-smoothing"], "--smoothing 0 makes label-smoothing the same as scratch"),
    (["--attention-weight", "0", "--arms", "attention", "--hint-layers", "2:2"],
     "--attention-weight 0 makes attention the same as scratch"),
    *[(["--arms", arm, *more, "--data", "TABLE", "--label", "y", "--classes", "2"], line) for arm, more, line in [
        ("dkd", [], "with two classes there are no others to weigh beside the label's; leave dkd out, or use kd."),
        ("lskd", [], "with two classes standardised logits are always 1 and -1"),
        ("logits", ["--logits-normalise", "zscore"], "with two classes standardised logits are always 1 and -1"),
        ("dist", ["--dist-gamma", "0"], "with two classes correlations within a row are always 1 or -1"),
    ]],
    (["--steps", "5", "--epochs", "2"], "give one of --steps and --epochs"),
    (["--steps", "0"], "--steps is 0; it must be in 1..100000000."),
    (["--train-rows", "1201"], "--train-rows 1201 is larger than the 1200 training rows"),
    (["--batch-size", "101", "--no-replacement"], "--batch-size 101 is larger than the 100 training rows"),
    (["--test", "1"], "--test is 1.0; it is a share of the rows"),
    (["--test", "0.9999"], "1797 rows are too few"),
    (["--pick", "validation"], "--pick validation needs validation rows"),
    (["--augment", "crop-flip", "--data", "TABLE", "--label", "y", "--classes", "2"], "crop-flip needs images"),
    (["--rule", "lion"], 'unknown rule "lion". Known: adam, adamw, sgd.'),
    (["--smoothing", "1.5", "--arms", "label-smoothing"], "--smoothing is 1.5; it must be in 0..1."),
    (["--smoothing", "0.2", "--arms", "kd"],
     "--smoothing is for label-smoothing; nothing in this run looks at it, so leave it out."),
    (["--teacher", "mlp-9", "--arms", "scratch"], "--teacher is for hard-labels, kd"),
    (["--arms", "hints"], '--hint-layers is ""; hints and attention need pairs of layers teacher:student'),
    (["--arms", "hints", "--hint-layers", "2"], '--hint-layers is "2"'),
    (["--arms", "hints", "--hint-layers", "22:2"], 'unknown layer of the teacher\'s network "22"'),
    (["--arms", "hints", "--hint-layers", "2:body"], 'unknown layer of the network "body"'),
    (["--arms", "attention", "--hint-layers", "2:2"], "attention needs features with positions"),
    (["--arms", "noisy", "--noise-sigma", "0"], "makes noisy the same as logits"),
    (["--arms", "noisy", "--noise-stage", "dropout", "--teacher", "mlp-9"], "the networks have no dropout layer"),
    (["--peers", "1", "--arms", "mutual"], "--peers is 1; it must be in 2..100."),
    (["--class-map", "0,1,2"], "--class-map is 0,1,2; it needs each of the 10 classes 0..9 once."),
    (["--cache-mode", "force"], "--cache-mode is for runs with --cache; nothing"),
    (["--cache", "--cache-path", "x"], "--cache-path is for one teacher, but each seed has its own"),
    (["--class-map", REVERSED], "hints, attention with --teacher-weights; nothing in this run looks at it"),
    (["--label", "y"], "--label is for Parquet, csv, TFRecord or Hub data, which digits is not; leave it out."),
    (["--image", "x", "--data", "TABLE", "--label", "y", "--classes", "2"], "--image is for Parquet, TFRecord or Hub"),
    (["--test", "0.3", "--data", "SPLIT", "--label", "y", "--classes", "2"],
     "--test is for data without test rows of its own, but table-train.csv has 20; leave it out."),
    (["--pad", "2"], "--pad is for runs with --augment crop-flip; nothing in this run looks at it"),
    (["--momentum", "0.5"], "--momentum is for runs with --rule sgd and --rates steps, cosine or constant, or hard-"),
    (["--cache", "--cache-mode", "force", "--cache-views", "0", "--data", "IMAGES", "--classes", "2"],
     "crops and flips are drawn anew in each pass, so that answers cannot be kept: give --cache-views 8"),
    (["--cache", "--arms", "kd,hints,noisy,born-again", "--hint-layers", "2:2", "--noise-stage", "inputs",
      "--cache-mode", "force"],
     "--cache-mode force, but no file can answer for hints (it learns from layers inside the teacher); noisy (the "
     "teacher's inputs are disturbed anew in each step); born-again (its teachers are the generations before it, each "
     "of which teaches one student); leave them out of --arms, or use --cache-mode auto."),
    (["--cache", "--arms", "ensemble", "--seeds", "1", "--cache-path", "x", "--cache-mode", "force"],
     "no file can answer for ensemble (--cache-path is the file of one teacher); leave it out of --arms"),
    (["--cache", "--arms", "hints", "--hint-layers", "2:2"], "--cache is for hard-labels, kd"),
    (["--cache", "--arms", "kd", "--cache-views", "2"], "--cache-views is for runs with --cache and --cache-mode auto"),
    (["--cache", "--arms", "kd", "--cache-top-k", "11"], "--cache-top-k is 11, but digits has 10 classes"),
    (["--cache", "--arms", "hard-labels", "--hard-threshold", "0.5", "--cache-top-k", "3"],
     "--hard-threshold needs the teacher's probabilities, all its logits; leave --cache-top-k out."),
    (["--cache", "--seeds", "1", "--cache-path", "."], " is a folder; name a file."),
    (["--cache", "--cache-top-k", "3"], "logits needs all of the teacher's logits"),
    (["--export", "student.pt"], "--export student.pt: a student is written as .safetensors or .onnx."),
    (["--export", "nowhere/student.onnx"], "there is no folder nowhere"),
    (["--export", "s.onnx", "--export-arm", "dkd"], "--export-arm dkd is none of the arms scratch"),
    (["--alpha", "0.5"], "--alpha"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "line"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    if "TABLE" in arguments:
        (tmp_path / "table.csv").write_text("a,b,y\n" + "1.0,2.0,0\n2.0,1.0,1\n" * 200)
    if "SPLIT" in arguments:
        for role in ("train", "test"):
            (tmp_path / f"table-{role}.csv").write_text("a,b,y\n" + "1.0,2.0,0\n2.0,1.0,1\n" * 10)
    files = {"TABLE": "table.csv", "SPLIT": "table-train.csv"}
    given = [images(tmp_path) if a == "IMAGES" else files.get(a, a) for a in arguments]
    assert main(["run", "distillation", "--out", "run", "--device", "cpu", "--threads", "1", *given]) == 2
    told = capsys.readouterr()
    assert line in told.err.replace("\n", "")
    assert told.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit(tmp_path, weights):
    _, path = weights
    with pytest.raises(Exception, match=r"does not fit.*1\.weight") as caught:
        run(Config(**FROM_FILE | {"teacher": "mlp-gelu-25"}, teacher_weights=path), tmp_path / "run")
    assert type(caught.value).__name__ == "DataError"
    assert not (tmp_path / "run").exists()
