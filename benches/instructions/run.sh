#!/bin/sh
# Counts the instructions per statement of each scenario under callgrind, and compares with baseline.txt.
#   run.sh             prints the counts beside the baseline
#   run.sh --check     fails when one is more than 2 % above it: the gate
#   run.sh --update    makes them the baseline
# A count is the difference of a run with 2N and one with N iterations, by N: what comes before the loop drops out.
set -eu

cd "$(dirname "$0")/../.."
mode=${1:-}
baseline=benches/instructions/baseline.txt
tolerance_percent=2

case $mode in
    "" | --check | --update) ;;
    *)
        sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
if ! command -v valgrind >/dev/null; then
    echo "valgrind is missing: apt-get install valgrind" >&2
    exit 1
fi

cargo build --quiet --locked --release -p pgtally-benches --bin instructions
binary=${CARGO_TARGET_DIR:-target}/release/instructions
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT

# An empty environment: its size moves the stack, and with it a few instructions.
instructions() {
    env -i valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$1" "$2" 2>&1 >/dev/null |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

"$binary" | while read -r name; do
    case $name in
        *-1000*) iterations=100 ;;
        # The first records of each session take their turn.
        *-busy) iterations=10000 ;;
        *) iterations=4000 ;;
    esac
    once=$(instructions "$name" "$iterations")
    twice=$(instructions "$name" $((2 * iterations)))
    echo "$name $(((twice - once + iterations / 2) / iterations))"
done >"$counts"

if [ "$mode" = --update ]; then
    {
        echo "# Instructions per iteration. Written by run.sh --update with $(rustc --version | cut -d ' ' -f 1-2)."
        cat "$counts"
    } >"$baseline"
fi

awk -v tolerance="$tolerance_percent" -v mode="$mode" '
    FNR == NR { if ($1 != "#") expected[$1] = $2; next }
    {
        verdict = ""
        if (!($1 in expected)) { verdict = "not in the baseline"; failed = 1 }
        else {
            change = ($2 - expected[$1]) * 100 / expected[$1]
            if (change > tolerance) { verdict = "above the tolerance"; failed = 1 }
            if (change < -tolerance) verdict = "better: update the baseline"
        }
        printf "%-36s %10d %10d %+7.1f %%  %s\n", $1, $2, expected[$1], change, verdict
    }
    END { exit mode == "--check" && failed }
' "$baseline" "$counts"
