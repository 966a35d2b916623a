# Read by CMake right after `project(llama_cpp)` or `project(llama.cpp)`: puts our parts into the CPU kernels. Nothing else of
# llama.cpp is changed. Each original is kept beside and is what every build starts from.
# What was measured with other kernels must not be used: whoever changes how fast ours are raises VERSION
# in src/ai_assistant/devices/profile.py and devices/layout/stored.py.

# llama.cpp by itself (benchmarks/offline.sh), or inside the package of its Python binding.
set(cpu_sources "${CMAKE_CURRENT_SOURCE_DIR}/ggml/src/ggml-cpu")
if(NOT IS_DIRECTORY "${cpu_sources}")
    set(cpu_sources "${CMAKE_CURRENT_SOURCE_DIR}/vendor/llama.cpp/ggml/src/ggml-cpu")
endif()

# Begin to change a file below ggml-cpu, whose original has this SHA-256.
macro(begin_patch file sum)
    set(patched "${cpu_sources}/${file}")
    if(NOT EXISTS "${patched}.original")
        file(COPY_FILE "${patched}" "${patched}.original")
    endif()
    file(SHA256 "${patched}.original" found)
    if(NOT found STREQUAL "${sum}")
        message(FATAL_ERROR "${CMAKE_CURRENT_LIST_FILE} was written for other sources (${patched} is \
${found}): read what changed there in the functions that it replaces or changes.")
    endif()
    file(READ "${patched}.original" text)
endmacro()

function(replace theirs ours)
    string(FIND "${text}" "${theirs}" at)
    if(at EQUAL -1)
        message(FATAL_ERROR "Not in ${patched}: ${theirs}")
    endif()
    string(REPLACE "${theirs}" "${ours}" changed "${text}")
    set(text "${changed}" PARENT_SCOPE)
endfunction()

macro(end_patch)
    file(READ "${patched}" before)
    if(NOT "${before}" STREQUAL "${text}")
        file(WRITE "${patched}" "${text}")
    endif()
endmacro()

include("${CMAKE_CURRENT_LIST_DIR}/attention.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/matmul.cmake")
