"""What a Pod asks for that cannot be had here, and the user that a container runs as.

There are no images: a container is a process of this host. What changes *what runs* and cannot be
done is refused with a reason; what only limits it (resources) or describes it is passed over.
"""

from __future__ import annotations

from typing import NamedTuple

from netproxy.api.objects import Object
from netproxy.pods.core.model import Container, Trouble

CONFIG_ERROR = "CreateContainerConfigError"
"""The kubelet's word for a container that cannot be made as it is described."""


class Identity(NamedTuple):
    """Whom a container's command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def problem_of(pod: Object, container: Container) -> Trouble | None:
    """Why a container can never run here; None: it can.

    Args:
        pod: As the API has it.
        container: One of its containers.
    """
    message = _problem_of(pod, container)
    return Trouble(CONFIG_ERROR, message, is_final=True) if message else None


def _problem_of(pod: Object, container: Container) -> str:
    spec = container.spec
    if not spec.get("command"):
        return (
            "no command: images are not run here, so nobody knows what to start; give the "
            "container a command (kubectl create deployment NAME --image=none -- COMMAND)"
        )
    mounts = [each["name"] for each in spec.get("volumeMounts") or ()]
    if mounts:
        return f"volumes are not mounted here: {', '.join(mounts)}"
    identity = identity_of(pod, container)
    if identity.uid == 0 and _security(pod, container, "runAsNonRoot"):
        return "runAsNonRoot, but the container would run as root: give runAsUser"
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if "grpc" in (spec.get(name) or {}):
            return f"{name}: grpc is not supported here"
    if (spec.get("lifecycle") or {}).get("postStart"):
        return "lifecycle.postStart is not supported here"
    return _environment_problem(spec)


def _environment_problem(spec: Object) -> str:
    for each in spec.get("env") or ():
        kinds = set(each.get("valueFrom") or ()) - {"fieldRef", "configMapKeyRef"}
        if kinds:
            return f"env {each['name']}: {min(kinds)} is not supported here"
    for each in spec.get("envFrom") or ():
        if "configMapRef" not in each:
            return "envFrom: only configMapRef is supported here"
    return ""


def remarks_on(pod: Object) -> list[str]:
    """What is passed over, for people who wonder; each in one sentence."""
    found = []
    images = sorted({each["image"] for each in _all(pod) if not root_of(each)})
    if images:
        found.append(
            f"No images here: {', '.join(images)} is ignored, the command runs as a process of "
            "this host, which sees the host's files."
        )
    if any(each.get("resources") for each in _all(pod)):
        found.append("resources are not enforced here.")
    return found


def root_of(container: Object) -> str:
    """The directory that becomes a container's root: an image that names one; else empty."""
    image: str = container.get("image") or ""
    return image if image.startswith("/") else ""


def identity_of(pod: Object, container: Container) -> Identity:
    """Whom it runs as: its own securityContext, else the Pod's, else root."""
    of_pod = pod["spec"].get("securityContext") or {}
    uid = _security(pod, container, "runAsUser") or 0
    gid = _security(pod, container, "runAsGroup") or 0
    groups = [*(of_pod.get("supplementalGroups") or ())]
    if of_pod.get("fsGroup") is not None:
        groups.append(of_pod["fsGroup"])
    return Identity(int(uid), int(gid), tuple(int(each) for each in groups))


def _security(pod: Object, container: Container, name: str) -> int | None:
    own = (container.spec.get("securityContext") or {}).get(name)
    if own is not None:
        return int(own)
    shared = (pod["spec"].get("securityContext") or {}).get(name)
    return None if shared is None else int(shared)


def _all(pod: Object) -> list[Object]:
    spec = pod["spec"]
    return [*(spec.get("initContainers") or ()), *spec["containers"]]
