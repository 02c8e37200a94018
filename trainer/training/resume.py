"""Where a run begins: from scratch, from its own newest checkpoint, or from the end of the run that it extends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from trainer import storage
from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.store import CheckpointStore, Snapshot
from trainer.config import Config, Fit, OwnCode, Schedule
from trainer.errors import ConfigError

#: Keys of the configuration that do not decide the weights; a run goes on only with all others unchanged.
_NOT_IN_SIGNATURE = {
    "output",
    "promote",
    "notify",
    "metrics",
    "data.holdout",
    "data.checks",
    "data.unchanged",
    "data.memory",
    "data.on_bad_shard",
    "data.max_bad_shards",
    "fit.calibrate",
    "fit.epochs",
    "fit.extend",
    "fit.jit_compile",
    "fit.stall",
    "fit.profile",
}


def starting_point(
    config: Config, folder: RunFolder, store: CheckpointStore, note: Callable[[str], None]
) -> Snapshot | None:
    """Reads the snapshot that a run goes on from; writes nothing. `note` is told one line for a person.

    Returns:
        The snapshot; None where the run begins from scratch.

    Raises:
        ConfigError: It belongs to another configuration, its model is published already, or there is nothing to extend.
        StorageError: The store is out of reach or refuses.
    """
    own = store.newest()
    if own is not None:
        _check_configuration(config, own, f"--run {folder.run_id}")
        _check_published(config, folder, own)
        return own
    if config.fit.extend is None:
        return None
    return _end_of(config, config.fit.extend, note)


def take_over(
    config: Config, folder: RunFolder, store: CheckpointStore, note: Callable[[str], None]
) -> Snapshot | None:
    """Claims the run for this process, and reads the snapshot that it goes on from.

    Takes and returns what `starting_point` does.

    Raises:
        ConfigError: As `starting_point`; the run is not claimed then.
        StorageError: The store is out of reach or refuses.
    """
    while True:
        snapshot = starting_point(config, folder, store, note)
        if store.take_over(snapshot):
            return snapshot


def _end_of(config: Config, extended: str, note: Callable[[str], None]) -> Snapshot:
    where = "run.fit.extend"
    head, _, run_id = extended.rstrip("/").rpartition("/")
    folder = RunFolder(head.removesuffix("/runs") if head else config.output.uri, run_id)
    snapshot = CheckpointStore(folder, keep=1, note=note).newest()
    if snapshot is None:
        raise ConfigError(
            f"no checkpoint below {folder.uri}", where=where, remedy="name a run's id below output.uri, or its URI"
        )
    if _stretches(config):
        raise ConfigError(
            "the learning rate falls over the whole run, so a run that has ended cannot be extended",
            where=where,
            remedy="set fit.optimizer.learning_rate to a number, in both runs, or use run.fit.warm_start",
        )
    _check_configuration(config, snapshot, where)
    done = int(snapshot.state["cursor"]["epoch"])
    if snapshot.state["stopped_early"]:
        raise ConfigError(
            f"run {run_id} stopped early after {done} epochs, and would again",
            where=where,
            remedy="to train on from its weights use run.fit.warm_start",
        )
    if config.fit.epochs == "auto" or config.fit.epochs <= done:
        raise ConfigError(
            f"run {run_id} has {done} epochs and run.fit.epochs is {config.fit.epochs}",
            where=where,
            remedy=f"set run.fit.epochs above {done}",
        )
    note(f"extends run {run_id} from {done} to {config.fit.epochs} epochs")
    return snapshot


def _check_configuration(config: Config, snapshot: Snapshot, where: str) -> None:
    before, now = snapshot.state["shaping"], resume_signature(config)
    changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    if changed:
        shown = "; ".join(f"{k}: {before.get(k)!r} -> {now.get(k)!r}" for k in changed)
        raise ConfigError(
            f"the run began with another configuration: {shown}",
            where=where,
            remedy="give it back, or begin a new run with another --run",
        )


def with_choices_of(snapshot: Snapshot | None, asked: Config, resolved: Config) -> Config:
    """The numbers that `auto` stood for when the run began, should a newer version of kfit choose others.

    Args:
        snapshot: Where the run goes on; None at its beginning.
        asked: The configuration as the job file has it.
        resolved: The same with `auto` resolved now.
    """
    began = (snapshot.state.get("automatic") or {}) if snapshot is not None else {}
    names = [name for name in began if getattr(asked.fit, name) == "auto"]
    return resolved.model_copy(
        update={"fit": Fit.model_validate(resolved.fit.model_dump() | {name: began[name] for name in names})}
    )


def _check_published(config: Config, folder: RunFolder, snapshot: Snapshot) -> None:
    """Refuses to train past what `model/` holds: a published model is never replaced, so it would not be the run's."""
    epochs = config.fit.epochs  # `auto` is what it was when the run began
    if epochs == "auto" or snapshot.state["stopped_early"] or int(snapshot.state["cursor"]["epoch"]) >= epochs:
        return
    before = (folder.read_json("config.json") or {}).get("config", {}).get("fit", {}).get("epochs")
    if not isinstance(before, int) or before >= epochs or not storage.exists(folder.path("model", "MANIFEST.json")):
        return
    raise ConfigError(
        f"the run has published its model after {before} epochs and run.fit.epochs is {epochs}",
        where=f"--run {folder.run_id}",
        remedy=f"finish it with run.fit.epochs: {before}, then begin a new run with run.fit.extend: {folder.run_id}",
    )


def check_data(folder: RunFolder, snapshot: Snapshot | None, fingerprint: str) -> None:
    """Checks that a run goes on with the data it began with.

    Raises:
        ConfigError: The data changed.
    """
    if snapshot is not None and snapshot.state["fingerprint"] != fingerprint:
        raise ConfigError(
            "the data changed since the run began",
            where=f"--run {folder.run_id}",
            remedy="begin a new run with another --run (run.fit.warm_start takes the weights along)",
        )


def resume_signature(config: Config) -> dict[str, Any]:
    """Returns what a run must keep when it goes on: the keys that decide the weights.

    Returns:
        Flat: `fit.batch_size` -> JSON value.
    """
    flat: dict[str, Any] = {}

    def walk(at: str, value: Any) -> None:
        if at in _NOT_IN_SIGNATURE:
            return
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{at}.{key}" if at else str(key), inner)
        else:
            flat[at] = value

    walk("", config.model_dump(mode="json"))
    # Where the data lies does not matter: its fingerprint is compared on its own.
    for key in [k for k in flat if k == "data.train" or k.startswith("data.train.")]:
        del flat[key]
    if _stretches(config):
        flat["fit.epochs"] = config.fit.epochs
    return flat


def _stretches(config: Config) -> bool:
    """Whether the learning rate's schedule spans all epochs of the run, so that their number decides the weights."""
    optimizer = config.fit.optimizer
    rate = None if isinstance(optimizer, OwnCode) else optimizer.learning_rate
    if rate == "auto":
        return config.fit.reduce_on_plateau is None
    return isinstance(rate, Schedule) and rate.name != "piecewise" and rate.decay_steps is None


def resume_signature_hash(config: Config) -> str:
    """Returns the SHA-256 of `resume_signature`."""
    return hashlib.sha256(json.dumps(resume_signature(config), sort_keys=True).encode()).hexdigest()
