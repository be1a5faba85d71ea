"""Rules for names, labels and other words; their sentences are Kubernetes 1.36's."""

from __future__ import annotations

import re

from netproxy.api.labels import key_faults, value_faults

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+\Z")
_PORT_NAME = re.compile(r"[-a-z0-9]+\Z")
LONGEST_LABEL = 63
LONGEST_SUBDOMAIN = 253

_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def _longer(name: str, most: int) -> list[str]:
    return [f"must be no more than {most} bytes"] if len(name.encode()) > most else []


def label_faults(name: str) -> list[str]:
    """What keeps it from being a DNS label (RFC 1123)."""
    faults = _longer(name, LONGEST_LABEL)
    return faults if _LABEL.match(name) else [*faults, _LABEL_RULE]


def subdomain_faults(name: str) -> list[str]:
    """What keeps it from being a DNS name in lower case."""
    faults = _longer(name, LONGEST_SUBDOMAIN)
    return faults if _SUBDOMAIN.match(name) else [*faults, _SUBDOMAIN_RULE]


def path_segment_faults(name: str) -> list[str]:
    """What keeps it from being part of a path."""
    if name in {".", ".."}:
        return [f"may not be '{name}'"]
    return [f"may not contain '{each}'" for each in "/%" if each in name]


def qualified_faults(name: str) -> list[str]:
    """What keeps it from being a label's key: ``example.com/name``."""
    return list(key_faults(name))


def label_value_faults(value: str) -> list[str]:
    """What keeps it from being a label's value."""
    return list(value_faults(value))


def port_name_faults(name: str) -> list[str]:
    """What keeps it from being the name of a container's port (an IANA service name)."""
    faults = []
    if len(name) > 15:
        faults.append("must be no more than 15 characters")
    if not _PORT_NAME.match(name):
        faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", name):
        faults.append("must contain at least one letter (a-z)")
    if "--" in name:
        faults.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        faults.append("must not begin or end with a hyphen")
    return faults


def config_key_faults(name: str) -> list[str]:
    """What keeps it from being a key of a ConfigMap."""
    faults = _longer(name, LONGEST_SUBDOMAIN)
    if not _CONFIG_KEY.match(name):
        faults.append(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
            "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
            "'[-._a-zA-Z0-9]+')"
        )
    return faults
