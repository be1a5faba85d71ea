"""Measurements of cluster DNS: a server in a process of its own, asked by dnsperf."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from netproxy.api.objects import Object, key_of
from netproxy.api.resources import BY_KIND, ENDPOINT_SLICES
from netproxy.dns.responder import Reply, Responder
from netproxy.dns.server import DnsServer
from netproxy.dns.settings import DnsSettings
from netproxy.dns.zone import Zone, ZoneSettings
from netproxy.model.ip import IPAddress
from netproxy.web import Place
from tests.bench import world

Figures = dict[str, float]
_HERE, _PORT = IPAddress("127.0.0.1"), 5300
_QUESTIONS = 4000
_QUERY = "{}.bench.svc.cluster.local A\n"
_PATIENCE_S = 60


def dns_answers(services: int, seconds: int) -> Figures:
    """A records of random Services, eight clients, a hundred questions at once."""
    dice = random.Random(1)
    names = (f"s{dice.randrange(services)}" for _ in range(_QUESTIONS))
    return _asked(services, seconds, "".join(map(_QUERY.format, names)))


def dns_missing(services: int, seconds: int) -> Figures:
    """What search paths make of names of the internet: they do not exist."""
    dice = random.Random(1)
    names = (f"www{dice.randrange(services)}.example.com" for _ in range(_QUESTIONS))
    return _asked(services, seconds, "".join(map(_QUERY.format, names)))


def dns_changes(services: int, count: int) -> Figures:
    """One endpoint less or more of random Services that are headless; change → its answer."""
    responder = _filled(services, is_headless=True)
    dice = random.Random(1)
    times = []
    for number in range(count):
        service = dice.randrange(services)
        changed = _slice(service, world.ENDPOINTS - 1 + number % 2)
        question = _question(service)
        started = time.perf_counter()
        responder.change(ENDPOINT_SLICES, key_of(changed), changed)
        found = responder.respond(question, is_stream=False)
        times.append(time.perf_counter() - started)
        assert isinstance(found, Reply), "it has an answer"
        assert found.message[7] == world.ENDPOINTS - 1 + number % 2, "the right one"
    return {"p50_us": statistics.median(times) * 1e6, "max_us": max(times) * 1e6}


def dns_load(services: int) -> Figures:
    """Objects in memory → all of them have names."""
    objects = list(_objects(services))
    started = time.perf_counter()
    _filled_with(objects)
    return {"seconds": time.perf_counter() - started}


def _objects(services: int, *, is_headless: bool = False) -> Iterator[Object]:
    for each in world.manifests(services):
        obj: dict[str, Any] = json.loads(json.dumps(each))
        if is_headless and obj["kind"] == "Service":
            obj["spec"]["clusterIP"] = "None"
        yield obj


def _filled(services: int, *, is_headless: bool = False) -> Responder:
    return _filled_with(_objects(services, is_headless=is_headless))


def _filled_with(objects: Iterable[Object]) -> Responder:
    responder = Responder(Zone(ZoneSettings()), random.random)
    for each in objects:
        responder.change(BY_KIND[each["apiVersion"], each["kind"]], key_of(each), each)
    return responder


def _slice(service: int, endpoints: int) -> Object:
    made = world.slice_of(service, endpoints)
    return {
        "metadata": {
            "name": made.name,
            "namespace": made.service.namespace,
            "labels": {"kubernetes.io/service-name": made.service.name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": [each.address]} for each in made.endpoints],
    }


def _question(service: int) -> bytes:
    name = f"s{service}".encode()
    where = b"\5bench\3svc\7cluster\5local\0"
    return b"\0\1\1\0\0\1\0\0\0\0\0\0" + bytes([len(name)]) + name + where + b"\0\1\0\1"


def _asked(services: int, seconds: int, questions: str) -> Figures:
    """Answers per second, and what each cost the server."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _serve(services, writable)
    os.close(writable)
    try:
        os.read(readable, 1)  # it listens, or has ended
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(questions)
            file.flush()
            command = ["dnsperf", "-s", _HERE, "-p", str(_PORT), "-d", file.name]
            command += ["-c", "8", "-q", "100", "-l", str(seconds)]
            before = _cpu_seconds(child)
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
            spent = _cpu_seconds(child) - before
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    found = {
        word: re.search(rf"{word}:\s+([\d.]+)", done.stdout)
        for word in ("Queries completed", "Queries lost", "Queries per second")
    }
    if not all(found.values()):
        raise RuntimeError(f"dnsperf: {(done.stderr or done.stdout).strip()[-200:]}")
    completed, lost, rate = (float(each[1]) for each in found.values() if each is not None)
    return {"rate": rate, "lost": lost, "answers": completed, "cpu_us": spent / completed * 1e6}


def _serve(services: int, writable: int) -> None:
    """Never returns: the process is killed when it has been measured."""

    async def serve() -> None:
        settings = DnsSettings((Place(_HERE, _PORT),), upstreams=())
        server = DnsServer(_filled(services), settings)
        gc.freeze()
        await server.open()
        os.write(writable, b".")
        await asyncio.Event().wait()

    try:
        asyncio.run(serve())
    finally:
        os._exit(1)


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
