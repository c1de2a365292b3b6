# SPDX-License-Identifier: BSD-3-Clause
# Libraries from Debian's packages (scripts/install-deps.sh installs them).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(SQLite3 REQUIRED)
pkg_check_modules(jansson REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(libnbd REQUIRED IMPORTED_TARGET libnbd)
pkg_check_modules(nbdkit REQUIRED nbdkit)
pkg_check_modules(libuv REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(inih REQUIRED IMPORTED_TARGET inih)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(libcurl REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(expat REQUIRED IMPORTED_TARGET expat)
pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET cmocka)

# The agent runs in guests of any distribution: it links the static archive.
find_library(JANSSON_STATIC libjansson.a REQUIRED)
add_library(jansson-static INTERFACE)
target_link_libraries(jansson-static INTERFACE ${JANSSON_STATIC})
