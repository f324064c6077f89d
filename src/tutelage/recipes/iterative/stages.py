"""The stage of a run: all teachers of a seed, a seed at a time."""

from collections.abc import Mapping

from ...errors import DataError
from ..pieces import Desk, Left, Record, Stage, Tensors
from ..selection.stages import images_of
from .arms import Setting
from .course import target_accuracy, taught
from .dimension import smallest_sets
from .plan import Plan
from .spread import marks

TAUGHT = "taught"


def stage(plan: Plan) -> Stage:
    """Return the work of a plan."""

    def work(seed: int, desk: Desk) -> Left:
        try:
            problem = plan.problem(seed)
        except DataError as error:
            raise DataError(f"seed {seed}: {error}") from error
        setting = Setting(problem, plan.options)
        arms = {name: taught(name, setting, desk.advance) for name in plan.arms}
        records = [
            {"seed": seed, "arm": name, "step": step, "squared_distance": own["distance"][step]}
            | ({"accuracy": own["accuracy"][step]} if "accuracy" in own else {})
            for name, own in arms.items()
            for step in marks(plan.options.steps)
        ]
        desk.record(records)
        facts = {
            "arms": arms,
            "norm": float(problem.target.square().sum()),
            "rows": dict(problem.facts),
            "test_rows": 0 if problem.test is None else len(problem.test[1]),
            "target_accuracy": target_accuracy(problem),
            "dimension": smallest_sets(problem.target, plan.options.decay),
            "records": records,
        }
        return facts, _images(plan, arms) if seed == plan.seeds[0] else {}

    return Stage(TAUGHT, list(plan.seeds), len(plan.arms) * plan.options.steps, work)


def _images(plan: Plan, arms: Mapping[str, Record]) -> Tensors:
    """The rows that any arm showed first."""
    if plan.material is None:
        return {}
    return images_of(plan.material, (lesson["index"] for own in arms.values() for lesson in own["shown"]))
