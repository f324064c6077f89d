"""Soft targets: what a teacher's answers tell a student, and the losses that take them.

A loss is a frozen dataclass called as ``loss(logits, SoftTarget(y, teacher_logits))``; the functions under it are in
:mod:`tutelage.divergences`.
"""

from .answers import Noise as Noise
from .answers import confidence as confidence
from .answers import confidence_weights as confidence_weights
from .answers import disturbed as disturbed
from .answers import ensemble as ensemble
from .answers import noisy as noisy
from .answers import permuted as permuted
from .base import TargetLoss as TargetLoss
from .labels import HardLabels as HardLabels
from .labels import LabelSmoothing as LabelSmoothing
from .labels import MutualLearning as MutualLearning
from .labels import other_peers as other_peers
from .losses import DIST as DIST
from .losses import DecoupledDistillation as DecoupledDistillation
from .losses import KnowledgeDistillation as KnowledgeDistillation
from .losses import LogitMatching as LogitMatching
from .losses import StandardisedDistillation as StandardisedDistillation
from .losses import degenerate_rows as degenerate_rows
from .losses import warm_up as warm_up
from .targets import SoftTarget as SoftTarget
from .targets import TopLogits as TopLogits
from .targets import bucket_kl as bucket_kl
from .targets import largest_probability as largest_probability
from .targets import most_probable as most_probable
from .targets import top_logits as top_logits
