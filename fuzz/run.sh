#!/bin/sh
# One parser under libFuzzer, guided by coverage: fuzz/run.sh TARGET [SECONDS]. Targets: see fuzz_targets.
# New inputs go to target/fuzz-corpus/TARGET; one that fails is written to fuzz/artifacts and named.
# Needs cargo-fuzz (`cargo install cargo-fuzz --locked`) and a C++ compiler. A stable compiler will do: coverage is
# LLVM's own, and only sanitizers, which code without `unsafe` needs least, want a nightly one.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
target=${1:?"which target? One of: $(cd "$root/fuzz/fuzz_targets" && echo *.rs | sed 's/\.rs//g')"}
seconds=${2:-60}
found="$root/target/fuzz-corpus/$target"
mkdir -p "$found" "$root/fuzz/corpus/$target"
cd "$root"
exec cargo fuzz run --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -max_len=4096 -print_final_stats=1
