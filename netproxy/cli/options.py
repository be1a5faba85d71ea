"""The flags, one table.

Rule 1: flags that kube-proxy has keep its name and meaning.
Rule 2: click only collects words.

Not here: what the words mean (``settings.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from netproxy import __version__
from netproxy.core.config import DetectLocalMode, ProxyMode

_Command = TypeVar("_Command", bound=Callable[..., Any])


def flag(*names: str, **attributes: Any) -> Callable[[_Command], _Command]:
    """A click option that can also be given as ``NETPROXY_<NAME>``, by any of its long names."""
    variables = [
        "NETPROXY_" + name[2:].replace("-", "_").upper() for name in names if name.startswith("--")
    ]
    return click.option(*names, envvar=variables, **attributes)


def switch(*names: str, default: bool, **attributes: Any) -> Callable[[_Command], _Command]:
    """A flag as Go has them: ``--flag``, ``--flag=true``, ``--flag=false``."""
    word = str(default).lower()
    return flag(
        *names,
        is_flag=False,
        flag_value="true",
        default=word,
        show_default=True,
        metavar="[true|false]",
        **attributes,
    )


_FILENAME = (
    flag(
        "--filename",
        "-f",
        multiple=True,
        metavar="PATH",
        type=click.Path(allow_dash=True),
        help="Manifests: a file, a directory, - for standard input. Repeatable.",
    ),
)

_PROXY = (
    flag(
        "--hostname-override",
        metavar="NAME",
        help="This node's name; pods whose nodeName equals it are local.  [default: the hostname]",
    ),
    flag(
        "--node-ip",
        multiple=True,
        metavar="ADDRESS",
        help="This node's primary address, one per IP family. [default: from the Node object, "
        "else from the kernel, but never when only rendering]",
    ),
    flag("--zone", metavar="ZONE", help="This node's zone.  [default: from the Node object]"),
    flag(
        "--cluster-cidr",
        multiple=True,
        metavar="PREFIX[,PREFIX]",
        help="Where all pods' addresses come from; packets from elsewhere are masqueraded.",
    ),
    flag(
        "--service-cidr",
        multiple=True,
        metavar="PREFIX[,PREFIX]",
        help="Where ClusterIPs come from; those without a Service are refused.",
    ),
    flag(
        "--detect-local-mode",
        default=DetectLocalMode.CLUSTER_CIDR.value,
        show_default=True,
        metavar="MODE",
        help="How pods of this node are recognised: "
        + ", ".join(mode.value for mode in DetectLocalMode)
        + ".",
    ),
    flag("--pod-bridge-interface", metavar="NAME", help="For BridgeInterface."),
    flag("--pod-interface-name-prefix", metavar="PREFIX", help="For InterfaceNamePrefix."),
    switch("--masquerade-all", default=False, help="Masquerade every connection to a Service."),
    flag(
        "--iptables-masquerade-bit",
        "--masquerade-bit",
        "masquerade_bit",
        default="14",
        show_default=True,
        metavar="BIT",
        help="Bit of the packet mark that asks for masquerading, 0 to 31.",
    ),
    flag(
        "--nodeport-addresses",
        multiple=True,
        metavar="PREFIX[,PREFIX]|primary",
        help="Which of this node's addresses accept NodePorts.  [default: primary; in iptables "
        "mode all]",
    ),
    flag(
        "--proxy-mode",
        default=ProxyMode.NFTABLES.value,
        show_default=True,
        metavar="MODE",
        help="What programs the kernel: nftables, or iptables.",
    ),
    switch(
        "--iptables-localhost-nodeports",
        "localhost_nodeports",
        default=True,
        help="NodePorts on 127.0.0.0/8, too; iptables mode only.",
    ),
    flag(
        "--iptables-variant",
        default="auto",
        show_default=True,
        metavar="VARIANT",
        help="Which iptables programs: legacy, nft, or auto: those that Kubernetes uses here, "
        "else the host's own.",
    ),
)

_OUTPUT = (
    flag(
        "--output",
        "-o",
        "output_format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="For people, or for programs.",
    ),
)

_COLOR = (
    flag(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="auto: on a terminal, unless NO_COLOR is set.",
    ),
)

_DRY_RUN = (
    flag(
        "--dry-run",
        is_flag=True,
        help="Print what would be programmed into an empty kernel; needs no root.",
    ),
)

_TAKE_OVER = (
    flag(
        "--take-over/--no-take-over",
        default=True,
        show_default=True,
        help="Once our rules are in place, remove those of kube-proxy and of our other mode.",
    ),
)

_PERIODS = (
    flag(
        "--min-sync-period",
        "--iptables-min-sync-period",
        "min_sync_period",
        default="100ms",
        show_default=True,
        metavar="DURATION",
        help="Least time from one sync to the next, under load.",
    ),
    flag(
        "--sync-period",
        "--iptables-sync-period",
        "sync_period",
        default="30s",
        show_default=True,
        metavar="DURATION",
        help="Longest wait after failed syncs.",
    ),
    flag(
        "--full-sync-period",
        default="1h",
        show_default=True,
        metavar="DURATION",
        help="How often everything is compared with the kernel.",
    ),
)

_LOG = (
    flag(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="key=value pairs, or JSON lines, on standard error.",
    ),
    flag(
        "--v",
        "-v",
        "verbosity",
        is_flag=False,
        flag_value="4",
        metavar="LEVEL",
        help="kube-proxy's levels: 0 warnings, 2 syncs (the default), 4 details, 9 transactions. "
        "-v alone is 4, -vv is 9.",
    ),
)


_API = (
    flag(
        "--kubeconfig",
        metavar="FILE",
        type=click.Path(),
        help="How to reach the Kubernetes API, and as whom.",
    ),
    flag("--master", metavar="URL", help="The API server, instead of the kubeconfig's."),
    flag("--kube-context", metavar="NAME", help="A context of the kubeconfig."),
    flag(
        "--config",
        metavar="FILE",
        type=click.Path(),
        help="A KubeProxyConfiguration; followed when it changes. Other flags are then ignored, "
        "but for -f, --hostname-override and those of logging.",
    ),
    flag("--write-config-to", metavar="FILE", help="Write the configuration in effect, and exit."),
    flag("--init-only", is_flag=True, help="Prepare the host, which needs more rights; exit."),
    flag("--cleanup", is_flag=True, help="Remove all rules of ours and of kube-proxy's; exit."),
)

_SERVING = (
    flag(
        "--healthz-bind-address",
        metavar="HOST:PORT",
        help="Answer /healthz, /livez, /readyz here; empty: nowhere.  [default: 0.0.0.0:10256]",
    ),
    flag(
        "--metrics-bind-address",
        metavar="HOST:PORT",
        help="Answer /metrics, /proxyMode, /configz here; empty: nowhere.  "
        "[default: 127.0.0.1:10249]",
    ),
    switch("--bind-address-hard-fail", default=False, help="An address in use ends the program."),
    switch("--profiling", default=False, help="Tasks and threads at /debug of the metrics."),
    switch("--service-counters", default=False, help="Count connections to each Service."),
)

_HOST = (
    flag("--oom-score-adj", metavar="-1000..1000", help="[default: -999]"),
    flag("--conntrack-max-per-core", metavar="COUNT", help="[default: 32768]; 0: leave alone."),
    flag("--conntrack-min", metavar="COUNT", help="[default: 131072]"),
    flag("--conntrack-tcp-timeout-established", metavar="DURATION", help="[default: 24h]"),
    flag("--conntrack-tcp-timeout-close-wait", metavar="DURATION", help="[default: 1h]"),
    switch("--conntrack-tcp-be-liberal", default=False, help="Accept packets out of window."),
    flag("--conntrack-udp-timeout", metavar="DURATION", help="[default: leave alone]"),
    flag("--conntrack-udp-timeout-stream", metavar="DURATION", help="[default: leave alone]"),
    switch(
        "--require-sysctls",
        default=False,
        help="A kernel setting that cannot be written ends the program; else it is a warning.",
    ),
)

WITHOUT_EFFECT = {
    "--alsologtostderr": "logs go to standard error",
    "--config-sync-period": "objects are not said again without a change",
    "--enable-dsr": "it is about Windows",
    "--forward-healthcheck-vip": "it is about Windows",
    "--ipvs-exclude-cidrs": "there is no ipvs mode",
    "--ipvs-min-sync-period": "there is no ipvs mode",
    "--ipvs-scheduler": "there is no ipvs mode",
    "--ipvs-strict-arp": "there is no ipvs mode",
    "--ipvs-sync-period": "there is no ipvs mode",
    "--ipvs-tcp-timeout": "there is no ipvs mode",
    "--ipvs-tcpfin-timeout": "there is no ipvs mode",
    "--ipvs-udp-timeout": "there is no ipvs mode",
    "--kube-api-content-type": "JSON is asked for",
    "--log-flush-frequency": "every line is written at once",
    "--log-json-info-buffer-size": "every line is written at once",
    "--log-json-split-stream": "logs go to standard error",
    "--log-text-info-buffer-size": "every line is written at once",
    "--log-text-split-stream": "logs go to standard error",
    "--logtostderr": "logs go to standard error",
    "--network-name": "it is about Windows",
    "--root-hnsendpoint-name": "it is about Windows",
    "--show-hidden-metrics-for-version": "no metric is hidden",
    "--source-vip": "it is about Windows",
    "--vmodule": "levels are the same for all modules",
    "--windows-service": "it is about Windows",
}
"""kube-proxy's flags that change nothing here, and why. Source: kube-proxy 1.36, --help."""

