"""The TensorFlow side of a run: strategy, feeds, model, `model.fit`. Imported only once the data has been checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.checkpoint.store import Snapshot
from trainer.config import Config, SavedModel
from trainer.config.training import mode_of
from trainer.errors import ConfigError, KfitError
from trainer.feed.order.worker_share import Worker
from trainer.feed.packing.images import augments
from trainer.feed.pipeline.dataset import Feed
from trainer.feed.statistics.class_weights import class_weights, row_class_weights
from trainer.feed.statistics.prepare import Prepared
from trainer.model import own_code
from trainer.model.build import Built, build_job
from trainer.model.features import Features
from trainer.model.objective.compiled import Compiled
from trainer.model.strategy import check_batch_size, make_strategy, seed_everything, uses_gpu
from trainer.model.trainable import Trainable, compile_model
from trainer.model.workers import local_replicas, several_workers
from trainer.serving import saved_model
from trainer.serving.calibration import check_can_calibrate
from trainer.training import callbacks, diagnosis, model_state, stock_callbacks
from trainer.training.context import TrainingContext
from trainer.training.own_callbacks import OwnCallbacks
from trainer.training.training_state import TrainingState, first_replica, state_from
from trainer.training.validation_rows import ValidationRows
from trainer.workers.coordinator import Coordinator, SingleWorker

#: Lines of metrics.jsonl within an epoch.
_LINES_AN_EPOCH = 20
#: On a GPU a look at the loss waits for the device.
_LOOK_AT_LOSS_EVERY_ON_GPU = 16


class Session:
    """Owns the feeds and the model of one process's part in a run.

    Args:
        config: The configuration.
        prepared: What is known of the data.
        devices: `auto`, `gpu`, `cpu` or `cpu:N`.
        coordinator: Of the run's workers.
        addresses: host:port of each worker's TensorFlow server, where there are several.

    Attributes:
        features: What the model was built with.
        built: The model on packed inputs, without training's wrapping.
        notes: What a person should know of the model, a line each.
        wait_s: Seconds that training waited for the feed.
    """

    def __init__(
        self,
        config: Config,
        prepared: Prepared,
        devices: str,
        coordinator: Coordinator | SingleWorker | None = None,
        addresses: Sequence[str] = (),
    ) -> None:
        self._config, self._prepared = config, prepared
        self._coordinator = coordinator or SingleWorker()
        self._strategy = strategy = make_strategy(devices, addresses, self._coordinator.rank.index)
        check_batch_size(config.fit.known_batch_size, strategy.num_replicas_in_sync)
        seed_everything(config, strategy)
        self._on_gpu = uses_gpu(strategy)
        self._meet()
        self._worker = self._place()
        weights = row_class_weights(config, prepared)
        self._train = self._open(
            "train", shuffle=config.data.shuffle is not False, class_weight=weights, worker=self._worker
        )
        validated = bool(prepared.rows.get("validation"))
        self._validation = self._open("validation", shuffle=False, worker=self._worker) if validated else None
        self._train.start()  # reads while the model is built
        self._per_call = _largest_divisor(self._train.steps, config.fit.steps_per_execution)
        with strategy.scope():
            self.features = Features(prepared.layout, config, prepared.statistics["train"])
            job = self._build()
            self.built, self.notes = job.model, (*job.compiled.notes, *self._notes())
            if config.fit.calibrate is not None:
                check_can_calibrate(self.built, compiled_loss=job.compiled.loss is not None)
            fitted = config.model_copy(
                update={"fit": config.fit.model_copy(update={"steps_per_execution": self._per_call})}
            )
            self.model = self._compile(fitted, job.compiled)
        self._pending: Snapshot | None = None
        self._own: OwnCallbacks | None = None
        stock_callbacks.check_monitors(config, self.model.directions, validation=self._validation is not None)

    def _notes(self) -> list[str]:
        fit, steps = self._config.fit, self._train.steps * self._config.fit.known_epochs
        if fit.profile is None or fit.profile.steps[0] <= steps:
            return []
        first, last = fit.profile.steps
        return [f"fit.profile: the run has {steps} steps, so none of {first} to {last} is profiled"]

    def _build(self) -> Built:
        if not isinstance(self._config.model, SavedModel):
            return build_job(self.features, self._config)
        return build_job(self.features, self._config, *saved_model.load(self._config.model))

    def _meet(self) -> None:
        """Waits until every worker's server is up: a variable's first value comes from worker 0."""
        counts = [int(count) for count in self._coordinator.gather(str(local_replicas(self._strategy)).encode())]
        if len(set(counts)) > 1:
            raise ConfigError(
                f"workers have {', '.join(map(str, counts))} devices, and each needs as many as the others",
                where="--devices",
                remedy="give every worker the same number; in pods resources.gpus does",
            )
        self._coordinator.broadcast_json()

    def _compile(self, config: Config, compiled: Compiled) -> Trainable:
        for index, callback in enumerate(config.fit.callbacks):
            own_code.load(callback.entrypoint, f"run.fit.callbacks[{index}]")  # told now, not after the first epoch
        steps = self._train.steps * config.fit.known_epochs
        try:
            weights = class_weights(config, self._prepared)
            return compile_model(self.built, config, steps, self._prepared.layout.labels, compiled, weights)
        except Exception as error:
            raise own_code.fault_in_training(error) or error from error

    def _place(self) -> Worker | None:
        """Returns the part of the data that this worker reads; None: all of it, and it takes a slice of every batch."""
        rank, config = self._coordinator.rank, self._config
        # XLA compiles anew for every size of a batch; and what varies an image goes by its place in the batch.
        if rank.workers == 1 or config.fit.jit_compile or augments(config, self._prepared.layout.images):
            return None
        return Worker(rank.index, rank.workers, local_replicas(self._strategy))

    def _open(self, split: Any, *, shuffle: bool, class_weight: Any = None, worker: Worker | None = None) -> Feed:
        fit = self._config.fit
        return Feed(
            self._prepared,
            split,
            batch_size=fit.known_batch_size,
            seed=fit.seed,
            shuffle=shuffle,
            class_weight=class_weight,
            worker=worker,
        )

    @property
    def wait_s(self) -> float:
        """Seconds that training waited for the feed."""
        return float(self._train.wait_s)

    def resume(self, snapshot: Snapshot | None) -> TrainingState:
        """Restores a snapshot's variables.

        Returns:
            The snapshot's training state; a new one where there is no snapshot.
        """
        if snapshot is None:
            return TrainingState()
        state = state_from(snapshot)
        self._restore(snapshot, metrics=False)
        if state.cursor.step and state.epoch_logs is None:
            self._pending = snapshot
        return state

    def _restore(self, snapshot: Snapshot, *, metrics: bool) -> None:
        here = first_replica(self.model, self._coordinator)
        model_state.restore(self.model, snapshot.groups, metrics=metrics, first_replica=here)

    def fit(self, context: TrainingContext) -> None:
        """Trains from the state's cursor to the last epoch.

        An epoch that was cut is finished by a call of its own, since Keras holds one number of steps for
        all epochs of a call.

        Raises:
            NotFiniteError: The loss became NaN or infinite.
            Preempted: Asked to stop; a checkpoint is committed.
            KfitError: The feed's own fault, under its own name.
        """
        state = context.state
        epochs, steps = self._config.fit.known_epochs, self._train.steps
        context.progress.start(
            epochs=epochs,
            steps=steps,
            rows_per_step=self._config.fit.known_batch_size,
            first_epoch=state.cursor.epoch,
            first_step=state.cursor.step,
            wait_s=lambda: self.wait_s,
        )
        try:
            if state.epoch_logs is not None:
                self._validate_and_end_epoch(state, self._callbacks(context))
            elif state.cursor.step:
                self._keras_fit(state, state.cursor.epoch + 1, steps - state.cursor.step, self._callbacks(context))
            if state.cursor.epoch < epochs and not state.stopped_early:
                self._keras_fit(state, epochs, steps, self._callbacks(context))
        except (KfitError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise diagnosis.cause_of(error, (self._train, self._validation), self._prepared) from error

    def _validate_and_end_epoch(self, state: TrainingState, listeners: list[keras.callbacks.Callback]) -> None:
        """Does what `fit` does between an epoch's last step and the next epoch, for a run that was stopped there."""
        assert state.epoch_logs is not None
        logs = dict(state.epoch_logs)
        called = keras.callbacks.CallbackList(listeners, model=self.model)
        self.model.stop_training = False
        called.on_train_begin()
        called.on_epoch_begin(state.cursor.epoch)
        if (validation := self._validation) is not None:
            metrics = self.model.evaluate(
                self._batches(validation),
                steps=validation.steps,
                callbacks=[*([self._own] if self._own else []), listeners[-1]],
                verbose=0,
                return_dict=True,
            )
            logs |= {f"val_{name}": value for name, value in metrics.items()}
        called.on_epoch_end(state.cursor.epoch, logs)
        called.on_train_end(logs)

    def _batches(self, feed: Feed) -> Any:
        """Every epoch's batches after another; where there are several workers, this one's replicas' shares."""
        if not several_workers(self._strategy):
            return feed.dataset().repeat()
        here = local_replicas(self._strategy)
        rows = self._config.fit.known_batch_size // self._strategy.num_replicas_in_sync
        first = self._coordinator.rank.index * here * rows

        def shares(*batch: Any) -> tf.data.Dataset:
            mine = batch if feed.shared else tf.nest.map_structure(lambda t: t[first : first + here * rows], batch)
            # [here * rows, …] -> [here, rows, …]; how wide a ragged sequence is shows in the graph alone.
            each = [here, -1 if feed.shared else rows]
            parts = tf.nest.map_structure(lambda t: tf.reshape(t, tf.concat([each, tf.shape(t)[1:]], 0)), mine)
            return tf.data.Dataset.from_tensor_slices(parts)

        return self._strategy.distribute_datasets_from_function(lambda _: feed.dataset().repeat().flat_map(shares))

    def _keras_fit(
        self, state: TrainingState, epochs: int, steps: int, listeners: list[keras.callbacks.Callback]
    ) -> None:
        self._train.seek(state.cursor.epoch, state.cursor.step)
        validation = self._validation
        self.model.fit(
            self._batches(self._train),
            epochs=epochs,
            initial_epoch=state.cursor.epoch,
            steps_per_epoch=steps,
            validation_data=self._batches(validation) if validation else None,
            validation_steps=validation.steps if validation else None,
            callbacks=listeners,
            shuffle=False,  # the feed has shuffled; Keras would only warn
            verbose=0,
        )

    def _own_callbacks(self, context: TrainingContext) -> OwnCallbacks | None:
        """The job's own callbacks, made once: an epoch that was cut is a call of `fit` by itself."""
        specs, epochs = self._config.fit.callbacks, self._config.fit.known_epochs
        if specs and self._own is None:
            self._own = OwnCallbacks(specs, self._coordinator, context.files, context.state, epochs)
        return self._own

    def _callbacks(self, context: TrainingContext) -> list[keras.callbacks.Callback]:
        config = self._config
        stock = stock_callbacks.keras_callbacks(config, self.model.directions, context.tensorboard)
        early = config.fit.known_early_stopping
        monitor = early.monitor if early else ("val_loss" if self._validation else "loss")
        pending, self._pending = self._pending, None
        own = self._own_callbacks(context)
        keeps_state = callbacks.TrainingStateCallback(
            context.state,
            stock,
            monitor=monitor,
            mode=mode_of(self.model.directions, monitor, early.mode if early else "auto"),
            line_every=max(1, self._train.steps // _LINES_AN_EPOCH),
            restore_metrics=(lambda: self._restore(pending, metrics=True)) if pending else None,
        )

        def explain(epoch: int, step: int) -> Exception:
            return diagnosis.loss_not_finite(config, self._prepared, self._train.steps, epoch, step)

        profile, board = config.fit.profile, context.tensorboard  # the chief alone has a board
        look_every = _LOOK_AT_LOSS_EVERY_ON_GPU if self._on_gpu else 1
        every = config.output.checkpoint.every
        return [
            *stock,
            *([own] if own else []),
            keeps_state,
            *([callbacks.ProfileCallback(profile, board, context.state)] if profile and board else []),
            callbacks.FiniteLossCallback(context.state, explain, every=look_every),
            callbacks.ProgressCallback(context),
            callbacks.CheckpointCallback(context, every, self._train.steps, self._coordinator, own),
        ]

    def settle(self, state: TrainingState) -> None:
        """Takes the weights that count: the optimizer's average, or the best epoch's, as the configuration says."""
        self.model.finish_weights()
        stop = self._config.fit.known_early_stopping
        if stop is not None and stop.restore_best_weights and state.best_weights is not None:
            model_state.set_weights(self.model, state.best_weights)

    @property
    def validation_rows(self) -> ValidationRows | None:
        """The validation split, to ask the trained model about; None without one."""
        if self._validation is None:
            return None
        fit, rows = self._config.fit, self._prepared.rows["validation"]
        return ValidationRows(
            lambda: self._open("validation", shuffle=False),
            self._prepared.layout,
            self.built,
            fit.known_batch_size,
            rows,
        )

    def close(self) -> None:
        """Stops the feeds' threads."""
        for feed in (self._train, self._validation):
            if feed is not None:
                feed.close()


def _largest_divisor(steps: int, limit: int) -> int:
    """Returns the largest divisor of `steps` up to `limit`: Keras would run the last call of an epoch past its end."""
    return next(k for k in range(min(limit, steps), 0, -1) if steps % k == 0)
