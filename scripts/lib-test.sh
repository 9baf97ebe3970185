# Shared by scripts/test: runs a step, keeps its log, counts. Sourced by bash.
total_passed=0
total_failed=0
test_log=$(mktemp -t barewire-test.XXXXXX)
trap 'rm -f "$test_log"' EXIT

result() { # passed failed
    total_passed=$((total_passed + $1))
    total_failed=$((total_failed + $2))
}

finish() {
    echo "$total_passed passed, $total_failed failed"
    exit $((total_failed > 0))
}

seconds() { echo $(($(date +%s) - $1)); }

# One yes-or-no step.
check() {
    local name=$1 start
    shift
    start=$(date +%s)
    if "$@" >"$test_log" 2>&1; then
        echo "ok    $name: $(tail -n 1 "$test_log") ($(seconds "$start") s)"
        result 1 0
    else
        echo "FAIL  $name"
        tail -n 40 "$test_log"
        result 0 1
    fi
}

# meson setup + ninja into a build folder.
compile() {
    local name=$1 dir=$2 start
    shift 2
    start=$(date +%s)
    if { if [ -f "$dir/build.ninja" ]; then meson configure "$dir" "$@"; else meson setup "$dir" "$@"; fi && ninja -C "$dir"; } >"$test_log" 2>&1; then
        echo "ok    build with $name ($(seconds "$start") s)"
        result 1 0
    else
        echo "FAIL  build with $name"
        grep -E -A3 'error|FAILED|ERROR' "$test_log" | head -n 60
        result 0 1
        return 1
    fi
}

# cmocka suites under meson: every test function counts.
meson_suite() {
    local name=$1 dir=$2 start passed failed
    shift 2
    start=$(date +%s)
    meson test -C "$dir" --no-rebuild --timeout-multiplier 5 --print-errorlogs "$@" >"$test_log" 2>&1
    local status=$?
    local log=$dir/meson-logs/testlog.txt
    passed=$(grep -aoE '\[  PASSED  \] [0-9]+' "$log" 2>/dev/null | awk '{n += $4} END {print n + 0}')
    failed=$(grep -aoE '\[  FAILED  \] [0-9]+' "$log" 2>/dev/null | awk '{n += $4} END {print n + 0}')
    local programs
    programs=$(grep -oE '^Ok: +[0-9]+' "$test_log" | grep -oE '[0-9]+')
    [ "${passed:-0}" -eq 0 ] && passed=${programs:-0}
    if [ $status -ne 0 ]; then
        [ "${failed:-0}" -eq 0 ] && failed=1
        echo "FAIL  $name: $passed passed, $failed failed ($(seconds "$start") s)"
        grep -vE '^ *[0-9]+/[0-9]+ .* OK ' "$test_log" | tail -n 80
    else
        echo "ok    $name: $passed tests in ${programs:-0} programs ($(seconds "$start") s)"
    fi
    result "${passed:-0}" "${failed:-0}"
}

# A program of ours that ends with "N passed, N failed".
counted() {
    local name=$1 start line passed failed
    shift
    start=$(date +%s)
    "$@" >"$test_log" 2>&1
    local status=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$test_log" | tail -n 1)
    passed=$(echo "$line" | grep -oE '^[0-9]+')
    failed=$(echo "$line" | sed -nE 's/.*passed, ([0-9]+) failed.*/\1/p')
    if [ -z "$line" ]; then
        passed=0
        failed=1
    elif [ $status -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
    fi
    if [ "$failed" -gt 0 ]; then
        echo "FAIL  $name: $passed passed, $failed failed ($(seconds "$start") s)"
        [ "$(wc -l <"$test_log")" -le 60 ] || grep -A 12 -E '^FAIL' "$test_log" | head -n 120 # or the end would hide them
        tail -n 60 "$test_log"
    else
        echo "ok    $name: $passed passed ($(seconds "$start") s)"
    fi
    result "$passed" "$failed"
}
