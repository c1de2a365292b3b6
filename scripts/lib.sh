# SPDX-License-Identifier: BSD-3-Clause
# What the scripts share: the stages of a test run and their counts. Sourced.

passed=0
failed=0
skipped=0
failures=""

heading() {
	printf '\n=== %s\n' "$*"
}

# count PASSED FAILED SKIPPED: add to the sum.
count() {
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
}

# check NAME COMMAND…: one test that passes when the command does.
check() {
	check_name=$1
	shift
	if check_output=$("$@" 2>&1); then
		echo "$check_name: ok"
		count 1 0 0
	else
		printf '%s\n' "$check_output" | tail -n 40
		echo "$check_name: FAILED"
		failures="$failures
  $check_name"
		count 0 1 0
	fi
}

# suite NAME COMMAND…: a program whose last line is "N passed, N failed, N skipped".
suite() {
	suite_name=$1
	shift
	suite_log=$(mktemp)
	suite_begin=$(date +%s)
	"$@" >"$suite_log" 2>&1 || true
	summary=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$suite_log" | tail -n 1)
	if [ -z "$summary" ]; then
		summary="0 passed, 1 failed, 0 skipped"
		echo "$suite_name: ended without a summary" >>"$suite_log"
	fi
	# shellcheck disable=SC2046
	set -- $(echo "$summary" | tr -d ,)
	count "$1" "$3" "$5"
	grep -E ' skipped: ' "$suite_log" || true
	if [ "$3" -ne 0 ]; then
		failures="$failures
  $suite_name
$(grep -E ' FAILED( \(|$)' "$suite_log" | head -n 20)"
		tail -n 150 "$suite_log"
	fi
	echo "$suite_name: $summary ($(($(date +%s) - suite_begin)) s)"
	rm -f "$suite_log"
}

# ctest_preset PRESET: build a preset and run its tests; each test is counted.
ctest_preset() {
	preset=$1
	shift
	check "build $preset" sh -c "cmake --preset $preset && cmake --build --preset $preset --parallel"
	preset_log=$(mktemp)
	ctest --preset "$preset" --parallel 2 "$@" >"$preset_log" 2>&1 || true
	preset_total=$(sed -n 's/.* tests failed out of \([0-9]*\)$/\1/p' "$preset_log")
	preset_failed=$(sed -n 's/.*passed, \([0-9]*\) tests failed.*/\1/p' "$preset_log")
	preset_skipped=$(grep -c '\*\*\*Skipped' "$preset_log" || true)
	if [ -z "$preset_total" ]; then
		preset_total=1
		preset_failed=1
	fi
	count $((preset_total - preset_failed - preset_skipped)) "$preset_failed" "$preset_skipped"
	# A cmocka test that skips says so by itself.
	grep -hE '^\[  SKIPPED \] [a-z_]+$' "$preset_log" | sort -u || true
	if [ "$preset_failed" -ne 0 ]; then
		failures="$failures
  ctest $preset
$(grep -E '\[  FAILED  \] [a-z]|ERROR|error:|\(Failed\)|Timeout' "$preset_log" | head -n 20)"
		tail -n 150 "$preset_log"
	fi
	echo "ctest $preset: $((preset_total - preset_failed)) of $preset_total passed"
	rm -f "$preset_log"
}
