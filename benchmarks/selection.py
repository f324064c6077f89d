"""Selection: the score of a whole pool against loops over its rows, STRICT's step, memory, and a whole course.

    python benchmarks/selection.py [--rounds 9] [--json benchmarks/results/selection-DEVICE.json]

Embeddings are drawn at random. All variants of a row take turns in one process; a ratio is one of medians over rounds.
"loop" visits one row after another and forms its gradient from a tiled matrix of codewords, in numpy, as the published
code does; "autograd" asks PyTorch for the gradient of one row after another, "vmap" for all of them at once.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from common import timed, write_results
from tutelage import SGD, Batch, Student
from tutelage.codewords import centred
from tutelage.hypotheses import targets, tasks
from tutelage.mcboost import log_score, mcboost
from tutelage.memory import peak_bytes
from tutelage.sequences import teaching_set
from tutelage.teachers.select.maxgrad import MaxGrad

POOLS = {
    "10,000 rows, 512 numbers, 5 classes": (10_000, 512, 5),
    "1,544, 512, 5": (1544, 512, 5),
    "568, 512, 3": (568, 512, 3),
}
AT_LEAST = {"loop": 100, "autograd": 200, "vmap": 5}
"""How many times the vectorised score is to be faster, on the largest pool."""


def pool(rows, width, classes, device):
    """Embeddings, labels and codewords, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(rows, width, generator=generator) * 3
    words = torch.randn(classes, width, generator=generator) / width**0.5
    labels = torch.randint(0, classes, (rows,), generator=generator)
    return features.to(device), labels.to(device), words.to(device)


def vectorised(features, labels, words):
    """The score without logarithms."""
    logits = features @ words.T
    weights = ((logits - logits.gather(1, labels[:, None])) / 2).exp().scatter(1, labels[:, None], 0.0)
    pull = (-weights).scatter(1, labels[:, None], weights.sum(1, keepdim=True))
    return ((pull @ (words @ words.T)) * pull).sum(1)


def loop(features, labels, words):
    """One row after another."""
    scores = np.empty(len(features), dtype=np.float32)
    for i, (f, c) in enumerate(zip(features, labels)):
        differences = np.tile(words[c], (len(words), 1)) - words
        weights = np.exp(-0.5 * (differences @ f))
        weights[c] = 0
        scores[i] = np.sum((weights[:, None] * differences).sum(0) ** 2)
    return torch.from_numpy(scores)


