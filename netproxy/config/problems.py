"""What is wrong with a configuration: all of it at once, each with its field and a remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from netproxy.errors import ConfigError

_Value = TypeVar("_Value")


class Problem(NamedTuple):
    """One thing that has to be changed."""

    field: str
    """Its path in the file, such as ``conntrack.min``."""
    problem: str
    hint: str = ""


class ConfigErrors(ConfigError):
    """Several things at once; a line for each."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__(
            setting=errors[0].setting, problem="there is more than one mistake", hint=None
        )
        self.message = "\n".join(
            f"{each.message} ({each.hint})" if each.hint else each.message for each in errors
        )
        self.args = (self.message,)


class Problems:
    """Collects them while a configuration is read."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, field: str, problem: str, hint: str = "") -> None:
        self.found.append(Problem(field, problem, hint))

    def attempt(
        self, field: str, read: Callable[[], _Value], otherwise: _Value, hint: str = ""
    ) -> _Value:
        """What ``read`` returns; a ValueError becomes a problem."""
        try:
            return read()
        except ValueError as error:
            self.add(field, str(error), hint)
            return otherwise

    def raise_if_any(self, spell: Callable[[str], str]) -> None:
        """End the reading, if anything is wrong.

        Args:
            spell: What a field is called where the operator wrote it: a flag, a place in a file.

        Raises:
            ConfigError: naming each field.
        """
        # One flag may set several fields: what is wrong with it is said once.
        spelled = dict.fromkeys((spell(e.field), e.problem, e.hint) for e in self.found)
        errors = [
            ConfigError(setting=setting, problem=problem, hint=hint or None)
            for setting, problem, hint in spelled
        ]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ConfigErrors(errors)
