"""The command ``tutelage make``: draw a simulated data set into a folder, as published sets lie in theirs."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch

from .data.butterflies import butterflies
from .data.glyphs import glyphs
from .data.simulated import CuedImages
from .display import console
from .errors import ConfigError, DataError
from .explanations import blurred, save_explanations, save_png

_SETS: Mapping[str, Callable[..., CuedImages]] = {"glyphs-sim": glyphs, "butterflies-sim": butterflies}
_BLUR = 1 / 32
"""Standard deviation of the blur of a mask that makes an explanation, as a share of the image's side."""
_CHUNK = 64

_out = console()


def make(
    name: Literal["glyphs-sim", "butterflies-sim"],
    folder: Path,
    /,
    *,
    seed: int = 0,
    per_class: int | None = None,
    size: int | None = None,
) -> None:
    """Draw a simulated data set into a new folder.

    It holds images/CLASS/HASH.png, explanations/ (bright where the class shows) and masks/ (white there) of the same
    names, and NAME_gt_tr.txt and NAME_gt_te.txt, the training and the test part: path, label and number of each file.

    Parameters
    ----------
    name
        glyphs-sim: characters told apart by a radical; butterflies-sim: butterflies, three of them much alike.
    folder
        Where to; must not exist, or be empty.
    seed
        Of all that is drawn.
    per_class
        Images of each class; default: 237 glyphs, 386 butterflies.
    size
        Side of an image in pixels; default: 48 and 144.
    """
    _check_empty(folder)
    options = {"per_class": per_class, "size": size}
    drawn = _SETS[name](seed, **{option: value for option, value in options.items() if value is not None})
    files = [_file(drawn, row) for row in range(len(drawn))]
    _write_images(drawn, folder, files)
    for part, rows in zip(("tr", "te"), drawn.parts()):
        lines = [f"./datasets/{name}/images/{files[row]} {drawn.y[row]} {place}" for place, row in enumerate(rows)]
        _write(folder / f"{name}_gt_{part}.txt", "\n".join(lines) + "\n")
    train, test = (len(rows) for rows in drawn.parts())
    _out.print(
        f"{folder}: {len(drawn):,} images, {train:,} to train and {test:,} to test", soft_wrap=True, markup=False
    )


def _check_empty(folder: Path) -> None:
    try:
        free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be used ({error.strerror}); give another folder.") from error
    if not free:
        raise ConfigError(f"{folder} exists and is not an empty folder; give another, or remove it.")


def _file(drawn: CuedImages, row: int) -> str:
    """The path of an image below its tree: its name tells what it holds, and not its class."""
    digest = hashlib.sha256(drawn.x[row].tobytes()).hexdigest()[:32]
    return f"{drawn.classes[drawn.y[row]]}/{digest}.png"


def _write_images(drawn: CuedImages, folder: Path, files: list[str]) -> None:
    for rows in torch.split(torch.arange(len(drawn)), _CHUNK):
        paths = [folder / "images" / files[row] for row in rows.tolist()]
        images = torch.from_numpy(drawn.x[rows.numpy()]).float() / 255
        masks = torch.from_numpy(drawn.masks[rows.numpy()]).float()
        for image, mask, path in zip(images, masks, paths):
            save_png(image, path)
            save_png(mask[None], folder / "masks" / path.relative_to(folder / "images"))
        save_explanations(images, blurred(masks, _BLUR * images.shape[-1]), paths)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); choose another folder.") from error
