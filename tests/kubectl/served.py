"""A ``netproxy apiserver`` on loopback, and kubectl speaking to it over TLS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.kubectl import KUBECTL

_PATIENCE_S = 30
_PROGRAM_S = 60


class Refused(Exception):
    """kubectl ended with a code that is not 0; its words are what was on standard error."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a kubeconfig, in one namespace; it keeps what it learns in a place of ours."""

    config: Path
    namespace: str = "default"
    program: str = KUBECTL

    def __call__(self, *arguments: str, said: object = None, **environment: str) -> str:
        """What it prints.

        Args:
            arguments: As on a command line.
            said: An object, or a list of them, for ``-f -``.
            environment: Further variables.

        Raises:
            Refused: it failed.
        """
        documents = said if isinstance(said, list) else [said]
        done = subprocess.run(
            [self.program, "--kubeconfig", str(self.config), "-n", self.namespace, *arguments],
            input="" if said is None else yaml.safe_dump_all(documents),
            env={
                **os.environ,
                "HOME": str(self.config.parent),
                "KUBECACHEDIR": str(self.config.parent / "cache"),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=_PROGRAM_S,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout

    def get(self, *what: str) -> Any:
        """An object, with ``managedFields``."""
        return json.loads(self("get", *what, "-o", "json", "--show-managed-fields"))

    def owners(self, *what: str) -> dict[str, Any]:
        """Who owns which fields of an object: by manager, ``~`` before those who applied."""
        found = {}
        for each in self.get(*what)["metadata"].get("managedFields", ()):
            mark = "~" if each["operation"] == "Apply" else ""
            name = "/".join(filter(None, (each["manager"], each.get("subresource"))))
            found[mark + name] = each["fieldsV1"]
        return found


@contextmanager
def serve(directory: Path) -> Iterator[Path]:
    """A server with an empty cluster; gives the administrator's kubeconfig."""
    config, log = directory / "admin.conf", directory / "log"
    command = [
        *(sys.executable, "-m", "netproxy", "apiserver"),
        *("--data-dir", str(directory), "--api-port", "0"),
    ]
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        try:
            _await_start(process, log)
            yield config
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_PATIENCE_S)


def _await_start(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while "api server ready" not in (said := log.read_text("utf-8")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the server did not start:\n{said}")
        time.sleep(0.05)
