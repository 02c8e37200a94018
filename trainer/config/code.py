"""Code of the job that is fetched, and comes neither with the image nor from the working folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from trainer.config.values import Strict, Uri
from trainer.uris import local_path


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
