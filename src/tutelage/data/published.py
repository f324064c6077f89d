"""Numbers that papers and their code agree on: channel statistics and label-noise mappings."""

from typing import TypeAlias

Channels: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""(mean, standard deviation) per channel of pixels in [0, 1]."""

CIFAR10: Channels = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100: Channels = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
MNIST: Channels = ((0.1307,), (0.3081,))

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_ASYMMETRIC = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
"""truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog (Patrini et al., "Making deep neural
networks robust to label noise", CVPR 2017)."""
