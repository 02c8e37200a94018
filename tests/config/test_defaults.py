"""Every default in one place: to change one is a decision, and shows here."""

from __future__ import annotations

from pydantic_core import PydanticUndefined

from trainer.config import Config, reference

DEFAULTS: dict[str, dict[str, object]] = {
    "Config": {"promote": None, "notify": None},
    "Data": {
        "validation": None,
        "holdout": None,
        "checks": None,
        "unchanged": None,
        "sample_weight": None,
        "filter": {},
        "shuffle": 268435456,
        "memory": None,
        "on_bad_shard": "fail",
        "max_bad_shards": 10,
    },
    "Condition": {
        "equals": None,
        "one_of": None,
        "not_in": None,
        "at_least": None,
        "above": None,
        "at_most": None,
        "below": None,
        "null": None,
    },
    "Window": {"until": -1, "gap": 0, "missing": "fail", "max_missing": 3},
    "Checks": {
        "nulls": 0.05,
        "range": 1.0,
        "new_categories": 0.05,
        "psi": 0.25,
        "min_rows": 0.5,
        "max_rows": 2.0,
        "columns": {},
    },
    "Limits": {"nulls": 0.05, "range": 1.0, "new_categories": 0.05, "psi": 0.25},
    "FractionSplit": {"by": None},
    "NewestSplit": {},
    "Numeric": {"scale": "robust_clip", "impute": None, "indicator": False},
    "Date": {"parts": "auto", "cyclic": True, "impute": None, "indicator": False},
    "Constant": {},
    "Image": {"channels": 3, "augment": None},
    "Augment": {"flip": False, "shift": 0.0},
    "Sequence": {"ragged": False, "size": None, "max_vocabulary": 10_000, "min_count": 1},
    "Text": {"length": 256, "size": None, "max_vocabulary": 20_000, "min_count": 1},
    "Categorical": {
        "encode": "auto",
        "size": None,
        "buckets": None,
        "max_vocabulary": 10000,
        "min_count": 1,
        "impute": None,
        "indicator": False,
    },
    "Vector": {"scale": "none", "impute": None, "indicator": False},
    "Builtin": {
        "hidden": [256, 256, 256],
        "activation": "silu",
        "dropout": 0.0,
        "residual": False,
        "l2": 0.0,
        "numbers": "periodic",
        "number_size": 8,
        "frequencies": 16,
        "frequency_scale": 0.2,
        "cross_layers": 3,
        "freeze": [],
    },
    "Label": {"quantiles": [0.1, 0.5, 0.9], "transform": "standard"},
    "Entrypoint": {"args": {}, "inputs": "packed", "freeze": []},
    "Fit": {
        "epochs": "auto",
        "batch_size": "auto",
        "loss": "auto",
        "metrics": None,
        "callbacks": [],
        "class_weight": None,
        "early_stopping": "auto",
        "reduce_on_plateau": None,
        "calibrate": None,
        "mixed_precision": False,
        "jit_compile": False,
        "steps_per_execution": 1,
        "extend": None,
        "warm_start": None,
        "profile": None,
        "stall": "10m",
        "seed": 0,
        "deterministic": None,
    },
    "OwnCode": {"args": {}},
    "OwnCallback": {"args": {}, "workers": "chief"},
    "KerasOptimizer": {"learning_rate": None},
    "KerasSchedule": {},
    "Loss": {},
    "WatchedMetric": {},
    "Profile": {},
    "Optimizer": {
        "name": "adamw",
        "learning_rate": "auto",
        "momentum": 0.0,
        "weight_decay": None,
        "clip_norm": None,
        "global_clip_norm": None,
        "clip_value": None,
    },
    "Schedule": {
        "decay_steps": None,
        "decay_rate": 0.96,
        "alpha": 0.0,
        "warmup_steps": 0,
        "boundaries": [],
        "values": [],
    },
    "EarlyStopping": {
        "monitor": "val_loss",
        "patience": 3,
        "min_delta": 0.0,
        "mode": "auto",
        "restore_best_weights": True,
    },
    "ReduceOnPlateau": {
        "monitor": "val_loss",
        "factor": 0.5,
        "patience": 2,
        "min_delta": 0.0001,
        "cooldown": 0,
        "min_learning_rate": 0.0,
        "mode": "auto",
    },
    "Checkpoint": {"every": "1 epoch", "keep": 3, "patience": "30m"},
    "Output": {"tensorboard": True, "keep_runs": None},
    "KeepRuns": {"count": None, "age": None},
    "Promote": {
        "metric": None,
        "min_delta": 0.0,
        "max_loss": None,
        "confidence": 0.95,
        "resamples": 1000,
        "by": None,
        "slices": [],
        "slice_max_loss": 0.0,
        "min_slice_rows": 200,
        "limits": {},
        "seed": 0,
    },
    "Notify": {
        "url": None,
        "url_env": None,
        "secret_env": "KFIT_NOTIFY_SECRET",
        "on": ["succeeded", "skipped", "failed"],
    },
}


def test_defaults():
    found = {
        model.__name__: {
            name: field.get_default(call_default_factory=True)
            for name, field in model.model_fields.items()
            if field.default is not PydanticUndefined
        }
        for _, model in reference.parts("run", Config)
    }
    assert found == DEFAULTS
