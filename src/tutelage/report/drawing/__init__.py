"""Curricula made visible: surfaces, heat maps, an animation, a page and the numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...checkpoint import write_atomically
from ...curricula import CurriculumFunction
from ...errors import ConfigError
from . import files
from .frames import frames, palette
from .numbers import CLEAR as CLEAR
from .numbers import PERCENTS as PERCENTS
from .numbers import Scale, evaluate
from .page import page
from .panels import panels


def draw(
    curricula: Mapping[str, CurriculumFunction],
    folder: Path,
    *,
    bound: float = 5.0,
    percents: Sequence[int] = PERCENTS,
    threshold: float = 0.5,
) -> list[Path]:
    """Draw one curriculum, or several side by side, and write pictures and numbers into a folder.

    Every frame shows the weight v in [0, 1] over d = loss - threshold and the loss at a percent e of training: a
    surface and a heat map, on which d > loss is shaded, since it cannot occur, and one line of what does occur, where
    the threshold stays and the losses differ. For exactly two curricula the first minus the second is shown as well.

    Args:
        curricula: by title, functions ``v(loss (N,), threshold (N,), progress) -> (N,)``: those of
            :mod:`tutelage.curricula`, others like them, or mentors. They get float32 tensors on the CPU.
        folder: made if it does not exist; files of the same names are replaced.
        bound: > 0; losses from 0 to it are drawn, and d from minus it to it. 15 shows a data-driven mentor whole.
        percents: e of the frames, whole numbers in 0..99, ascending.
        threshold: >= 0, of the line that occurs.

    Returns:
        the files: ``e-00.png`` and so on, ``curriculum.gif`` (.5 s a frame, endless), ``curriculum.html`` (one page
        that needs no network), ``grid`` (every v of the surfaces) and ``cuts`` (on the line that occurs v at the losses
        0 and 10, and d*, where v first crosses .5), each as ``.csv`` and ``.parquet``. Where a module, such as a
        mentor that learned from labels, has v(0) - v(10) < .8, frames and page say "no clear curriculum".

    Raises:
        ConfigError: if there is no curriculum, an argument is outside its range, or a weight outside [0, 1].
        ShapeError: if a curriculum does not return one weight for each loss.
        NotFiniteError: if it returns a weight that is not finite.
        CheckpointError: if a picture cannot be written.
        DataError: if a table cannot be written.

    Source: Jiang et al., "MentorNet", ICML 2018, figure 2, there from random points.
    """
    if not curricula:
        raise ConfigError('there is no curriculum to draw; give at least one, such as {"focal": curricula.focal}.')
    scale = Scale(bound, tuple(percents), threshold)
    drawn = {name: evaluate(name, v, scale) for name, v in curricula.items()}
    shown = panels(drawn)
    *pngs, gif = files.pictures(frames(shown, scale), palette(shown))
    named = {f"e-{e:02}.png": png for e, png in zip(scale.percents, pngs)}
    named |= {"curriculum.gif": gif, "curriculum.html": page(drawn, scale, pngs).encode()}
    for name, content in named.items():
        write_atomically(folder / name, content)
    written = [folder / name for name in named]
    written += files.write_table(files.grid(drawn, scale), folder, "grid")
    written += files.write_table(files.cuts(drawn, scale), folder, "cuts")
    return written
