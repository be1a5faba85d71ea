"""Bodies are decoded and checked as a real API server does; its wording, Kubernetes 1.36.2."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.api.resources import CONFIG_MAPS, LEASES, NODES, PODS, SERVICES
from netproxy.api.status import StatusError
from netproxy.apiserver import schema

_SERVICE = schema.type_of(SERVICES)


def _service(**members: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, **members}


def test_what_is_known_stays_as_it_is() -> None:
    ports = [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8081}]
    obj = _service(spec={"ports": ports, "selector": {"app": "web"}})
    assert schema.check(obj, _SERVICE) == (obj, ())


def test_null_is_the_same_as_absent() -> None:
    obj = _service(spec={"ports": None, "selector": {"a": None}}, status=None)
    assert schema.check(obj, _SERVICE, "Strict").object == _service(spec={"selector": {}})


def test_unknown_fields_are_told_or_refused_or_dropped() -> None:
    obj = _service(spec={"ports": [{"port": 80, "prot": "TCP"}], "foo": 1}, more={})
    clean = _service(spec={"ports": [{"port": 80}]})
    told = (
        'unknown field "spec.ports[0].prot"',
        'unknown field "spec.foo"',
        'unknown field "more"',
    )
    assert schema.check(obj, _SERVICE, "Warn") == (clean, told)
    assert schema.check(obj, _SERVICE, "Ignore") == (clean, ())
    with pytest.raises(StatusError) as caught:
        schema.check(obj, _SERVICE, "Strict")
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert caught.value.message == (
        'Service in version "v1" cannot be handled as a Service: strict decoding error: '
        + ", ".join(told)
    )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"ports": [{"port": "80"}]},
            "cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type "
            "int32",
        ),
        (
            {"ports": {}},
            "cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type "
            "[]v1.ServicePort",
        ),
        ([], "cannot unmarshal array into Go struct field Service.spec of type v1.ServiceSpec"),
        ({"selector": {"a": 1}}, "cannot unmarshal number into Go struct field "),
        ({"ports": [{"port": 80.5}]}, "cannot unmarshal number 80.5 into Go struct field "),
        ({"ports": [{"port": 2**31}]}, "cannot unmarshal number 2147483648 into Go struct field "),
        ({"ports": [{"port": True}]}, "cannot unmarshal bool into Go struct field "),
        ({"publishNotReadyAddresses": "yes"}, "of type bool"),
        ({"ports": [{"port": 1, "targetPort": []}]}, "of type intstr.IntOrString"),
    ],
)
def test_wrong_types_are_refused_with_their_field(spec: object, told: str) -> None:
    with pytest.raises(StatusError) as caught:
        schema.check(_service(spec=spec), _SERVICE)
    assert caught.value.code == 400
    assert caught.value.message.startswith(
        'Service in version "v1" cannot be handled as a Service: json: '
    )
    assert told in caught.value.message


def test_times_quantities_and_bytes_have_their_own_form() -> None:
    lease = schema.type_of(LEASES)
    good = {"spec": {"renewTime": "2026-11-23T01:33:58.123456Z"}}
    assert schema.check(good, lease).object == good
    for bad in ("yesterday", "2026-13-01T00:00:00Z", "2026-11-23"):
        with pytest.raises(StatusError, match="parsing time"):
            schema.check({"spec": {"renewTime": bad}}, lease)
    node = schema.type_of(NODES)
    found = schema.check({"status": {"capacity": {"cpu": 4, "memory": "8Gi"}}}, node)
    assert found.object == {"status": {"capacity": {"cpu": "4", "memory": "8Gi"}}}
    with pytest.raises(StatusError, match="quantities must match"):
        schema.check({"status": {"capacity": {"cpu": "four"}}}, node)
    with pytest.raises(StatusError, match="illegal base64"):
        schema.check({"binaryData": {"x": "?"}}, schema.type_of(CONFIG_MAPS))


def test_the_path_of_a_field_leads_through_lists() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a"}, {"nam": "b"}]}}
    found = schema.check(pod, schema.type_of(PODS), "Warn")
    assert found.warnings == ('unknown field "spec.containers[1].nam"',)


def test_fields_that_stand_there_twice_are_found_and_the_last_counts() -> None:
    body = b'{"a": 1, "b": {"c": 1, "c": 2}, "a": 3, "l": [{"x": 1, "x": 2}]}'
    obj, twice = schema.decode_json(body, "Service")
    assert obj == {"a": 3, "b": {"c": 2}, "l": [{"x": 2}]}
    assert twice == ("a", "b.c", "l[0].x")
    with pytest.raises(StatusError, match=r'duplicate field "a", duplicate field "b\.c"'):
        schema.check(_service(), _SERVICE, "Strict", twice)


def test_a_text_that_looks_like_a_key_is_none() -> None:
    body = b'{"metadata": {"annotations": {"last": "{\\"a\\":1,\\"a\\":2}"}}}'
    assert schema.decode_json(body, "Service")[1] == ()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"kind":', 'json parse error: unexpected end of JSON input ({"kind":)'),
        (b"", "json parse error: unexpected end of JSON input ()"),
        (b"[]", "the body is no JSON object"),
        (b"hello", "JSON is malformed"),
        (b"\xff\xfe", "json parse error"),
    ],
)
def test_what_is_no_object_is_unrecognised(body: bytes, told: str) -> None:
    with pytest.raises(StatusError) as caught:
        schema.decode_json(body, "Service")
    assert caught.value.code == 400
    assert "the object provided is unrecognized (must be of type Service)" in caught.value.message
    assert told in caught.value.message


def test_yaml_is_the_same_object() -> None:
    body = b"apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports: [{port: 80}]\n"
    obj, _ = schema.decode_yaml(body, "Service")
    assert obj == _service(spec={"ports": [{"port": 80}]})
    assert schema.decode_yaml(schema.encode_yaml(obj), "Service")[0] == obj
    for bad in (b"a: 1\na: 2\n", b"- a\n", b"{", b"a: 1\n---\nb: 2\n", b""):
        with pytest.raises(StatusError):
            schema.decode_yaml(bad, "Service")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["spec", "ports", "port", "metadata", "labels", "status", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(_JSON)
def test_no_json_raises_anything_else(value: object) -> None:
    try:
        found = schema.check(_service(spec=value), _SERVICE, "Warn")
    except StatusError as error:
        assert error.code == 400  # noqa: PT017 (either outcome is fine)
    else:
        assert schema.check(found.object, _SERVICE, "Strict").object == found.object
