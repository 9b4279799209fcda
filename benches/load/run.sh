#!/bin/sh
# pgtally under load beside its peers; see run.py, or `run.sh --help`. Installs what is missing, builds pgtally and
# the floor relay in release mode (or takes --pgtally PATH), and measures.
#   run.sh --system-calls --instructions --idle 100,500     everything
#   run.sh --rounds 2 --modes simple                        a quick look
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=deploy/prerequisites.sh
. "$root/deploy/prerequisites.sh"

peers=peers
case " $* " in
    *" --endpoints pgtally "*) peers= ;;
esac
# Nothing to install for a name that is empty.
# shellcheck disable=SC2086
install_needs postgresql python tracers $peers

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
