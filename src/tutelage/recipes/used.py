"""Options that count only with some arms, or some values of other options: given without these, they are refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ..errors import ConfigError
from .ranges import flag

GIVEN: Final = object()
"""In a :class:`Use`: any value but None."""


@dataclass(frozen=True)
class Use:
    """A case in which an option counts.

    Attributes:
        arms: one of them is in the run; empty: whatever the arms are.
        values: of other options, all of which hold: a value, a tuple of several, :data:`GIVEN`, or None for an option
            that is not given.
    """

    arms: tuple[str, ...]
    values: Mapping[str, Any]

    def holds(self, options: Any, arms: Sequence[str]) -> bool:
        """Return whether it is the case, of options and the names of the arms."""
        among = not self.arms or bool(set(self.arms) & set(arms))
        return among and all(_is(getattr(options, name), wanted) for name, wanted in self.values.items())

    def told(self) -> str:
        """Say the case in words, after "for"."""
        parts = [_told(name, wanted) for name, wanted in self.values.items() if wanted is not None]
        without = [f"without {flag(name)}" for name, wanted in self.values.items() if wanted is None]
        cases = [*([f"with {' and '.join(parts)}"] if parts else []), *without]
        return " ".join([", ".join(self.arms) or "runs", *cases])


Table: TypeAlias = Mapping[str, Use | tuple[Use, ...]]
"""By option the cases in which it counts: one of them must hold. Options that always count are not in it."""


def use(*arms: str, **values: Any) -> Use:
    """Return a case: one of some arms, and values of other options, see :class:`Use`.

    ``{"noise_sigma": use("noisy", noise_stage=("logits", "inputs")), "momentum": (use(rule="sgd"), ...)}``
    """
    return Use(arms, values)


def check_used(given: Any, options: Any, table: Table, arms: Sequence[str] = ()) -> None:
    """Refuse an option that was given, but that nothing in the run looks at; what was not given is never refused.

    Args:
        given: as the user gave them: a dataclass whose defaults stand for "not given".
        options: the same with nothing left to choose.
        table: when options count.
        arms: of the run, by name.

    Raises:
        ConfigError: naming the option and what would use it.
    """
    usual = type(given)()
    for name, cases in table.items():
        cases = (cases,) if isinstance(cases, Use) else cases
        if getattr(given, name) != getattr(usual, name) and not any(case.holds(options, arms) for case in cases):
            raise ConfigError(
                f"{flag(name)} is for {', or '.join(case.told() for case in cases)}; nothing in this run looks at it, "
                "so leave it out."
            )


def _is(value: Any, wanted: Any) -> bool:
    if wanted is GIVEN:
        return value is not None
    return value in wanted if isinstance(wanted, tuple) else bool(value == wanted)


def _told(name: str, wanted: Any) -> str:
    if wanted is GIVEN or wanted is True:
        return flag(name)
    if wanted is False:
        return f"--no-{name.replace('_', '-')}"
    values = [str(value) for value in wanted] if isinstance(wanted, tuple) else [str(wanted)]
    several = f"{', '.join(values[:-1])} or {values[-1]}" if len(values) > 1 else values[0]
    return f"{flag(name)} {several}"
