"""What is answered at which path; pages are functions of a request.

Not here: connections (``web.py``), addresses (``addresses.py``).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

from netproxy.journal import log_crash
from netproxy.web import Answer, Request

Page = Callable[[Request], Awaitable[Answer]]
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache, private"}


class Pages:
    """Finds the page for a request.

    Args:
        pages: By path.
    """

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages

    async def __call__(self, request: Request) -> Answer:
        """The page, or why there is none. Raises nothing."""
        page = self._pages.get(request.path)
        if page is None:
            return text_page("there is no such page\n", 404)
        if request.method not in ("GET", "HEAD"):
            answer = text_page("only GET and HEAD are answered\n", 405)
            return answer._replace(headers={**answer.headers, "Allow": "GET, HEAD"})
        try:
            return await page(request)
        except Exception as error:  # noqa: BLE001 - the other pages must go on
            log_crash("page crashed", error)
            return text_page("a bug in netproxy; its log says more\n", 500)


def text_page(text: str, status: int = 200) -> Answer:
    """Words for people."""
    return _page(text.encode(), "text/plain; charset=utf-8", status)


def json_page(value: object, status: int = 200) -> Answer:
    """Something for programs, without spaces as Go writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return _page(text.encode(), "application/json", status)


def _page(body: bytes, content_type: str, status: int) -> Answer:
    return Answer(status, body, {"Content-Type": content_type, **_HEADERS})
