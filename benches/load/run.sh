#!/bin/sh
# pgtally under load beside its peers; see run.py, or `run.sh --help`. Installs what is missing, builds pgtally and
# the floor relay in release mode (or takes --pgtally PATH), and measures.
#   run.sh --system-calls --instructions --idle 100,500     everything
#   run.sh --rounds 2 --modes simple                        a quick look
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=deploy/prerequisites.sh
. "$root/deploy/prerequisites.sh"

missing=
for program in pgbouncer haproxy strace valgrind python3; do
    command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing="$missing $program"
done
has_postgresql || missing="$missing postgresql"
if [ -n "$missing" ]; then
    say "installing$missing"
    as_root apt-get update -qq
    # Word splitting is wanted: a list of names.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

case " $* " in
    *" --pgtally "* | *" --pgtally="*) given=yes ;;
    *) given= ;;
esac
require_cargo
target=${CARGO_TARGET_DIR:-$root/target}
(cd "$root" && cargo build --locked --release -p pgtally-benches --bin floor)
set -- --floor "$target/release/floor" "$@"
if [ -z "$given" ]; then
    (cd "$root" && cargo build --locked --release -p pgtally)
    set -- --pgtally "$target/release/pgtally" "$@"
fi
exec python3 "$root/benches/load/run.py" "$@"
