"""Pages for people who look into a running proxy."""

from __future__ import annotations

import asyncio
import io
import platform
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping

from netproxy import __version__
from netproxy.metrics.proxy import KUBERNETES

_FOR_PEOPLE = "For people to read; how it looks may change.\n\n"


def status_text(*, mode: str, started: float, now: float, paths: Iterable[str]) -> str:
    """What runs here, and for how long.

    Args:
        mode: The proxy mode.
        started: When, in seconds since 1970.
        now: The time.
        paths: What else can be asked for.
    """
    minutes, seconds = divmod(int(max(0.0, now - started)), 60)
    hours, minutes = divmod(minutes, 60)
    when = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(started))
    lines = [
        f"Started: {when}",
        f"Up: {hours} hr {minutes:02d} min {seconds:02d} sec",
        f"Version: {__version__}, doing as kube-proxy {KUBERNETES}",
        f"Python: {platform.python_version()}",
        f"Mode: {mode}",
        f"Paths: {' '.join(sorted(paths))}",
    ]
    return "netproxy statusz\n" + _FOR_PEOPLE + "\n".join(lines) + "\n"


def flags_text(flags: Mapping[str, object]) -> str:
    """With which flags it was started."""
    lines = [f"{name}={value}\n" for name, value in sorted(flags.items())]
    return "netproxy flagz\n" + _FOR_PEOPLE + "".join(lines)


def stacks_text() -> str:
    """Where each task of the running loop and each thread is at the moment."""
    out = io.StringIO()
    tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    out.write(f"{len(tasks)} tasks\n")
    for task in tasks:
        out.write("\n")
        task.print_stack(file=out)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    out.write(f"\n{len(frames)} threads\n")
    for ident, frame in frames.items():
        out.write(f"\n{names.get(ident, ident)}\n")
        out.writelines(traceback.format_stack(frame))
    return out.getvalue()
