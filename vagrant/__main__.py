"""``./dev vm``: machines up, tests in them, results out, machines gone."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from types import FrameType

from vagrant.box import BoxError
from vagrant.choose import ChoiceError
from vagrant.driver import WAYS, DriverError
from vagrant.layout import RESULTS, STATE
from vagrant.processes import in_parallel
from vagrant.progress import Progress
from vagrant.report import closing_line, read_report
from vagrant.session import SessionError
from vagrant.stand import Stand, find_stand, open_stand
from vagrant.wheels import WheelsError

_TROUBLE = (BoxError, ChoiceError, DriverError, SessionError, WheelsError)


def main(arguments: Sequence[str]) -> int:
    """What ``./dev vm`` does; the exit code is 1 if tests failed, 2 if they could not be run."""
    options = _parse(arguments)
    STATE.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGALRM, _end)
    try:
        if options.action == "down":
            return _down()
        if options.action == "ssh":
            return _log_in(options.words)
        with _alone():
            signal.alarm(options.timeout)
            return _run(options)
    except _TROUBLE as error:
        print(f"vm: {error}", file=sys.stderr)
        return 2


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev vm", description="The kernel tests in virtual machines."
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=["run", "down", "ssh"],
        default="run",
        help="run: all of it; down: end machines that were kept; ssh NAME [COMMAND]: log in to one",
    )
    parser.add_argument("words", nargs="*", help="for run, behind --: arguments for pytest")
    parser.add_argument("--keep", action="store_true", help="leave the machines running")
    parser.add_argument(
        "--with", dest="way", choices=[way.name for way in WAYS], help="do not choose"
    )
    parser.add_argument(
        "--timeout", type=int, default=0, metavar="SECONDS", help="0: as long as it takes"
    )
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    progress = Progress()
    nodes = int(os.environ.get("NETPROXY_VM_NODES", "2"))
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir()
    stand = open_stand(options.way, nodes, options.words, progress, stays=options.keep)
    is_in_order = False
    try:
        stand.driver.up()
        progress.say("the machines are ready, tests begin")
        _test(stand)
        is_in_order = True
    finally:
        signal.alarm(0)
        if options.keep:
            progress.say("the machines stay: ./dev vm ssh node1, ./dev vm down")
        else:
            progress.say("ending the machines")
            stand.close(is_in_order=is_in_order)
    return _report(stand, progress)


def _test(stand: Stand) -> None:
    """The nodes at the same time; then the client, which starts them anew."""
    nodes = [machine for machine in stand.machines if not machine.is_client]
    in_parallel([partial(stand.driver.test, node) for node in nodes])
    for client in stand.machines[len(nodes) :]:
        stand.driver.test(client)


def _report(stand: Stand, progress: Progress) -> int:
    reports = [read_report(machine.name, RESULTS / machine.name) for machine in stand.machines]
    print(
        f"{stand.way.title}, {progress.seconds:.0f} s in all; results in {os.path.relpath(RESULTS)}"
    )
    for report in reports:
        print(f"{report.machine:8} {report}")
    print(closing_line(reports))
    return 0 if all(report.is_good for report in reports) else 1


def _down() -> int:
    stand = find_stand(Progress())
    if stand is None:
        print("vm: no machines", file=sys.stderr)
    else:
        stand.close()
    return 0


def _log_in(words: Sequence[str]) -> int:
    stand = find_stand(Progress())
    names = [machine.name for machine in stand.machines] if stand else []
    if stand is None or not words or words[0] not in names:
        print(
            f"vm: name one of the machines: {', '.join(names) or 'there are none'}", file=sys.stderr
        )
        return 2
    (machine,) = (each for each in stand.machines if each.name == words[0])
    command = [*stand.driver.shell(machine), *words[1:]]
    return subprocess.run(command).returncode


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One of us at a time; the lock ends with the process."""
    with (STATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SessionError("another ./dev vm is running here") from None
        yield


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave through all that has to be undone."""
    raise DriverError("out of time" if number == signal.SIGALRM else "told to end")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
