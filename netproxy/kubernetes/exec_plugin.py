"""Credential plugins: programs that print a token, a client certificate, or both.

A plugin that fails is an error. Nobody goes on as nobody.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
#client-go-credential-plugins.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from netproxy.errors import SourceError
from netproxy.kubernetes.access import ExecPlugin, KeyPair, Pem, Secret

_GROUP = "client.authentication.k8s.io"
VERSION_WITH_INTERACTIVE_MODE = f"{_GROUP}/v1"
"""The version in which interactiveMode has to be said."""
API_VERSIONS = (VERSION_WITH_INTERACTIVE_MODE, f"{_GROUP}/v1beta1", f"{_GROUP}/v1alpha1")
LIMIT_S = 60.0
"""How long a plugin may take, in seconds; it may have to ask somebody far away."""
_LONGEST_COMPLAINT = 200
_LOOKS_SECRET = re.compile(r"[\w+=.\-]{32,}")
"""Tokens and base64 have such runs; words, and the parts of paths, seldom do."""


class Credential(NamedTuple):
    """What a plugin said."""

    token: Secret | None
    pair: KeyPair | None
    expires: float | None
    """In seconds since 1970; None: valid until it is refused."""


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class _ExecCredential(msgspec.Struct, rename="camel"):
    kind: str = ""
    api_version: str = ""
    status: _Status | None = None


async def run_plugin(
    plugin: ExecPlugin, environ: Mapping[str, str], *, limit_s: float = LIMIT_S
) -> Credential:
    """Ask a plugin who we are.

    Args:
        plugin: The program and its arguments.
        environ: Our environment, which it inherits.
        limit_s: It is killed after so many seconds.

    Raises:
        SourceError: it cannot be started, failed, took too long or answered something else.
    """
    env = {
        **environ,
        **{name: value.reveal() for name, value in plugin.env.items()},
        "KUBERNETES_EXEC_INFO": _exec_info(plugin),
    }
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
        )
    except OSError as error:
        raise SourceError(
            f"{plugin.setting}.command: cannot start {plugin.command}: {error.strerror}",
            hint=plugin.install_hint or "look at the file's owner, mode and first line",
        ) from error
    try:
        async with asyncio.timeout(limit_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise _failure(plugin, f"gave no answer within {limit_s:.0f} s") from None
    finally:
        await _end(process)
    if process.returncode:
        raise _failure(plugin, f"ended with {process.returncode}{_complaint(err)}")
    return _decode(plugin, out)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _exec_info(plugin: ExecPlugin) -> str:
    spec: dict[str, object] = {"interactive": False}
    if plugin.cluster_info is not None:
        spec["cluster"] = msgspec.Raw(plugin.cluster_info.reveal().encode())
    info = {"kind": "ExecCredential", "apiVersion": plugin.api_version, "spec": spec}
    return msgspec.json.encode(info).decode()


def _complaint(err: bytes) -> str:
    """The last line that the plugin wrote, without what looks like a secret."""
    lines = err.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {_LOOKS_SECRET.sub('...', last)[:_LONGEST_COMPLAINT]}" if last else ""


def _decode(plugin: ExecPlugin, out: bytes) -> Credential:
    try:
        answer = msgspec.json.decode(out, type=_ExecCredential)
    except msgspec.DecodeError as error:
        raise _failure(plugin, f"printed no ExecCredential: {error}") from None
    if answer.kind != "ExecCredential" or answer.api_version != plugin.api_version:
        wanted = f"ExecCredential of {plugin.api_version}"
        raise _failure(plugin, f"printed no {wanted}, as the kubeconfig says it would")
    status = answer.status or _Status()
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise _failure(plugin, "printed a client certificate or its key, but not both")
    if not status.token and not status.client_key_data:
        raise _failure(plugin, "printed neither a token nor a client certificate")
    expires = status.expiration_timestamp
    if expires is not None and expires.tzinfo is None:
        raise _failure(plugin, "printed an expirationTimestamp without a time zone")
    return Credential(
        token=Secret(status.token) if status.token else None,
        pair=_pair(plugin, status),
        expires=None if expires is None else expires.timestamp(),
    )


def _pair(plugin: ExecPlugin, status: _Status) -> KeyPair | None:
    if not status.client_key_data:
        return None
    return KeyPair(
        Pem(
            f"{plugin.setting}: its clientCertificateData",
            None,
            Secret(status.client_certificate_data),
        ),
        Pem(f"{plugin.setting}: its clientKeyData", None, Secret(status.client_key_data)),
    )


def _failure(plugin: ExecPlugin, problem: str) -> SourceError:
    name = os.path.basename(plugin.command)
    return SourceError(
        f"{plugin.setting}: the plugin {name} {problem}",
        hint="run it by hand as the user that netproxy runs as",
    )
