"""Whatever names the version names the same one, and a distribution holds what it should."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import focal_boost

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import check_dist  # noqa: E402

sys.path.pop(0)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version():
    version = focal_boost.__version__
    assert re.findall(r'^__version__ = "(.+)"$', read("focal_boost/__init__.py"), flags=re.MULTILINE) == [version]
    citation = dict(re.findall(r"^(version|date-released): (.+)$", read("CITATION.cff"), flags=re.MULTILINE))
    released = re.findall(r"^## \[(\d.*)\] - (\d{4}-\d\d-\d\d)$", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert [released[0]] == [(citation["version"], citation["date-released"])]
    # Between releases the package is ahead of both, with a suffix that says so.
    assert version == citation["version"] or re.search(r"\.dev\d+$", version)


def test_changelog_has_a_place_for_what_comes():
    headings = re.findall(r"^## (.+)$", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert len(set(headings)) == len(headings)


def test_citation_names_the_papers():
    text = read("CITATION.cff")
    for paper in ("arXiv:1708.02002", "arXiv:2011.09172", "10.1145/2939672.2939785", "LightGBM: A Highly Efficient"):
        assert paper in text


# ---------------------------------------------------------------------------------------------------------------------
# Workflows


@pytest.fixture(params=["ci", "wheels", "docs"])
def workflow(request):
    yaml = pytest.importorskip("yaml")
    path = ROOT / ".github" / "workflows" / f"{request.param}.yml"
    if not path.exists():
        pytest.skip("an sdist has no workflows")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_workflows_call_what_there_is(workflow):
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = "\n".join(step.get("run", "") for step in steps)
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), flags=re.MULTILINE))
    called = set(re.findall(r"\bmake (?!\.venv)([\w-]+)", commands))
    assert called <= targets
    for path in re.findall(r"(?:tests/)?kernels/\w+\.py", commands):
        assert (ROOT / "tests" / path.removeprefix("tests/")).exists(), path
    extras = set(re.findall(r"^(\w+) = \[", read("pyproject.toml"), flags=re.MULTILINE))
    for stamped in re.findall(r"\.venv/([\w,]+)\.stamp &&", commands):
        assert set(stamped.split(",")) <= extras


def test_workflows_may_do_no_more_than_they_must(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 90
        assert ("permissions" in job) == (name in ("publish", "deploy")), name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
        # The token that vouches for this repository is for the environment alone that the other side knows.
        if job.get("permissions", {}).get("id-token") == "write":
            assert job["environment"]


def test_an_upload_needs_a_tag_and_all_that_is_built():
    yaml = pytest.importorskip("yaml")
    path = ROOT / ".github" / "workflows" / "wheels.yml"
    if not path.exists():
        pytest.skip("an sdist has no workflows")
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    publish = jobs.pop("publish")
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/')"
    assert set(publish["needs"]) == set(jobs)


# ---------------------------------------------------------------------------------------------------------------------
# The check of distributions


@pytest.fixture
def names():
    """Names of what git tracks; such a check needs a repository."""
    try:
        found = check_dist.tracked()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git repository: this is an unpacked sdist, or git is not installed")
    if "pyproject.toml" not in found:
        pytest.skip("part of another repository")
    return found


def write_sdist(folder, names):
    path = folder / "focal_boost-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return path


def test_an_sdist_is_what_git_tracks(names, tmp_path):
    inside = {name for name in names if name != ".gitignore" and not name.startswith(".github/")} | {"PKG-INFO"}
    complete = {f"focal_boost-1.0/{name}" for name in inside}
    assert not check_dist.check_sdist(write_sdist(tmp_path, complete), "1.0")
    changed = (complete - {"focal_boost-1.0/tests/conftest.py"}) | {"focal_boost-1.0/notes.txt", "elsewhere.py"}
    problems = check_dist.check_sdist(write_sdist(tmp_path, changed), "1.0")
    assert [re.sub(r"^\S+ ", "", problem) for problem in problems] == [
        "holds elsewhere.py, outside of its folder",
        "lacks tests/conftest.py",
        "holds notes.txt, which it should not",
    ]


def write_wheel(folder, names, version, extension):
    path = folder / "focal_boost-1.0-cp311-abi3-linux_x86_64.whl"
    info = "focal_boost-1.0.dist-info/"
    metadata = f"Metadata-Version: 2.4\nName: focal_boost\nVersion: {version}\nLicense-Expression: Apache-2.0\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(names):
            if name.startswith("focal_boost/"):
                archive.writestr(name, "")
        for name in ("RECORD", "WHEEL", "licenses/LICENSE"):
            archive.writestr(info + name, "")
        archive.writestr(info + "METADATA", metadata)
        archive.writestr("focal_boost/kernels/_native.abi3.so", extension)
    return path


def test_a_wheel_holds_no_compiled_source_and_no_path(names, tmp_path):
    built = {name for name in names if not name.endswith(".cpp")}
    wheel = write_wheel(tmp_path, built, "1.0", b"\0./focal_boost/kernels/loops.cpp\0")
    assert not check_dist.check_wheel(wheel, "1.0")
    wheel = write_wheel(tmp_path, names, "0.9", b"\0/home/me/focal_boost/kernels/loops.cpp\0")
    problems = check_dist.check_wheel(wheel, "1.0")
    assert [re.sub(r"^\S+ ", "", problem) for problem in problems] == [
        "holds focal_boost/kernels/loops.cpp, which it should not",
        "holds focal_boost/kernels/native.cpp, which it should not",
        "names a path of the machine that built it: /home/me/focal_boost/kernels/loops.cpp",
        "is of 0.9, Apache-2.0",
    ]


def test_builds_are_compared_by_their_bytes(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "focal_boost-1.0.tar.gz").write_bytes(b"same")
        (folder / "focal_boost-1.0.whl").write_bytes(b"same")
    assert not check_dist.check_same(one, other)
    (other / "focal_boost-1.0.whl").write_bytes(b"else")
    (other / "focal_boost-1.0.tar.gz").unlink()
    assert check_dist.check_same(one, other) == [
        "focal_boost-1.0.tar.gz differs between two builds",
        "focal_boost-1.0.whl differs between two builds",
    ]


@pytest.mark.skipif(shutil.which("git") is None or shutil.which("sh") is None, reason="needs git and a shell")
def test_changes_that_are_not_committed_are_no_distribution(tmp_path):
    clone = tmp_path / "clone"
    (clone / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "dist.sh", clone / "scripts")
    git = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    with (clone / "scripts" / "dist.sh").open("a") as script:
        script.write("\n")
    result = subprocess.run(
        ["sh", str(clone / "scripts" / "dist.sh"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
    )
    assert result.returncode == 1
    assert "commit or stash" in result.stderr
