"""Code of one's own, named as `package.module:name`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from trainer.config.values import Strict


def _entrypoint(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        raise ValueError(f"{value!r} is not package.module:name")
    return value


EntrypointName = Annotated[str, AfterValidator(_entrypoint)]


class OwnCode(Strict):
    """A loss, metric or optimizer of your own."""

    entrypoint: EntrypointName = Field(
        description="package.module:name of a class, which is made with args, or of a function: a loss's and a "
        "metric's is f(y_true, y_pred, **args), an optimizer's returns one."
    )
    args: dict[str, Any] = Field({}, description="Keyword arguments.")


class OwnCallback(Strict):
    """A callback of your own, or one of Keras's: keras.callbacks:CSVLogger."""

    entrypoint: EntrypointName = Field(
        description="package.module:name of a class derived from keras.callbacks.Callback, or of a function that "
        "returns one."
    )
    args: dict[str, Any] = Field(
        {},
        description="Keyword arguments. {folder} in a text is a local folder for files, which the run uploads below "
        "callbacks/ with each checkpoint and at its end.",
    )
    workers: Literal["chief", "all"] = Field("chief", description="Whether the first worker or every one runs it.")


def is_own(value: object) -> bool:
    """Whether a value, parsed or not, names code."""
    return "entrypoint" in value if isinstance(value, dict) else isinstance(value, OwnCode | OwnCallback)
