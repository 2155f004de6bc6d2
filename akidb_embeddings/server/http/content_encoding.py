"""Compressed bodies of requests, as the header ``Content-Encoding`` declares them."""

import zlib
from collections.abc import Iterable

from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind

# By zlib's code of the format. HTTP calls zlib's own format "deflate".
_FORMATS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_ACCEPTED = ("gzip", "deflate")


def content_encoding(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The encoding of a request's body; None if it is not encoded.

    Raises:
        ApiError: The encoding is not supported.
    """
    given = b",".join(value for name, value in headers if name == b"content-encoding").decode("latin-1")
    encodings = [word for word in (part.strip().lower() for part in given.split(",")) if word not in ("", "identity")]
    if not encodings:
        return None
    if len(encodings) == 1 and encodings[0] in _FORMATS:
        return encodings[0]
    raise ApiError(
        ErrorKind.UNSUPPORTED_ENCODING,
        field="Content-Encoding",
        reason=f"is {given[:100]!r}; send the body as it is, or compressed with {' or '.join(_ACCEPTED)}.",
        # RFC 9110, 15.5.16: which encodings would have been accepted. The body is not read.
        headers={"accept-encoding": ", ".join(_ACCEPTED), "connection": "close"},
    )


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The decompressed body. No more than ``limit`` bytes and one are ever decompressed.

    Raises:
        ApiError: It is larger than ``limit``, or is not one complete stream of this encoding.
    """
    if not body:  # clients declare an encoding for every request, also for those without a body
        return body
    stream = zlib.decompressobj(_FORMATS[encoding])
    try:
        content = stream.decompress(body, limit + 1)
    except zlib.error:
        raise _malformed(encoding, "is not valid") from None
    if len(content) > limit:
        raise too_large(limit)
    if not stream.eof:
        raise _malformed(encoding, "ends too early")
    if stream.unused_data:
        raise _malformed(encoding, "goes on after its end")
    return content


def too_large(limit: int) -> ApiError:
    """The error for a body of more than ``limit`` bytes, before or after decompression."""
    return ApiError(
        ErrorKind.TOO_LARGE,
        f"The body is larger than max_body_bytes, {limit}.",
        field="max_body_bytes",
        limit=limit,
        headers={"connection": "close"},  # the rest of the body is not read
    )


def _malformed(encoding: str, reason: str) -> ApiError:
    return ApiError(ErrorKind.MALFORMED, f"The body {reason} as {encoding}, which its Content-Encoding declares.")
