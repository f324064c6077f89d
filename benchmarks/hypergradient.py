"""Hypergradients: our strategies against plain functional_call and autograd.grad, and how their memory grows.

    python benchmarks/hypergradient.py [--rounds 7] [--json benchmarks/results/hypergradient-DEVICE.json]

A meta-step is K heavy-ball steps on batches of 64, a validation loss, and its gradient in the start and in 64 weight
logits. All variants of a row take turns in one process; a ratio is the median over rounds of process time (on a GPU:
of time). Memory is the running maximum of the profiler's allocation events (on a GPU: of the allocator), which is
deterministic. The gradients of all exact variants are compared before a time is printed. TorchOpt and higher take
part if they can be imported. Below, ten steps of training with the teachers that use it, on the digits, against ten
plain ones.
"""

import argparse
import importlib
import itertools
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from common import agree, as_facts, print_ratios, timed, write_results
from tutelage import SGD, Lesson, Student, train
from tutelage.allocator import keep_freed_memory
from tutelage.data import Augmentation, Normalise, Pipeline, load
from tutelage.hypergradient import ConjugateGradient, Neumann, OneStep, Recompute, Reversible, Truncated, Unrolled
from tutelage.losses import cross_entropy
from tutelage.memory import peak_bytes
from tutelage.nets import build
from tutelage.randomness import seeded
from tutelage.teachers import DeepInteractions, DynamicLoss, LearningToReweight, MetaWeightNet, Uniform

LR, MOMENTUM = 0.05, 0.9


def mlp(*sizes, activation=nn.ReLU):
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


def cnn():
    first, second = (nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in ((1, 16), (16, 32)))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 10))


NETS = {
    "MLP 784-256-256-10": (lambda: mlp(784, 256, 256, 10), (784,), torch.float32),
    "CNN 16-32-fc 28x28": (cnn, (1, 28, 28), torch.float32),
    "MLP 64-128-128-10": (lambda: mlp(64, 128, 128, 10, activation=nn.Tanh), (64,), torch.float64),
}
TARGETS = {  # (time, memory), ratios to plain
    "Unrolled": (1.15, 1.10),
    "Recompute(1)": (1.5, None),
    "CNN, K = 20: Recompute(1)": (1.4, 0.25),
    "CNN, K = 1: jvp": (1.0, 0.75),
    "CNN, K = 1: fd": (0.9, 0.75),
    "MLP, K = 1: jvp": (1.4, 1.5),
    "MLP, K = 1: fd": (1.5, 1.6),
    "sqrt, K = 100": (2.2, 0.25),
}


