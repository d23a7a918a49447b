"""Compare the analytic breakdown with the peak, category by category, and give the reason of each difference."""

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
    Category.WORKSPACE,
)
_NOT_ESTIMATED = (Category.OUTPUT, Category.TEMPORARY, Category.UNKNOWN)


def find_differences(explanation: Explanation, breakdown: Breakdown | None) -> tuple[Difference, ...]:
    """Return each category at the peak next to the breakdown's, in order, without those that are 0 in both."""
    rows = []
    for category in _ANALYTIC:
        analytic = getattr(breakdown, f"{category.value}_bytes") if breakdown else None
        rows.append(_row(category.value, explanation, analytic, _REASONS.get(category, _plain)))
    for name, reason in ((c.value, _REASONS[c]) for c in _NOT_ESTIMATED):
        rows.append(_row(name, explanation, 0 if breakdown else None, reason))
    rows.append(_row(ROUNDING, explanation, 0 if breakdown else None, _rounding))
    return tuple(row for row in rows if row.bytes or row.analytic_bytes)


_Reason = Callable[[Explanation, int], str]


def _row(name: str, explanation: Explanation, analytic: int | None, reason: _Reason) -> Difference:
    at_peak = explanation.allocated_parts.get(name, 0)
    text = "" if analytic is None or at_peak == analytic else reason(explanation, analytic)
    return Difference(name=name, analytic_bytes=analytic, bytes=at_peak, reason=text)


def _plain(explanation: Explanation, analytic: int) -> str:
    del explanation, analytic
    return "the estimate counts the model's tensors; the GPU had more or fewer"


def _input(explanation: Explanation, analytic: int) -> str:
    if explanation.allocated_parts.get(Category.INPUT.value, 0) > analytic:
        if explanation.peak.phase is Phase.LOAD:
            return "a new batch is loaded while the previous one still exists"
        if explanation.peak.phase is Phase.EVALUATION:
            return "the batch of the evaluation, next to the last one of training"
    return _plain(explanation, analytic)


def _gradients(explanation: Explanation, analytic: int) -> str:
    at_peak, highest = (parts.get(Category.GRADIENTS.value, 0) for parts in _both(explanation))
    if at_peak >= analytic:
        return "some parameters had more than one gradient"
    when = _when(explanation)
    if at_peak == 0:
        return f"none alive at the peak ({when})"
    return f"not all alive at the peak ({when}); {format_bytes(highest)} at most"


def _optimizer_state(explanation: Explanation, analytic: int) -> str:
    at_peak, highest = (parts.get(Category.OPTIMIZER_STATE.value, 0) for parts in _both(explanation))
    if not highest:
        return "never created: no optimizer step was reached"
    if at_peak < analytic and explanation.peak.step == 1:
        return f"created in the first optimizer step, after the peak; {format_bytes(highest)} then"
    if at_peak < analytic:
        return "less than the analytic estimate"
    return "the implementation keeps more than the analytic estimate"


def _activations(explanation: Explanation, analytic: int) -> str:
    at_peak, highest = (parts.get(Category.ACTIVATIONS.value, 0) for parts in _both(explanation))
    if at_peak < analytic and explanation.peak.phase is Phase.BACKWARD:
        return f"backward had already freed some; {format_bytes(highest)} at most"
    if at_peak < analytic and explanation.peak.phase is Phase.OPTIMIZER:
        return f"freed by backward; {format_bytes(highest)} at most"
    if at_peak < analytic:
        return f"fewer alive at the peak ({_when(explanation)}); {format_bytes(highest)} at most"
    return "kept until backward, saved by autograd or not"


def _output(explanation: Explanation, analytic: int) -> str:
    del explanation, analytic
    return "the model's output and the loss, which the loop keeps"


def _workspace(explanation: Explanation, analytic: int) -> str:
    at_peak = explanation.allocated_parts.get(Category.WORKSPACE.value, 0)
    if at_peak < analytic:
        return f"not all alive at the peak ({_when(explanation)}): {_largest(explanation, Category.WORKSPACE)}"
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
    return "to blocks of 512 B; remainders under 1 MiB stay attached to large blocks"


def _largest(explanation: Explanation, category: Category, most: int = 2) -> str:
    """Return the names of the largest blocks of a category, each once with its total."""
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
    Category.INPUT: _input,
    Category.GRADIENTS: _gradients,
    Category.OPTIMIZER_STATE: _optimizer_state,
    Category.ACTIVATIONS: _activations,
    Category.OUTPUT: _output,
    Category.WORKSPACE: _workspace,
    Category.TEMPORARY: _temporary,
    Category.UNKNOWN: _unknown,
}
