"""Code of one's own: named as `package.module:name`, and fetched where it comes with neither image nor folder."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from trainer.config.values import Strict, Uri
from trainer.uris import local_path


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


class Code(Strict):
    """Packages of the job's own, put on the path before an entrypoint is imported."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False, serialize_by_alias=True)

    uri: Uri = Field(
        alias="from",
        description="A wheel, s3://…/model-1.4.0-py3-none-any.whl, without its dependencies; or a local folder.",
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None,
        description="Of the wheel, as sha256sum prints it; another wheel is another Job. A local path needs none.",
    )

    @model_validator(mode="after")
    def _is_pinned(self) -> Code:
        local, wheel = local_path(self.uri) is not None, self.uri.endswith(".whl")
        if not local and not wheel:
            raise ValueError(f"{self.uri} is no wheel, and a folder is for this machine alone; make one: pip wheel .")
        if not local and self.sha256 is None:
            raise ValueError("sha256 is missing; `sha256sum FILE` prints that of the wheel")
        if not wheel and self.sha256 is not None:
            raise ValueError("sha256 goes with a wheel, not with a folder; leave it out")
        return self
