#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Checks that every subcommand has its help and its place in stasis(1), with all its options, and every key of a cluster's
# file its place in stasis-cluster(5), and every setting of libarmci its place and default in libarmci(7). Usage: test_docs.sh PATH-OF-STASIS
set -u

stasis=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
man1=$root/docs/man/stasis.1.scd
man5=$root/docs/man/stasis-cluster.5.scd
man7=$root/docs/man/libarmci.7.scd
info=$(dirname "$stasis")/armci_info
passed=0
failed=0

# check WHAT COMMAND…: one check, counted
check() {
	what=$1
	shift
	if "$@" >/dev/null 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $what"
	fi
}

has_help() {
	"$stasis" "$1" --help | grep -q "^Usage: stasis $1 " && "$stasis" "$1" --help | grep -q '^Example:'
}

# The part of stasis(1) on one subcommand; `run` has the options of `up`, too.
section() {
	awk -v head="## stasis $1" '
		/^#/ { on = $0 == head || index($0, head " ") == 1 }
		on' "$man1"
}

option_in_man() {
	{
		section "$1"
		[ "$1" = run ] && section up
		awk '/^# COMMON OPTIONS/ { on = 1; next } /^# / { on = 0 } on' "$man1"
	} | grep -qF -e "*$2*"
}

subcommands=$("$stasis" help --json | sed -n 's/.*"name": "\(.*\)",*/\1/p')
check "help lists subcommands" test "$(echo "$subcommands" | wc -l)" -ge 22
for name in $subcommands; do
	check "stasis $name --help" has_help "$name"
	check "stasis(1) has $name" grep -q "^## stasis $name\( \|\$\)" "$man1"
	for option in $("$stasis" "$name" --help | sed -n 's/^  \(-.,\|   \) \(--[a-z-]*\).*/\2/p'); do
		check "stasis(1), $name: $option" option_in_man "$name" "$option"
	done
done

# Every key: the program itself tells them when it refuses an unknown one.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
key_list() {
	printf '%s\n' "$1" >"$dir/x.ini"
	"$stasis" up -c "$dir/x.ini" 2>&1 | sed -n "s/.*$2 are //p" | tr -d ','
}
sections=$(key_list "[?]
x=1" sections)
check "the program tells its sections" test -n "$sections"
for section in $sections; do
	check "stasis-cluster(5) has [$section]" grep -qF "# SECTION [$section]" "$man5"
	[ "$section" = files ] && continue
	keys=$(key_list "[$section]
?=1" "keys")
	check "the program tells the keys of [$section]" test -n "$keys"
	for key in $keys; do
		check "stasis-cluster(5) has [$section] $key" sh -c \
			"awk '/^# SECTION/ { on = \$3 == \"[$section]\" } on' '$man5' | grep -qx '\\*$key\\*'"
	done
done

# An entry of libarmci(7), and the default at its end.
setting_in_man() {
	awk -v head="*$1*" '$0 == head { on = 1; next } /^[*#]/ { on = 0 } on' "$man7" | tr -s '\n\t' '  ' |
		grep -qF -e "Default: $2."
}

settings=$("$info" --json | python3 -c '
import json, sys
for one in json.load(sys.stdin)["settings"]:
    print("%s=%s" % (one["name"], one["default"] or "not set"))')
check "armci_info lists settings" test -n "$settings"
while IFS='=' read -r name default; do
	check "libarmci(7) has $name with its default, $default" setting_in_man "$name" "$default"
done <<EOF
$settings
EOF

for page in "$root"/docs/man/*.scd; do
	check "scdoc takes $(basename "$page")" sh -c "scdoc < '$page'"
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
