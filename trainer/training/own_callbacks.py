"""The callbacks of a job's own code, as Keras calls them, with what they carry over a restart.

They see the model of the job and not the one that wraps it for training, the number of a step within its epoch where
the epoch was interrupted, and a folder that the run uploads.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from trainer.config import OwnCallback
from trainer.errors import ModelCodeError
from trainer.model import own_code
from trainer.training.training_state import TrainingState, number
from trainer.workers.coordinator import Coordinator, SingleWorker

Logs = Mapping[str, Any]
#: Stands in a text of `args` for the local folder.
_FOLDER = "{folder}"
#: Attributes of Keras's callbacks that have no way of their own to be kept.
STATE_OF_STOCK_CALLBACKS = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best",),
}


class OwnCallbacks(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Hands every call of Keras on to the callbacks of this worker, which have a local folder for their files.

    Raises:
        ConfigError: There is no such module or name.
        ModelCodeError: One does not import, raises, or is no callback.
    """

    def __init__(
        self,
        specs: Sequence[OwnCallback],
        coordinator: Coordinator | SingleWorker,
        folder: str,
        state: TrainingState,
        epochs: int,
    ) -> None:
        super().__init__()
        self._coordinator, self._state, self._epochs = coordinator, state, epochs
        self._begun = False
        chief = coordinator.rank.chief
        self._own = {
            str(index): _made(index, spec, folder, state)
            for index, spec in enumerate(specs)
            if chief or spec.workers == "all"
        }
        self._first_step = 0
        self._stop_asked = False

    def set_model(self, model: Any) -> None:
        """Gives the callbacks the job's model, which answers for the training one too."""
        super().set_model(model)
        self._each("set_model", JobModel(model))

    def set_params(self, params: dict[str, Any]) -> None:
        """Gives the callbacks the number of epochs and steps."""
        super().set_params(params)
        steps = params["steps"]
        whole = {"epochs": self._epochs, "steps": steps and steps + self._state.cursor.step}
        self._each("set_params", {**params, **whole})

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Lets them begin, once a process, and gives them back what they carried."""
        if self._begun:
            return
        self._begun = True
        self._each("on_train_begin", logs)
        for index, callback in self._own.items():
            _restore(callback, self._state.own_callbacks.get(index) or {})

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Lets them end with the run, and not with an epoch that was interrupted and is done now."""
        if self._state.cursor.epoch >= self._epochs or self.model.stop_training:
            self._each("on_train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Begins an epoch; one that was interrupted goes on at its step."""
        self._first_step = self._state.cursor.step
        self._each("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Ends an epoch. What the chief's callbacks say of stopping is said to every worker."""
        self._each("on_epoch_end", epoch, logs)
        stop = bool(self.model.stop_training or self._stop_asked)
        self.model.stop_training = self._coordinator.broadcast_json(stop)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begins a step."""
        self._each("on_train_batch_begin", self._first_step + batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Ends a step. Of several workers none stops within an epoch: the others would wait for it."""
        self._each("on_train_batch_end", self._first_step + batch, logs)
        if self._coordinator.rank.workers > 1 and self.model.stop_training:
            self._stop_asked, self.model.stop_training = True, False

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Begins a validation."""
        self._each("on_test_begin", logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Ends a validation."""
        self._each("on_test_end", logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begins a batch of a validation."""
        self._each("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Ends a batch of a validation."""
        self._each("on_test_batch_end", batch, logs)

    def _each(self, method: str, *arguments: Any) -> None:
        """Calls every callback with the same objects: what one adds to `logs` the next one sees."""
        for callback in self._own.values():
            getattr(callback, method)(*arguments)

    def keep(self) -> None:
        """Puts what the callbacks carry into the training state.

        Raises:
            ModelCodeError: One raises, or carries what JSON cannot hold.
        """
        for index, callback in self._own.items():
            if (carried := _carried(callback)) is not None:
                self._state.own_callbacks[index] = carried


class JobModel:
    """The job's model as its callbacks see it: layers and weights are its own, all else is the fitted model's."""

    _OF_TRAINING = frozenset({"optimizer", "stop_training", "metrics", "metrics_names", "evaluate", "history", "loss"})

    def __init__(self, trainable: Any) -> None:
        object.__setattr__(self, "_trainable", trainable)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainable if name in self._OF_TRAINING else self._trainable.model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._trainable if name in self._OF_TRAINING else self._trainable.model, name, value)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The job's model called."""
        return self._trainable.model(*args, **options)


def _made(index: int, spec: OwnCallback, folder: str, state: TrainingState) -> keras.callbacks.Callback:
    carried = state.own_callbacks.get(str(index)) or {}
    args, where = _with_folder({**spec.args, **carried.get("config", {})}, folder), f"run.fit.callbacks[{index}]"
    callback = own_code.make(spec.entrypoint, args, where, keras.callbacks.Callback)
    for method in filter(re.compile("on_|set_").match, vars(OwnCallbacks)):  # those that are handed on
        _, *takes = inspect.signature(getattr(keras.callbacks.Callback, method)).parameters
        own_code.check_takes(getattr(callback, method), f"{spec.entrypoint}.{method}", where, *takes)
    return callback


def _with_folder(value: Any, folder: str) -> Any:
    if isinstance(value, str):
        return value.replace(_FOLDER, folder)
    if isinstance(value, dict):
        return {key: _with_folder(one, folder) for key, one in value.items()}
    return [_with_folder(one, folder) for one in value] if isinstance(value, list) else value


def _carried(callback: keras.callbacks.Callback) -> dict[str, Any] | None:
    """What a callback carries over a restart, as JSON holds it; None where it has no way to tell."""
    if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
        carried = {"state": callback.state_dict()}
    elif names := stock_attributes(callback):
        carried = {"attributes": {name: number(getattr(callback, name)) for name in names}}
    elif hasattr(callback, "get_config"):
        carried = {"config": callback.get_config()}
    else:
        return None
    try:
        kept: dict[str, Any] = json.loads(json.dumps(carried, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ModelCodeError(
            f"what {type(callback).__name__} carries over a restart is no JSON: {error}",
            where="run.fit.callbacks",
            remedy="let state_dict (or get_config) return numbers, texts, lists and dicts of them alone",
        ) from error
    return kept


def _restore(callback: keras.callbacks.Callback, carried: Mapping[str, Any]) -> None:
    if "state" in carried:
        callback.load_state_dict(carried["state"])
    for name, value in carried.get("attributes", {}).items():
        setattr(callback, name, value)


def stock_attributes(callback: keras.callbacks.Callback) -> Sequence[str]:
    """Names of the attributes of a callback of Keras that it carries over a restart."""
    return next((names for kind, names in STATE_OF_STOCK_CALLBACKS.items() if isinstance(callback, kind)), ())
