"""``netproxy completion``: what a shell needs to complete verbs, flags and files."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the completion script for a shell.

    Load it once, or from the shell's start-up file:

    \b
        bash   eval "$(netproxy completion bash)"           in ~/.bashrc
        zsh    eval "$(netproxy completion zsh)"            in ~/.zshrc
        fish   netproxy completion fish | source            in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from netproxy.cli import cli

    completer = get_completion_class(shell)
    assert completer is not None, "click knows these three"
    click.echo(completer(cli, {}, "netproxy", "_NETPROXY_COMPLETE").source())