_SWITCHES_WITHOUT_EFFECT = {
    "--alsologtostderr",
    "--enable-dsr",
    "--forward-healthcheck-vip",
    "--ipvs-strict-arp",
    "--log-json-split-stream",
    "--log-text-split-stream",
    "--logtostderr",
    "--windows-service",
}

_DROP_IN = (
    flag("--bind-address", hidden=True, help="As --node-ip, for one IP family."),
    flag(
        "--feature-gates", hidden=True, multiple=True, help="NAME=true,…: accepted, without effect."
    ),
    flag("--healthz-port", hidden=True, help="Deprecated: --healthz-bind-address."),
    flag("--metrics-port", hidden=True, help="Deprecated: --metrics-bind-address."),
    flag("--kube-api-qps", hidden=True, help="Requests per second in the long run."),
    flag("--kube-api-burst", hidden=True, help="Requests at once."),
    flag(
        "--logging-format",
        type=click.Choice(["text", "json"]),
        hidden=True,
        help="As --log-format.",
    ),
    *(
        flag(
            name,
            hidden=True,
            is_flag=False,
            flag_value="true" if name in _SWITCHES_WITHOUT_EFFECT else None,
            help=f"Without effect: {reason}.",
        )
        for name, reason in WITHOUT_EFFECT.items()
    ),
)
"""kube-proxy's that are rarely used: accepted, and not in --help."""


