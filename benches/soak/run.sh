#!/bin/sh
# Mixed load through pgtally for an hour (--minutes 60), or for two minutes as CI has time for: memory stays flat and
# nothing fails. See run.py. Takes --pgtally PATH, or builds a release.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=deploy/prerequisites.sh
. "$root/deploy/prerequisites.sh"

case " $* " in
    *" --pgtally "* | *" --pgtally="*) ;;
    *)
        require_cargo
        (cd "$root" && cargo build --locked --release -p pgtally)
        set -- --pgtally "${CARGO_TARGET_DIR:-$root/target}/release/pgtally" "$@"
        ;;
esac
exec python3 "$root/benches/soak/run.py" "$@"