class MetaStep:
    """One problem, and the variants that solve it: functions without arguments that return (loss, gradients)."""

    def __init__(self, name, steps, device):
        build, shape, dtype = NETS[name]
        with seeded(0):
            self.net = build().to(device, dtype)
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(steps + 1, 64, *shape, generator=generator, dtype=dtype).to(device)
        labels = torch.randint(10, (steps + 1, 64), generator=generator).to(device)
        *self.x, self.x_valid = rows
        *self.y, self.y_valid = labels
        self.logits = torch.zeros(64, dtype=dtype, device=device, requires_grad=True)
        self.student = Student(self.net, SGD(LR, MOMENTUM))

    def ours(self, strategy, start=True):
        def call():
            weight = torch.sigmoid(self.logits)
            lessons = [Lesson(x, y, weight, cross_entropy) for x, y in zip(self.x, self.y)]
            student = self.student.at({})  # without the pass of the call before
            wrt = [self.logits, *(student.params.values() if start else ())]
            return strategy(student, lessons, self.validated, wrt)

        return call

    def validated(self, student):
        return cross_entropy(student.logits(self.x_valid), self.y_valid).mean()

    def plain(self, start=True):
        def call():
            params, v = dict(self.student.params), None
            weight = torch.sigmoid(self.logits)
            for x, y in zip(self.x, self.y):
                losses = F.cross_entropy(functional_call(self.net, params, x), y, reduction="none")
                grads = torch.autograd.grad((weight * losses).mean(), list(params.values()), create_graph=True)
                v = grads if v is None else [MOMENTUM * m + g for m, g in zip(v, grads)]
                params = {n: p - LR * d for (n, p), d in zip(params.items(), v)}
            loss = F.cross_entropy(functional_call(self.net, params, self.x_valid), self.y_valid)
            wrt = [self.logits, *(self.student.params.values() if start else ())]
            return loss.detach(), torch.autograd.grad(loss, wrt)

        return call

    def higher(self):
        import higher

        optimiser = torch.optim.SGD(self.net.parameters(), LR, MOMENTUM)

        def call():
            with higher.innerloop_ctx(self.net, optimiser, copy_initial_weights=False) as (net, inner):
                weight = torch.sigmoid(self.logits)
                for x, y in zip(self.x, self.y):
                    inner.step((weight * F.cross_entropy(net(x), y, reduction="none")).mean())
                loss = F.cross_entropy(net(self.x_valid), self.y_valid)
                return loss.detach(), torch.autograd.grad(loss, [self.logits, *self.net.parameters()])

        return call

    def torchopt(self):
        import torchopt

        start = {n: p.detach().clone().requires_grad_() for n, p in self.net.named_parameters()}

        def call():
            params, weight = tuple(start.values()), torch.sigmoid(self.logits)
            optimiser = torchopt.FuncOptimizer(torchopt.sgd(LR, momentum=MOMENTUM))
            for x, y in zip(self.x, self.y):
                losses = F.cross_entropy(functional_call(self.net, dict(zip(start, params)), x), y, reduction="none")
                params = optimiser.step((weight * losses).mean(), params)
            loss = F.cross_entropy(functional_call(self.net, dict(zip(start, params)), self.x_valid), self.y_valid)
            return loss.detach(), torch.autograd.grad(loss, [self.logits, *start.values()])

        return call


def peak(call, device):
    """Most megabytes held at a time, beyond what was there before."""
    return peak_bytes(call, device)[1] / 1e6


def compare(title, variants, targets, rounds, device):
    """Rows: what, time ratio, its target, memory ratio, its target, ms and MB; ratios to the first variant."""
    times, rows = timed(variants, rounds, device), []
    memory = {name: peak(call, device) for name, call in variants.items()}
    base = next(iter(variants))
    for name, values in times.items():
        ratio = statistics.median(v / b for v, b in zip(values, times[base]))
        target = targets.get(name, (None, None))
        row = (f"{title}: {name}", ratio, target[0], memory[name] / memory[base], target[1])
        rows.append((*row, statistics.median(values), memory[name]))
    return rows


def importable(library):
    try:
        importlib.import_module(library)
    except ImportError:
        return False
    return True


def against_plain(rounds, device):
    rows = []
    for name in ("MLP 784-256-256-10", "CNN 16-32-fc 28x28"):
        short = name[:3]
        for steps in (1, 5, 20):
            meta = MetaStep(name, steps, device)
            few = min(rounds, 5) if short == "CNN" and steps > 1 else rounds
            variants = {"plain": meta.plain(), "Unrolled": meta.ours(Unrolled())}
            if steps > 1:
                variants["Recompute(1)"] = meta.ours(Recompute(1))
            for library in ("higher", "torchopt"):
                if importable(library):
                    variants[library] = getattr(meta, library)()
            targets = TARGETS | {"Recompute(1)": TARGETS.get(f"{short}, K = {steps}: Recompute(1)", (1.5, None))}
            agree(variants, 1e-4)
            rows += compare(f"{short}, K = {steps}", variants, targets, few, device)
            if steps == 1:
                # the gradient in the weights alone: one step in closed form does not reach the start
                variants = {"Unrolled, weights only": meta.ours(Unrolled(), start=False)}
                variants |= {how: meta.ours(OneStep(how), start=False) for how in ("jvp", "fd")}
                variants |= {"plain, weights only": meta.plain(start=False)}
                agree(variants, 2e-2)
                targets = {how: TARGETS[f"{short}, K = 1: {how}"] for how in ("jvp", "fd")}
                rows += compare(f"{short}, K = 1", variants, targets, rounds, device)
    return rows


