"""The shape of a kubeconfig's clusters and users, so that a value of another type is one error and no traceback.

Types are strict, as kubectl's: `token: 12` is refused. Keys that are not listed pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from k8s.errors import AccessError

_Text = str | None


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Variable(_Shape):
    name: str
    value: str


class _Plugin(_Shape):
    command: str = Field(min_length=1)
    args: list[str] | None = None
    env: list[_Variable] | None = None
    api_version: _Text = Field(None, alias="apiVersion")
    install_hint: _Text = Field(None, alias="installHint")
    interactive_mode: _Text = Field(None, alias="interactiveMode")
    provide_cluster_info: bool | None = Field(None, alias="provideClusterInfo")


class _Provider(_Shape):
    name: str
    config: dict[str, str] | None = None


class _User(_Shape):
    token: _Text = None
    token_file: _Text = Field(None, alias="tokenFile")
    username: _Text = None
    password: _Text = None
    exec: _Plugin | None = None
    auth_provider: _Provider | None = Field(None, alias="auth-provider")
    client_certificate: _Text = Field(None, alias="client-certificate")
    client_certificate_data: _Text = Field(None, alias="client-certificate-data")
    client_key: _Text = Field(None, alias="client-key")
    client_key_data: _Text = Field(None, alias="client-key-data")
    impersonate: _Text = Field(None, alias="as")
    impersonate_uid: _Text = Field(None, alias="as-uid")
    impersonate_groups: list[str] | None = Field(None, alias="as-groups")
    impersonate_extra: dict[str, list[str]] | None = Field(None, alias="as-user-extra")


class _Cluster(_Shape):
    server: str = Field(pattern=r"^https?://[^/?#\s]+[^?#\s]*$")
    certificate_authority: _Text = Field(None, alias="certificate-authority")
    certificate_authority_data: _Text = Field(None, alias="certificate-authority-data")
    tls_server_name: _Text = Field(None, alias="tls-server-name")
    proxy_url: _Text = Field(None, alias="proxy-url")
    insecure: bool | None = Field(None, alias="insecure-skip-tls-verify")
    extensions: list[dict[str, Any]] | None = None


_SHAPES: dict[str, type[_Shape]] = {"cluster": _Cluster, "user": _User}


def check(kind: str, value: Mapping[str, Any], where: str) -> None:
    """Checks the types of an entry.

    Args:
        kind: `user` or `cluster`.
        value: The entry, as YAML gives it.
        where: The context, for messages.

    Raises:
        AccessError: A value has another type. Its key is named; the value is not, for it may be secret.
    """
    try:
        _SHAPES[kind].model_validate(value)
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        needed = "must be a URL with http:// or https://" if key == "server" else first["msg"].lower()
        raise AccessError(
            f"{key!r} of its {kind}: {needed}", where=where, remedy="write the kubeconfig again"
        ) from None
