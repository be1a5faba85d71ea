"""From an operator's settings to a client: the way in to this package.

Not here: what is asked (``sources/kubernetes``, ``recorder.py``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from netproxy.kubernetes.access import Access, Cluster, User
from netproxy.kubernetes.contract import ApiClient, ClientSettings, ObserveRequest
from netproxy.kubernetes.in_cluster import SERVICE_ACCOUNT, in_cluster
from netproxy.kubernetes.kubeconfig import read_kubeconfig
from netproxy.kubernetes.kubeconfig_cluster import server_url
from netproxy.log import EventLogger

log = EventLogger(__name__)

_NOBODY = User(description="the anonymous user", setting="no user is configured")


def find_access(
    settings: ClientSettings,
    environ: Mapping[str, str],
    service_account: Path = SERVICE_ACCOUNT,
) -> Access:
    """Whom to ask, and as whom; as kube-proxy understands its flags.

    Raises:
        ConfigError: the settings, or the files that they name, can never work.
    """
    if settings.kubeconfig:
        access = read_kubeconfig(
            settings.kubeconfig, context=settings.context, master=settings.master
        )
    elif settings.master:
        url = server_url("--master", settings.master)
        access = Access(Cluster(setting="--master", server=url), _NOBODY)
    else:
        access = in_cluster(environ, service_account)
    if access.cluster.server.startswith("http:") and not access.user.is_anonymous():
        # As kubectl: what is secret does not go where anybody may listen.
        log.warning("credentials not sent without TLS", source=access.cluster.server)
        access = access._replace(user=_NOBODY)
    return access


def open_client(
    settings: ClientSettings,
    *,
    environ: Mapping[str, str] = os.environ,
    service_account: Path = SERVICE_ACCOUNT,
    observe: ObserveRequest | None = None,
) -> ApiClient:
    """A client for these settings. Nothing is sent yet, and no plugin is run.

    Args:
        settings: Which API server, as whom.
        environ: Says where a pod's API server is, and which proxy is between; for plugins.
        service_account: The directory in which a pod has its token.
        observe: Is told of each request.

    Raises:
        ConfigError: the settings, or the files that they name, can never work: with file, field
            and remedy.
    """
    from netproxy.kubernetes.client import Clock, HttpClient
    from netproxy.kubernetes.credentials import Credentials
    from netproxy.kubernetes.proxies import proxy_of
    from netproxy.kubernetes.throttle import TokenBucket
    from netproxy.kubernetes.tls import TlsContexts, use_small_buffers

    use_small_buffers()
    cluster, user, _ = find_access(settings, environ, service_account)
    clock = Clock()
    contexts = TlsContexts(cluster, clock.now)
    credentials = Credentials(user, now=clock.now, environ=environ)
    credentials.check()
    if cluster.server.startswith("https:"):
        contexts.get(user.pair)
    return HttpClient(
        cluster,
        credentials,
        contexts,
        proxy=cluster.proxy_url or proxy_of(cluster.server, environ),
        bucket=TokenBucket(settings.qps, settings.burst),
        clock=clock,
        observe=observe,
    )
