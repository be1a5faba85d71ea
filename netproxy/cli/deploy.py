"""``netproxy deploy``: what it takes to run netproxy for good, on a cluster's nodes or one host."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from netproxy.core.config import ProxyMode
from netproxy.errors import ConfigError


@click.group(no_args_is_help=True)
def deploy() -> None:
    """Print what runs netproxy for good: a cluster's manifest, a host's systemd unit."""


_MODE = click.option(
    "--proxy-mode",
    default=ProxyMode.NFTABLES.value,
    show_default=True,
    type=click.Choice([mode.value for mode in ProxyMode]),
    help="What programs the kernel. iptables needs more rights.",
)
_LEGACY = click.option(
    "--legacy-iptables",
    is_flag=True,
    help="There are rules in tables of iptables-legacy, such as a former kube-proxy's: removing "
    "them takes CAP_NET_RAW and the host's lock. iptables mode has both anyhow.",
)


@deploy.command()
@click.option("--image", required=True, metavar="IMAGE", help="What to run; see Containerfile.")
@click.option(
    "--api-server",
    required=True,
    metavar="URL",
    help="Where nodes find the API server without any Service: https://HOST:PORT, as in the nodes' "
    "own kubeconfig. The Service kubernetes will not do, as netproxy is what makes it work.",
)
@click.option(
    "--namespace", default="kube-system", show_default=True, metavar="NAME", help="Where it runs."
)
@_MODE
@click.option(
    "--cluster-cidr",
    multiple=True,
    metavar="PREFIX[,PREFIX]",
    help="Where all pods' addresses come from; packets from elsewhere are masqueraded.",
)
@click.option(
    "--metrics-bind-address",
    default="",
    metavar="IP:PORT",
    help="Where metrics are served.  [default: 127.0.0.1:10249]",
)
@click.option(
    "--with-init/--without-init",
    "init",
    default=True,
    show_default=True,
    help="A privileged container sets the kernel's settings before netproxy starts; without it "
    "nothing is privileged and the nodes' settings stay as they are.",
)
@_LEGACY
def manifest(
    *,
    image: str,
    api_server: str,
    namespace: str,
    proxy_mode: str,
    cluster_cidr: Sequence[str],
    metrics_bind_address: str,
    init: bool,
    legacy_iptables: bool,
) -> None:
    """Print the YAML that puts netproxy on every node, for kubectl apply -f -."""
    from netproxy.deploy import wishes as read
    from netproxy.deploy.manifest import plan_manifest
    from netproxy.render.deploy import render_manifest

    wishes = read.Wishes(
        image=read.read_image(image),
        api_server=read.read_api_server(api_server),
        namespace=read.read_namespace(namespace),
        mode=ProxyMode(proxy_mode),
        cluster_cidrs=read.read_cluster_cidrs([w for v in cluster_cidr for w in v.split(",")]),
        metrics_bind_address=read.read_metrics_address(metrics_bind_address),
        init=init,
        legacy_iptables=legacy_iptables,
    )
    click.echo(render_manifest(plan_manifest(wishes)), nl=False)


@deploy.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--executable",
    metavar="PATH",
    help="The program to start.  [default: the one that prints this]",
)
@_LEGACY
@click.argument("run_flags", nargs=-1, type=click.UNPROCESSED, metavar="[--] RUN_FLAGS...")
def unit(*, executable: str | None, legacy_iptables: bool, run_flags: Sequence[str]) -> None:
    """Print the systemd unit of a host on which no cluster runs netproxy as a pod.

    RUN_FLAGS are those of netproxy run, such as: -f /etc/netproxy/services, or --kubeconfig
    /etc/netproxy/kubeconfig, or --config /etc/netproxy/config.yaml. They are looked at now, so that
    the service does not fail later.
    """
    from netproxy.cli.loading import Loader
    from netproxy.deploy.unit import plan_unit
    from netproxy.render.deploy import render_unit

    flags = _read_run_flags(run_flags)
    if not any(flags[name] for name in ("filename", "kubeconfig", "master", "config")):
        raise ConfigError(
            setting="RUN_FLAGS",
            problem="nothing says where Services come from",
            hint="-f, --kubeconfig, --master or --config",
        )
    mode = Loader(flags, {}).load().settings.proxy.mode
    program = _absolute("--executable", executable or _this_program())
    plan = plan_unit(program, run_flags, mode, legacy_iptables=legacy_iptables)
    click.echo(render_unit(plan), nl=False)


def _read_run_flags(words: Sequence[str]) -> dict[str, Any]:
    """What ``netproxy run`` would make of these words as a service.

    Raises:
        click.UsageError: it would refuse them.
        ConfigError: they mean something else to a service, which is in no directory and has
            nobody's environment.
    """
    from netproxy.cli.run import run

    context = run.make_context("netproxy run", list(words))
    for parameter in run.params:
        name = parameter.name or ""
        value = context.params.get(name)
        if context.get_parameter_source(name) is ParameterSource.ENVIRONMENT:
            raise ConfigError(
                setting=parameter.opts[0],
                problem="is set in the environment here, which the service will not have",
                hint=f"unset it, or say {parameter.opts[0]} behind --",
            )
        if isinstance(parameter.type, click.Path) and value:
            for path in value if isinstance(value, tuple) else (value,):
                _absolute(parameter.opts[0], path)
    return context.params


def _absolute(setting: str, path: str) -> str:
    if not os.path.isabs(path):
        raise ConfigError(
            setting=setting,
            problem=f"{path!r} is relative, and a service is in no directory",
            hint=f"for example {os.path.abspath(path)}",
        )
    return path


def _this_program() -> str:
    """The path by which a shell would start us again."""
    found = shutil.which(sys.argv[0])
    return os.path.abspath(found) if found else "/usr/local/bin/netproxy"
