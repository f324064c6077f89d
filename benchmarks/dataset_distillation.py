"""Dataset distillation: the engines against a loop over networks in the published style, and the memory of both modes.

    python benchmarks/dataset_distillation.py [--rounds 9] [--compile] [--json benchmarks/results/NAME-DEVICE.json]

An outer step is K initial weights, T gradient steps on 10 images each, the loss of B real rows, and its derivatives in
images and step sizes. The published style keeps each network's weights as one flat tensor, cuts the graph at every
step, and goes back by one Hessian-vector product a step. All variants of a row take turns in one process and their
gradients are compared first; a ratio is the median over rounds of process time (on a GPU: of time), below 1 is faster.
Memory is what the peak of a fresh process grows by over an outer step with T = 30, Recompute against the tape.
"""

import argparse
import gc
import statistics
import subprocess
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import nn

from common import agree, timed, write_results
from tutelage import SGD, Batch, Student
from tutelage.allocator import keep_freed_memory
from tutelage.functional import FunctionalNet
from tutelage.hypergradient import Recompute, Unrolled
from tutelage.nets import convnet, lenet, mlp
from tutelage.nets.initial import Scaled
from tutelage.starts import Fresh
from tutelage.teachers import DatasetDistillation

CLASSES = 10


def small_conv():
    """Two blocks of (conv 3x3 of 16 channels, ReLU, average pool 2), then a linear layer: 8x8 images."""
    blocks = (nn.Sequential(nn.Conv2d(c, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)) for c in (1, 16))
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(64, CLASSES))


NETS = {
    "MLP": (lambda: mlp((64,), CLASSES, widths=(128,)), (64,)),
    "conv 8x8": (small_conv, (1, 8, 8)),
    "ConvNet 8x8": (lambda: convnet((1, 8, 8), CLASSES, depth=2, width=32), (1, 8, 8)),
    "LeNet": (lambda: lenet((1, 28, 28), CLASSES), (1, 28, 28)),
}
ROWS = [  # network, B, K, T, most time of the best engine
    ("MLP", 128, 16, 1, None),
    ("MLP", 128, 16, 3, 1 / 3),
    ("MLP", 128, 16, 10, None),
    ("MLP", 512, 8, 3, None),
    ("MLP", 512, 16, 3, None),
    ("conv 8x8", 256, 16, 1, None),
    ("conv 8x8", 256, 16, 3, None),
    ("conv 8x8", 256, 16, 10, None),
    ("conv 8x8", 512, 16, 3, None),
    ("conv 8x8", 512, 16, 10, None),
    ("ConvNet 8x8", 256, 8, 3, None),
    ("LeNet", 256, 4, 1, None),
    ("LeNet", 256, 4, 3, None),
    ("LeNet", 256, 4, 10, None),
]
AT_MOST = 1 / 0.95
"""Of the published style's time, for the engine that is chosen by default, and for the loop with convolutions.

With a small perceptron the loop loses: the published style's flat weights take one operation where ours take one a
parameter. It is never chosen there.
"""
MEMORY = {"MLP": (16, 0.55), "conv 8x8": (8, 0.3), "LeNet": (4, 0.3)}
"""Networks, run together, and the most memory of Recompute against the tape."""


class OuterStep:
    """One problem, and the variants that solve it: functions without arguments that return (loss, gradients)."""

    def __init__(self, name, rows, nets, steps, device):
        build, shape = NETS[name]
        self.net = build().to(device)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(rows, *shape, generator=generator)
        y = torch.arange(rows) % CLASSES  # no class without a row
        self.real = Batch(x.to(device), y.to(device), torch.arange(rows, device=device))
        self.images = torch.randn(steps, CLASSES, *shape, generator=generator).to(device)
        self.labels = torch.arange(CLASSES, device=device)
        self.starts, self.nets, self.steps = Fresh(self.net, Scaled()), nets, steps

    def ours(self, engine, strategy=None):
        teacher = DatasetDistillation(
            self.images,
            self.labels,
            step_size=0.1,
            starts=self.starts,
            nets=self.nets,
            real_batch=None,
            engine=engine,
            hypergradient=strategy,
        )
        student = Student(self.net, SGD(0.1))
        return lambda: teacher.gradients(student, self.real)

    def published(self):
        call = FunctionalNet(self.net)
        like = dict(self.net.named_parameters())
        counts = [p.numel() for p in like.values()]
        x, y, device = self.real.x, self.real.y, self.images.device
        sizes = torch.full((self.steps,), 0.1, device=device)

        def loss(flat, rows, targets):
            pieces = {name: piece.view_as(like[name]) for name, piece in zip(like, flat.split(counts))}
            return F.cross_entropy(call(pieces, rows)[0], targets)

        def one(flat):
            """Equations of the adjoint recursion, for one network."""
            passed = []
            for image, size in zip(self.images, sizes):
                flat, image = flat.detach().requires_grad_(), image.detach().requires_grad_()
                (slope,) = torch.autograd.grad(loss(flat, image, self.labels), flat, create_graph=True)
                passed.append((flat, image, size, slope))
                flat = flat.detach() - size * slope.detach()
            flat.requires_grad_()
            value = loss(flat, x, y)
            (adjoint,) = torch.autograd.grad(value, flat)
            to_images, to_sizes = [], []
            for flat, image, size, slope in reversed(passed):
                to_sizes.append(-torch.dot(adjoint, slope.detach()))
                pulled, to_image = torch.autograd.grad(slope, [flat, image], -size * adjoint)
                to_images.append(to_image)
                adjoint = adjoint + pulled
            return value.detach(), torch.stack(to_images[::-1]), torch.stack(to_sizes[::-1])

        def all_of_them():
            drawn = self.starts.draw(0, self.nets)
            found = [one(torch.cat([v[k].flatten() for v in drawn.values()]).to(device)) for k in range(self.nets)]
            value, images, steps = (torch.stack(parts).mean(0) for parts in zip(*found))
            return value, [images, steps]

        return all_of_them


