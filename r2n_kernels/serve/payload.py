"""A request becomes an image's bytes and checked options here, or an error, before it is queued."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from .multipart import PARTS, first_file, media_type

EMBED = "/embed"
OUTPUTS = ("topk", "embedding")
IMAGES = ("image", "image_bytes", "image_data")  # names of JSON's image; two are LitServe's
RAW = "application/octet-stream"
SHOWN = 80  # characters of what a client sent, in the answer
TAKEN = f"image/*, {RAW}, multipart/form-data and application/json"


@dataclass(frozen=True)
class Rules:
    """Rules are what a server takes; classes: of its model, 0 if it has no classifier."""

    max_bytes: int
    topk: int
    classes: int
    seconds: float  # that a client may take to send its request


@dataclass(frozen=True)
class Payload:
    """A payload is one image as it was sent, and what is wanted of it."""

    content: bytes
    output: str
    topk: int


async def read_payload(request: Request) -> Payload:
    """Read a request under its application's rules.

    Raises HTTPException: 400 for what is malformed, 408 for what takes too long to arrive, 413 for
    too many bytes, 415 for another type.
    """
    rules: Rules = request.app.state.rules
    kind, boundary = media_type(request.headers.get("content-type", "none/stated"))
    if not (kind.startswith("image/") or kind in (RAW, "multipart/form-data", "application/json")):
        raise HTTPException(415, f"content type {kind[:SHOWN]} is not taken; {TAKEN} are")
    try:
        body = await asyncio.wait_for(_body(request, rules.max_bytes), rules.seconds)
    except asyncio.TimeoutError as error:
        late = f"the request took longer than {rules.seconds:g} s to arrive"
        raise HTTPException(408, late, {"connection": "close"}) from error
    options: dict[str, Any] = dict(request.query_params)
    if kind == "application/json":
        content, stated = _from_json(body)
        options |= stated
    elif kind == "multipart/form-data":
        content = _from_form(body, boundary)
    else:
        content = body
    if not content:
        raise HTTPException(400, "the image is empty")
    return _checked(content, options, rules, embed=request.url.path == EMBED)


async def _body(request: Request, most: int) -> bytes:
    """Read the body, no further than the limit: a client may lie about the length, or not say."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:
        raise _too_large(most)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise HTTPException(400, "the client left before the end of its request") from error
    return b"".join(chunks)


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"larger than {most} bytes", {"connection": "close"})


def _from_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is not JSON") from error
    if not isinstance(value, dict):
        raise HTTPException(400, "the body must be a JSON object")
    images = [value.pop(name) for name in IMAGES if name in value]
    if len(images) != 1 or not isinstance(images[0], str):
        raise HTTPException(400, f"one of {', '.join(IMAGES)} must be the image in base64")
    try:
        return base64.b64decode(images[0], validate=True), value
    except (binascii.Error, ValueError) as error:
        raise HTTPException(400, f"the image is not base64: {error}") from error


def _from_form(body: bytes, boundary: str | None) -> bytes:
    if boundary is None:
        raise HTTPException(400, "multipart/form-data states no boundary")
    content = first_file(body, boundary)
    if content is None:
        raise HTTPException(
            400, f"the form has no file in its first {PARTS} parts, or its end is missing"
        )
    return content


def _checked(content: bytes, options: Mapping[str, Any], rules: Rules, *, embed: bool) -> Payload:
    if unknown := sorted(set(options) - {"topk", "output"}):
        raise HTTPException(400, f"unknown option {_shown(unknown[0])}; there are topk and output")
    output = options.get("output", "embedding" if embed or not rules.classes else "topk")
    if output not in OUTPUTS or (embed and output != "embedding"):
        raise HTTPException(400, f"output must be topk or embedding, got {_shown(output)}")
    if output == "topk" and not rules.classes:
        raise HTTPException(400, "this model has no classifier; ask for output=embedding")
    topk = options.get("topk", min(rules.topk, rules.classes))
    # a query's numbers are texts
    if isinstance(topk, str) and topk.isascii() and topk.isdecimal() and len(topk) < 9:
        topk = int(topk)
    if output == "topk" and not (type(topk) is int and 1 <= topk <= rules.classes):
        raise HTTPException(400, f"topk must be 1 to {rules.classes}, got {_shown(topk)}")
    return Payload(content, output, topk if output == "topk" else 0)


def _shown(value: Any) -> str:
    """Write a value as a refusal shows it: a request may be of megabytes."""
    return reprlib.repr(value)[:SHOWN]
