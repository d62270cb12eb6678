"""What can be seen before the first step: the scale of rows and targets, and the loss."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.sanity.finding import Finding, named
from pipeline.sanity.subject import Subject

_HUGE, _LARGE, _TINY = 50.0, 5.0, 0.02  # root mean square of a column; normalized it is 1, or in [0, 1] with minmax
_FAR = 100.0  # one value, in standard deviations
_LOSS_FAIL, _LOSS_WARN, _LOSS_LOW = 10.0, 2.5, 0.4  # times the loss of an answer that knows nothing
_WHY = "the optimizer's steps suit numbers around 1"


def check_input_scale(subject: Subject) -> list[Finding]:
    """Look at each column of a table, each channel of an image, or the whole of an image without channels, normalized."""
    values = _by_column(subject.many[0])  # (columns, numbers)
    values = values[: len(values) - len(subject.deployable.normalize.embeddings)]  # codes have no scale
    if not len(values):
        return [Finding("PASS", "input scale", "nothing but categories that become vectors")]
    names = _column_names(subject, len(values))
    if not bool(torch.isfinite(values).all()):
        bad = [name for name, column in zip(names, values, strict=True) if not bool(torch.isfinite(column).all())]
        return [Finding("FAIL", "input scale", f"NaN or infinite in {named(bad)}; mend the data")]
    size, spread = values.square().mean(1).sqrt(), values.std(1, correction=0)
    worst = int(size.argmax())
    largest = f"{names[worst]} has mean {values[worst].mean():.4g}, standard deviation {spread[worst]:.4g}"
    mend = (
        f"{_WHY}; set prepare.normalize=standard"
        if subject.deployable.normalize.is_raw
        else f"{_WHY}; look at this column in the data"
    )
    if size[worst] > _HUGE:
        return [Finding("FAIL", "input scale", f"{largest}; {mend}")]
    if size[worst] > _LARGE:
        return [Finding("WARN", "input scale", f"{largest}; {mend}")]
    small = [name for name, s in zip(names, size.tolist(), strict=True) if 0 < s < _TINY]
    if small:
        return [Finding("WARN", "input scale", f"values below {_TINY:g} only in {named(small)}; {mend}")]
    return _odd_values(subject, values, names) or [Finding("PASS", "input scale", _in_short(values, largest))]


def _odd_values(subject: Subject, values: Tensor, names: Sequence[str]) -> list[Finding]:
    """Look for columns of one value, and for single values that are far out."""
    constant = [f"{feature.name!r}" for feature in subject.schema.features if feature.minimum == feature.maximum]
    if constant:
        return [Finding("WARN", "input scale", f"one value in all train rows: {named(constant)}; leave such columns out")]
    far = values.abs().max(1).values
    if far.max() > _FAR:
        name = names[int(far.argmax())]
        text = f"{name} has a value {far.max():.4g} standard deviations out; is it a mistake? a logarithm tames long tails"
        return [Finding("WARN", "input scale", text)]
    return []


def _in_short(values: Tensor, only: str) -> str:
    if len(values) == 1:
        return only
    means, spread = values.mean(1), values.std(1, correction=0)
    text = f"means {means.min():.2g} to {means.max():.2g}, standard deviations {spread.min():.2g} to {spread.max():.2g}"
    return f"{text} over {len(values)} columns"


def check_target_scale(subject: Subject) -> list[Finding]:
    """Look at a regression's target as the loss gets it; of several values at the one that is farthest off."""
    if subject.schema.task != "regression":
        return []
    values = subject.deployable.target(subject.many[1])
    values = values.reshape(len(values), -1)  # (rows, outputs)
    names = subject.schema.targets or (subject.schema.target,)
    means, spreads = values.mean(0), values.std(0, correction=0)
    sizes = torch.maximum(means.abs(), spreads)
    worst = int(sizes.argmax()) if bool((sizes > _LARGE).any()) else int(spreads.argmin())
    text = f"{names[worst]} as the loss gets it has mean {means[worst]:.4g}, standard deviation {spreads[worst]:.4g}"
    if sizes[worst] > _LARGE or spreads[worst] < _TINY:
        mend = "it should be around 0 and 1; set prepare.normalize_target=standard"
        return [Finding("FAIL" if sizes[worst] > _HUGE else "WARN", "target scale", f"{text}; {mend}")]
    return [Finding("PASS", "target scale", text)]


def check_first_loss(subject: Subject) -> list[Finding]:
    """Compare the first loss with that of the answer 0, which is what a network that knows nothing should say.

    The configured loss is asked for both, so class weights, smoothing and focal loss are in both.
    """
    schema, loss = subject.schema, subject.losses[0]
    nothing = torch.zeros(len(subject.targets), schema.outputs, device=subject.targets.device)
    expected = float(subject.objective.loss(nothing, subject.targets))
    meaning = _meaning(subject, expected)
    text = f"{loss:.4g}; {expected:.4g} is {meaning}"
    if not math.isfinite(loss) or loss > _LOSS_FAIL * expected:
        mend = "the first answers are far too sure; look for inputs that are not normalized, or weights that start too large"
        return [Finding("FAIL", "first loss", f"{text}; {mend}")]
    if loss > _LOSS_WARN * expected:
        return [Finding("WARN", "first loss", f"{text}; weights may start too large, try train.init or smaller ones")]
    if loss < _LOSS_LOW * expected:
        return [Finding("WARN", "first loss", f"{text}; it knows before it has learned: are weights loaded, or is a leak?")]
    return [Finding("PASS", "first loss", text)]


def _meaning(subject: Subject, expected: float) -> str:
    """Say what the loss of the answer 0 is."""
    outputs = subject.schema.outputs
    match subject.schema.task:
        case "regression":
            nothing = subject.deployable.finish(torch.zeros(1, outputs, device=subject.targets.device))
            answer = "the mean" if bool(nothing.any()) else "0"
            return f"what always answering {answer} gives"
        case "multilabel":
            chances, known = f"equal chances for each of {outputs} labels give", math.log(2)
            name = "ln(2)"
        case "classification":
            chances, known = f"equal chances for {outputs} classes give", math.log(outputs)
            name = f"ln({outputs})"
    return f"{name}, what {chances}" if math.isclose(expected, known, rel_tol=1e-3) else f"what {chances} with this loss"


def _by_column(inputs: Tensor) -> Tensor:
    """Return (columns, numbers): of a table's columns, an image's channels, or one of all where there are none."""
    if inputs.ndim == 2:
        return inputs.T
    if inputs.ndim == 3:
        return inputs.reshape(1, -1)
    return inputs.transpose(0, 1).flatten(1)


def _column_names(subject: Subject, count: int) -> list[str]:
    if subject.inputs.ndim == 2:
        return [subject.place(index) for index in range(count)]
    return ["the image"] if count == 1 else [f"channel {index}" for index in range(count)]
