#!/bin/sh
# Installs what is missing, builds pgtally, and runs its demo: a throwaway PostgreSQL, the proxy, and a sample
# application with planted faults. Arguments go to `pgtally demo` (`--once` ends by itself).
set -eu

cd "$(dirname "$0")/.."
# shellcheck source=deploy/prerequisites.sh
. deploy/prerequisites.sh

require_cargo
install_needs build postgresql
say "building pgtally (the first time takes some minutes)"
exec cargo run --release --locked -- demo "$@"
