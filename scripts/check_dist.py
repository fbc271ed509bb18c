"""Check what `scripts/dist.sh` made: complete, nothing besides, the same bytes as a second build, right metadata.

python scripts/check_dist.py dist [second build]
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Tracked, but of no use to those who have no repository.
NOT_IN_SDIST = re.compile(r"\.gitignore$|\.github/")
# Compiled into the extension; the other C++ sources are read by CuPy when a GPU is used.
NOT_IN_WHEEL = re.compile(r"\.cpp$")
EXTENSION = re.compile(r"focal_boost/kernels/_native(\.[\w-]+)?\.(so|pyd)$")


def tracked() -> set[str]:
    """Names of the files of the last commit."""
    command = ["git", "-C", str(ROOT), "ls-tree", "-r", "-z", "--name-only", "HEAD"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip("\0").split("\0"))


def compare(what: str, found: set[str], expected: set[str]) -> list[str]:
    """Say what is missing and what should not be there."""
    problems = [f"{what} lacks {name}" for name in sorted(expected - found)]
    return problems + [f"{what} holds {name}, which it should not" for name in sorted(found - expected)]


def check_sdist(path: Path, version: str) -> list[str]:
    """Look at the names in a source distribution."""
    with tarfile.open(path) as archive:
        names = {member.name for member in archive.getmembers() if not member.isdir()}
    top = f"focal_boost-{version}/"
    outside = [f"{path.name} holds {name}, outside of its folder" for name in names if not name.startswith(top)]
    inside = {name.removeprefix(top) for name in names if name.startswith(top)}
    expected = {name for name in tracked() if not NOT_IN_SDIST.match(name)}
    return outside + compare(path.name, inside, expected | {"PKG-INFO"})


def check_wheel(path: Path, version: str) -> list[str]:
    """Look at the names, the metadata and the extension module of a wheel."""
    info = f"focal_boost-{version}.dist-info/"
    expected = {name for name in tracked() if name.startswith("focal_boost/") and not NOT_IN_WHEEL.search(name)}
    expected |= {info + name for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")}
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        extensions = {name for name in names if EXTENSION.match(name)}
        problems = compare(path.name, names - extensions, expected)
        if len(extensions) != 1:
            problems.append(f"{path.name} holds {len(extensions)} extension modules instead of one")
        for name in extensions:
            # What a compiler leaves of the folder that it ran in.
            found = re.search(rb"[\w./-]*/(focal_boost|kernels)/\w+\.(cpp|hpp)", archive.read(name))
            if found and found.group().startswith(b"/"):
                problems.append(f"{name} names a path of the machine that built it: {found.group().decode()}")
        if info + "METADATA" in names:
            metadata = BytesParser().parsebytes(archive.read(info + "METADATA"))
            if metadata["Version"] != version or metadata["License-Expression"] != "Apache-2.0":
                problems.append(f"{path.name} is of {metadata['Version']}, {metadata['License-Expression']}")
    return problems


def check_same(folder: Path, other: Path) -> list[str]:
    """Compare the bytes of two builds."""
    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in one.glob("focal_boost-*")}
        for one in (folder, other)
    ]
    names = sorted(digests[0].keys() | digests[1].keys())
    return [f"{name} differs between two builds" for name in names if digests[0].get(name) != digests[1].get(name)]


def main() -> None:
    """Check, and end with 1 where something is wrong."""
    folder = Path(sys.argv[1])
    source = (ROOT / "focal_boost" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, flags=re.MULTILINE)
    sdists, wheels = sorted(folder.glob("*.tar.gz")), sorted(folder.glob("*.whl"))
    if len(sdists) != 1 or len(wheels) != 1:
        sys.exit(f"{folder} holds {len(sdists)} sdists and {len(wheels)} wheels instead of one each")
    problems = check_sdist(sdists[0], version) + check_wheel(wheels[0], version)
    if len(sys.argv) > 2:
        problems += check_same(folder, Path(sys.argv[2]))
    if problems:
        sys.exit("\n".join(problems))
    for path in (*sdists, *wheels):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")


if __name__ == "__main__":
    main()
