"""Objects as rows for people: what ``kubectl get`` prints (``Table`` of meta/v1)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from netproxy.api.objects import Object
from netproxy.api.resources import Resource
from netproxy.apiserver.tables.columns import GENERIC, TABLES


def to_table(
    resource: Resource,
    objects: Sequence[Object],
    *,
    include_object: str,
    now: datetime,
    metadata: Object,
    version: str = "v1",
) -> Object:
    """The rows of objects, with their columns.

    Args:
        resource: What they are.
        objects: In the order of the rows.
        include_object: What a row carries besides: None, Metadata or Object.
        now: Ages are told from here.
        metadata: Of the list.
        version: Of meta.k8s.io: v1 or v1beta1.
    """
    table = TABLES.get(resource.qualified, GENERIC)
    rows = []
    for each in objects:
        row: Object = {"cells": table.cells(each, now)}
        if include_object == "Object":
            row["object"] = each
        elif include_object != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": f"meta.k8s.io/{version}",
                "metadata": each["metadata"],
            }
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "columnDefinitions": [each.definition() for each in table.columns],
        "rows": rows,
    }
