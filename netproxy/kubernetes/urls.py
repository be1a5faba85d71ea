"""URLs that people write: taken apart if they can be asked at all."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def split_url(url: str) -> SplitResult | None:
    """A URL's parts; None: it has no scheme, no host, or one of them cannot be.

    Example:
        >>> parts = split_url("https://[fd00::1]:6443/prefix")
        >>> parts and (parts.hostname, parts.port)
        ('fd00::1', 6443)
        >>> split_url("https://host:port"), split_url("https://a..b"), split_url("host")
        (None, None, None)
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")  # what the resolver is going to do
    except ValueError:
        return None
    is_good = host and parts.scheme and port != 0 and not any(c.isspace() for c in url)
    return parts if is_good else None
