"""In which runs of distillation an option counts."""

from ..distilling.using import FREE_MOMENTUM
from ..used import GIVEN, Table, use
from .options import TAUGHT

ASKED = ("hard-labels", "kd", "kd-t1", "logits", "noisy", "dkd", "dist", "lskd", "cwtm", "dkpp", "ensemble")
"""Arms that ask the teacher for logits alone."""
_GENERATIONS = ("born-again", "born-again-ensemble")
_INSIDE = ("hints", "attention")

_ONE_TEACHER = tuple(name for name in TAUGHT if name != "ensemble")
_TRAINED = (use(*_ONE_TEACHER, teacher_weights=None), use("ensemble"))
_AT_A_TEMPERATURE = (use("kd", "ensemble"), use("noisy", noise_loss="kd"), use(*_INSIDE, hint_loss="kd"))
_WEIGHED = (use("kd", "kd-t1", "ensemble"), *_AT_A_TEMPERATURE[1:])
_MATCHED = (use("logits"), use("noisy", noise_loss="logits"))
_WITH_A_MEAN = ("none", "teacher_std")
_KEPT = use(cache=True, cache_mode=("auto", "force"))

USED: Table = {
    **dict.fromkeys(("teacher", "teacher_weights", "teacher_precision"), use(*TAUGHT)),
    **dict.fromkeys(("teacher_steps", "teacher_batch", "teacher_rule", "teacher_lr", "teacher_weight_decay"), _TRAINED),
    "class_map": use(*TAUGHT, teacher_weights=GIVEN),
    "momentum": (
        use(rule="sgd", rates=FREE_MOMENTUM),
        use(*_ONE_TEACHER, teacher_rule="sgd", rates=FREE_MOMENTUM, teacher_weights=None),
        use("ensemble", teacher_rule="sgd", rates=FREE_MOMENTUM),
    ),
    "temperature": _AT_A_TEMPERATURE,
    **dict.fromkeys(("ce_weight", "kd_weight"), _WEIGHED),
    "smoothing": use("label-smoothing"),
    "hard_threshold": use("hard-labels"),
    **dict.fromkeys(("logits_scale", "logits_normalise", "logits_ce_weight"), _MATCHED),
    "logits_center": (
        use("logits", logits_normalise=_WITH_A_MEAN),
        use("noisy", noise_loss="logits", logits_normalise=_WITH_A_MEAN),
    ),
    **dict.fromkeys(("noise_probability", "noise_sigma", "noise_mode"), use("noisy", noise_stage=("logits", "inputs"))),
    **dict.fromkeys(("noise_stage", "noise_loss"), use("noisy")),
    **dict.fromkeys(("dkd_target_weight", "dkd_others_weight", "dkd_temperature", "dkd_warm_up"), use("dkd")),
    **dict.fromkeys(("dist_beta", "dist_gamma", "dist_temperature"), use("dist")),
    **dict.fromkeys(("lskd_temperature", "lskd_ce_weight", "lskd_weight"), use("lskd")),
    "generations": use(*_GENERATIONS),
    **dict.fromkeys(("peers", "peer_net", "peer_order"), use("mutual")),
    **dict.fromkeys(("teachers_in_ensemble", "ensemble_average"), use("ensemble")),
    **dict.fromkeys(("hint_layers", "hint_loss"), use(*_INSIDE)),
    "hint_weight": use("hints"),
    "attention_weight": use("attention"),
    "cache": (use(*(arm for arm in ASKED if arm != "noisy")), use("noisy", noise_stage="logits")),
    "cache_mode": use(cache=True),
    **dict.fromkeys(("cache_path", "cache_dtype", "cache_top_k"), _KEPT),
    "cache_views": use(cache=True, cache_mode=("auto", "force"), augment="crop-flip"),
    "export_arm": use(export=GIVEN),
}
"""Options that only count with some arms, or with some values of other options."""
