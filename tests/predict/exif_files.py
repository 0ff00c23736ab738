"""EXIF blocks of JPEG and PNG files, by CIPA DC-008 and ISO/IEC 15948."""

import struct
import zlib

_ORIENTATION, _EXIF, _FILM_FOCAL = 0x0112, 0x8769, 0xA405
_SHORT, _LONG = 3, 4


def exif_block(orientation=1, film_mm=0):
    """A little-endian TIFF structure: the first directory, then EXIF's own."""
    first = [(_ORIENTATION, _SHORT, orientation), (_EXIF, _LONG, 8 + 2 + 2 * 12 + 4)]
    code = b"II*\0" + struct.pack("<I", 8)
    for entries in (first, [(_FILM_FOCAL, _SHORT, film_mm)]):
        code += struct.pack("<H", len(entries))
        for tag, kind, value in entries:
            code += struct.pack("<HHII", tag, kind, 1, value)
        code += bytes(4)
    return code


def with_exif(code, **fields):
    """Insert EXIF into an encoded JPEG or PNG."""
    block = exif_block(**fields)
    if code.startswith(b"\xff\xd8"):
        content = b"Exif\0\0" + block
        return code[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + code[2:]
    end = 8 + 25  # signature and IHDR
    chunk = b"eXIf" + block
    chunk = struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return code[:end] + chunk + code[end:]
