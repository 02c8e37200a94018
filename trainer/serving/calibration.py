"""Temperature scaling: one number by which a trained classification's logits are divided.

Guo et al. 2017, "On Calibration of Modern Neural Networks". It is fitted on the validation split by the log loss and
kept where it lowers the Brier score there too. The last layer's weights are divided by it, so that the exported model
is calibrated without an operation more.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import ConfigError

Floats = NDArray[np.float64]

#: The inverse of the temperature is looked for between these.
_LEAST, _MOST = 1 / 64, 64.0
#: Halvings of that span: to a relative step of 1e-9.
_HALVINGS = 40


@dataclass(frozen=True)
class Calibration:
    """What a temperature does on the rows that it was fitted on.

    Attributes:
        temperature: Above 1 it makes predictions less sure.
        applied: Whether the model has it: where it lowers the Brier score.
        rows: How many there were.
        brier_before, brier_after: Mean squared distance of the probabilities from the label (of all classes together).
        log_loss_before, log_loss_after: Mean log loss.
    """

    temperature: float
    applied: bool
    rows: int
    brier_before: float
    brier_after: float
    log_loss_before: float
    log_loss_after: float

    def as_json(self) -> dict[str, Any]:
        """As result.json carries it."""
        return {"method": "temperature", **asdict(self)}

    def __str__(self) -> str:
        scores = f"Brier score {self.brier_before:.4g} to {self.brier_after:.4g} on {self.rows:,} validation rows"
        if self.applied:
            return f"calibrated by temperature {self.temperature:.3g}: {scores}"
        return f"not calibrated: temperature {self.temperature:.3g} would take the {scores}"


def fit_temperature(task: str, labels: NDArray[Any], logits: NDArray[Any]) -> Calibration | None:
    """Fits the temperature by the log loss, which is convex in its inverse.

    Args:
        task: binary or multiclass.
        labels: [rows]: 0 or 1, or class index.
        logits: [rows] or [rows, 1]; multiclass [rows, classes].

    Returns:
        The temperature and its scores; None where all labels are one class, or a logit is not finite.
    """
    z = np.asarray(logits, np.float64).reshape(len(labels), -1)
    if task == "binary":
        z = np.concatenate([np.zeros_like(z), z], axis=1)
    classes = np.asarray(labels).reshape(-1).astype(np.intp)
    if len(np.unique(classes)) < 2 or not np.isfinite(z).all():
        return None
    z -= z.max(axis=1, keepdims=True)
    chosen = z[np.arange(len(z)), classes]
    low, high = np.log(_LEAST), np.log(_MOST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # The slope of the log loss by the inverse temperature: the expected logit minus the true class's.
        slope = ((_probabilities(z, np.exp(middle)) * z).sum(axis=1) - chosen).mean()
        low, high = (low, middle) if slope > 0 else (middle, high)
    inverse = float(np.exp((low + high) / 2))
    before, after = (_scores(z, scale, classes) for scale in (1.0, inverse))
    return Calibration(1.0 / inverse, after[0] < before[0], len(z), before[0], after[0], before[1], after[1])


def _probabilities(z: Floats, inverse: float) -> Floats:
    """Softmax [rows, classes] of logits whose largest is 0."""
    powers = np.exp(inverse * z)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _scores(z: Floats, inverse: float, classes: NDArray[np.intp]) -> tuple[float, float]:
    """Brier score (of two classes: of the second one, as `trainer.metrics` has it) and log loss."""
    p = _probabilities(z, inverse)
    rows = np.arange(len(z))
    log_loss = float((np.log(np.exp(inverse * z).sum(axis=1)) - inverse * z[rows, classes]).mean())
    p[rows, classes] -= 1.0
    squares = np.square(p[:, 1]) if p.shape[1] == 2 else np.square(p).sum(axis=1)
    return float(squares.mean()), log_loss


def check_can_calibrate(built: Any, *, compiled_loss: bool = False) -> None:
    """Checks that a model ends in a layer whose weights can be divided, and is trained by the log loss.

    Args:
        built: The model on packed inputs.
        compiled_loss: Whether it is trained by a loss that its own code compiled.

    Raises:
        ConfigError: It ends in another one, or has another loss.
    """
    import keras

    if compiled_loss:
        raise ConfigError(
            "fit.calibrate goes with the cross-entropy of loss: auto, and the model is compiled with a loss",
            where="run.fit.calibrate",
            remedy="compile the model without a loss, or leave calibrate out",
        )
    last = _last_layer(built)
    named = getattr(getattr(last, "activation", None), "__name__", "")
    if not isinstance(last, keras.layers.Dense) or named not in ("sigmoid", "softmax"):
        raise ConfigError(
            f"the model ends in {type(last).__name__} {getattr(last, 'name', '')!r}; a temperature needs a Dense layer "
            "with activation sigmoid or softmax",
            where="run.fit.calibrate",
            remedy="end the model in keras.layers.Dense(features.outputs, features.activation), or leave calibrate out",
        )


def apply_temperature(built: Any, temperature: float) -> None:
    """Divides the logits of a model for which `check_can_calibrate` holds."""
    for weight in _last_layer(built).weights:
        weight.assign(weight / temperature)


def _last_layer(built: Any) -> Any:
    """The layer that makes a model's output, also where it is that of a model inside it."""
    last = built
    while getattr(last, "outputs", None):
        last = last.outputs[0]._keras_history.operation
    return last