def by_autograd(features, labels, words):
    """One row after another, by a graph each."""
    scores = torch.empty(len(features))
    for i in range(len(features)):
        f = features[i : i + 1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(mcboost(f @ words.T, labels[i : i + 1], cap=torch.inf).sum(), f)
        scores[i] = 4 * gradient.square().sum()
    return scores


def by_vmap(features, labels, words):
    """All rows at once, by a graph for all."""
    risk = torch.func.grad(lambda f, c: mcboost((f @ words.T)[None], c[None], cap=torch.inf).sum())
    return 4 * torch.func.vmap(risk)(features, labels).square().sum(1)


def forms_of_score(features, labels, words):
    """Calls of all forms of the score; the log form gives log psi, the others psi."""
    arrays = [t.cpu().numpy() for t in (features, labels, words)]
    return {
        "vectorised": lambda: vectorised(features, labels, words),
        "log form": lambda: log_score(features @ words.T, labels, words),
        "loop": lambda: loop(*arrays),
        "autograd": lambda: by_autograd(features, labels, words),
        "vmap": lambda: by_vmap(features, labels, words),
    }


def compare_pools(options):
    """Milliseconds of each form of the score, for each pool."""
    found = {}
    for what, (rows, width, classes) in POOLS.items():
        features, labels, words = pool(rows, width, classes, options.device)
        truth = vectorised(features.double(), labels, words.double()).log().cpu()
        forms = forms_of_score(features, labels, words)
        for name, call in forms.items():
            error = ((call() if name == "log form" else call().log()).cpu() - truth).abs().max()
            if not error < 1e-3:
                raise SystemExit(f"{name} differs by {float(error):.1e} in log psi")
        times = timed(forms, options.rounds, options.device)
        found[what] = {name: statistics.median(values) for name, values in times.items()}
    return found


def strict_rows(found, steps):
    """The rows that STRICT shows, each the argmin over all rows not shown."""
    shown = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        left = found.log_remaining(shown)
        left[shown] = torch.inf
        shown = torch.cat([shown, left.argmin()[None]])
    return shown.tolist()


def strict_by_loops(likelihoods, errors, steps):
    """The same by three loops, over rows, tasks and hypotheses; likelihoods (C, N, H) and errors (C, H) as lists."""
    weights = [[1 / len(task)] * len(task) for task in errors]
    shown = []
    for _ in range(steps):
        best, least = None, float("inf")
        for n in range(len(likelihoods[0])):
            if n in shown:
                continue
            left = 0.0
            for q, wrong, likely in zip(weights, errors, likelihoods):
                for h in range(len(q)):
                    left += q[h] * wrong[h] * likely[n][h]
            if left < least:
                best, least = n, left
        shown.append(best)
        weights = [[w * p for w, p in zip(q, likely[best])] for q, likely in zip(weights, likelihoods)]
    return shown


def compare_strict(options, steps=20, rows=711, count=100, classes=5):
    """Milliseconds of STRICT's steps, and of one step of the triple loop times their number."""
    generator = torch.Generator().manual_seed(0)
    margins = torch.randn(rows, count, generator=generator, dtype=torch.float64) * 4
    labels = torch.randint(0, classes, (rows,), generator=generator)
    signs = targets(labels, classes)

    def ours():
        return strict_rows(tasks(margins, signs, 0.5), steps)

    found = tasks(margins, signs, 0.5)
    likelihoods = found.log_likelihoods(torch.arange(rows)).exp().tolist()
    if ours()[:2] != strict_by_loops(likelihoods, found.errors.tolist(), 2):
        raise SystemExit("STRICT shows other rows than the triple loop")
    variants = {"ours": ours, "loop": lambda: strict_by_loops(likelihoods, found.errors.tolist(), 1)}
    times = {name: statistics.median(v) for name, v in timed(variants, options.rounds, torch.device("cpu")).items()}
    return times["ours"], steps * times["loop"]


def memory(options):
    """Megabytes at most that the score of the largest pool takes, over those of N K numbers and of N d."""
    rows, width, classes = next(iter(POOLS.values()))
    features, labels, words = pool(rows, width, classes, options.device)
    logits = features @ words.T
    _, most = peak_bytes(lambda: log_score(logits, labels, words), options.device)
    return most / 1e6, most / logits.nbytes, most / features.nbytes


def course(options):
    """Seconds of a whole run of MaxGrad: 20 rows of 1,544 embeddings of 512 numbers, with the filter."""
    features, labels, words = pool(1544, 512, 5, options.device)
    x = centred(features + 4 * words[labels])
    net = torch.nn.Linear(512, 5, bias=False, device=options.device)
    with torch.no_grad():
        net.weight.copy_(0.1 * torch.eye(5, 512))
    batch = Batch(x, labels, torch.arange(len(x), device=options.device))
    student = Student(net, SGD(0.1))
    found = timed({"course": lambda: teaching_set(MaxGrad(), batch, student, 20)}, 3, options.device)
    return statistics.median(found["course"]) / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pools, (ours, by_loops), (mb, per_logit, per_feature), seconds = (
        compare_pools(options), compare_strict(options), memory(options), course(options),
    )  # fmt: skip
    table = Table("pool", *next(iter(pools.values())), title="Milliseconds, and how many times the log form's")
    for what, times in pools.items():
        table.add_row(what, *(f"{ms:.2f} ({ms / times['log form']:.2f})" for ms in times.values()))
    console = Console(width=120)
    console.print(table)
    times = next(iter(pools.values()))
    lines = [(f"{name} / vectorised", times[name] / times["vectorised"], ">=", n) for name, n in AT_LEAST.items()]
    lines += [
        ("log form / vectorised", times["log form"] / times["vectorised"], "<=", 1.25),
        ("STRICT, 20 steps, 5 classes, 100 hypotheses, 711 rows: ms", ours, "<=", 20),
        ("STRICT: triple loop / ours", by_loops / ours, ">=", 50),
        ("memory of the score / that of the logits", per_logit, "<=", 12),
        ("memory of the score / that of the embeddings", per_feature, "<=", 0.25),
        ("seconds of CPU, MaxGrad's 20 of 1,544 rows, 512 numbers", seconds, "<=", 10),
    ]
    table = Table("what", "measured", "target", "")
    for what, value, sign, wanted in lines:
        met = value >= wanted if sign == ">=" else value <= wanted
        table.add_row(what, f"{value:.2f}", f"{sign} {wanted}", "ok" if met else "MISSED")
    console.print(table)
    if options.json:
        fields = ("what", "measured", "sign", "target")
        write_results(
            options.json,
            options.device,
            threads=options.threads,
            milliseconds=pools,
            megabytes_of_score=mb,
            figures=[dict(zip(fields, line)) for line in lines],
        )


if __name__ == "__main__":
    main()
