#!/bin/sh
# Builds sdist and wheel of the last commit into a folder (default dist): the same bytes wherever and whenever it runs,
# given the same compiler and the versions in scripts/requirements-dist.txt. Usage: scripts/dist.sh [folder]
#
# PYTHON names an interpreter that has them.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-dist}"
out=$(cd "${1:-dist}" && pwd)
python=$(command -v "${PYTHON:-python}")

if ! git -C "$root" diff --quiet HEAD; then
    echo "there are changes that are not committed: a distribution is made of a commit, so commit or stash them" >&2
    exit 1
fi

# A clone: what lies beside the tracked files does not get in. Modes follow the umask, dates the commit.
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet --no-local "$root" "$work/focal_boost"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
rm -f "$out"/focal_boost-*.tar.gz "$out"/focal_boost-*.whl
# The wheel is built from the sdist. cmake and ninja are those of the interpreter's environment.
PATH=$(dirname "$python"):$PATH "$python" -m build --no-isolation --outdir "$out" "$work/focal_boost"
