"""JSON merge patch, RFC 7396: an object that says what is to be different; null takes away."""

from __future__ import annotations

from netproxy.api.objects import Object
from netproxy.api.status import bad_request
from netproxy.apiserver.patch.json_values import not_too_deep, type_name


@not_too_deep
def apply_merge_patch(old: Object, patch: object) -> Object:
    """The object as the patch wants it; ``old`` stays as it is.

    Args:
        old: What is patched.
        patch: Decoded JSON. null is taken for an empty patch, as kube-apiserver does.

    Raises:
        StatusError: 400, the patch is no object.
    """
    if patch is None:
        return old
    if not isinstance(patch, dict):
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {type_name(patch)} into Go value of "
            "type map[string]interface {}"
        )
    return _merged(old, patch)


def _merged(old: Object, patch: Object) -> Object:
    new = dict(old)
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        elif isinstance(value, dict):
            there = new.get(name)
            new[name] = _merged(there if isinstance(there, dict) else {}, value)
        else:
            new[name] = value
    return new
