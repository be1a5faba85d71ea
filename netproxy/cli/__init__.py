"""The command line: verbs, and what becomes of errors.

Rule 1: nothing but click is imported here; a verb's module is imported when the verb is used.
Rule 2: only this module turns an exception into an exit code.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from netproxy import __version__
from netproxy.errors import EXIT_BAD_INPUT, EXIT_BUG, EXIT_OK, NetproxyError

__all__ = ["EXIT_BROKEN_PIPE", "EXIT_INTERRUPTED", "cli", "main", "run_command_line"]

EXIT_INTERRUPTED = 130
"""Ctrl-C, as a shell reports it."""
EXIT_BROKEN_PIPE = 141
"""The reader of our output went away, as a shell reports SIGPIPE."""

_COMPLETION_VARIABLE = "_NETPROXY_COMPLETE"


class Verb(NamedTuple):
    """Where a command is, and its line in the list of verbs."""

    module: str
    attribute: str
    help: str
    """The first line of the command's own help; a test compares them."""


VERBS = {
    "run": Verb(
        "run", "run", "Keep the kernel in step with Services and their endpoints, until stopped."
    ),
    "sync": Verb("rules", "sync", "Bring the kernel in step once, then exit."),
    "render": Verb("rules", "render", "Print the whole rule set; touches nothing, needs no root."),
    "diff": Verb("rules", "diff", "Print what a sync would change in this kernel."),
    "check": Verb("check", "check", "Validate manifests: file, line and field of every finding."),
    "cleanup": Verb("rules", "cleanup", "Remove everything that netproxy made on this node."),
    "standalone": Verb(
        "standalone",
        "standalone",
        "Services without Kubernetes: API server, controllers, DNS, the proxy, and Pods as "
        "processes.",
    ),
    "apiserver": Verb(
        "apiserver",
        "apiserver",
        "Serve the Kubernetes API for Services, and what follows from it, without Kubernetes.",
    ),
    "lab": Verb("lab", "lab", "A whole cluster of network namespaces on this machine."),
    "demo": Verb(
        "demo",
        "demo",
        "A cluster without Kubernetes: two nodes, Services, Pods, DNS, and a picture of what "
        "happens.",
    ),
    "deploy": Verb(
        "deploy",
        "deploy",
        "Print what runs netproxy for good: a cluster's manifest, a host's systemd unit.",
    ),
    "completion": Verb("completion", "completion", "Print the completion script for a shell."),
}

_EPILOG = """\b
Exit codes:
  0    done; for diff: nothing to change
  1    diff: there is something to change; demo: a connection failed
  2    a flag, a setting or a manifest is wrong
  3    a source of objects cannot be reached
  4    not possible here: no root, no nf_tables
  5    the kernel refused a change
  70   a bug in netproxy
  130  interrupted; 141: the reader of the output went away

Each flag can be given in the environment: NETPROXY_CLUSTER_CIDR for --cluster-cidr.
NO_COLOR is honoured; NETPROXY_DEBUG=1 shows tracebacks.
"""


class _LazyGroup(click.Group):
    """A group that imports a verb's module when the verb is used, and not to list it."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        # For whoever asks only which verbs there are; ``get_command`` has the real ones.
        self.commands = {name: click.Command(name, help=verb.help) for name, verb in VERBS.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command = getattr(import_module(f"netproxy.cli.{verb.module}"), verb.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"there is no verb {args[0]!r}{_suggest(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from click.shell_completion import CompletionItem

        names = [name for name in VERBS if name.startswith(incomplete)]
        items = [CompletionItem(name, help=VERBS[name].help) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=_LazyGroup,
    name="netproxy",
    no_args_is_help=True,
    epilog=_EPILOG,
    subcommand_metavar="VERB [FLAGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="netproxy %(version)s")
@click.option("--debug", is_flag=True, envvar="NETPROXY_DEBUG", help="Show tracebacks of errors.")
def cli(*, debug: bool) -> None:
    """Kubernetes Services for Linux nodes, by nftables."""
    if debug:
        os.environ["NETPROXY_DEBUG"] = "1"


def main() -> None:
    """The program ``netproxy``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may be no text at all
    sys.exit(run_command_line(sys.argv[1:]))


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command line; whatever goes wrong becomes lines on stderr and an exit code."""
    if _COMPLETION_VARIABLE in os.environ:
        return _answer_completion()
    try:
        code = _invoke(list(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_output()
        return EXIT_BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except NetproxyError as error:
        return _report(error.message, error.hint, error.exit_code)
    except click.UsageError as error:
        return _report_usage(error)
    except click.ClickException as error:
        return _report(error.format_message(), None, EXIT_BAD_INPUT)
    except Exception as error:  # noqa: BLE001 - the outermost line: a person must not see a traceback
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        hint = "this is a bug in netproxy; NETPROXY_DEBUG=1 shows where it happened"
        return _report(words, hint, EXIT_BUG)
    return code


def _invoke(arguments: list[str]) -> int:
    # Not ``cli.main``: it would deal with broken pipes and interrupts in its own way.
    try:
        with cli.make_context("netproxy", arguments) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    return code if isinstance(code, int) else EXIT_OK


def _answer_completion() -> int:
    from click.shell_completion import shell_complete

    instruction = os.environ[_COMPLETION_VARIABLE]
    return shell_complete(cli, {}, "netproxy", _COMPLETION_VARIABLE, instruction)


def _report(message: str, hint: str | None, code: int) -> int:
    """Say what is wrong and what to do, on stderr; returns the exit code."""
    if os.environ.get("NETPROXY_DEBUG", "") not in ("", "0"):
        import traceback

        traceback.print_exc()
    try:
        click.echo(f"netproxy: error: {message}", err=True)
        if hint:
            click.echo(f"hint: {hint}", err=True)
    except BrokenPipeError:
        _silence_output()
    return code


def _report_usage(error: click.UsageError) -> int:
    message = error.format_message()
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        click.echo(message, err=True)  # the help itself
        return EXIT_BAD_INPUT
    path = error.ctx.command_path if error.ctx else "netproxy"
    message = message[:1].lower() + message[1:].rstrip(".")
    return _report(message, f"{path} --help", EXIT_BAD_INPUT)


def _suggest(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, VERBS, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(VERBS)}"


def _silence_output() -> None:
    """Nothing is flushed into the closed pipe when the interpreter exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
