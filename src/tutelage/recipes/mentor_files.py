"""Where runs keep their mentors, and finding one by what a user calls it."""

import re
from pathlib import Path

from ..checkpoint import load_checkpoint
from ..errors import DataError
from ..mentors import SHIPPED, Dump, Mentor, load_mentor, shipped
from ..runs import RunFolder
from .dumping import dump_of

_FILE = re.compile(r"mentornet-dd-seed(\d+)\.safetensors")


def mentor_file(seed: int) -> str:
    """Return where a run keeps the mentor of a seed, within its folder."""
    return f"mentors/mentornet-dd-seed{seed}.safetensors"


def find_mentor(name: str, *, seed: int | None = None) -> Mentor:
    """Return a mentor by the name of one that comes along, by its file, or by the folder of a run.

    Args:
        name: a name of :data:`tutelage.mentors.SHIPPED`, a file, or a folder of ``tutelage run mentornet``.
        seed: whose mentor of a folder; one that has no mentor there gets those that are there in turn. None: the first.

    Raises:
        DataError: if there is no such mentor, or the file is damaged.
    """
    if name in SHIPPED:
        return shipped(name)
    path = Path(name)
    if not path.is_dir():
        if not path.exists():
            raise DataError(f'no mentor "{name}": neither a file, nor a run, nor one of {", ".join(SHIPPED)}.')
        return load_mentor(path)
    levels = sorted(folder.name for folder in path.glob("noise-*") if (folder / "mentors").is_dir())
    if levels:
        raise DataError(f"{path} is a run over several rates of noise; name one of its folders: {', '.join(levels)}.")
    found = {int(m[1]): p for p in (path / "mentors").glob("*") if (m := _FILE.fullmatch(p.name))}
    if not found:
        raise DataError(f"{path} has no mentors; it is no finished run of mentornet with the arm mentornet-dd.")
    seeds = sorted(found)
    chosen = seeds[0] if seed is None else seed if seed in found else seeds[seed % len(seeds)]
    return load_mentor(found[chosen])


def dump_of_run(path: Path, seed: int | None = None) -> Dump:
    """Return the losses of the trusted rows that a run of mentornet kept of its plain training.

    Args:
        path: the run folder.
        seed: one of its seeds; None: the first.

    Raises:
        CheckpointError: if it is no run folder, or damaged.
        DataError: if it kept no losses, or has no such seed.
    """
    seeds = RunFolder.open(path).read("config.json")["config"]
    first, count = int(seeds["first_seed"]), int(seeds["seeds"])
    chosen = first if seed is None else seed
    if not first <= chosen < first + count:
        raise DataError(f"{path} has the seeds {first} to {first + count - 1}, not {chosen}.")
    file = path / "arms" / "uniform.safetensors"
    tensors = load_checkpoint(file)[0] if file.is_file() else {}
    if "dump_loss" not in tensors:
        raise DataError(
            f"{path} kept no losses of trusted rows; run mentornet with the arm mentornet-dd and --mentor fit."
        )
    return dump_of(tensors, chosen - first, f"trusted rows of {path.name}, seed {chosen}")
