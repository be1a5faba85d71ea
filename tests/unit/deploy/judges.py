"""Who says whether a manifest is one: the official client's models, and kubectl."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import yaml
from kubernetes import client

from tests.kubectl import KUBECTL

_MODELS = {
    "ServiceAccount": client.V1ServiceAccount,
    "ConfigMap": client.V1ConfigMap,
    "ClusterRole": client.V1ClusterRole,
    "ClusterRoleBinding": client.V1ClusterRoleBinding,
    "DaemonSet": client.V1DaemonSet,
}
_LEAVES = {"str": str, "int": int, "bool": bool, "object": object}


class NotInTheApi(AssertionError):
    """A field that Kubernetes does not know, or a value of a type that it does not take there."""


def read_documents(text: str) -> dict[str, Any]:
    """The documents by kind; there is one of each."""
    documents = list(yaml.safe_load_all(text))
    by_kind = {document["kind"]: document for document in documents}
    assert len(by_kind) == len(documents)
    return by_kind


def read_object(document: dict[str, Any]) -> Any:
    """A document as the official client's model, strictly."""
    return _read_model(document, _MODELS[document["kind"]], document["kind"])


def _read_model(value: Any, model: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise NotInTheApi(f"{path}: {value!r} is no object")
    names = {name: attribute for attribute, name in model.attribute_map.items()}
    unknown = value.keys() - names.keys()
    if unknown:
        raise NotInTheApi(f"{path}: unknown {sorted(unknown)}")
    types = model.openapi_types
    # The models check on their own what must be there.
    return model(**{names[k]: _read(v, types[names[k]], f"{path}.{k}") for k, v in value.items()})


def _read(value: Any, type_name: str, path: str) -> Any:
    several = re.fullmatch(r"[Ll]ist\[(.+)\]|[Dd]ict[\[(]str, (.+)[\])]", type_name)
    if several is None and type_name in _LEAVES:
        if not isinstance(value, _LEAVES[type_name]) or (
            type_name == "int" and isinstance(value, bool)
        ):
            raise NotInTheApi(f"{path}: {value!r} is no {type_name}")
        return value
    if several is None:
        return _read_model(value, getattr(client, type_name), path)
    if several[1]:
        if not isinstance(value, list):
            raise NotInTheApi(f"{path}: {value!r} is no list")
        return [_read(v, several[1], f"{path}[{i}]") for i, v in enumerate(value)]
    if not isinstance(value, dict):
        raise NotInTheApi(f"{path}: {value!r} is no map")
    return {k: _read(v, several[2], f"{path}.{k}") for k, v in value.items()}


def through_kubectl(text: str, *change: str) -> dict[str, Any]:
    """One document as kubectl read and wrote it, with a change that only one kind takes.

    The verbs ``set … --local`` ask no server and decode each document into kubectl's own types:
    a wrong type is an error, and an unknown field is missing from what is written. They end with 1,
    as the change does not fit the other kinds.
    """
    said = kubectl("set", *change, "--local", "-f", "-", "-o", "json", stdin=text, code=1)
    document = json.loads(said)
    assert isinstance(document, dict)
    return document


def kubectl(*arguments: str, stdin: str, code: int = 0) -> str:
    """What kubectl prints, in an environment that leads to no cluster.

    Args:
        arguments: Its arguments.
        stdin: What it is given.
        code: How it has to end.
    """
    done = subprocess.run(
        [KUBECTL, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "KUBECONFIG": os.devnull, "HOME": "/"},
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def missing(said: Any, kept: Any, path: str = "") -> list[str]:
    """Paths of what was said and not kept."""
    if isinstance(said, dict) and isinstance(kept, dict):
        return [
            lost
            for key, value in said.items()
            for lost in (
                missing(value, kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key}"]
            )
        ]
    if isinstance(said, list) and isinstance(kept, list) and len(said) <= len(kept):
        return [
            lost
            for i, (value, other) in enumerate(zip(said, kept, strict=False))
            for lost in missing(value, other, f"{path}[{i}]")
        ]
    return [] if said == kept else [path]
