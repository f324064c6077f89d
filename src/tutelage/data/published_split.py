"""The split of the published butterflies, Chinese characters and OCT images into training and test lists.

Shuffle all images, keep of each class as many as the smallest has, lay the classes one after the other, and hold a
fifth out, without regard to classes. For five classes of 386 images that gives 300, 303, 319, 309, 313 and 86, 83, 67,
77, 73, and the labels come in the order of the published lists. Which images these are depends on the order in which a
disk lists a folder, which was not published; here it is by class and name.

Source: Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to human learners with visual explanations",
CVPR 2018, and its code.
"""

import os
from collections.abc import Sequence

import numpy as np

from ..errors import DataError
from .image_lists import ImageList, ListedImage, folder_images
from .sources import IntArray

_TEST = 0.2


def published_split(y: IntArray) -> tuple[IntArray, IntArray]:
    """Return the training and the test rows, in the order of the published lists.

    Args:
        y: labels (N,), in 0..K-1.

    Returns:
        positions, int64, disjoint; rows beyond the size of the smallest class are in neither.

    Raises:
        DataError: for fewer than five rows after balancing.
    """
    from sklearn.model_selection import train_test_split
    from sklearn.utils import resample

    order: IntArray = resample(np.arange(len(y)), replace=False, random_state=0)
    classes, counts = np.unique(y, return_counts=True)
    least = int(counts.min(initial=len(y)))
    if least * len(classes) < 5:
        raise DataError(f"published split: {len(classes)} classes of {least} rows are too few; a fifth is for testing.")
    balanced = np.concatenate([order[y[order] == c][:least] for c in classes])
    train, test = train_test_split(balanced, test_size=_TEST, random_state=0)
    return train, test


def split_folder(folder: str | os.PathLike[str], prefix: str | None = None) -> tuple[ImageList, ImageList]:
    """Return the training and the test list of a folder with a folder a class.

    Args:
        folder: has a folder a class, or such a folder ``images``.
        prefix: what the paths in the lists begin with, before ``/CLASS/FILE``; None: the folder of the classes.

    Raises:
        DataError: if there are no images, a class is empty, or there are too few to split.
    """
    found = folder_images(folder, prefix)
    rows = published_split(np.asarray([image.label for image in found.images]))
    train, test = (
        ImageList.of(f"{folder} ({role})", _taken(found.images, of), found.classes) for role, of in zip(_ROLES, rows)
    )
    return train, test


_ROLES = ("train", "test")


def _taken(images: Sequence[ListedImage], rows: IntArray) -> list[ListedImage]:
    return [ListedImage(images[row].path, images[row].label, place) for place, row in enumerate(rows.tolist())]
