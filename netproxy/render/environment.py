"""The one door to Jinja2: finds ``templates/`` and fills them in.

Templates arrange, they never decide: loops over what was compiled, and no question about
Services. In nftables mode, what the kernel gets never passes through here.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from netproxy.errors import ConfigError

if TYPE_CHECKING:
    import jinja2


def templates_dir() -> Path:
    """Where the templates are: ``NETPROXY_TEMPLATE_DIR``, the installed package, the repository.

    Raises:
        ConfigError: nowhere.
    """
    package = Path(__file__).resolve().parent.parent
    places = [package / "templates", package.parent / "templates"]
    chosen = os.environ.get("NETPROXY_TEMPLATE_DIR")
    if chosen:
        places.insert(0, Path(chosen))
    for place in places:
        if (place / "ruleset.nft.j2").is_file():
            return place
    raise ConfigError(
        setting="NETPROXY_TEMPLATE_DIR",
        problem=f"no templates in {' or '.join(map(str, places))}",
        hint="reinstall netproxy, or point NETPROXY_TEMPLATE_DIR at its templates directory",
    )


def fill_in(template: str, values: Mapping[str, object]) -> str:
    """The text of a template with these values.

    Everything a template can print is either made by netproxy or has been checked by ``one_line``,
    so nothing is escaped: the outcome is the syntax of nft or iptables, not HTML.
    """
    return _template(template, os.environ.get("NETPROXY_TEMPLATE_DIR")).render(values)


def fill_in_pieces(template: str, values: Mapping[str, object]) -> Iterable[str]:
    """The same as ``fill_in``, in pieces: for texts of many megabytes."""
    stream = _template(template, os.environ.get("NETPROXY_TEMPLATE_DIR")).stream(values)
    stream.enable_buffering(_PIECES)
    return stream


_PIECES = 1000


@functools.cache
def _template(name: str, chosen: str | None) -> jinja2.Template:  # noqa: ARG001 - the cache's key
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_dir()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the output is not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["one_line"] = one_line
    return environment.get_template(name)


def one_line(text: object) -> str:
    """Text that cannot leave the comment it stands in: printable, and on one line."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def is_terminal() -> bool:
    """Whether standard output is a person's terminal."""
    return sys.stdout.isatty()
