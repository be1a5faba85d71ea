"""What a probe prints, read back."""

from __future__ import annotations

from netproxy.lab.echo import http_response, identity
from netproxy.lab.traffic import Connection, Traffic, parse_lines


def test_lines_become_connections() -> None:
    lines = [
        b'{"at": 1.5, "ms": 2.0, "pod": "web", "address": "10.0.0.1", "client": "10.0.0.9"}',
        b'{"at": 1.6, "ms": 3.0, "error": "ECONNREFUSED"}',
    ]
    traffic = Traffic(tuple(parse_lines(lines)))
    assert traffic.answered == {"web": 1}
    assert traffic.failures == [Connection(1.6, 3.0, error="ECONNREFUSED")]
    assert traffic.latency_ms(0.99) == 2.0


def test_no_connections_have_no_latency() -> None:
    assert Traffic(()).latency_ms(0.5) == 0.0


def test_an_answer_is_a_whole_http_response() -> None:
    body = identity("web", "tcp", ("10.0.0.1", 80), ("10.0.0.9", 4711))
    head, _, rest = http_response(body).partition(b"\r\n\r\n")
    assert rest == body
    assert f"Content-Length: {len(body)}".encode() in head
