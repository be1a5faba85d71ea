"""Patches."""

from netproxy.apiserver.patch.json_patch import apply_json_patch
from netproxy.apiserver.patch.merge_patch import apply_merge_patch
from netproxy.apiserver.patch.strategic import apply_strategic
