"""Who we are: tokens, files that rotate, plugins; and what happens when the server says 401."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from netproxy.errors import ConfigError, SourceError
from netproxy.kubernetes import trouble
from netproxy.kubernetes.access import Cluster, ExecPlugin, KeyPair, Pem, Secret, User
from netproxy.kubernetes.connect import open_client
from netproxy.kubernetes.contract import ApiClient, ClientSettings
from netproxy.kubernetes.credentials import TOKEN_FILE_S, Credentials
from netproxy.kubernetes.exec_plugin import API_VERSIONS, run_plugin
from netproxy.kubernetes.tls import TlsContexts
from tests.unit.kubernetes.api import (
    Authority,
    Peer,
    peer,
    run,
    serve,
    settings_for,
    skip,
    write_kubeconfig,
)

AUTHORITY = Authority()
V1 = API_VERSIONS[0]


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def said(version: str = V1, **status: str) -> str:
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})


def counting(directory: Path, credential: str, *, prefix: str = "") -> str:
    """A plugin that notes each run, and prints; ``COUNT`` becomes the number of runs."""
    text = credential.replace("COUNT", "'$(wc -l < runs)'")
    return script(
        directory / "plugin", f"cd {directory}", "echo run >> runs", prefix, f"echo '{text}'"
    )


def runs(directory: Path) -> int:
    return len((directory / "runs").read_text().splitlines())


def exec_user(command: str, version: str = V1, **fields: Any) -> dict[str, object]:
    execute = {"apiVersion": version, "command": command, "interactiveMode": "Never"}
    return {"exec": execute | fields}


class Guarded:
    """A server that lets in who brings one of its tokens, and notes all who come."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = set(tokens)
        self.seen: list[Peer] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        who = peer(request)
        self.seen.append(who)
        is_known = who.authorization.removeprefix("Bearer ") in self.tokens
        return web.Response(status=200 if is_known else 401, body=b"Unauthorized")

    @property
    def shown(self) -> list[str]:
        return [who.authorization.partition(" ")[2] for who in self.seen]


async def status_of(client: ApiClient) -> int:
    async with client.request("GET", "/") as answer:
        return answer.status


async def ask(
    guard: Guarded, directory: Path, user: Mapping[str, object], *, times: int = 1
) -> None:
    async with serve(guard, AUTHORITY.server_context(wants_client=True)) as port:
        client = open_client(
            settings_for(directory, AUTHORITY, port, user), environ={"PATH": "/bin"}
        )
        try:
            for _ in range(times):
                assert await status_of(client) == 200
        finally:
            await client.close()


def test_a_password_is_shown_as_it_should_be(tmp_path: Path) -> None:
    guard = Guarded("Basic bWU6cHc6eMOk")
    run(ask(guard, tmp_path, {"username": "me", "password": "pw:xä"}))
    assert guard.seen[0].authorization == "Basic bWU6cHc6eMOk"


