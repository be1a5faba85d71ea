"""A kubeconfig's user: checked, with paths absolute and programs found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from netproxy.errors import ConfigError
from netproxy.kubernetes.access import ExecPlugin, KeyPair, Secret, User
from netproxy.kubernetes.exec_plugin import API_VERSIONS, VERSION_WITH_INTERACTIVE_MODE
from netproxy.kubernetes.kubeconfig_fields import Entry, ExecFields, UserFields, to_pem


def to_user(entry: Entry[UserFields], cluster_info: Callable[[], Secret]) -> User:
    """The user.

    Args:
        entry: As in the kubeconfig.
        cluster_info: Asked for an exec plugin that wants to know.

    Raises:
        ConfigError: a field cannot be as it is, or two contradict each other.
    """
    fields, place = entry.fields, f"users[{entry.name}]"
    setting = f"{entry.path}: {place}"
    if fields.auth_provider is not None:
        raise ConfigError(
            setting=f"{setting}.auth-provider",
            problem=f'"{fields.auth_provider.name}" is built in nowhere any more',
            hint="use exec with a credential plugin, such as gke-gcloud-auth-plugin or kubelogin",
        )
    if (fields.token or fields.token_file) and (fields.username or fields.password):
        raise ConfigError(
            setting=setting, problem="has a token and a password", hint="keep one of them"
        )
    return User(
        description=f'user "{entry.name}"' if entry.name else "the anonymous user",
        setting=setting,
        pair=_pair(entry, place),
        token=_token(f"{setting}.token", fields.token),
        token_file=(entry.path.parent / fields.token_file).absolute()
        if fields.token_file
        else None,
        basic=(fields.username, Secret(fields.password)) if fields.username else None,
        plugin=_plugin(entry, f"{setting}.exec", fields.exec, cluster_info),
        impersonation=_impersonation(setting, fields),
    )


def _pair(entry: Entry[UserFields], place: str) -> KeyPair | None:
    fields = entry.fields
    certificate = to_pem(
        entry,
        place,
        "client-certificate",
        fields.client_certificate,
        fields.client_certificate_data,
    )
    key = to_pem(entry, place, "client-key", fields.client_key, fields.client_key_data)
    if certificate is not None and key is not None:
        return KeyPair(certificate, key)
    if certificate is None and key is None:
        return None
    missing = "client-key" if key is None else "client-certificate"
    raise ConfigError(
        setting=f"{entry.path}: {place}.{missing}",
        problem="is missing: a client certificate and its key come together",
        hint=f"set {missing} or {missing}-data",
    )


def _token(setting: str, token: str) -> Secret | None:
    if not token:
        return None
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError(
            setting=setting,
            problem="has characters in it that no token has",
            hint="look for line breaks and blanks",
        )
    return Secret(token)


def _plugin(
    entry: Entry[UserFields],
    setting: str,
    fields: ExecFields | None,
    cluster_info: Callable[[], Secret],
) -> ExecPlugin | None:
    if fields is None:
        return None
    if fields.api_version not in API_VERSIONS:
        raise ConfigError(
            setting=f"{setting}.apiVersion",
            problem=f'"{fields.api_version}" is unknown' if fields.api_version else "is missing",
            hint=f"write one of {', '.join(API_VERSIONS)}",
        )
    _check_mode(setting, fields)
    if any(not each.name or "=" in each.name for each in fields.env):
        raise ConfigError(setting=f"{setting}.env", problem="has a variable without a proper name")
    return ExecPlugin(
        setting=setting,
        command=_find(setting, entry.path, fields),
        args=tuple(fields.args),
        env={each.name: Secret(each.value) for each in fields.env},
        api_version=fields.api_version,
        install_hint=fields.install_hint,
        cluster_info=cluster_info() if fields.provide_cluster_info else None,
    )


def _check_mode(setting: str, fields: ExecFields) -> None:
    mode = fields.interactive_mode
    may_be_missing = fields.api_version != VERSION_WITH_INTERACTIVE_MODE
    if mode in ("Never", "IfAvailable") or (may_be_missing and not mode):
        return
    if mode == "Always":
        problem = "the program wants to talk to a person, and nobody is there"
    else:
        problem = f'"{mode}" is unknown' if mode else "is missing"
    raise ConfigError(
        setting=f"{setting}.interactiveMode", problem=problem, hint="write Never or IfAvailable"
    )


def _find(setting: str, origin: Path, fields: ExecFields) -> str:
    """The program's path; one with a slash in it is relative to the kubeconfig."""
    command = fields.command
    if os.sep in command:
        command = str((origin.parent / command).absolute())
    found = shutil.which(command) if command else None
    if found is None:
        raise ConfigError(
            setting=f"{setting}.command",
            problem=f'there is no program "{fields.command}"' if command else "is missing",
            hint=fields.install_hint or "install it, or write its whole path",
        )
    return found


def _impersonation(setting: str, fields: UserFields) -> tuple[tuple[str, str], ...]:
    """As header fields; Kubernetes wants the keys of extras escaped as in a URL."""
    headers = [
        *([("Impersonate-User", fields.as_user)] if fields.as_user else []),
        *([("Impersonate-Uid", fields.as_uid)] if fields.as_uid else []),
        *(("Impersonate-Group", group) for group in fields.as_groups),
        *(
            (f"Impersonate-Extra-{quote(key.lower(), safe='')}", value)
            for key, values in fields.as_user_extra.items()
            for value in values
        ),
    ]
    if headers and not fields.as_user:
        problem = "is missing, and as-uid, as-groups and as-user-extra need it"
        raise ConfigError(setting=f"{setting}.as", problem=problem)
    if not all(value.isprintable() for _, value in headers):
        raise ConfigError(setting=f"{setting}.as", problem="has a line break in it")
    return tuple(headers)
