"""A kubeconfig's cluster: checked, with URLs complete and paths absolute."""

from __future__ import annotations

import base64

import msgspec

from netproxy.errors import ConfigError
from netproxy.kubernetes.access import Cluster, Secret
from netproxy.kubernetes.kubeconfig_fields import ClusterFields, Entry, to_pem
from netproxy.kubernetes.urls import split_url

_EXEC_EXTENSION = "client.authentication.k8s.io/exec"


def to_cluster(entry: Entry[ClusterFields], *, master: str = "") -> Cluster:
    """The cluster, reached at ``master`` if that is said.

    Raises:
        ConfigError: a field cannot be as it is.
    """
    fields, place = entry.fields, f"clusters[{entry.name}]"
    ca = to_pem(
        entry,
        place,
        "certificate-authority",
        fields.certificate_authority,
        fields.certificate_authority_data,
    )
    if fields.insecure_skip_tls_verify and ca:
        raise ConfigError(
            setting=f"{entry.path}: {place}.insecure-skip-tls-verify",
            problem="contradicts the certificate-authority that is set as well",
            hint="remove insecure-skip-tls-verify",
        )
    setting = "--master" if master else f"{entry.path}: {place}.server"
    has_tls = ca is not None or fields.insecure_skip_tls_verify
    return Cluster(
        setting=setting,
        server=server_url(setting, master or fields.server, has_tls=has_tls),
        ca=ca,
        is_insecure=fields.insecure_skip_tls_verify,
        # The name belongs to the configured server, not to whatever --master says.
        tls_server_name="" if master else fields.tls_server_name,
        proxy_url=_proxy(f"{entry.path}: {place}.proxy-url", fields.proxy_url),
        disable_compression=fields.disable_compression,
    )


def server_url(setting: str, value: str, *, has_tls: bool = False) -> str:
    """A server's URL as it is put in front of paths.

    Args:
        setting: Where it was said.
        value: A URL, or a host with or without a port.
        has_tls: Whether other settings make sense with TLS alone: what a mere host speaks.

    Raises:
        ConfigError: it is no such thing.

    Example:
        >>> server_url("--master", "10.0.0.1:8080")
        'http://10.0.0.1:8080'
        >>> server_url("--master", "https://example.com:6443/clusters/a/")
        'https://example.com:6443/clusters/a'
    """
    full = value if "://" in value else f"{'https' if has_tls else 'http'}://{value}"
    parts = split_url(full)
    if parts is None or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
        raise ConfigError(
            setting=setting,
            problem="is not the URL of an API server" if value else "is missing",
            hint="write https://host:port",
        )
    if parts.username is not None:
        raise ConfigError(
            setting=setting,
            problem="has a user in it, which nobody looks at",
            hint="say who to be in the kubeconfig's users",
        )
    return full.rstrip("/")


def exec_info(entry: Entry[ClusterFields], cluster: Cluster) -> Secret:
    """What an exec plugin is told of a cluster when it asks, as JSON.

    Raises:
        ConfigError: the certificate authority's file cannot be read.
    """
    info: dict[str, object] = {"server": cluster.server}
    if cluster.tls_server_name:
        info["tls-server-name"] = cluster.tls_server_name
    if cluster.is_insecure:
        info["insecure-skip-tls-verify"] = True
    if cluster.ca is not None:
        text = cluster.ca.text.reveal().encode()
        if cluster.ca.path is not None:
            try:
                text = cluster.ca.path.read_bytes()
            except OSError as error:
                raise ConfigError(
                    setting=f"{cluster.ca.setting} ({cluster.ca.path})",
                    problem=f"cannot be read: {error.strerror}",
                    hint="put the certificates there that may vouch for the server",
                ) from error
        info["certificate-authority-data"] = base64.b64encode(text).decode()
    if cluster.proxy_url is not None:
        info["proxy-url"] = cluster.proxy_url.reveal()
    if cluster.disable_compression:
        info["disable-compression"] = True
    for extension in entry.fields.extensions:
        if extension.name == _EXEC_EXTENSION:
            info["config"] = extension.extension
    return Secret(msgspec.json.encode(info).decode())


def _proxy(setting: str, value: str) -> Secret | None:
    if not value:
        return None
    parts = split_url(value)
    if parts is not None and parts.scheme in {"http", "https"}:
        return Secret(value)
    is_socks = parts is not None and parts.scheme.startswith("socks")
    raise ConfigError(
        setting=setting,
        problem="SOCKS proxies are not supported" if is_socks else "is not the URL of a proxy",
        hint="write http://host:port or https://host:port",
    )