def compare(name, rows, nets, steps, options):
    """Milliseconds of the published style, and the ratios of all variants to it."""
    problem = OuterStep(name, rows, nets, steps, options.device)
    variants = {"published": problem.published(), "loop": problem.ours("loop"), "vmap": problem.ours("vmap")}
    if name == "MLP":
        variants["hand"] = problem.ours("hand")
    variants["auto"] = problem.ours("auto")
    variants["recompute"] = problem.ours("auto", Recompute())
    if options.compile:
        variants["compiled"] = problem.ours("compile")
    agree(variants, 1e-2, 1e-4)  # in single precision, one ReLU that rounding turns makes 1e-3
    times = timed(variants, options.rounds, options.device)
    ratios = {
        variant: statistics.median(v / b for v, b in zip(values, times["published"]))
        for variant, values in times.items()
    }
    against = statistics.median(v / b for v, b in zip(times["recompute"], times["auto"]))
    return statistics.median(times["published"]), ratios, against


def growth(name, strategy):
    """Bytes by which the peak of a fresh process grows over an outer step with T = 30, beyond one with T = 1."""
    command = [sys.executable, __file__, "--grow", name, strategy]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def grow(name, strategy):
    """Print what :func:`growth` reads."""
    nets, _ = MEMORY[name]
    device = torch.device("cpu")
    kind = {"tape": Unrolled, "recompute": Recompute}[strategy]
    engine = "hand" if name == "MLP" else "vmap"
    OuterStep(name, CLASSES, nets, 1, device).ours(engine, kind())()  # what is made once
    call = OuterStep(name, CLASSES, nets, 30, device).ours(engine, kind())
    gc.collect()
    before = peak_of_process()
    call()
    print(peak_of_process() - before)


def peak_of_process():
    """Most bytes that this process ever held; resource.getrusage would begin with those of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def print_speed(found):
    names = ["loop", "vmap", "hand", "auto", "recompute", "compiled"]
    shown = [name for name in names if any(name in ratios for _, _, ratios, _, _ in found)]
    table = Table("network, B, K, T", "published ms", *shown, "", "recompute / tape", "", title="time, ratios")
    for what, ms, ratios, against, wanted in found:
        judged = ("auto",) if what.startswith("MLP") else ("auto", "loop")
        missed = [name for name in judged if ratios[name] > AT_MOST]
        if wanted is not None and ratios["auto"] > wanted:
            missed.append(f"auto <= {wanted:.2f}")
        values = [f"{ratios[name]:.2f}" if name in ratios else "" for name in shown]
        verdict = "MISSED " + ", ".join(missed) if missed else "ok"
        table.add_row(what, f"{ms:.1f}", *values, verdict, f"{against:.2f}", "ok" if against <= 2 else "MISSED <= 2")
    Console(width=150).print(table)


def print_memory(found):
    table = Table("network, K; T = 30", "tape MB", "recompute MB", "ratio", "target", "", title="growth of peak memory")
    for what, tape, again, most in found:
        verdict = "ok" if again <= most * tape else "MISSED"
        table.add_row(
            what, f"{tape / 1e6:.1f}", f"{again / 1e6:.1f}", f"{again / max(1, tape):.2f}", f"<= {most}", verdict
        )
    Console(width=120).print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--compile", action="store_true", help="compile an outer step, too; half a minute a row")
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--grow", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.grow:
        return grow(*options.grow)
    keep_freed_memory()
    speed = []
    for name, rows, nets, steps, wanted in ROWS:
        what = f"{name}, {rows}, {nets}, {steps}"
        if options.only in what:
            speed.append((what, *compare(name, rows, nets, steps, options), wanted))
    memory = [(f"{name}, {nets}", growth(name, "tape"), growth(name, "recompute"), most)
              for name, (nets, most) in MEMORY.items() if options.only in name]  # fmt: skip
    print_speed(speed)
    print_memory(memory)
    if options.json:
        fields = ("what", "published_ms", "ratios", "recompute_to_tape", "target")
        write_results(
            options.json,
            options.device,
            threads=options.threads,
            speed=[dict(zip(fields, row)) for row in speed],
            memory=[dict(zip(("what", "tape", "recompute", "target"), row)) for row in memory],
        )


if __name__ == "__main__":
    main()