def test_impersonation_asks_to_be_somebody_else(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.extend(item for item in request.headers.items() if item[0].startswith("Impersonate"))
        return web.Response()

    async def go() -> None:
        user = {
            "token": "t",
            "as": "jane",
            "as-uid": "7",
            "as-groups": ["a", "b"],
            "as-user-extra": {"Example.com/x": ["1"]},
        }
        async with serve(handler, AUTHORITY.server_context()) as port:
            client = open_client(settings_for(tmp_path, AUTHORITY, port, user), environ={})
            await status_of(client)
            await client.close()

    run(go())
    assert seen == [
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-example.com%2Fx", "1"),
    ]


def test_a_token_file_is_read_again_each_minute(tmp_path: Path) -> None:
    time = 1000.0
    path = tmp_path / "token"
    user = User("u", "s", token_file=path)
    credentials = Credentials(user, now=lambda: time, environ={})

    def shown() -> str:
        authorization = asyncio.run(credentials.get()).authorization
        assert authorization is not None
        return authorization.reveal()

    path.write_text("first\n")
    assert shown() == "Bearer first"
    path.write_text("second\n")
    time += TOKEN_FILE_S - 1
    assert shown() == "Bearer first"
    time += 1
    assert shown() == "Bearer second"
    path.unlink()
    time += TOKEN_FILE_S
    assert shown() == "Bearer second"  # better than nothing
    path.write_text("third\n")
    time -= 10 * TOKEN_FILE_S  # somebody set the clock
    assert shown() == "Bearer third"


def test_a_token_file_is_read_again_when_the_server_wants_another(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    guard = Guarded("old")

    async def go() -> None:
        async with serve(guard, AUTHORITY.server_context()) as port:
            user = {"tokenFile": "token", "token": "not-this-one"}
            client = open_client(settings_for(tmp_path, AUTHORITY, port, user), environ={})
            assert await status_of(client) == 200
            guard.tokens = {"new"}
            path.write_text("new")
            assert await status_of(client) == 200
            await client.close()

    run(go())
    assert guard.shown == ["old", "old", "new"]


def test_in_a_pod(tmp_path: Path) -> None:
    guard = Guarded("t0ps3cret")
    (tmp_path / "token").write_text("t0ps3cret")
    (tmp_path / "ca.crt").write_text(AUTHORITY.pem)

    async def go() -> None:
        async with serve(guard, AUTHORITY.server_context()) as port:
            environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": f"{port}"}
            client = open_client(ClientSettings(), environ=environ, service_account=tmp_path)
            assert await status_of(client) == 200
            guard.tokens = set()
            try:
                await status_of(client)
            finally:
                await client.close()

    with pytest.raises(SourceError, match="does not accept the pod's service account") as caught:
        run(go())
    assert str(tmp_path / "token") in (caught.value.hint or "")
    assert guard.shown == ["t0ps3cret"] * 2  # the same again would be no better


@pytest.mark.parametrize(
    ("user", "remedy"),
    [
        ({"token": "t0ps3cret"}, "users[node] says may have expired"),
        ({"username": "me", "password": "t0ps3cret"}, "users[node] says may have expired"),
        ({}, "give the kubeconfig's user a token"),
    ],
)
def test_unauthorized_names_the_user_and_a_remedy(
    user: dict[str, object], remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=r'user "node".*401 Unauthorized') as caught:
        run(ask(Guarded("another"), tmp_path, user))
    assert remedy in (caught.value.hint or "")
    assert "t0ps3cret" not in f"{caught.value.message} {caught.value.hint}"


def test_a_certificate_that_is_not_known_is_named(tmp_path: Path) -> None:
    certificate, key = AUTHORITY.pair("who.example.com")
    (tmp_path / "crt").write_text(certificate)
    (tmp_path / "key").write_text(key)
    with pytest.raises(SourceError, match="401") as caught:
        run(ask(Guarded("x"), tmp_path, {"client-certificate": "crt", "client-key": "key"}))
    hint = caught.value.hint or ""
    assert hint.startswith("have a new client certificate signed")
    assert "expired" not in hint


def test_a_certificate_that_came_to_its_end_meanwhile_is_named() -> None:
    certificate, key = AUTHORITY.pair("a.example.com", until=datetime(2031, 1, 2, tzinfo=UTC))
    pair = KeyPair(Pem("c", None, Secret(certificate)), Pem("k", None, Secret(key)))
    cluster, user = Cluster("s", "https://h"), User("u", "s", pair=pair)
    time = datetime(2031, 1, 1, tzinfo=UTC).timestamp()
    contexts = TlsContexts(cluster, lambda: time)
    contexts.get(pair)
    assert contexts.expired() is None
    time += 86_400
    contexts.get(pair)
    hint = trouble.refused(cluster, user, contexts.expired()).hint or ""
    assert hint.endswith("ours expired at 2031-01-02T00:00:00Z")


@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_plugin_says_who_we_are(version: str, tmp_path: Path) -> None:
    command = counting(tmp_path, said(version, token="from-plugin"))
    guard = Guarded("from-plugin")
    run(ask(guard, tmp_path, exec_user(command, version), times=3))
    assert (guard.shown, runs(tmp_path)) == (["from-plugin"] * 3, 1)


def test_a_plugin_is_found_next_to_the_kubeconfig(tmp_path: Path) -> None:
    counting(tmp_path, said(token="t"))
    run(ask(Guarded("t"), tmp_path, exec_user("./plugin")))
    assert runs(tmp_path) == 1


def test_a_plugin_gives_a_client_certificate(tmp_path: Path) -> None:
    certificate, key = AUTHORITY.pair("plug.example.com")
    (tmp_path / "said").write_text(said(clientCertificateData=certificate, clientKeyData=key))
    command = script(tmp_path / "plugin", f"cat {tmp_path / 'said'}")
    guard = Guarded("")
    run(ask(guard, tmp_path, exec_user(command), times=2))
    assert guard.seen == [Peer("", "plug.example.com")] * 2


def test_a_plugin_is_told_what_it_asks_for(tmp_path: Path) -> None:
    note = f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info; echo "$A $B $*" > {tmp_path}/args'
    command = counting(tmp_path, said(token="t"), prefix=note)
    fields: dict[str, Any] = {
        "provideClusterInfo": True,
        "args": ["one", "two words"],
        "env": [{"name": "A", "value": "a"}],
    }
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}

    async def go() -> str:
        guard = Guarded("t")
        async with serve(guard, AUTHORITY.server_context("kubernetes")) as port:
            (tmp_path / "ca").write_text(AUTHORITY.pem)
            cluster = {
                "certificate-authority": "ca",
                "tls-server-name": "kubernetes",
                "extensions": [{"name": "other"}, extension],
            }
            server = f"https://127.0.0.1:{port}"
            path = write_kubeconfig(tmp_path, server, cluster, exec_user(command, **fields))
            environ = {"PATH": "/bin:/usr/bin", "B": "b"}
            client = open_client(ClientSettings(kubeconfig=str(path)), environ=environ)
            await status_of(client)
            await client.close()
            return server

    server = run(go())
    assert (tmp_path / "args").read_text() == "a b one two words\n"
    from tests.unit.kubernetes.api import b64

    assert json.loads((tmp_path / "info").read_text()) == {
        "kind": "ExecCredential",
        "apiVersion": V1,
        "spec": {
            "interactive": False,
            "cluster": {
                "server": server,
                "certificate-authority-data": b64(AUTHORITY.pem),
                "tls-server-name": "kubernetes",
                "config": {"audience": "x"},
            },
        },
    }


def test_a_plugin_is_not_told_of_the_cluster_unasked(tmp_path: Path) -> None:
    note = f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info'
    run(ask(Guarded("t"), tmp_path, exec_user(counting(tmp_path, said(token="t"), prefix=note))))
    assert json.loads((tmp_path / "info").read_text())["spec"] == {"interactive": False}


def test_a_plugin_is_run_again_when_its_word_expires(tmp_path: Path) -> None:
    word = said(token="tCOUNT", expirationTimestamp="1970-01-01T01:00:00Z")
    command = counting(tmp_path, word)
    time = 0.0
    user = User("u", "s", plugin=ExecPlugin("s", command, (), {}, V1))

    async def go() -> list[Secret | None]:
        nonlocal time
        credentials = Credentials(user, now=lambda: time, environ={"PATH": "/bin:/usr/bin"})
        shown = [(await credentials.get()).authorization]
        time = 3599.0
        shown.append((await credentials.get()).authorization)
        time = 3600.0
        shown.append((await credentials.get()).authorization)
        return shown

    assert run(go()) == [Secret("Bearer t1"), Secret("Bearer t1"), Secret("Bearer t2")]


def test_a_plugin_is_run_again_once_when_the_server_wants_another_word(tmp_path: Path) -> None:
    """However many requests it refuses at the same time."""
    command = counting(tmp_path, said(token="tCOUNT"))
    guard = Guarded("t1")

    async def go() -> None:
        async with serve(guard, AUTHORITY.server_context()) as port:
            settings = settings_for(tmp_path, AUTHORITY, port, exec_user(command))
            client = open_client(settings, environ={"PATH": "/bin:/usr/bin"})
            assert await status_of(client) == 200
            guard.tokens = {"t2"}
            assert await asyncio.gather(*(status_of(client) for _ in range(5))) == [200] * 5
            await client.close()

    run(go())
    assert runs(tmp_path) == 2
    assert guard.shown.count("t2") == 5


def test_a_plugin_is_for_those_who_have_nothing_else(tmp_path: Path) -> None:
    command = counting(tmp_path, said(token="from-plugin"))
    guard = Guarded("static")
    run(ask(guard, tmp_path, {"token": "static", **exec_user(command)}))
    assert not (tmp_path / "runs").exists()


FAILING = {
    "exit": ("echo some noise >&2; echo please log in >&2; exit 3", "ended with 3: please log in"),
    "silent exit": ("exit 1", "ended with 1"),
    "signal": ("kill -9 $$", "ended with -9"),
    "no JSON": ("echo token: s3cret-token", "printed no ExecCredential"),
    "type": (f"echo '{said().replace('{}', '[]')}'", "printed no ExecCredential"),
    "nothing": ("true", "printed no ExecCredential"),
    "other kind": ('echo \'{"kind": "Pod"}\'', f"printed no ExecCredential of {V1}"),
    "other version": (
        f"echo '{said('client.authentication.k8s.io/v1beta1', token='s3cret-token')}'",
        f"printed no ExecCredential of {V1}",
    ),
    "no status": (f"echo '{said()}'", "printed neither a token nor a client certificate"),
    "half a pair": (f"echo '{said(clientKeyData='s3cret-token')}'", "but not both"),
    "no zone": (
        f"echo '{said(token='s3cret-token', expirationTimestamp='2030-01-01T00:00:00')}'",
        "without a time zone",
    ),
    "no time": (
        f"echo '{said(token='s3cret-token', expirationTimestamp='s3cret-token')}'",
        "printed no ExecCredential",
    ),
    "talks too much": (
        "echo refused: eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMzQ1Njc4OTAifQ.s3cret-token >&2; exit 1",
        "ended with 1: refused: ...",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_plugin_that_fails_is_an_error_and_nobody_is_asked(name: str, tmp_path: Path) -> None:
    line, words = FAILING[name]
    guard = Guarded("")
    with pytest.raises(SourceError) as caught:
        run(ask(guard, tmp_path, exec_user(script(tmp_path / "plugin", line))))
    assert words in caught.value.message
    assert f"{tmp_path / 'kubeconfig'}: users[node].exec" in caught.value.message
    assert "s3cret-token" not in caught.value.message
    assert guard.seen == []
    assert caught.value.hint


def test_a_plugin_that_cannot_be_started(tmp_path: Path) -> None:
    command = tmp_path / "plugin"
    command.write_text("#!/no/such/shell\n")
    command.chmod(0o755)
    with pytest.raises(SourceError, match=r"cannot start .*No such file") as caught:
        run(ask(Guarded(), tmp_path, exec_user(str(command), installHint="get it")))
    assert caught.value.hint == "get it"


def test_a_plugin_that_hangs_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "started"
    script(tmp_path / "plugin", f"echo $$ > {fifo}", "exec sleep 1000")
    plugin = ExecPlugin("s", str(tmp_path / "plugin"), (), {}, V1)

    async def go() -> None:
        waiting = asyncio.ensure_future(run_plugin(plugin, {"PATH": "/bin"}, limit_s=60))
        while not (fifo.exists() and fifo.read_text().endswith("\n")):
            await asyncio.sleep(0.001)
        await skip(60)
        await waiting

    with pytest.raises(SourceError, match="gave no answer within 60 s"):
        run(go())
    assert not Path("/proc", fifo.read_text().strip()).exists()


def test_a_plugins_bad_certificate_is_an_error(tmp_path: Path) -> None:
    """And it is asked again next time: it may have a better one then."""
    command = counting(tmp_path, said(clientCertificateData="x", clientKeyData="y"))
    guard = Guarded()

    async def go() -> None:
        async with serve(guard, AUTHORITY.server_context()) as port:
            settings = settings_for(tmp_path, AUTHORITY, port, exec_user(command))
            client = open_client(settings, environ={"PATH": "/bin:/usr/bin"})
            for _ in range(2):
                with pytest.raises(SourceError, match="its clientCertificateData: has no cert"):
                    await status_of(client)
            await client.close()

    run(go())
    assert (guard.seen, runs(tmp_path)) == ([], 2)


@pytest.mark.parametrize("content", ["", " \n", "two words", "ümlaut", "a\nb"])
def test_a_token_file_without_a_token(content: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(ConfigError, match="has no token in it") as caught:
        open_client(settings_for(tmp_path, AUTHORITY, 1, {"tokenFile": "token"}), environ={})
    assert "tokenFile" in caught.value.message


def test_nothing_secret_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through renewals and failures, with everything switched on that libraries have to say."""
    caplog.set_level(logging.NOTSET)
    caplog.set_level(logging.NOTSET + 1, logger="netproxy")
    monkeypatch.setattr(logging.getLogger("netproxy"), "propagate", True)
    command = counting(tmp_path, said(token="s3cret-COUNT"))
    with pytest.raises(SourceError):
        run(
            ask(
                Guarded("s3cret-9"),
                tmp_path,
                exec_user(command, env=[{"name": "A", "value": "s3cret"}]),
            )
        )
    assert caplog.records
    assert not any(
        "s3cret" in f"{record.getMessage()} {record.__dict__}" for record in caplog.records
    )
