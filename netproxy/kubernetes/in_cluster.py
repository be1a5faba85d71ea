"""The cluster that this pod runs in, as its service account.

Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from netproxy.errors import ConfigError
from netproxy.kubernetes.access import Access, Cluster, Pem, User

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has its token, and the authority that vouches for the API server."""


def in_cluster(environ: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> Access:
    """Whom to ask, and as whom, from inside a pod.

    Raises:
        ConfigError: this is no pod.
    """
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise ConfigError(
            setting="--kubeconfig",
            problem="neither it nor --master says where the API server is, and this is no pod"
            " (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set)",
            hint="name a kubeconfig",
        )
    authority = f"[{host}]" if ":" in host else host
    return Access(
        Cluster(
            setting="KUBERNETES_SERVICE_HOST",
            server=f"https://{authority}:{port}",
            ca=Pem("service account", directory / "ca.crt"),
        ),
        User(
            description="the pod's service account",
            setting="service account",
            token_file=directory / "token",
        ),
    )
