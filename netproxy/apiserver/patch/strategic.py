"""Strategic merge patch: a merge patch that knows which lists are merged, and by which key.

Directives in the patch say what JSON cannot: ``$patch`` replaces or deletes, ``$retainKeys`` drops
all members but these, ``$setElementOrder/ports`` orders a list,
``$deleteFromPrimitiveList/finalizers`` takes scalars out of one. ``kubectl apply`` sends them.
The rules are those of kube-apiserver 1.36, also where it is lenient.
"""

from __future__ import annotations

from typing import Any

from netproxy.api.objects import Object
from netproxy.api.status import StatusError, bad_request
from netproxy.apiserver.patch.json_values import go_text, not_too_deep, type_name
from netproxy.apiserver.patch.strategic_order import MergeKey, in_order, ordered
from netproxy.apiserver.schema.types import ListOf, MapOf, ObjectType, Type

DIRECTIVE = "$patch"
RETAIN_KEYS = "$retainKeys"
SET_ORDER = "$setElementOrder"
DELETE_SCALARS = "$deleteFromPrimitiveList"

_BAD_RETAIN_KEYS = "invalid patch format of retainKeys"
_BAD_SET_ORDER = "invalid patch format of setElementOrder list"
_BAD_DELETE_SCALARS = "invalid patch format of primitive list"


@not_too_deep
def apply_strategic(old: Object, patch: object, kind: ObjectType) -> Object:
    """The object as the patch wants it; ``old`` stays as it is.

    Args:
        old: What is patched.
        patch: Decoded JSON. null is taken for an empty patch, as kube-apiserver does.
        kind: The type of ``old``.

    Raises:
        StatusError: 400, the patch is no object, or a directive is wrong. kube-apiserver has the
            same sentences, but for some of them status 500. 422 for lists of lists.
    """
    if patch is None:
        return old
    if not isinstance(patch, dict):
        raise bad_request(
            f"json: cannot unmarshal {type_name(patch)} into Go value of type "
            "map[string]interface {}"
        )
    return _merged(old, patch, kind)


def _merged(old: Object, patch: Object, kind: Type | None) -> Object:
    """One object, or map, merged with another."""
    if DIRECTIVE in patch:
        return _directed(patch)
    new = dict(old)
    if RETAIN_KEYS in patch:
        _retain_keys(new, patch)
    ordered_lists = _merge_ordered_lists(new, patch, kind)
    for name, value in patch.items():
        if name == RETAIN_KEYS or name in ordered_lists or name.startswith(SET_ORDER):
            continue
        if name.startswith(DELETE_SCALARS):
            _delete_scalars(new, name, value)
        elif value is None:
            new.pop(name, None)
        else:
            _set(new, name, value, kind)
    return new


def _directed(patch: Object) -> Object:
    directive = patch[DIRECTIVE]
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != DIRECTIVE}
    if directive == "delete":
        return {}
    raise _unknown_directive(directive, patch)


def _unknown_directive(directive: object, patch: Object) -> StatusError:
    return bad_request(f"unknown patch type: {go_text(directive)} in map: {go_text(patch)}")


def _set(new: Object, name: str, value: Any, kind: Type | None) -> None:
    """Merge one member, which is not null."""
    there = new.get(name)
    if isinstance(there, dict) and isinstance(value, dict):
        new[name] = _merged(there, value, _inner(kind, name))
    elif isinstance(there, list) and isinstance(value, list):
        new[name] = _merged_list(there, value, _inner(kind, name))
    elif isinstance(value, dict) and DIRECTIVE in value:
        new.pop(name, None)
    else:
        new[name] = _plain(value)


def _inner(kind: Type | None, name: str) -> Type | None:
    if isinstance(kind, ObjectType):
        field = kind.fields.get(name)
        return field.type if field else None
    return kind.value if isinstance(kind, MapOf) else None


def _plain(value: Any) -> Any:
    """A value that comes new: without nulls, and without what carries a directive."""
    if isinstance(value, dict):
        return {
            name: _plain(inner)
            for name, inner in value.items()
            if inner is not None and not (isinstance(inner, dict) and DIRECTIVE in inner)
        }
    if isinstance(value, list):
        return [
            _plain(inner) for inner in value if not (isinstance(inner, dict) and DIRECTIVE in inner)
        ]
    return value


def _retain_keys(new: Object, patch: Object) -> None:
    """Drop what is not in the directive's list; the patch itself must be."""
    retained = patch[RETAIN_KEYS]
    if not isinstance(retained, list):
        raise bad_request(_BAD_RETAIN_KEYS)
    names = {name for name in retained if isinstance(name, str)}
    for name, value in patch.items():
        is_directive = name == RETAIN_KEYS or name.startswith((SET_ORDER, DELETE_SCALARS))
        if value is not None and not is_directive and name not in names:
            raise bad_request(_BAD_RETAIN_KEYS)
    for name in [name for name in new if name not in names]:
        del new[name]


