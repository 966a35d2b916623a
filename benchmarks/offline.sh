#!/usr/bin/env bash
# Builds the kernels for a GPU without a network, then tests the engine on it and measures it.
#
#   benchmarks/offline.sh build [cuda|vulkan|hip]   the kernels, llama-server, our packages
#   benchmarks/offline.sh test                      the engine's tests, on the GPU
#   benchmarks/offline.sh bench                     benchmarks.gpu
#   benchmarks/offline.sh plan [MODEL]              benchmarks.plan_gpu of 7b or MODEL, in 4 minutes
#
# Needs what `python -m benchmarks.offline` has packed in .bench/offline, cmake, ninja and the GPU's
# compiler. `pip` installs into .bench/site, nothing else of the machine is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
bench=$PWD/.bench
export PYTHONPATH=$bench/site:$PWD/src:$PWD PYTHONUNBUFFERED=1

# Tell Python that a package is there, in this version.
installed() {
    mkdir -p "$bench/site/${1//-/_}-$2.dist-info"
    printf 'Metadata-Version: 2.1\nName: %s\nVersion: %s\n' "$1" "$2" >"$bench/site/${1//-/_}-$2.dist-info/METADATA"
}

build() {
    local backend=${1:-cuda}
    mkdir -p "$bench/source" "$bench/site"
    tar -xf "$bench/offline/kernels.tar.xz" -C "$bench/source"
    package=$(echo "$bench"/source/llama_cpp_python-*)
    local flags=(-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_RPC=ON "-DGGML_${backend^^}=ON"
        -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF
        -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_CURL=OFF
        # Libraries find each other where they are put: ours must not take llama-server's.
        -DCMAKE_BUILD_RPATH_USE_ORIGIN=ON)
    if [ "$backend" = cuda ]; then flags+=(-DCMAKE_CUDA_ARCHITECTURES=native); fi
    cmake -G Ninja -S "$package/vendor/llama.cpp" -B "$bench/llama-server" "${flags[@]}" >"$bench/build.log"
    cmake --build "$bench/llama-server" --target llama-server llama-bench llama-fit-params >>"$bench/build.log"
    touch "$bench/llama-server/complete"
    # Our processor's kernels have our parts in them, llama-server's have not.
    cmake -G Ninja -S "$package/vendor/llama.cpp" -B "$bench/ours" "${flags[@]}" "-DGGML_${backend^^}=OFF" \
        "-DCMAKE_PROJECT_llama.cpp_INCLUDE=$PWD/kernels/patches.cmake" >>"$bench/build.log"
    cmake --build "$bench/ours" --target ggml-cpu >>"$bench/build.log"
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$bench/site" "$bench"/offline/wheels/*.whl
    mkdir -p "$bench/site/llama_cpp/lib"
    cp "$package"/llama_cpp/*.py "$bench/site/llama_cpp/"
    cp -a "$bench"/llama-server/bin/lib*.so* "$bench/site/llama_cpp/lib/"
    cp -a "$bench"/ours/bin/libggml-cpu.so* "$bench/site/llama_cpp/lib/"
    installed llama-cpp-python "${package##*-}"
    installed ai-assistant "$("$PYTHON" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')"
    "$PYTHON" -m ai_assistant.engine.devices
}

run_tests() {
    "$PYTHON" -m pytest tests/engine tests/store/test_twin.py -m "not slow" -p no:cacheprovider --timeout 300
}

run_benchmarks() {
    "$PYTHON" -m benchmarks.gpu --models 1b 7b "$@"
}

# The model is written first: that takes a minute of its own.
run_plan() {
    local model=${1:-7b}
    "$PYTHON" -m benchmarks.models "$model"
    "$PYTHON" -m benchmarks.plan_gpu --models "$model" --seconds 210
}

case ${1:-} in
    build) build "${2:-cuda}" ;;
    test) run_tests ;;
    bench) run_benchmarks "${@:2}" ;;
    plan) run_plan "${2:-7b}" ;;
    *) sed -n 2,10p "$0" | cut -c3-; exit 2 ;;
esac
