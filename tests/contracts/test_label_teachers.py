"""Teachers that distil keep the laws."""

import pytest
from torch import nn

from tutelage import Teacher
from tutelage.feature_losses import HintRegression, RelationalAngle, RelationalDistance
from tutelage.frozen import Frozen
from tutelage.soft_targets import (
    DIST,
    DecoupledDistillation,
    HardLabels,
    KnowledgeDistillation,
    LabelSmoothing,
    LogitMatching,
    Noise,
    StandardisedDistillation,
)
from tutelage.teachers import Distillation, Hints
from tutelage.testing import check_teacher, tiny_net

NETS = {kind: tiny_net(kind, seed=4) for kind in ("plain", "batchnorm", "dropout")}
LOSSES = [
    KnowledgeDistillation(),
    LogitMatching(normalize="zscore"),
    DecoupledDistillation(),
    DIST(gamma=0.0),
    StandardisedDistillation(),
    HardLabels(0.5),
    LabelSmoothing(),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_losses(loss):
    check_teacher(lambda: Distillation(Frozen(NETS["batchnorm"]), loss))


@pytest.mark.parametrize(
    "options",
    [
        {"noise": Noise()},
        {"noise": Noise(1.0, mode="additive")},
        {"noise": Noise(stage="inputs")},
        {"noise": Noise(stage="dropout")},
        {"confidence_weighting": True},
        {"permute": True},
        {"threshold": 0.4},
        {"warm_up": 0.9},
        {"noise": Noise(), "confidence_weighting": True, "permute": True, "threshold": 0.4, "warm_up": 0.9},
    ],
    ids=str,
)
def test_options(options):
    check_teacher(lambda: Distillation(Frozen(NETS["dropout"]), **options))


@pytest.mark.parametrize("options", [{}, {"average": "logits"}, {"temperature": 4.0, "class_map": [1, 2, 0]}], ids=str)
def test_ensembles(options):
    check_teacher(lambda: Distillation(Frozen(list(NETS.values()), **options)))


class ByWidth(Teacher):
    """Hints for whichever of the small networks comes: layer 1 has 6 channels in one of them, 8 in the others."""

    def __init__(self, terms):
        super().__init__()
        source = Frozen(NETS["batchnorm"])
        self.hints = nn.ModuleList(Hints(source, [("2", "1"), ("0", "1")], terms, sizes=[(w, 8)] * 2) for w in (6, 8))

    def _for(self, student):
        return self.hints[0 if "4.weight" in student.params else 1]

    def teach(self, batch, student):
        return self._for(student).teach(batch, student)

    def learn(self, lesson, student, validation):
        return self._for(student).learn(lesson, student, validation)


@pytest.mark.parametrize(
    "terms",
    [
        [HintRegression(0.1)],
        [RelationalDistance(), RelationalAngle()],
        [HintRegression(0.1, scale="half_sum"), RelationalAngle()],
    ],
    ids=lambda terms: "+".join(type(term).__name__ for term in terms),
)
def test_hints(terms):
    """Their regressors descend the hints of the present batch, not a loss of validation."""
    check_teacher(lambda: ByWidth(terms), descends_validation=False)
