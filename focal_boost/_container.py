"""The file that holds a saved model: a zip archive of two stored members, read without trust in what it says.

Why an archive: one file that is written and moved as a whole, and from which any unzip takes the booster for programs
that know nothing of this package. Why stored: nothing expands while it is read, so memory is bounded by the size of
the file. Why so strict a reader: what cannot have been written here is refused before a library parses it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

from focal_boost._adapter import names

__all__ = ["FORMAT", "VERSION", "is_container", "read", "write"]

FORMAT = "focal_boost model"
VERSION = 2

DESCRIPTION = "focal_boost.json"
BOOSTER_MEMBERS = names("booster")

# Bounds of what is read. A description of a wide table with a long history of metrics takes a few megabytes; neither
# library reads boosters beyond 2 GiB from memory. The number of items bounds what a description grows to as objects.
MAX_DESCRIPTION = 64 * 2**20
MAX_ITEMS = 4_000_000
MAX_BOOSTER = 2**31 - 1

# The end of a zip archive without comment: signature, four numbers of disks and entries, size and place of the
# directory, length of the comment. Before it may stand the locator of a second, larger end, which is never written.
_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_LOCATOR_SIGNATURE, _LOCATOR_SIZE = b"PK\x06\x07", 20
_MAX_DIRECTORY = 1024
_START_SIGNATURE = b"PK\x03\x04"

# The same bytes for the same model: the earliest date that the format knows.
_DATE = (1980, 1, 1, 0, 0, 0)


def write(path: Any, description: dict[str, Any], member: str, booster: bytes) -> None:
    """Write a description and a booster to a file, whole or not at all.

    Parameters
    ----------
    path : str or PathLike
        Overwritten if it exists; a symbolic link is followed and the permissions of the file are kept.
    description : dict
        Plain JSON; FORMAT, VERSION and the checksum of the booster are added.
    member : str
        One of `BOOSTER_MEMBERS`.
    booster : bytes

    Raises
    ------
    ValueError
        If a part is larger than what is read again.
    OSError
        If the file cannot be written.
    """
    head = {"format": FORMAT, "version": VERSION}
    tail = {"booster": {"member": member, "size": len(booster), "sha256": hashlib.sha256(booster).hexdigest()}}
    text = json.dumps({**head, **description, **tail}, allow_nan=False, indent=1).encode("ascii")
    _check_size("the description of the model", len(text), MAX_DESCRIPTION)
    _check_size("the booster", len(booster), MAX_BOOSTER)
    if _items(text) > MAX_ITEMS:
        raise ValueError(
            f"the description of the model holds {_items(text):,} items, more than the {MAX_ITEMS:,} that would be "
            "read again; clear evals_result_, or use pickle"
        )
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder; name the file that the model shall be written to")
    # In the same folder, so that the last step is a rename within one file system.
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
                for name, content in ((DESCRIPTION, text), (member, booster)):
                    entry = zipfile.ZipInfo(name, _DATE)
                    entry.external_attr = (stat.S_IFREG | 0o644) << 16
                    archive.writestr(entry, content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _check_size(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(
            f"{what} takes {size:,} bytes, more than the {limit:,} that would be read again; save the booster with "
            "its own library, or use pickle"
        )


def is_container(path: Any) -> bool:
    """Whether a file begins and ends as those that are written here; False if it cannot be read.

    Parameters
    ----------
    path : str or PathLike

    Returns
    -------
    bool
    """
    try:
        with _open(path) as file:
            return file.read(4) == _START_SIGNATURE and file.read(26 + len(DESCRIPTION)).endswith(DESCRIPTION.encode())
    except (OSError, ValueError):
        return False


def read(path: Any) -> tuple[dict[str, Any], bytes]:
    """Read what `write` has written.

    Parameters
    ----------
    path : str or PathLike

    Returns
    -------
    description : dict
        As JSON gives it: its values are not checked but for format and version.
    booster : bytes
        As it was written: size and checksum are those of the description.

    Raises
    ------
    ValueError
        If the file is not one of these, is damaged, or is of another version.
    OSError
        If the file cannot be read.
    """
    name = os.fspath(path)
    with _open(path) as file:
        try:
            return _read(file)
        except _Refused as error:
            raise ValueError(f"{name!r} {error}") from None
        # What zipfile raises for archives that are none is not all documented.
        except (zipfile.BadZipFile, struct.error, NotImplementedError, RuntimeError, EOFError, UnicodeError) as error:
            raise ValueError(f"{name!r} is not a saved FocalClassifier, or it is damaged: {error}") from error


class _Refused(Exception):
    """Why a file is refused; the sentence begins with the file's name."""


