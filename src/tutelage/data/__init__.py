"""Data: sources, label noise, splits, augmentation and batches, all reproducible by seed and index."""

from .augment import Augmentation as Augmentation
from .corruption import KINDS as KINDS
from .corruption import corrupt as corrupt
from .geometry import AlternatingFlip as AlternatingFlip
from .geometry import Crop as Crop
from .geometry import Cutout as Cutout
from .geometry import Flip as Flip
from .loader import Loader as Loader
from .loading import load as load
from .mixing import Cutmix as Cutmix
from .mixing import Mixup as Mixup
from .noise import NoisyLabels as NoisyLabels
from .published import CIFAR10_ASYMMETRIC as CIFAR10_ASYMMETRIC
from .scaling import Normalise as Normalise
from .scaling import Standardise as Standardise
from .sources import DataSet as DataSet
from .sources import Source as Source
from .sources import from_arrays as from_arrays
from .sources import from_dataset as from_dataset
from .splits import Split as Split
from .splits import split as split
from .transforms import Transform as Transform
