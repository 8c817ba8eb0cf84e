"""Is this map right? One word for a run, and the metric that is the reason."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from qsm_pipeline.numerics.quality.limits import CAUSE, TYPICAL
from qsm_pipeline.numerics.quality.metric import Metric

GOOD, LOOK, WRONG = "good", "look", "wrong"
WRONG_FROM = 2.0
"""Beyond this excess a map is wrong; between 1 and this somebody has to look."""
_MOST = 10.0


@dataclass(frozen=True)
class Verdict:
    """What the metrics of a run say together.

    Parameters
    ----------
    level : {"good", "look", "wrong"}
        All limits are kept; one is not; one is exceeded by far.
    reason : str
        The metric that tells most of the cause; empty for a good map.
    also : tuple of str
        Other metrics that do not keep their limits.
    score : float
        The largest excess, see :func:`excess`: at least 1 where a limit is not kept.
    """

    level: str
    reason: str = ""
    also: tuple[str, ...] = ()
    score: float = 0.0


def excess(metric: Metric) -> float:
    """Return how far a metric is from what is typical of sound runs, relative to its limit.

    Parameters
    ----------
    metric : Metric
        With its limits.

    Returns
    -------
    float
        0 for a typical value and for one without limits, 1 at the limit, 2 as far beyond it, at
        most 10. Quantities that are positive are compared by their logarithms.
    """
    value = metric.value
    if value is None:
        return 0.0
    found = [0.0]
    for limit, sign in ((metric.minimum, -1), (metric.maximum, 1)):
        if limit is None:
            continue
        typical = TYPICAL.get(metric.name, limit)
        if typical > 0 and limit > 0:
            floor = 1e-6 * min(typical, limit)
            distance = math.log(max(value, floor) / typical)
            room = math.log(limit / typical)
        else:
            distance, room = value - typical, limit - typical
        if sign * room > 0:
            found.append(distance / room)
        elif sign * (value - limit) > 0:  # a limit of the user that typical values do not keep
            found.append(1.01)
    return min(_MOST, max(found))


def judge(metrics: Iterable[Metric]) -> Verdict:
    """Return the verdict on a run.

    Parameters
    ----------
    metrics : iterable of Metric
        From `qsm_pipeline.numerics.quality.assess.assess`.

    Returns
    -------
    Verdict
        The reason is the metric beyond its limit that is nearest to a cause
        (`qsm_pipeline.numerics.quality.limits.CAUSE`), of several the one farthest beyond: noise
        in the raw phase is the reason, not the streaks that it makes.
    """
    scores = {metric.name: excess(metric) for metric in metrics}
    beyond = [name for name, score in scores.items() if score > 1]
    score = max(scores.values(), default=0.0)
    if not beyond:
        return Verdict(GOOD, score=score)
    beyond.sort(key=lambda name: min(scores[name], 3) * CAUSE.get(name, 1.0), reverse=True)
    level = WRONG if score >= WRONG_FROM else LOOK
    return Verdict(level, beyond[0], tuple(beyond[1:]), score)
