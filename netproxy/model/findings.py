"""What is wrong with one object, collected while it is read; the checks that kinds share."""

from __future__ import annotations

import re
import reprlib

from netproxy.model.diagnostic import Diagnostic, Severity
from netproxy.model.ip import IPAddress, Prefix, parse_address, parse_prefix

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_ADDRESS = 64
"""An IPv6 address with its prefix length has 43 characters; blanks are tolerated."""
_SPECIAL = ("0.0.0.0", "::", "::1")  # noqa: S104 - nothing is bound to it
_LINK_LOCAL = (parse_prefix("fe80::/10"), parse_prefix("ff01::/16"), parse_prefix("ff02::/16"))
_SUSPICIOUS = ("127.", "169.254.", "224.0.0.", "0.", "::", "fe", "ff")
"""How such addresses begin; all others need no closer look."""
PROTOCOLS = ("TCP", "UDP", "SCTP")


class Findings:
    """The diagnostics of one object."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.diagnostics: list[Diagnostic] = []

    def error(self, field: str, message: str) -> None:
        self.diagnostics.append(Diagnostic(Severity.ERROR, self.subject, field, message))

    def warn(self, field: str, message: str) -> None:
        self.diagnostics.append(Diagnostic(Severity.WARNING, self.subject, field, message))

    @property
    def has_errors(self) -> bool:
        return bool(self.diagnostics) and any(
            d.severity is Severity.ERROR for d in self.diagnostics
        )

    def address(self, field: str, text: str) -> IPAddress | None:
        """The canonical address; None, with an error, when the text is none."""
        if len(text) > _LONGEST_ADDRESS:
            self.error(field, f"{shorten(text)} is not an IP address; give one such as 10.0.0.1")
            return None
        try:
            address = parse_address(text.strip())
        except ValueError as error:
            self.error(field, f"{error}; give one such as 10.0.0.1 or fd00::1")
            return None
        if address == text:
            return address
        if ":" in text and ":" not in address:
            self.warn(field, f"{text!r} is an IPv4-mapped IPv6 address; read as {address}")
        elif ":" not in text and text.strip() != address:
            self.warn(field, f"{text!r} has leading zeros; read as {address}")
        return address

    def remote_address(self, field: str, text: str) -> IPAddress | None:
        """An address that means the same place on every node.

        Source: Kubernetes API: ValidateEndpointIP and the check of externalIPs.
        """
        address = self.address(field, text)
        if address is None:
            return None
        if address.startswith(_SUSPICIOUS) and (
            address in _SPECIAL
            or address.startswith(("127.", "169.254.", "224.0.0."))
            or any(p.contains(address) for p in _LINK_LOCAL)
        ):
            self.error(field, f"{address} is a loopback, link-local or unspecified address")
            return None
        return address

    def prefix(self, field: str, text: str) -> Prefix | None:
        """The network; None, with an error, when the text is none."""
        if len(text) > _LONGEST_ADDRESS:
            self.error(field, f"{shorten(text)} is not a prefix such as 10.0.0.0/8")
            return None
        try:
            return parse_prefix(text)
        except ValueError as error:
            self.error(field, str(error))
            return None

    def port(self, field: str, number: int | None, *, may_be_absent: bool = False) -> int:
        """A port number; 0, with an error, when it is impossible."""
        if number is None or (number == 0 and may_be_absent):
            if not may_be_absent:
                self.error(field, "is missing; a port number between 1 and 65535 is needed")
            return 0
        if not 1 <= number <= 65535:
            self.error(
                field, f"{shorten(number)} is no port number; it must be between 1 and 65535"
            )
            return 0
        return number

    def protocol(self, field: str, text: str | None) -> str:
        """TCP, UDP or SCTP; TCP when absent."""
        if not text:
            return "TCP"
        if text not in PROTOCOLS:
            self.error(field, f"{shorten(text)} is not supported; use TCP, UDP or SCTP")
            return "TCP"
        return text

    def label(self, field: str, text: str) -> None:
        """A DNS label, as names of Services, namespaces and ports must be."""
        if not _LABEL.fullmatch(text):
            self.error(
                field,
                f"{shorten(text)} is no DNS label; use at most 63 lower-case letters, digits "
                "and '-', with a letter or digit at both ends",
            )

    def subdomain(self, field: str, text: str) -> None:
        """A DNS subdomain, as names of other objects must be."""
        if len(text) > 253 or not _SUBDOMAIN.fullmatch(text):
            self.error(
                field,
                f"{shorten(text)} is no DNS name; use at most 253 lower-case letters, digits, "
                "'-' and '.'",
            )

    def choice(self, field: str, text: str | None, allowed: tuple[str, ...]) -> str:
        """One of the allowed words; the first one when absent."""
        if not text:
            return allowed[0]
        if text not in allowed:
            words = " or ".join((", ".join(allowed[:-1]), allowed[-1]))
            self.error(field, f"{shorten(text)} is unknown; use {words}")
            return allowed[0]
        return text


def shorten(value: object) -> str:
    """A value as it is shown in a message: quoted, on one line, not longer than people read."""
    if isinstance(value, str):
        text = repr(value[:80])
    elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
        text = "a number of too many digits"  # which Python would refuse to print
    elif isinstance(value, dict | list):
        text = _BRIEF.repr(value)  # aliases make small documents that are large when written out
    else:
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class _Brief(reprlib.Repr):
    """Writes out no more of a value than a message shows."""

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002 - reprlib's signature
        return "…" if x.bit_length() > _MOST_BITS else repr(x)


_MOST_BITS = 128
_BRIEF = _Brief()
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxdict = 2, 4, 4
