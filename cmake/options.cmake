# SPDX-License-Identifier: BSD-3-Clause
# Compiler options common to every target, and what the presets switch.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

option(STASIS_WERROR "Treat warnings as errors" ON)
option(STASIS_AGENT_STATIC "Link the in-guest programs statically" ON)
option(STASIS_FUZZ "Build the fuzz targets with libFuzzer (clang)" OFF)
set(STASIS_MPI "openmpi" CACHE STRING "The MPI that libarmci is for: openmpi or mpich")
set(STASIS_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize=: address,undefined or thread")

add_compile_options(
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
	-Wformat=2 -Wconversion -Wno-sign-conversion -Wundef -Wvla
	-fno-omit-frame-pointer
)
add_compile_definitions(_GNU_SOURCE STASIS_VERSION="${PROJECT_VERSION}")
include_directories(${PROJECT_SOURCE_DIR}/src)

# All programs of the product in one folder, as in the installation.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/libexec)

if(STASIS_WERROR)
	add_compile_options(-Werror)
endif()
if(STASIS_SANITIZE)
	add_compile_options(-fsanitize=${STASIS_SANITIZE} -fno-sanitize-recover=all)
	add_link_options(-fsanitize=${STASIS_SANITIZE})
endif()
if(STASIS_FUZZ)
	add_compile_options(-fsanitize=fuzzer-no-link)
endif()
