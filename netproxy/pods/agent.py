"""The node agent: a worker for each Pod that is bound to this node.

Rule 1: the agent may die at any moment. Pods outlive it; the next agent finds them by their files
and locks, and tells the API nothing that was not so.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from netproxy.api.client import ObjectClient, Selection
from netproxy.api.informer import Informer
from netproxy.api.objects import Key, Object, uid_of
from netproxy.api.resources import NODES, PODS
from netproxy.errors import UnsupportedError
from netproxy.log import EventLogger
from netproxy.model.ip import Prefix, parse_prefix
from netproxy.pods import sandbox
from netproxy.pods.event_writer import EventWriter
from netproxy.pods.launching import Launching
from netproxy.pods.sandbox import Sandboxes
from netproxy.pods.settings import PodSettings
from netproxy.pods.worker import POD_FILE, PodWorker, Tools

_AGAIN_S = 5.0
log = EventLogger(__name__)


class PodAgent:
    """Runs the Pods of one node.

    Args:
        client: Speaks to the API.
        settings: See there.
        rules: Set when this node can reach Services. Until then no Pod begins; those that run
            are looked after, for a new agent finds the rules of the old one.
    """

    def __init__(self, client: ObjectClient, settings: PodSettings, rules: asyncio.Event) -> None:
        self._settings = settings
        self._rules = rules
        self._client = client
        dice = random.Random().random  # noqa: S311 - spreads load, hides nothing
        bound = Selection(fields=f"spec.nodeName={settings.node_name}")
        own = Selection(fields=f"metadata.name={settings.node_name}")
        self._pods = Informer(client, PODS, bound, jitter=dice)
        self._nodes = Informer(client, NODES, own, jitter=dice)
        self._directory = settings.directory / "pods"
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tools: Tools | None = None

    async def run(self) -> None:
        """Until cancelled; Pods go on.

        Raises:
            UnsupportedError: this host or this user cannot do it.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UnsupportedError(f"cannot write {self._directory}: {error.strerror}") from error
        launching = Launching(self._settings.directory)
        await launching.open()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="netproxy-pods") as thread:
            prefix = self._settings.namespace_prefix
            sandboxes = await loop.run_in_executor(thread, Sandboxes, prefix)

            def in_thread(function: Callable[[], object]) -> Awaitable[object]:
                return loop.run_in_executor(thread, function)

            events = EventWriter(self._client, self._settings.node_name, time.time)
            self._tools = Tools(
                self._client,
                self._settings,
                launching,
                events,
                sandboxes,
                in_thread,
                self._prefixes,
                self._rules,
            )
            known = self._known(sandboxes)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(events.run())
                    self._pods.listen(self._pod_changed)
                    self._nodes.listen(self._node_changed)
                    group.create_task(self._pods.run())
                    group.create_task(self._nodes.run())
                    group.create_task(self._take_away(known))
                    group.create_task(self._begin_those_that_wait())
            finally:
                for each in self._tasks.values():
                    each.cancel()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)
                launching.close()
                await loop.run_in_executor(thread, sandboxes.close)

    def _prefixes(self) -> tuple[Prefix, ...]:
        node = self._nodes.get(Key("", self._settings.node_name)) or {}
        return tuple(parse_prefix(each) for each in (node.get("spec") or {}).get("podCIDRs") or ())

    def _known(self, sandboxes: Sandboxes) -> dict[str, Object]:
        """Pods that a former agent ran; their addresses are theirs."""
        found: dict[str, Object] = {}
        for directory in self._directory.iterdir():
            pod = _read_pod(directory)
            if pod is None:
                # It died before it had made anything.
                shutil.rmtree(directory, ignore_errors=True)
                continue
            found[directory.name] = pod
            record = sandbox.read_record(directory)
            if record is not None and sandbox.exists(record):
                sandboxes.adopt(directory.name, record)
        return found

    async def _take_away(self, known: dict[str, Object]) -> None:
        """End what the API does not have any more, once it has told what it has."""
        await self._pods.synced.wait()
        for uid, pod in known.items():
            if uid not in self._workers:
                self._begin(uid, pod, is_gone=True)

    def _pod_changed(self, key: Key, old: Object | None, new: Object | None) -> None:
        del key
        if old is not None and (new is None or uid_of(new) != uid_of(old)):
            worker = self._workers.get(uid_of(old))
            if worker is not None:
                worker.forget()
        if new is None:
            return
        uid = uid_of(new)
        worker = self._workers.get(uid)
        if worker is not None:
            worker.update(new)
        elif not self._is_finished(uid, new):
            self._begin(uid, new, is_gone=False)

    def _is_finished(self, uid: str, pod: Object) -> bool:
        """Whether there is nothing to do for it, not even to keep its files."""
        is_over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        is_leaving = "deletionTimestamp" in pod["metadata"]
        return is_over and not is_leaving and not (self._directory / uid).exists()

    def _node_changed(self, key: Key, old: Object | None, new: Object | None) -> None:
        """A prefix for Pods may have come: they wait for it."""
        del key
        before, after = ((each or {}).get("spec", {}).get("podCIDRs") for each in (old, new))
        if before != after:
            for each in self._workers.values():
                each.retry_sandbox()

    async def _begin_those_that_wait(self) -> None:
        await self._rules.wait()
        for each in self._workers.values():
            each.retry_sandbox()

    def _begin(self, uid: str, pod: Object, *, is_gone: bool) -> None:
        assert self._tools is not None
        worker = PodWorker(pod, self._directory / uid, self._tools, is_gone=is_gone)
        self._workers[uid] = worker
        self._tasks[uid] = asyncio.create_task(self._look_after(uid, worker))

    async def _look_after(self, uid: str, worker: PodWorker) -> None:
        while True:
            task = asyncio.ensure_future(worker.run())
            try:
                await asyncio.wait([task])
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            error = None if task.cancelled() else task.exception()
            if error is None:
                break
            # A defect of ours, or a full disk; other Pods go on.
            text = "".join(traceback.format_exception(error))
            log.error("worker of a pod failed", pod=worker.pod["metadata"]["name"], error=text)
            await asyncio.sleep(_AGAIN_S)
        del self._workers[uid], self._tasks[uid]


def _read_pod(directory: Path) -> Object | None:
    try:
        found: Object = json.loads((directory / POD_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found


async def run_pods(client: ObjectClient, settings: PodSettings, rules: asyncio.Event) -> None:
    """Run the Pods of a node until cancelled; see ``PodAgent``."""
    await PodAgent(client, settings, rules).run()
