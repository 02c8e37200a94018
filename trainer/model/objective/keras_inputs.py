"""Labels and predictions as a loss or metric of Keras takes them: one-hot classes, class indices, own units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

from trainer.errors import ModelCodeError
from trainer.schema import LabelField

#: Labels [B, 1] and predictions [B, outputs] -> both as Keras takes them.
Inputs = Callable[[Any, Any], tuple[Any, Any]]
#: Class indices [B]: of [B, 1] Keras (3.15) would pair every row with every other.
_TAKES_A_LIST = frozenset({"CategoricalGeneralizedCrossEntropy", "Circle"})
_SPARSE_BY_ARGUMENT = frozenset({"IoU", "MeanIoU"})


def inputs_of(label: LabelField, name: str, arguments: Mapping[str, Any]) -> Inputs:
    """What turns packed labels and predictions into what a class of Keras takes.

    Args:
        label: The label.
        name: The class.
        arguments: Its arguments.

    Returns:
        A function of labels [B, 1] and of predictions [B, outputs] that `from_learnt` has brought into the label's
        scale. Classes become one-hot rows [B, classes] unless the class of Keras takes indices; to a regression the
        label's offset is added back, in float64.
    """
    if name in _TAKES_A_LIST:
        return lambda y, p: (ops.squeeze(y, -1), p)
    if label.task == "multiclass" and not _takes_indices(name, arguments):
        return lambda y, p: (ops.one_hot(ops.squeeze(y, -1), p.shape[-1]), p)
    return inputs_of_own(label)


def inputs_of_own(label: LabelField) -> Inputs:
    """What a loss or metric of the job's own code gets: class indices [B, 1], values in the label's own units."""
    if label.offset:
        return lambda y, p: (_plus(y, label.offset), _plus(p, label.offset))
    return lambda y, p: (y, p)


def inputs_of_object(label: LabelField, made: Any) -> Inputs:
    """As `inputs_of`, for a loss or metric, or a function, that a model is compiled with."""
    kind = made if callable(made) and hasattr(made, "__name__") else type(made)
    if not kind.__module__.startswith("keras."):
        return inputs_of_own(label)
    if label.quantiles:
        raise ModelCodeError(
            f"the model is compiled with {kind.__name__} of Keras, which compares one value a row, not quantiles",
            where="run.model.entrypoint",
            remedy="compile it with code of your own, or leave compile to the job file",
        )
    name = "".join(word.capitalize() for word in kind.__name__.split("_")) if "_" in kind.__name__ else kind.__name__
    return inputs_of(label, name, {key: getattr(made, key) for key in ("sparse_y_true",) if hasattr(made, key)})


def arguments_of(label: LabelField, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, and those that a model's answers decide: a row of probabilities is no class index."""
    if label.task == "multiclass" and name in _SPARSE_BY_ARGUMENT:
        return {"sparse_y_pred": False, **arguments}
    return dict(arguments)


def _takes_indices(name: str, arguments: Mapping[str, Any]) -> bool:
    if name in _SPARSE_BY_ARGUMENT:
        return bool(arguments.get("sparse_y_true", True))
    return name.startswith("Sparse")


def _plus(values: Any, offset: float) -> Any:
    return ops.add(ops.cast(values, "float64"), offset)
