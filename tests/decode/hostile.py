"""Images that want to harm whoever decodes them, made here: small files, large claims."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(width: int, height: int, pixels: bytes, *chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(pixels, 9))
    end = png_chunk(b"IEND", b"")
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *chunks, data, end])


def png_claiming(width: int, height: int) -> bytes:
    """A valid PNG header for any size, with next to no data behind it."""
    return png(width, height, b"\0" * 1000)


def png_line(width: int) -> bytes:
    """One valid line of black pixels, some dozens of bytes for any width."""
    return png(width, 1, bytes(1 + 3 * width))


def png_with_text(kind: bytes, size: int) -> bytes:
    """A valid PNG of one pixel with a text of so many bytes, compressed."""
    middle = {b"zTXt": b"\0", b"iTXt": b"\1\0\0\0"}[kind]
    text = png_chunk(kind, b"Comment\0" + middle + zlib.compress(bytes(size), 9))
    return png(1, 1, bytes(4), text)


def webp_claiming(width: int, height: int) -> bytes:
    """34 bytes: a lossless WebP's header and one byte of data more than none."""
    bits = (width - 1) | (height - 1) << 14
    content = b"VP8L" + struct.pack("<I", 14) + b"\x2f" + struct.pack("<I", bits) + bytes(9)
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


def extended_webp_claiming(width: int, height: int) -> bytes:
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    content = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


def gif_claiming(width: int, height: int) -> bytes:
    """One image of that size in the header, with no pixel in it."""
    size = struct.pack("<HH", width, height)
    screen = b"GIF89a" + size + b"\x80\0\0" + bytes(6)
    return screen + b"," + bytes(4) + size + b"\0" + b"\x02\x02\x44\x01\0;"


def tiff_claiming(width: int, height: int) -> bytes:
    """An uncompressed TIFF in one strip that ends where it begins."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1),
            (278, height), (279, width * height % 2**32)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)


def patched(content: bytes, *size: bytes) -> bytes:
    """A real image whose size was overwritten: `size` is its old bytes, and its new ones."""
    old, new = size
    assert content.count(old) >= 1
    return content.replace(old, new)


def jp2_claiming(width: int, height: int) -> bytes:
    old, new = struct.pack(">II", 17, 19), struct.pack(">II", width, height)
    content = encoded(Image.new("RGB", (17, 19)), "JPEG2000")
    return patched(patched(content, old, new), old[4:] + old[:4], new[4:] + new[:4])


def avif_claiming(width: int, height: int) -> bytes:
    content = encoded(Image.new("RGB", (17, 19)), "AVIF")
    return patched(content, struct.pack(">II", 17, 19), struct.pack(">II", width, height))


def endless_jpeg(edge: int, scans: int) -> bytes:
    """A progressive JPEG that says its last scan again and again."""
    content = encoded(Image.new("L", (edge, edge), 77), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    scan = content[start : content.rindex(b"\xff\xd9")]
    return content[:start] + scan * scans + b"\xff\xd9"