def _open(path: Any) -> io.BufferedReader:
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would block, a device would never end
        raise ValueError(f"{os.fspath(path)!r} is not a file: name the file that FocalClassifier.save wrote")
    return open(path, "rb")


def _read(file: io.BufferedReader) -> tuple[dict[str, Any], bytes]:
    _check_end(file)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if len(names) != 2 or names[0] != DESCRIPTION or names[1] not in BOOSTER_MEMBERS:
            raise _Refused(f"is an archive of {str(names)[:200]}, not a saved FocalClassifier")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits:
                raise _Refused("is compressed or encrypted, which FocalClassifier.save never does")
        description = _parse(_member(archive, entries[0], MAX_DESCRIPTION))
        _check_version(description)
        booster = _member(archive, entries[1], MAX_BOOSTER)
    _check_booster(description, entries[1].filename, booster)
    return description, booster


def _check_end(file: io.BufferedReader) -> None:
    """Two entries and a short directory, before zipfile makes objects of a directory of any length."""
    size = file.seek(0, os.SEEK_END)
    if size > MAX_DESCRIPTION + MAX_BOOSTER + 4 * _MAX_DIRECTORY:
        raise _Refused(f"has {size:,} bytes, more than any saved FocalClassifier")
    tail_size = _END.size + _LOCATOR_SIZE
    file.seek(max(size - tail_size, 0))
    tail = file.read(tail_size)
    file.seek(0)
    if file.read(4) != _START_SIGNATURE or len(tail) < tail_size:
        raise _Refused(
            "is not a saved FocalClassifier: FocalClassifier.load reads what FocalClassifier.save wrote. A pickle is "
            "loaded by pickle or joblib, the booster's own file by its own library"
        )
    signature, disk, disk_of_directory, here, entries, length, start, comment = _END.unpack(tail[_LOCATOR_SIZE:])
    if signature != _END_SIGNATURE or comment or tail.startswith(_LOCATOR_SIGNATURE):
        raise _Refused("is not a saved FocalClassifier, or is cut off, or has something after its end")
    if (disk, disk_of_directory, here, entries) != (0, 0, 2, 2) or length > _MAX_DIRECTORY:
        raise _Refused("is an archive, but not a saved FocalClassifier")
    if start + length + _END.size != size:
        raise _Refused("is cut off or has something inserted; copy it again")


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """Content of a member, never more of it than its declared size, whose checksum zipfile compares."""
    if entry.file_size > limit:
        raise _Refused(f"declares {entry.file_size:,} bytes for {entry.filename}; {limit:,} is the most there can be")
    with archive.open(entry) as stream:
        content = stream.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise _Refused(f"declares {entry.file_size:,} bytes for {entry.filename}, but holds {len(content):,}")
    return content


def _items(text: bytes) -> int:
    """Upper bound of the values in a JSON text."""
    return text.count(b",") + text.count(b"[") + text.count(b"{") + text.count(b":") + 1


def _parse(text: bytes) -> dict[str, Any]:
    if _items(text) > MAX_ITEMS:
        raise _Refused(f"has a description of {_items(text):,} items; {MAX_ITEMS:,} is the most there can be")
    try:
        description = json.loads(
            text.decode("ascii"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer
        )
    except RecursionError:
        raise _Refused("has a description that is nested too deeply") from None
    except ValueError as error:
        raise _Refused(f"has a description that is not the JSON of a FocalClassifier: {error}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise _Refused("has a description that is not of a FocalClassifier")
    return description


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int:
    # No label or parameter is longer than 64 bits; Python takes quadratic time for long ones.
    if len(digits) > 24:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _check_version(description: dict[str, Any]) -> None:
    version = description.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _Refused(f"names the version {_short(version)}, which does not exist")
    if version == 1:
        raise _Refused(
            "was written by focal_boost 0.1.0, whose margins mean something else: train the model again, or load it "
            "with focal_boost==0.1.0"
        )
    if version > VERSION:
        raise _Refused(
            f"is of version {version} of the format, but this focal_boost reads version {VERSION}; "
            "load it with a newer focal_boost"
        )


def _check_booster(description: dict[str, Any], member: str, booster: bytes) -> None:
    expected = {"member": member, "size": len(booster), "sha256": hashlib.sha256(booster).hexdigest()}
    found = description.get("booster")
    if found != expected:
        raise _Refused("holds a booster that is not the one its description was written for: it is damaged")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
