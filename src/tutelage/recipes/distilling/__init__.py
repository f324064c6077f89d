"""Staged training: a graph of stages, each of which trains a network with every seed, and results over paired seeds.

A stage (:class:`~.stage.Stage`) is known by its name, takes the networks that the stages named in ``needs`` left
(teachers, assistants, the generation before), and leaves networks of its own. A stage that several others need is run
once. ``Taught`` trains a student a seed by a teacher, ``Peers`` several that teach each other, ``Given`` takes networks
as they are: from a file, or those of earlier stages together. The arms of a result are some of the stages.

A recipe is a :class:`~.running.Recipe`: its name, its dataclass of options, and ``prepare(options, fresh=...)``, which
returns a :class:`~.running.Plan` of stages, arms and one :class:`~.setting.Setting` a seed. The rest is done here::

    RECIPE = Recipe("my-recipe", Config, prepare)

    def prepare(given, *, fresh):
        settings, options = ..., ...
        teacher = Taught(
            name="teacher", about="...", steps=800, rule=AdamW(OneCycle(2e-3, 800)),
            net=lambda s: s.net("mlp-256", "teacher"),
            teacher=lambda s, networks: Uniform(),
            batch=lambda s, networks: s.stream("teacher batches", s.order, 64, 800, replacement=True),
        )
        student = Taught(name="kd", needs=("teacher",), ...,
            teacher=lambda s, networks: Distillation(Frozen(networks["teacher"])))
        return Plan(RECIPE, options, [teacher, student], arms=("kd",), settings=settings, fingerprints={...})

    run(RECIPE, Config(), Path("runs/one"))

Stages run in the order in which they are needed; all seeds of one at a time, in one vectorised pass where the network
allows. A run that was killed goes on at any step (:func:`~.running.resume`) and ends with the same bytes.
A finished stage leaves ``arms/NAME.json`` (records, ends, fingerprints, seconds) and ``arms/NAME.safetensors``
(``network.SEED.K.PARAMETER``: the K-th network of a seed by its position).
"""

from .course import Course as Course
from .running import Outcome as Outcome
from .running import Plan as Plan
from .running import Recipe as Recipe
from .running import resume as resume
from .running import run as run
from .setting import Setting as Setting
from .setting import Stream as Stream
from .stage import Ended as Ended
from .stage import Given as Given
from .stage import Networks as Networks
from .stage import Peers as Peers
from .stage import Stage as Stage
from .stage import Taught as Taught
