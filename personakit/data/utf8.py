"""Opens text files as UTF-8, also those that begin with a byte order mark or are UTF-16."""

from __future__ import annotations

import io
import json
from typing import BinaryIO

from personakit.errors import UserError

_OTHER_FILES = {
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", "export the sheet as CSV, or unpack the archive"),
    b"\x1f\x8b": ("compressed with gzip", "decompress it, for example with gunzip"),
    b"BZh": ("compressed with bzip2", "decompress it, for example with bunzip2"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "decompress it, for example with unzstd"),
    b"ARRO": ("an Arrow file", "write it as Parquet or JSONL"),
}


def utf8(handle: BinaryIO, place: str) -> BinaryIO:
    """Return the text of a seekable file as UTF-8, from after its byte order mark.

    A file in UTF-16 or UTF-32 is converted in memory. Raises `UserError` if that fails, or if the file is
    none of text: compressed, or a workbook.
    """
    start = handle.read(4)
    for magic, (what, hint) in _OTHER_FILES.items():
        if start.startswith(magic):
            raise UserError(f"{place} is {what}, expected a text file", hint=hint)
    encoding = json.detect_encoding(start) if start else "utf-8"
    handle.seek(3 if encoding == "utf-8-sig" else 0)
    if encoding in ("utf-8", "utf-8-sig"):
        return handle
    try:
        return io.BytesIO(handle.read().decode(encoding).encode())
    except UnicodeError as error:
        raise UserError(
            f"{place} begins like {encoding.upper()} and is not: {error}", hint="save it as UTF-8"
        ) from error


def not_utf8(place: str, byte: int) -> UserError:
    """Return the error for a byte that is not UTF-8."""
    return UserError(
        f"{place}: byte {byte:#04x} is not UTF-8, expected a UTF-8 file",
        hint='in Excel, save it as "CSV UTF-8"; else convert it, for example with `iconv -f cp1252 -t utf-8`',
    )
