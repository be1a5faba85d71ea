"""Looks after one Pod: looks, plans, does, tells the API, and waits for something to happen.

Rule 1: each round begins with a look at files and the kernel; what was done in the round before is
not remembered, so that a round that failed half-way, or an agent that died, changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from netproxy.api.client import ObjectClient
from netproxy.api.objects import Object, is_leaving, resource_version_of
from netproxy.api.resources import CONFIG_MAPS, PODS
from netproxy.api.status import StatusError
from netproxy.errors import DataplaneError, SourceError, UnsupportedError
from netproxy.log import EventLogger
from netproxy.model.ip import Prefix
from netproxy.pods import sandbox
from netproxy.pods.core import demands, environment, files
from netproxy.pods.core.environment import Surroundings
from netproxy.pods.core.model import (
    Container,
    ContainerSeen,
    Seen,
    Trouble,
    containers_of,
    is_on_host_network,
)
from netproxy.pods.core.plan import (
    Action,
    Finish,
    MakeSandbox,
    RemoveSandbox,
    Start,
    Stop,
    make_plan,
)
from netproxy.pods.core.status import make_status
from netproxy.pods.event_writer import EventWriter
from netproxy.pods.keeper.records import RunSpec
from netproxy.pods.launching import LauncherDiedError, Launching
from netproxy.pods.probes import Prober, Tell
from netproxy.pods.runs import ContainerRuns, LiveRun
from netproxy.pods.sandbox import Record, Sandboxes
from netproxy.pods.settings import PodSettings

POD_FILE = "pod.json"
_RETRY_S = 1.0
_T = TypeVar("_T")
log = EventLogger(__name__)


class Tools(NamedTuple):
    """What all workers of an agent share."""

    client: ObjectClient
    settings: PodSettings
    launching: Launching
    events: EventWriter
    sandboxes: Sandboxes
    in_thread: Callable[[Callable[[], object]], Awaitable[object]]
    """Runs what touches sandboxes in their thread."""
    prefixes: Callable[[], tuple[Prefix, ...]]
    """The node's for Pods; empty: it has none yet."""
    rules: asyncio.Event
    """Set when this node can reach Services."""


