#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Checks the model of the store's leases and collections: all states of some casts, and that the checker finds each rule that
# is left out. The last line is "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")" || exit 2
model=$PWD/collection.pml
passed=0
failed=0

command -v spin >/dev/null || {
	echo "spin is not installed"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2

# states WHAT WANTED DEFINES…: WANTED is "safe" or "broken".
states() {
	what=$1 wanted=$2
	shift 2
	rm -f pan pan.* ./*.trail
	if spin -a "$@" "$model" >spin.log 2>&1 && ${CC:-cc} -O2 -w -DSAFETY -DMEMLIM=4000 -o pan pan.c &&
		./pan -m2000 -w23 >pan.log 2>&1 && grep -q 'errors:' pan.log && ! grep -q 'max search depth too small' pan.log; then
		found=broken
		grep -q 'errors: 0' pan.log && grep -q '^Full statespace search' pan.log && found=safe
		grep -q 'assertion violated' pan.log || [ $found = safe ] || found="not checked"
	else
		found="not checked"
		cat spin.log pan.log 2>/dev/null | tail -n 5
	fi
	count=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
	if [ "$found" = "$wanted" ]; then
		passed=$((passed + 1))
		echo "ok      $what: $found, $count states"
	else
		failed=$((failed + 1))
		echo "FAILED  $what: $found, wanted $wanted"
	fi
}

writers="-DWRITERS=2 -DCOLLECTORS=1 -DTURNS=2 -DREMOVALS=0"
removal="-DWRITERS=1 -DCOLLECTORS=1 -DTURNS=2 -DREMOVALS=1"
two="-DWRITERS=1 -DCOLLECTORS=2 -DTURNS=1 -DREMOVALS=1"
reader="-DWRITERS=1 -DREADER -DCOLLECTORS=1 -DTURNS=2 -DREMOVALS=0"

# shellcheck disable=SC2086
{
	states "two writers, two collections" safe $writers -DMOVES
	states "the same, names of packs reversed" safe $writers -DMOVES -DNAMES_REVERSED
	states "a writer with a base that is removed" safe $removal -DMOVES
	states "a reader beside a writer" safe $reader
	states "the same, names of packs reversed" safe $reader -DNAMES_REVERSED
	states "a reader whose checkpoint is removed" safe -DWRITERS=0 -DREADER -DCOLLECTORS=1 -DTURNS=2 -DREMOVALS=1 -DMOVES
	states "a reader beside a writer and a removal" safe -DWRITERS=1 -DREADER -DLOOKS_AGAIN -DCOLLECTORS=1 -DTURNS=2 -DREMOVALS=1
	states "two collectors, a writer with a base" safe $two
	states "two collectors, two writers" safe -DWRITERS=2 -DCOLLECTORS=2 -DTURNS=1 -DREMOVALS=0

	states "without: first the lease, then the look" broken $writers -DBROKEN_LOOK_BEFORE_LEASE
	states "without: first the marks, then the packs" broken $writers -DBROKEN_PACKS_FIRST
	states "without: marking anew before deletion" broken $writers -DBROKEN_NO_REMARK
	states "without: durable packs stay when a writer gives up" broken $writers -DBROKEN_ABORT_DELETES
	states "without: one collection at a time" broken $two -DBROKEN_TWO_COLLECTIONS
	states "without: a manifest stays for leases" broken $removal -DBROKEN_REMOVE_AT_ONCE
	states "without: the second round of leases" broken $reader -DBROKEN_ONE_ROUND
}
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
