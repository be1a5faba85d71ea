"""The one door to Jinja2: finds ``templates/`` and fills them in.

Templates arrange, they never decide: loops over what was compiled, and no question about
Services. What the kernel gets never passes through here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from netproxy.errors import ConfigError


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
    so nothing is escaped: the outcome is nft syntax, not HTML.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_dir()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the output is nft syntax
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["one_line"] = one_line
    return environment.get_template(template).render(values)


def one_line(text: object) -> str:
    """Text that cannot leave the comment it stands in: printable, and on one line."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def is_terminal() -> bool:
    """Whether standard output is a person's terminal."""
    return sys.stdout.isatty()
