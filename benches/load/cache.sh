#!/bin/sh
# Answers from the cache beside Redis, pgpool-II's query cache and PostgreSQL; see cache.py, or `cache.sh --help`.
# Installs what is missing and builds pgtally in release mode (or takes --pgtally PATH).
#   cache.sh --check            fails where a bar is not met
#   cache.sh --rounds 2         a quick look
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=deploy/prerequisites.sh
. "$root/deploy/prerequisites.sh"

install_needs postgresql python peers redis
case " $* " in
    *" --pgtally "* | *" --pgtally="*) ;;
    *)
        require_cargo
        (cd "$root" && cargo build --locked --release -p pgtally)
        set -- --pgtally "${CARGO_TARGET_DIR:-$root/target}/release/pgtally" "$@"
        ;;
esac
exec python3 "$root/benches/load/cache.py" "$@"
