"""Fit the mentors that come with the package, and write src/tutelage/mentors/shipped/NAME.safetensors.

Of five seeds the one with the smallest mean error over the whole grid is kept, as was settled beforehand: a
written curriculum is known everywhere, and some seeds miss a small part of it, such as the ramp at the end of the
mixture. On one machine the same version gives the same bytes. Some minutes on one core:
``python scripts/fit_shipped.py``.
"""

from pathlib import Path

import torch

import tutelage
from tutelage import curricula
from tutelage.mentors import (
    SHIPPED,
    FitReport,
    Mentor,
    MentorNetwork,
    Rows,
    Settings,
    fit_curriculum,
    grid,
    save_mentor,
)

FOLDER = Path(tutelage.__file__).parent / "mentors" / "shipped"
SEEDS = range(5)
STEPS = 10_000
GAMMA = {"spcl_linear": 1.0, "focal": 2.0}
WITHOUT_DECAY = ("spcl_linear", "hard")  # as published: their threshold is the percentile of the batch itself


@torch.no_grad()
def error(network: MentorNetwork, rows: Rows) -> float:
    """Return the mean absolute error of the weights."""
    return float((network(rows.loss, rows.difference, rows.percent).sigmoid() - rows.target).abs().mean())


def best(name: str) -> tuple[int, MentorNetwork, FitReport]:
    """Fit a curriculum with all seeds; return the best one."""
    v = getattr(curricula, name)
    rows = grid(v)
    fits = [(seed, *fit_curriculum(v, seed=seed, steps=STEPS)) for seed in SEEDS]
    return min(fits, key=lambda fit: error(fit[1], rows))


def main() -> None:
    """Fit all, and say how well each fits its held-out rows."""
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for name in SHIPPED:
        seed, network, report = best(name)
        source = {"curriculum": name, "recipe": "ours", "steps": STEPS, "seed": seed, "of_seeds": len(SEEDS)}
        if name in GAMMA:
            source["gamma"] = GAMMA[name]
        settings = Settings(
            decay=0.0 if name in WITHOUT_DECAY else 0.5, burn_in=0, fixed_time=False, origin=report.origin(**source)
        )
        save_mentor(Mentor(network, settings), FOLDER / f"{name}.safetensors")
        print(
            f"{name:12} seed {seed}: mean absolute error {report.mean_absolute_error:.5f}, agreement "
            f"{report.agreement:.4f}, worst percent {report.worst_percent_error:.4f}, {report.seconds:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
