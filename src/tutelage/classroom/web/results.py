"""What the researcher's overview shows, as values for its template, and as a page of its own that needs no server."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..dashboard import SHARES, WHY_HIDDEN, dashboard
from ..figures import required_n
from ..study import People, Study
from .charts import curve_chart, dropout_chart, means_chart
from .pages import STATIC, environment

DIFFERENCES = (5, 10, 15, 20)
"""In points, of which the page says how many people show them."""
FLAGS = {
    "fast": "answers that were very fast",
    "slow": "answers that took very long",
    "gap": "pauses of more than a minute",
    "resume": "came back after a long pause, and went on",
    "restart": "began anew after a long pause",
    "late": "answers after the place was given away",
    "blur": "items during which another window was looked at",
    "early_next": "went on before the feedback's time was over",
    "fallback": "an adaptive teacher was too slow",
    "missing_image": "an image could not be shown",
    "withdraw": "withdrew",
    "redeem": "code was redeemed",
    "imported": "came in from released results",
}
"""What events are called."""
STYLES = ("classroom.css", "admin.css")


def figures(
    study: Study, people: People, *, now: datetime | None = None, preview_of: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return the values of the template ``admin_figures``.

    Args:
        study: whose.
        people: real or simulated ones.
        now: the time, with its zone; None: that of the clock.
        preview_of: places of the arms in previews, by name; None: there are no pages that the figures could lead to.
    """
    found = dashboard(study, people, now=now)
    chance, results = 1 / len(study.classes), found.results
    values: dict[str, Any] = {
        "page": found,
        "people": people,
        "why_hidden": WHY_HIDDEN,
        "flag_names": FLAGS,
        "preview_of": preview_of,
        "shares": SHARES,
        "dropouts": [(arm, dropout_chart(arm, gone, study.length)) for arm, gone in found.dropouts.items() if gone],
    }
    if results is not None:
        spread = max((each.test.std or 0.0 for each in results.outcomes), default=0.0)
        values["means"] = means_chart(results.outcomes, chance)
        values["curves"] = [(a, curve_chart(a, p, study.length, chance)) for a, p in results.curves.items() if p]
        values["spread"] = spread
        values["untested"] = len(results.contrasts) < math.comb(len(results.outcomes), 2)
        values["needed"] = [(d, required_n(spread, d)) for d in DIFFERENCES] if spread else []
    return values


def results_page(study: Study, people: People) -> str:
    """Return the overview as one HTML page that loads nothing.

    Args:
        study: whose.
        people: real or simulated ones.
    """
    style = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in STYLES)
    return environment().get_template("results.html").render(**figures(study, people), style=style)