def _say_version(ctx: click.Context, _: click.Parameter, word: str | None) -> None:
    if word is None or ctx.resilient_parsing:
        return
    click.echo(f"netproxy {__version__}")
    ctx.exit()


def _say_all(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    hidden = [p for p in ctx.command.params if isinstance(p, click.Option) and p.hidden]
    for parameter in hidden:
        parameter.hidden = False
    click.echo(ctx.get_help())
    for parameter in hidden:
        parameter.hidden = True
    ctx.exit()


_ABOUT = (
    # Not in the environment, as the others: NETPROXY_VERSION is a likely name for something else.
    click.option(
        "--version",
        is_flag=False,
        flag_value="true",
        is_eager=True,
        expose_value=False,
        callback=_say_version,
        hidden=True,
        help="Show the version and exit.",
    ),
    click.option(
        "--help-all",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_say_all,
        help="As --help, with those of kube-proxy's flags that are rarely used.",
    ),
)


def decorator(options: Sequence[Callable[[Any], Any]]) -> Callable[[_Command], _Command]:
    """Several flags as one."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


proxy_flags = decorator((*_FILENAME, *_PROXY, *_OUTPUT, *_COLOR))
"""What ``run``, ``sync``, ``render`` and ``diff`` have in common."""
dry_run_flag = decorator(_DRY_RUN)
take_over_flag = decorator(_TAKE_OVER)
output_flag = decorator(_OUTPUT)
log_flags = decorator(_LOG)
standalone_flags = decorator((*_PERIODS, *_SERVING, *_HOST, *_LOG))
"""What ``standalone`` has of the daemon's: it knows the API server that it asks."""
daemon_flags = decorator((*_API, *_PERIODS, *_SERVING, *_HOST, *_LOG, *_DROP_IN, *_ABOUT))
"""What only ``run`` has."""
