"""The fields of a kubeconfig's clusters and users, under the names that they have there."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import msgspec

from netproxy.errors import ConfigError
from netproxy.kubernetes.access import Pem, Secret

_Fields = TypeVar("_Fields")


class Entry(NamedTuple, Generic[_Fields]):
    """A cluster, a user or a context, and where it was found."""

    name: str
    path: Path
    fields: _Fields


class Extension(msgspec.Struct):
    """What somebody else wants to know of a cluster."""

    name: str = ""
    extension: object = None


class ClusterFields(msgspec.Struct, rename="kebab"):
    """``clusters[].cluster``."""

    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    disable_compression: bool = False
    extensions: list[Extension] = []


class EnvFields(msgspec.Struct):
    """``users[].user.exec.env[]``."""

    name: str = ""
    value: str = ""


class ExecFields(msgspec.Struct, rename="camel"):
    """``users[].user.exec``."""

    command: str = ""
    args: list[str] = []
    env: list[EnvFields] = []
    api_version: str = ""
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class AuthProviderFields(msgspec.Struct):
    """``users[].user.auth-provider``, which no client has any more."""

    name: str = ""


class UserFields(msgspec.Struct, rename="kebab"):
    """``users[].user``."""

    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    exec: ExecFields | None = None
    auth_provider: AuthProviderFields | None = None
    as_user: str = msgspec.field(default="", name="as")
    as_uid: str = ""
    as_groups: list[str] = []
    as_user_extra: dict[str, list[str]] = {}


def to_pem(entry: Entry[_Fields], place: str, field: str, path: str, data: str) -> Pem | None:
    """What a field and its twin ``-data`` say.

    Args:
        entry: Whose fields they are; its file is what relative paths are relative to.
        place: Where it stands, such as ``users[admin]``.
        field: The field's name.
        path: Its value.
        data: Its twin's value, base64.

    Raises:
        ConfigError: both are there, or the data is not base64 of PEM text.
    """
    setting = f"{entry.path}: {place}.{field}"
    if path and data:
        problem = f"{field}-data is set as well"
        raise ConfigError(setting=setting, problem=problem, hint="keep one of them")
    if path:
        return Pem(setting, (entry.path.parent / path).absolute())
    if not data:
        return None
    setting += "-data"
    try:
        text = base64.b64decode("".join(data.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    if "-----BEGIN " not in text:
        raise ConfigError(
            setting=setting,
            problem="is not base64 of a PEM text",
            hint=f"put what `base64 -w0 FILE` prints, or name the file in {field}",
        )
    return Pem(setting, None, Secret(text))
