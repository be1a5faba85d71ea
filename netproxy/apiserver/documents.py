"""What the API says about itself: which kinds there are, their fields, its version, its health."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from netproxy.apiserver.request import Request
from netproxy.apiserver.schema import discovery, openapi
from netproxy.apiserver.showing import encode
from netproxy.web import Answer

_HEALTH = frozenset({"/livez", "/readyz", "/healthz"})


class Documents:
    """Answers everything that is no object."""

    def find(self, request: Request) -> Answer | None:
        """The answer, or None where the path means something else."""
        if request.method not in {"GET", "HEAD"}:
            return None
        path = request.path.rstrip("/") or "/"
        if path in _HEALTH:
            return Answer(200, b"ok", {"Content-Type": "text/plain; charset=utf-8"})
        if path.startswith("/openapi/"):
            return _described(path, request.headers)
        return _discovered(path, request.headers.get("accept", ""))


def _described(path: str, headers: Mapping[str, str]) -> Answer | None:
    found = openapi.find(path, headers.get("accept", ""))
    if found is None:
        return None
    told = {"ETag": f'"{found.etag}"', "Content-Type": found.content_type, "Vary": "Accept"}
    if headers.get("if-none-match", "").strip('"') == found.etag:
        return Answer(304, b"", told)
    return Answer(200, found.body, told)


@lru_cache(maxsize=256)
def _discovered(path: str, accept: str) -> Answer | None:
    found = discovery.document(path, accept)
    if found is None:
        return None
    body, content_type = found
    return Answer(200, encode(body), {"Content-Type": content_type, "Vary": "Accept"})