class PodWorker:
    """One Pod's.

    Args:
        pod: As the API has it, or as it was when it was last seen.
        directory: Where its files are.
        tools: See there.
        is_gone: The API does not have it any more.
    """

    def __init__(self, pod: Object, directory: Path, tools: Tools, *, is_gone: bool) -> None:
        self.pod = pod
        self.is_gone = is_gone
        self._directory = directory
        self._tools = tools
        self._news = asyncio.Event()
        self._runs: dict[str, ContainerRuns] = {}
        self._troubles: dict[str, Trouble] = {}
        self._sandbox_trouble: Trouble | None = None
        self._leaving_since: float | None = None
        self._told: Object | None = None
        self._is_over = False

    def update(self, pod: Object) -> None:
        """The API has another version of it."""
        if resource_version_of(pod) >= resource_version_of(self.pod):
            self.pod = pod
            self._news.set()

    def forget(self) -> None:
        """The API has it no more."""
        self.is_gone = True
        self._news.set()

    def retry_sandbox(self) -> None:
        """Why there is none may be over: try again at once."""
        if self._sandbox_trouble is not None:
            self._sandbox_trouble = self._sandbox_trouble._replace(at=0.0)
        self._news.set()

    async def run(self) -> None:
        """Until nothing is left of it; or until cancelled, when all of it goes on."""
        try:
            self._write_down()
            while not self._is_over:
                self._news.clear()
                wake_at = await self._round()
                if not self._is_over:
                    await self._wait(wake_at)
        finally:
            for each in self._runs.values():
                each.close()

    async def _wait(self, wake_at: float | None) -> None:
        timeout = None if wake_at is None else max(0.0, wake_at - time.time())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), timeout)

    def _write_down(self) -> None:
        """What has to be known to clean up after it when the API has forgotten it."""
        path = self._directory / POD_FILE
        if not path.exists():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = path.with_suffix(".new")
            new.write_text(json.dumps(self.pod))
            new.rename(path)
            for each in demands.remarks_on(self.pod):
                self._event("Ignored", each)

    async def _round(self) -> float | None:
        """Do what there is to do now; returns when to look again though nothing happens."""
        if self._leaving_since is None and (self.is_gone or is_leaving(self.pod)):
            self._leaving_since = time.time()
        wake_at: float | None = None
        while True:
            seen = self._look()
            plan = make_plan(self._pod_in_mind(), seen, time.time())
            wake_at = plan.wake_at
            if not plan.actions:
                break
            if not all([await self._carry_out(each, seen) for each in plan.actions]):
                wake_at = min(filter(None, (wake_at, time.time() + _RETRY_S)))
                seen = self._look()
                break
            if self._is_over:
                return None
        if not await self._tell(seen):
            wake_at = min(filter(None, (wake_at, time.time() + _RETRY_S)))
        return wake_at

    def _pod_in_mind(self) -> Object:
        """One that is gone has no time left: nobody waits for it."""
        if not self.is_gone:
            return self.pod
        metadata = {**self.pod["metadata"], "deletionGracePeriodSeconds": 0}
        return {**self.pod, "metadata": metadata}

    # What is there

    def _look(self) -> Seen:
        record = sandbox.read_record(self._directory)
        exists = record is not None and sandbox.exists(record)
        return Seen(
            sandbox=record.sandbox if record is not None and exists else None,
            may_begin=self._tools.rules.is_set(),
            sandbox_trouble=self._sandbox_trouble,
            next_sandbox=0 if record is None else record.number + 1,
            containers={each.name: self._look_at(each) for each in containers_of(self.pod)},
            leaving_since=self._leaving_since,
        )

    def _look_at(self, container: Container) -> ContainerSeen:
        runs = self._runs_of(container)
        run, before = runs.look()
        if runs.live is not None and runs.live.probing is None:
            self._attend(container, runs.live, run.attempt if run else 0)
            run, before = runs.look()
        return ContainerSeen(run, before, self._troubles.get(container.name))

    def _runs_of(self, container: Container) -> ContainerRuns:
        if container.name not in self._runs:
            directory = self._directory / "runs" / container.name
            self._runs[container.name] = ContainerRuns(
                directory, self._tools.launching, self._news.set
            )
        return self._runs[container.name]

    def _attend(self, container: Container, live: LiveRun, attempt: int) -> None:
        """Begin to ask a run how it is; one that an earlier agent knew to be ready still is."""
        told = self._told_of(container, attempt)
        live.is_started, live.is_ready = bool(told.get("started")), bool(told.get("ready"))
        spec = container.spec
        if not spec.get("startupProbe"):
            live.is_started = True
            live.is_ready = live.is_ready or not spec.get("readinessProbe")
        record = sandbox.read_record(self._directory)
        addresses = record.addresses if record is not None else ()
        address = next(iter(addresses or self._tools.settings.host_addresses), "")
        tell = Tell(
            partial(self._change, live, "is_started", True),
            partial(self._change, live, "is_ready"),
            partial(self._change, live, "condemned"),
            lambda message: self._event("Unhealthy", message, is_bad=True),
        )
        prober = Prober(container, address, self._runs_of(container).execute, tell)
        live.probing = asyncio.create_task(prober.run())

    def _told_of(self, container: Container, attempt: int) -> Object:
        """What the API was told about this very run; empty: nothing."""
        status = self.pod.get("status") or {}
        identity = f"netproxy://{self.pod['metadata']['uid']}/{container.name}/{attempt}"
        for kind in ("containerStatuses", "initContainerStatuses"):
            for each in status.get(kind) or ():
                if each.get("containerID") == identity:
                    return dict(each)
        return {}

    def _change(self, live: LiveRun, name: str, value: object) -> None:
        if getattr(live, name) != value:
            setattr(live, name, value)
            self._news.set()

    # What is done

    async def _carry_out(self, action: Action, seen: Seen) -> bool:
        """One step; false: it failed, and is tried again later."""
        try:
            match action:
                case MakeSandbox():
                    return await self._make_sandbox(action.number)
                case RemoveSandbox():
                    await self._remove_sandbox()
                case Start():
                    return await self._start(action, seen)
                case Stop():
                    self._stop(action)
                case Finish():
                    await self._finish()
        except (DataplaneError, UnsupportedError, SourceError, StatusError, OSError) as error:
            self._warn("cannot go on with pod", error)
            return False
        return True

    async def _make_sandbox(self, number: int) -> bool:
        tools, pod = self._tools, self.pod
        try:
            if is_on_host_network(pod):
                record = sandbox.share_host(number, self._directory)
            else:
                prefixes = tools.prefixes()
                if not prefixes:
                    raise DataplaneError(
                        operation="find",
                        subject="an address: the node has no prefix for Pods yet",
                        errno=11,  # EAGAIN
                    )
                record = await self._in_thread(
                    lambda: tools.sandboxes.make(pod, number, prefixes, self._directory)
                )
            self._write_etc(record)
        except (DataplaneError, UnsupportedError, OSError) as error:
            if self._sandbox_trouble is None:
                self._event("FailedCreatePodSandBox", str(error), is_bad=True)
            self._sandbox_trouble = Trouble("FailedCreatePodSandBox", str(error), time.time())
            return True  # the plan knows when to try again
        self._sandbox_trouble = None
        return True

    def _write_etc(self, record: Record) -> None:
        settings, etc = self._tools.settings, self._directory / "etc"
        etc.mkdir(exist_ok=True)
        host = files.parse_resolver(_read(settings.resolv_conf))
        resolver = files.resolver_of(
            self.pod, host, settings.dns_addresses, settings.cluster_domain
        )
        (etc / "resolv.conf").write_text(str(resolver))
        if record.namespace:
            hosts = files.hosts_of(self.pod, record.addresses, settings.cluster_domain)
            (etc / "hosts").write_text(hosts)
            (etc / "hostname").write_text(files.hostname_of(self.pod) + "\n")

    async def _remove_sandbox(self) -> None:
        record = sandbox.read_record(self._directory)
        if record is not None:
            uid = self.pod["metadata"]["uid"]
            await self._in_thread(lambda: self._tools.sandboxes.remove(uid, record))
            gone = record._replace(boot="")
            sandbox.write_record(self._directory, gone)

    async def _start(self, action: Start, seen: Seen) -> bool:
        container, name = action.container, action.container.name
        try:
            spec = await self._run_spec(action, seen)
        except environment.ConfigError as error:
            if name not in self._troubles:
                self._event("Failed", f"Error: {error}", is_bad=True)
            self._troubles[name] = Trouble(demands.CONFIG_ERROR, str(error), time.time())
            return True
        self._troubles.pop(name, None)
        try:
            problem = await self._runs_of(container).start(action.attempt, spec)
        except LauncherDiedError:
            return True  # perhaps it runs: the next look tells
        if problem:
            self._event("Failed", f"Error: {problem}", is_bad=True)
        else:
            self._event("Started", f"Started container {name}")
        return True

    async def _run_spec(self, action: Start, seen: Seen) -> RunSpec:
        container, pod, settings = action.container, self.pod, self._tools.settings
        record = sandbox.read_record(self._directory)
        assert record is not None
        assert seen.sandbox is not None
        around = Surroundings(
            pod,
            record.addresses or settings.host_addresses,
            settings.node_name,
            settings.host_addresses,
            {each: await self._config_map(each) for each in environment.config_maps_of(container)},
            settings.path,
        )
        variables = environment.environment_of(container, around)
        identity = demands.identity_of(pod, container)
        return RunSpec(
            command=environment.command_of(container, variables),
            environment=variables,
            working_directory=container.spec.get("workingDir") or "",
            root=demands.root_of(container.spec),
            hostname=files.hostname_of(pod),
            network=sandbox.network_path(record),
            etc=str(self._directory / "etc"),
            uid=identity.uid,
            gid=identity.gid,
            groups=list(identity.groups),
            most_log_bytes=settings.most_log_bytes,
            streak=action.streak,
            sandbox=seen.sandbox.number,
        )

    async def _config_map(self, name: str) -> Object | None:
        try:
            return await self._tools.client.get(
                CONFIG_MAPS, name, self.pod["metadata"]["namespace"]
            )
        except StatusError as error:
            if error.code != 404:
                raise
            return None

    def _stop(self, action: Stop) -> None:
        container = action.container
        live = self._runs_of(container).live
        if live is None:
            return
        if live.stopping_until is None:
            why = f", {action.why}" if action.why else ""
            self._event("Killing", f"Stopping container {container.name}{why}")
        if live.probing is not None:
            live.probing.cancel()
        hook = (container.spec.get("lifecycle") or {}).get("preStop")
        live.stop(action.until, partial(self._before_stop, container, hook) if hook else None)

    def _before_stop(self, container: Container, hook: Object) -> asyncio.Future[None]:
        async def ask() -> None:
            record = sandbox.read_record(self._directory)
            address = next(iter(record.addresses if record else ()), "")
            nobody = Tell(lambda: None, lambda _: None, lambda _: None, lambda _: None)
            prober = Prober(container, address, self._runs_of(container).execute, nobody)
            result = await prober.ask(hook, 86_400.0)
            if not result.is_good:
                self._event("FailedPreStopHook", result.message, is_bad=True)

        return asyncio.ensure_future(ask())

    async def _finish(self) -> None:
        """Nothing of it is left: tell the API, and forget it."""
        if not self.is_gone:
            await self._tell(self._look())
            metadata = self.pod["metadata"]
            try:
                await self._tools.client.delete(
                    PODS, metadata["name"], metadata["namespace"], uid=metadata["uid"], grace_s=0
                )
            except StatusError as error:
                if error.code not in {404, 409}:
                    raise
        shutil.rmtree(self._directory)
        self._is_over = True

    # What is told

    async def _tell(self, seen: Seen) -> bool:
        """Bring the status up to date; false: try again soon."""
        if self.is_gone:
            return True
        status = make_status(self.pod, seen, self._tools.settings.host_addresses, time.time())
        if status in (self.pod.get("status"), self._told):
            return True
        try:
            self.update(
                await self._tools.client.update(PODS, {**self.pod, "status": status}, "status")
            )
        except (StatusError, SourceError) as error:
            # Somebody wrote in between, and we shall hear what; or it is gone, as we shall hear.
            if not isinstance(error, StatusError) or error.code not in {404, 409}:
                self._warn("cannot tell the status of a pod", error)
            return False
        self._told = status
        return True

    def _event(self, reason: str, message: str, *, is_bad: bool = False) -> None:
        self._tools.events.tell(self.pod, reason, message, is_bad=is_bad)

    def _warn(self, words: str, error: Exception) -> None:
        metadata = self.pod["metadata"]
        log.warning(words, pod=f"{metadata['namespace']}/{metadata['name']}", error=str(error))

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await self._tools.in_thread(function)  # type: ignore[return-value]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
