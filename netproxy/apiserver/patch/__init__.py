"""What PATCH makes of an object.

* ``apply_merge_patch(old, patch)``: JSON merge patch, RFC 7396;
* ``apply_json_patch(old, patch)``: JSON patch, RFC 6902;
* ``apply_strategic(old, patch, type)``: strategic merge patch, as ``kubectl apply`` sends it.

Patches are decoded JSON. What comes out has not been checked: it may have unknown fields, nulls and
values of the wrong type, and another name.
"""

from __future__ import annotations

from netproxy.apiserver.patch.applying import apply_configuration
from netproxy.apiserver.patch.json_patch import apply_json_patch
from netproxy.apiserver.patch.merge_patch import apply_merge_patch
from netproxy.apiserver.patch.strategic import apply_strategic
from netproxy.apiserver.patch.updating import record_update

__all__ = [
    "apply_configuration", "apply_json_patch", "apply_merge_patch", "apply_strategic",
    "record_update",
]  # fmt: skip
