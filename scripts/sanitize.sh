#!/bin/sh
# Builds the compiled kernels with AddressSanitizer and UndefinedBehaviorSanitizer into build/sanitize, beside a copy of the
# package, and runs the tests of the kernels and losses on it. Usage: scripts/sanitize.sh [pytest arguments]
#
# PYTHON and CXX name the interpreter and compiler; cmake and ninja are taken from PATH.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
compiler=${CXX:-c++}
build=$root/build/sanitize

cmake -S "$root" -B "$build/cmake" -G Ninja -DSANITIZE=ON -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$compiler" \
    -DPython_EXECUTABLE="$(command -v "$python")" -DSKBUILD_SABI_VERSION=3.11
cmake --build "$build/cmake" -j "${JOBS:-1}"

rm -rf "$build/site"
mkdir -p "$build/site"
cp -r "$root/focal_boost" "$build/site/"
rm -f "$build"/site/focal_boost/kernels/_native*
cp "$build"/cmake/_native*.so "$build/site/focal_boost/kernels/"
# An editable installation finds the package before PYTHONPATH does, and with it kernels that are not instrumented.
cat >"$build/site/sitecustomize.py" <<'END'
import sys

sys.meta_path[:] = [finder for finder in sys.meta_path if "focal_boost" not in type(finder).__module__]
END

# The interpreter itself is not instrumented: the runtime must be loaded before it, and its own leaks are not ours.
runtime="$("$compiler" -print-file-name=libasan.so) $("$compiler" -print-file-name=libubsan.so)"
cd "$build/site"
if [ $# -eq 0 ]; then
    set -- "$root/tests/kernels/test_native.py" "$root/tests/kernels/test_fuzz.py" "$root/tests/kernels/test_derivatives.py"
fi
export LD_PRELOAD="$runtime" PYTHONPATH="$build/site" PYTHONDONTWRITEBYTECODE=1
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
case $("$python" -c 'import focal_boost.kernels._native as native; print(native.__file__)') in
"$build"/site/*) ;;
*) echo "the tests would run without the sanitized kernels" >&2 && exit 1 ;;
esac
"$python" -m pytest -q -p no:cacheprovider -c "$root/pyproject.toml" --rootdir "$root" "$@"
