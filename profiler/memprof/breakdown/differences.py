"""The analytic breakdown beside what was there at the peak, category by category, with the reason in a few words."""

from __future__ import annotations

from collections.abc import Callable

from memprof.breakdown.explanation import ROUNDING, Category, Difference, Explanation
from memprof.records import Breakdown, Phase
from memprof.units import format_bytes

_ANALYTIC = (
    Category.PARAMETERS,
    Category.BUFFERS,
    Category.GRADIENTS,
    Category.OPTIMIZER_STATE,
    Category.INPUT,
    Category.ACTIVATIONS,
)
_BESIDE = (Category.OUTPUT, Category.WORKSPACE, Category.TEMPORARY, Category.UNKNOWN)


def find_differences(explanation: Explanation, breakdown: Breakdown | None) -> tuple[Difference, ...]:
    """Return each category at the peak beside the breakdown's, in order; those that are nowhere are left out."""
    rows = []
    for category in _ANALYTIC:
        analytic = getattr(breakdown, f"{category.value}_bytes") if breakdown else None
        rows.append(_row(category.value, explanation, analytic, _REASONS.get(category, _plain)))
    for name, reason in ((c.value, _REASONS[c]) for c in _BESIDE):
        rows.append(_row(name, explanation, 0 if breakdown else None, reason))
    rows.append(_row(ROUNDING, explanation, 0 if breakdown else None, _rounding))
    return tuple(row for row in rows if row.bytes or row.analytic_bytes)


_Reason = Callable[[Explanation, int], str]


def _row(name: str, explanation: Explanation, analytic: int | None, reason: _Reason) -> Difference:
    there = explanation.allocated_parts.get(name, 0)
    text = "" if analytic is None or there == analytic else reason(explanation, analytic)
    return Difference(name=name, analytic_bytes=analytic, bytes=there, reason=text)


def _plain(explanation: Explanation, analytic: int) -> str:
    del explanation, analytic
    return "counted by its tensors' shapes; more or fewer were on the GPU"


def _gradients(explanation: Explanation, analytic: int) -> str:
    there, highest = (parts.get(Category.GRADIENTS.value, 0) for parts in _both(explanation))
    if there >= analytic:
        return "more than one gradient of a parameter was there"
    when = _when(explanation)
    if there == 0:
        return f"none alive at the peak ({when})"
    return f"not all alive at the peak ({when}); {format_bytes(highest)} at most"


def _optimizer_state(explanation: Explanation, analytic: int) -> str:
    there, highest = (parts.get(Category.OPTIMIZER_STATE.value, 0) for parts in _both(explanation))
    if not highest:
        return "never made: no optimizer step was reached"
    if there < analytic and explanation.peak.step == 1:
        return f"made in the first optimizer step, after the peak; {format_bytes(highest)} then"
    if there < analytic:
        return "less than the algorithm's textbook sum"
    return "the implementation keeps more than the textbook says"


def _activations(explanation: Explanation, analytic: int) -> str:
    there, highest = (parts.get(Category.ACTIVATIONS.value, 0) for parts in _both(explanation))
    if there < analytic and explanation.peak.phase is Phase.BACKWARD:
        return f"backward has freed some by then; {format_bytes(highest)} at most"
    if there < analytic and explanation.peak.phase is Phase.OPTIMIZER:
        return f"freed by backward; {format_bytes(highest)} at most"
    if there < analytic:
        return f"fewer alive at the peak ({_when(explanation)}); {format_bytes(highest)} at most"
    return "kept until backward, saved by autograd or not"


def _output(explanation: Explanation, analytic: int) -> str:
    del explanation, analytic
    return "the model's output and the loss, which the loop holds"


def _workspace(explanation: Explanation, analytic: int) -> str:
    del analytic
    return _largest(explanation, Category.WORKSPACE)


def _temporary(explanation: Explanation, analytic: int) -> str:
    del analytic
    parameters = explanation.allocated_parts.get(Category.PARAMETERS.value, 0)
    temporary = explanation.allocated_parts.get(Category.TEMPORARY.value, 0)
    if explanation.peak.phase is Phase.OPTIMIZER and parameters:
        copies = temporary / parameters
        return f"the optimizer's temporaries: {copies:.3g} times the parameters ({_largest_name(explanation)})"
    return _largest(explanation, Category.TEMPORARY)


def _unknown(explanation: Explanation, analytic: int) -> str:
    del analytic
    return explanation.unknown_reason or _largest(explanation, Category.UNKNOWN)


def _rounding(explanation: Explanation, analytic: int) -> str:
    del explanation, analytic
    return "to blocks of 512 B; of a large one up to 1 MiB is not split off"


def _largest(explanation: Explanation, category: Category, most: int = 2) -> str:
    """The names of the largest blocks of a category, each name once with its sum."""
    sums: dict[str, int] = {}
    for block in explanation.blocks:
        if block.category is category:
            sums[block.name] = sums.get(block.name, 0) + block.requested_bytes
    largest = sorted(sums.items(), key=lambda item: -item[1])
    text = ", ".join(f"{name} {format_bytes(count)}" for name, count in largest[:most])
    return f"{text} and {len(largest) - most} more" if len(largest) > most else text


def _largest_name(explanation: Explanation) -> str:
    names = [block.name for block in explanation.blocks if block.category is Category.TEMPORARY]
    return names[0] if names else "none"


def _both(explanation: Explanation) -> tuple[dict[str, int], dict[str, int]]:
    return dict(explanation.allocated_parts), dict(explanation.highest_parts)


def _when(explanation: Explanation) -> str:
    peak = explanation.peak
    phase = peak.phase.value if peak.phase else "before the first step"
    return f"{phase} of step {peak.step}" if peak.step else phase


_REASONS: dict[Category, _Reason] = {
    Category.GRADIENTS: _gradients,
    Category.OPTIMIZER_STATE: _optimizer_state,
    Category.ACTIVATIONS: _activations,
    Category.OUTPUT: _output,
    Category.WORKSPACE: _workspace,
    Category.TEMPORARY: _temporary,
    Category.UNKNOWN: _unknown,
}
