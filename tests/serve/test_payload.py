from __future__ import annotations

import asyncio
import base64
import json
from types import SimpleNamespace

import pytest
from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from r2n_kernels.serve.payload import Payload, Rules, read_payload

RULES = Rules(max_bytes=100, topk=5, classes=10, seconds=5)
PNG = {"content-type": "image/png"}
JSON = {"content-type": "application/json"}


def read(
    *chunks: bytes | None,
    headers=PNG,
    query: str = "",
    path: str = "/predict",
    rules: Rules = RULES,
    stalls: bool = False,
) -> tuple[Payload, list[bytes | None]]:
    """What a request becomes, and the chunks that were not read. None: the client leaves."""
    left = list(chunks)

    async def receive():
        chunk = left.pop(0) if left else await asyncio.Event().wait()
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(left) or stalls}

    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()], "server": ("a", 80),
        "scheme": "http", "app": SimpleNamespace(state=SimpleNamespace(rules=rules)),
    }  # fmt: skip
    try:
        return asyncio.run(read_payload(Request(scope, receive))), left
    except HTTPException as error:
        error.left = left
        raise


def refused(*chunks, **how) -> HTTPException:
    with pytest.raises(HTTPException) as caught:
        read(*chunks, **how)
    return caught.value


def encoded(name: str = "image", **more) -> bytes:
    return json.dumps({name: base64.b64encode(b"abc").decode(), **more}).encode()


@pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/x-anything", "application/octet-stream"])
def test_bytes(kind):
    assert read(b"ab", b"c", headers={"content-type": kind}) == (Payload(b"abc", "topk", 5), [])


@pytest.mark.parametrize("name", ["image", "image_bytes", "image_data"])
def test_json(name):
    found = read(encoded(name, topk=3), headers=JSON)[0]
    assert found == Payload(b"abc", "topk", 3)


def test_form():
    body = b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\nabc\r\n--x--'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert read(body, headers=headers)[0] == Payload(b"abc", "topk", 5)


@pytest.mark.parametrize(
    ("query", "path", "output", "topk"),
    [
        ("topk=10", "/predict", "topk", 10),
        ("output=embedding&topk=2", "/predict", "embedding", 0),
        ("", "/embed", "embedding", 0),
    ],
)
def test_options(query, path, output, topk):
    assert read(b"abc", query=query, path=path)[0] == Payload(b"abc", output, topk)


@pytest.mark.parametrize("value", ["9" * 10**5, [[["x" * 99] * 9] * 9] * 9])
def test_what_was_sent_is_shown_in_short(value):
    rules = Rules(10**8, 5, 10, 5)
    for option in ({"topk": value}, {"output": value}, {str(value): 1}):
        assert len(refused(encoded(**option), headers=JSON, rules=rules).detail) < 200


def test_a_model_without_classifier_embeds():
    rules = Rules(100, 5, 0, 5)
    assert read(b"abc", rules=rules)[0].output == "embedding"
    assert refused(b"abc", rules=rules, query="output=topk").detail.startswith("this model has no")


@pytest.mark.parametrize(
    "query", ["topk=0", "topk=11", "topk=-1", "topk=two", "topk=9999999999", "topk=2.0", "topk=²"]
)
def test_topk_out_of_range(query):
    error = refused(b"abc", query=query)
    assert (error.status_code, error.detail[:20]) == (400, "topk must be 1 to 10")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "the body is not JSON"),
        (b"[" * 100, "the body is not JSON"),
        (b"[]", "the body must be a JSON object"),
        (b"{}", "one of image, image_bytes, image_data must be the image in base64"),
        (b'{"image": 1}', "one of image"),
        (b'{"image": "YQ==", "image_bytes": "YQ=="}', "one of image"),
        (b'{"image": "a b"}', "the image is not base64"),
        ('{"image": "ü"}'.encode(), "the image is not base64"),
        (b'{"image": ""}', "the image is empty"),
        (encoded(topk=True), "topk must be 1 to 10, got True"),
        (encoded(top=3), "unknown option 'top'"),
        (encoded(output=["topk"]), "output must be topk or embedding"),
    ],
)
def test_bad_json(body, detail):
    error = refused(body, headers=JSON)
    assert error.status_code == 400
    assert error.detail.startswith(detail)


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"content-type": "multipart/form-data"}, "multipart/form-data states no boundary"),
        ({"content-type": "multipart/form-data; boundary=x"}, "the form has no file"),
    ],
)
def test_bad_form(headers, detail):
    assert refused(b"abc", headers=headers).detail.startswith(detail)


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}])
def test_another_type_is_not_read(headers):
    error = refused(b"abc", headers=headers)
    assert (error.status_code, error.left) == (415, [b"abc"])


def test_a_stated_length_is_refused_before_reading():
    error = refused(b"abc", headers={**PNG, "content-length": "101"})
    assert (error.status_code, error.left) == (413, [b"abc"])


@pytest.mark.parametrize("stated", [{}, {"content-length": "3"}])
def test_reading_stops_at_the_limit(stated):
    error = refused(b"a" * 60, b"b" * 60, b"c", headers={**PNG, **stated})
    assert (error.status_code, error.left, error.detail) == (413, [b"c"], "larger than 100 bytes")


def test_the_limit_itself_is_taken():
    assert len(read(b"a" * 60, b"b" * 40)[0].content) == 100


def test_a_client_that_stalls():
    error = refused(b"abc", rules=Rules(100, 5, 10, 0.05), stalls=True)
    assert (error.status_code, error.detail) == (
        408,
        "the request took longer than 0.05 s to arrive",
    )
    assert error.headers == {"connection": "close"}


def test_a_client_that_leaves():
    assert isinstance(refused(b"a", None).__cause__, ClientDisconnect)
