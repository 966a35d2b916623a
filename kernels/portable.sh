#!/bin/sh
# Kernels for any CPU of this architecture, as a wheel: `make kernels-portable`.
# $1: the folder for the wheel. $2: the uv command. The sources' hash is the one in uv.lock.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
uv=${2:-uv}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$here/.." && "$uv" export --quiet --frozen --no-dev --no-emit-project --no-header --no-annotate) |
    sed -n '/^llama-cpp-python==/,/[^\\]$/p' > "$work/pinned.txt"

"$uv" tool run pip download --quiet --no-deps --require-hashes \
    --no-binary llama-cpp-python -r "$work/pinned.txt" --dest "$work"

# Named by itself: pip's settings are for what stands on the command line, not for a list.
"$uv" tool run pip wheel --quiet --no-deps --no-cache-dir --wheel-dir "$work/wheel" \
    --config-settings 'build.targets=llama;llama-common' \
    --config-settings 'cmake.build-type=Release' \
    --config-settings "cmake.define.CMAKE_PROJECT_llama_cpp_INCLUDE=$here/portable.cmake" \
    --config-settings 'wheel.exclude=include/**;llama_cpp/lib/cmake/**;llama_cpp/lib/pkgconfig/**;llama_cpp/lib/libllama-common.so' \
    "$work"/llama_cpp_python-*.tar.gz

variants=$(python3 -m zipfile -l "$work"/wheel/*.whl | grep -c 'llama_cpp/lib/.*ggml-cpu-')
[ "$variants" -gt 1 ] || { echo "The wheel holds no variants of the CPU code: its settings were not used." >&2; exit 1; }
mv "$work"/wheel/*.whl "$out/"
ls "$out"/*.whl
