#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Installs what building, running and testing Stasis needs, from Debian's packages. Does nothing where all is there.
#
#   install-deps.sh            for `make`, `make test`, `make demo`
#   install-deps.sh --bench    also the peers that `make bench` measures against
set -eu

packages="
build-essential cmake pkg-config clang-14 clang-format-14 libclang-rt-14-dev llvm-14
libuv1-dev libjansson-dev libnbd-dev libssl-dev libsqlite3-dev libinih-dev libcurl4-openssl-dev libexpat1-dev libxxhash-dev
libzstd-dev zlib1g-dev
libcmocka-dev scdoc python3 spin
libopenmpi-dev openmpi-bin libmpich-dev mpich libfabric-dev libibverbs-dev
gfortran libglobalarrays-dev libarmci-mpi-dev libscalapack-openmpi-dev liblapack-dev libblas-dev valgrind
qemu-system-x86 qemu-utils seabios nbdkit nbdkit-plugin-dev
mmdebstrap uidmap e2fsprogs cpio kmod zstd xz-utils openssl debian-archive-keyring fdisk
iproute2 procps util-linux fiu-utils nftables
"
# libvirtd is started by the benchmark in session mode; the system's services are not needed.
bench_packages="restic borgbackup libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients lzop libzstd-dev"

case "${1:-}" in
"") ;;
--bench) packages="$packages $bench_packages" ;;
*)
	echo "Usage: install-deps.sh [--bench]" >&2
	exit 2
	;;
esac

# Programs that tests take from npm. Other packages of Node bring their own npm, which Debian's conflicts with.
command -v npm >/dev/null || packages="$packages nodejs npm"

missing=""
for p in $packages; do
	dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

run=""
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "install-deps: not root and no sudo; as root run: apt-get install$missing" >&2
		exit 1
	}
	run=sudo
fi
echo "install-deps: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
{
	$run apt-get update -q &&
	# shellcheck disable=SC2086
	$run apt-get install -q -y --no-install-recommends $missing
} >"$log" 2>&1 || {
	tail -n 30 "$log" >&2
	echo "install-deps: apt-get failed; its last lines are above" >&2
	exit 1
}