def _delete_scalars(new: Object, directive: str, values: Any) -> None:
    name = _named_list(directive, DELETE_SCALARS, _BAD_DELETE_SCALARS)
    there = new.get(name)
    if not isinstance(there, list) or not isinstance(values, list):
        return
    _check_elements(there, values)
    if any(isinstance(each, dict) for each in values):
        raise bad_request(_BAD_DELETE_SCALARS)
    new[name] = [each for each in there if each not in values]


def _named_list(directive: str, prefix: str, fault: str) -> str:
    start, slash, name = directive.partition("/")
    if start != prefix or not slash:
        raise bad_request(fault)
    return name


def _merge_ordered_lists(new: Object, patch: Object, kind: Type | None) -> set[str]:
    """Merge the lists for which there is an order; their names."""
    done = set()
    for directive, order in patch.items():
        if not directive.startswith(SET_ORDER):
            continue
        name = _named_list(directive, SET_ORDER, _BAD_SET_ORDER)
        for each in (order, patch.get(name, []), new.get(name, [])):
            if not isinstance(each, list):
                raise bad_request(f"expected a []interface {{}}, but received a {type_name(each)}")
        list_type = _inner(kind, name)
        if not isinstance(list_type, ListOf):
            struct = kind.name.rsplit(".", 1)[-1] if isinstance(kind, ObjectType) else ""
            raise bad_request(
                f'unable to find api field in struct {struct} for the json field "{name}"'
            )
        key = MergeKey(list_type.merge_key)
        if name in patch:
            _check_order(patch[name], order, key)
        if name in new:
            merged, _ = _combined(new[name], patch.get(name, []), list_type, key)
            # A new element comes where one was deleted, as in kube-apiserver: Go's lists share
            # their memory.
            new[name] = ordered(merged, order, merged[: len(new[name])], key)
        elif name in patch:
            new[name] = ordered(_plain(patch[name]), order, [], key)
        done.add(name)
    return done


def _check_order(patch: list[Any], order: list[Any], key: MergeKey) -> None:
    if order and not in_order(_undirected(patch), order, key):
        raise bad_request(
            f"The order in patch list:\n{go_text(patch)}\n doesn't match {SET_ORDER} list:\n"
            f"{go_text(order)}\n"
        )


def _merged_list(old: list[Any], patch: list[Any], kind: Type | None) -> list[Any]:
    if not isinstance(kind, ListOf) or not kind.merges:
        return patch
    key = MergeKey(kind.merge_key)
    merged, kept = _combined(old, patch, kind, key)
    return ordered(merged, _undirected(patch), merged[:kept], key)


def _combined(
    old: list[Any], patch: list[Any], kind: ListOf, key: MergeKey
) -> tuple[list[Any], int]:
    """What is kept of the old list, in its sequence, and then what is new; how many are kept."""
    if not kind.merges:
        return patch, 0
    _check_elements(old, patch)
    merged = list(old)
    if any(isinstance(each, dict) for each in (*old, *patch)):
        if not key.name:
            raise bad_request("cannot merge lists without merge key")
        merged, patch = _without_special(old, patch, key)
        merged = list(merged)
    kept = len(merged)
    places: dict[object, int] = {}
    for index, each in enumerate(merged):
        places.setdefault(key.of(each), index)
    for each in patch:
        place = places.setdefault(key.of(each), len(merged))
        if place == len(merged):
            merged.append(each)
        elif key.name:
            merged[place] = _merged(merged[place], each, kind.item)
    return merged, kept


def _undirected(elements: list[Any]) -> list[Any]:
    return [each for each in elements if not (isinstance(each, dict) and DIRECTIVE in each)]


def _without_special(
    old: list[Any], patch: list[Any], key: MergeKey
) -> tuple[list[Any], list[Any]]:
    """Both lists after the elements of the patch that carry ``$patch`` have had their effect."""
    plain, gone, replaces = [], set(), False
    for each in patch:
        if DIRECTIVE not in each:
            plain.append(each)
            continue
        directive = each[DIRECTIVE]
        if directive == "delete":
            gone.add(key.of(each))
        elif directive == "replace":
            replaces = True
        elif directive == "merge":
            raise bad_request("merging lists cannot yet be specified in the patch")
        else:
            raise _unknown_directive(directive, each)
    if replaces:
        return plain, []
    return [each for each in old if key.of(each) not in gone] if gone else old, plain


def _check_elements(*lists: list[Any]) -> None:
    """All elements have one type, and are no lists."""
    names = {type_name(each) for each_list in lists for each in each_list}
    if len(names) > 1:
        raise bad_request(f"list element types are not identical: {go_text(list(lists))}")
    if names == {"array"}:
        raise StatusError(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request: lists of lists are "
            "not supported",
        )
