# SPDX-License-Identifier: BSD-3-Clause
# Thin front of the build: each target is one script or one CMake call.
PREFIX ?= /usr/local

.PHONY: all deps bench-deps demo test install bench fuzz clean

all: deps
	cmake --preset release
	cmake --build --preset release --parallel

deps:
	@scripts/install-deps.sh

bench-deps:
	@scripts/install-deps.sh --bench

# A virtual cluster, NWChem, a checkpoint in mid-run, every VM killed, a restart, the right answer.
demo: all
	@scripts/demo

# Everything that CI runs.
test: deps
	@scripts/test

install: all
	cmake --install build/release --prefix $(PREFIX)

bench: bench-deps all
	@bench/armci
	@bench/growth
	@bench/nwchem
	@bench/verbs
	@bench/nwchem-vms
	@bench/suspend
	@bench/gate
	@bench/capture
	@bench/engine

# FUZZ_SECONDS for each fuzz target (default 60).
fuzz: deps
	@scripts/fuzz

clean:
	rm -rf build
