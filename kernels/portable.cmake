# Read by CMake right after `project(llama_cpp)`: see portable.sh.
# Every variant of the CPU code is built; ggml picks the best one when it is loaded.

set(GGML_NATIVE OFF CACHE BOOL "" FORCE)
set(GGML_BACKEND_DL ON CACHE BOOL "" FORCE)
set(GGML_CPU_ALL_VARIANTS ON CACHE BOOL "" FORCE)
set(GGML_RPC ON CACHE BOOL "" FORCE)
set(LLAVA_BUILD OFF CACHE BOOL "" FORCE)

# The variants are plugins, and llama.cpp installs plugins beside its programs: into the package.
set(CMAKE_INSTALL_BINDIR llama_cpp/lib CACHE PATH "" FORCE)
set(CMAKE_INSTALL_LIBDIR llama_cpp/lib CACHE PATH "" FORCE)
set(CMAKE_INSTALL_RPATH "$ORIGIN")

# One file per library. A wheel has no links: libggml.so and libggml.so.0 would be two libraries,
# each with a list of backends of its own.
set(CMAKE_PLATFORM_NO_VERSIONED_SONAME ON)

# The machine may have no compiler, and so no OpenMP library: bring it along.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    execute_process(
        COMMAND ${CMAKE_C_COMPILER} -print-file-name=libgomp.so.1
        OUTPUT_VARIABLE openmp OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(IS_ABSOLUTE "${openmp}")
        get_filename_component(openmp "${openmp}" REALPATH)
        install(FILES "${openmp}" DESTINATION llama_cpp/lib RENAME libgomp.so.1)
    endif()
endif()

include(${CMAKE_CURRENT_LIST_DIR}/patches.cmake)
