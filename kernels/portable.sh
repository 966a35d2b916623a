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

"$uv" tool run pip wheel --quiet --no-deps --no-cache-dir --require-hashes \
    --no-binary llama-cpp-python -r "$work/pinned.txt" --wheel-dir "$work/wheel" \
    --config-settings 'build.targets=llama;llama-common' \
    --config-settings 'cmake.build-type=Release' \
    --config-settings "cmake.define.CMAKE_PROJECT_llama_cpp_INCLUDE=$here/portable.cmake" \
    --config-settings 'wheel.exclude=include/**;llama_cpp/lib/cmake/**;llama_cpp/lib/pkgconfig/**;llama_cpp/lib/libllama-common.so'

mv "$work"/wheel/*.whl "$out/"
ls "$out"/*.whl
