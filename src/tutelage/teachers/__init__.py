"""Teachers, by lever. A new method is one file, and its name here.

Everything that follows from the name (contract tests, ``tutelage list``, ``--teachers``) reads :data:`CATALOGUE`, or
:data:`SELECTING` of those that choose from a whole pool.
"""

from collections.abc import Callable, Mapping

from ..teacher import Teacher
from .label.distillation import Distillation as Distillation
from .label.dynamic_loss import DynamicLoss as DynamicLoss
from .label.hints import Hints as Hints
from .label.hints import hint_sizes as hint_sizes
from .label.label_synthesis import LabelSynthesis as LabelSynthesis
from .label.meta_pseudo_labels import MetaPseudoLabels as MetaPseudoLabels
from .label.offline import OfflinePseudoLabels as OfflinePseudoLabels
from .label.uda import UnsupervisedDataAugmentation as UnsupervisedDataAugmentation
from .select.alignment import Alignment as Alignment
from .select.at_random import AtRandom as AtRandom
from .select.el2n import EL2N as EL2N
from .select.explain import Explain as Explain
from .select.first_then import FirstThen as FirstThen
from .select.iterative import ImitationTeaching as ImitationTeaching
from .select.iterative import IterativeTeaching as IterativeTeaching
from .select.iterative import rescaled as rescaled
from .select.k_center import KCenter as KCenter
from .select.keep_mask import KeepMask as KeepMask
from .select.maxgrad import MaxGrad as MaxGrad
from .select.prototypes import Prototypes as Prototypes
from .select.strict import Strict as Strict
from .synthesise.dataset_distillation import DatasetDistillation as DatasetDistillation
from .synthesise.distribution_matching import DistributionMatching as DistributionMatching
from .synthesise.gradient_matching import GradientMatching as GradientMatching
from .synthesise.trajectory_matching import Tesla as Tesla
from .synthesise.trajectory_matching import TrajectoryMatching as TrajectoryMatching
from .weigh.curriculum import Curriculum as Curriculum
from .weigh.curriculum import focal as focal
from .weigh.curriculum import hard as hard
from .weigh.curriculum import predefined as predefined
from .weigh.curriculum import self_paced as self_paced
from .weigh.curriculum import spcl as spcl
from .weigh.deep_interactions import DeepInteractions as DeepInteractions
from .weigh.fixed import FixedWeights as FixedWeights
from .weigh.fixed import small_loss_mask as small_loss_mask
from .weigh.learning_to_reweight import LearningToReweight as LearningToReweight
from .weigh.mentornet import MentorNet as MentorNet
from .weigh.mentornet import mentornet_pd as mentornet_pd
from .weigh.meta_weight_net import MetaWeightNet as MetaWeightNet
from .weigh.uniform import Uniform as Uniform

CATALOGUE: Mapping[str, Callable[..., Teacher]] = {
    "uniform": Uniform,
    "self-paced": self_paced,
    "spcl": spcl,
    "hard": hard,
    "focal": focal,
    "predefined": predefined,
    "mentornet-pd": mentornet_pd,
    "meta-weight-net": MetaWeightNet,
}
"""Factories by name; called with the method's own options by keyword, all of them optional."""

SELECTING: Mapping[str, Callable[..., Teacher]] = {
    "random": AtRandom,
    "prototypes": Prototypes,
    "k-center": KCenter,
    "el2n": EL2N,
    "alignment": Alignment,
    "maxgrad": MaxGrad,
    "strict": Strict,
    "explain": Explain,
}
"""Classes by name of teachers that choose from a labelled pool; called with a filter and options by keyword."""