def growth(rounds, device):
    rows = []
    for steps in (5, 20, 100):
        meta = MetaStep("MLP 64-128-128-10", steps, device)
        exact = {"plain": meta.plain(), "Unrolled": meta.ours(Unrolled())}
        exact |= {"Recompute(1)": meta.ours(Recompute(1)), "sqrt": meta.ours(Recompute("sqrt"))}
        exact |= {"Reversible": meta.ours(Reversible())}
        agree(exact, 1e-10)
        targets = TARGETS | ({"sqrt": TARGETS["sqrt, K = 100"]} if steps == 100 else {})
        variants = exact | {"Truncated(5)": meta.ours(Truncated(5))}
        rows += compare(f"growth, K = {steps}", variants, targets, min(rounds, 5), device)
    meta = MetaStep("MLP 64-128-128-10", 1, device)
    strategies = {
        "fd": OneStep("fd"),
        "CG-10": ConjugateGradient(10, damping=1.0),
        "Neumann-10": Neumann(0.01, 10),
    }
    variants = {name: meta.ours(strategy, start=False) for name, strategy in strategies.items()}
    variants = {"plain": meta.plain(start=False)} | variants
    return rows + compare("any K", variants, {}, rounds, device)


def training(rounds, device):
    """Ten steps of training a small network on the digits: plain, and with each teacher that looks ahead."""
    digits = load("digits").train
    rows = torch.arange(1131).numpy()
    scaling = Augmentation(Normalise.fit(digits, rows, "pixel"))
    pipe = Pipeline.from_source(digits, index=rows, seed=0).shuffle().batch(64, drop_remainder=True).augment(scaling)
    batches = list(pipe.repeat().batches(20, device=device))
    held_out = Pipeline.from_source(digits, index=torch.arange(1131, 1257).numpy(), seed=0).batch(126).augment(scaling)
    validation = next(held_out.batches(device=device))
    deep = {"features": 128, "seed": 0}
    teachers = {
        "plain": Uniform(),
        "deep, K = B = 5": DeepInteractions("deep", **deep),
        "deep, K = B = 5, back": DeepInteractions("deep", window="back", **deep),
        "bilinear, K = B = 5": DeepInteractions("bilinear", **deep),
        "surface, K = B = 5": DeepInteractions("surface", seed=0),
        "Meta-Weight-Net, K = B = 5": MetaWeightNet(steps=5, every=5),
        "dynamic loss, K = B = 5": DynamicLoss(10),
        "deep, K = B = 1": DeepInteractions("deep", steps=1, every=1, **deep),
        "Meta-Weight-Net, K = B = 1": MetaWeightNet(),
        "L2RW, double backward": LearningToReweight(validation, how="backward"),
        "L2RW, jvp": LearningToReweight(validation, how="jvp"),
    }

    def ten_steps(teacher):
        student = Student(build("mlp-128-128", (1, 8, 8), 10).to(device), SGD(0.1, 0.9, weight_decay=1e-4))
        run = train(student, teacher.to(device), itertools.cycle(batches), validation)
        return lambda: [next(run) for _ in range(10)]

    variants = {name: ten_steps(teacher) for name, teacher in teachers.items()}
    targets = {name: (5.0 if name.startswith("L2RW") else 6.0, None) for name in teachers if name != "plain"}
    return compare("ten steps", variants, targets, 3 * rounds, device)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    device = torch.device(options.device)
    rows = against_plain(options.rounds, device) + growth(options.rounds, device) + training(options.rounds, device)
    print_ratios("variant", "ratios to the first row", rows)
    if options.json:
        write_results(options.json, device, threads=options.threads, rows=as_facts("what", rows))


if __name__ == "__main__":
    main()
