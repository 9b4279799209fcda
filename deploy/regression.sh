#!/bin/sh
# From nothing to an alert: installs PostgreSQL, Prometheus and Alertmanager, builds pgtally, and runs them with the files
# that are shipped. An application of two versions then serves its page; the second has an N+1, and Alertmanager gets
# the alert that names the route. Windows are of seconds here, of minutes in production (see reference.toml).
#
# PGTALLY names a binary that exists already. Everything lives in a temporary directory and ends with the script; the
# exit code is 0 when the alert has arrived.
set -eu

cd "$(dirname "$0")/.."
# shellcheck source=deploy/prerequisites.sh
. deploy/prerequisites.sh

POSTGRES_PORT=${POSTGRES_PORT:-25432}
PROXY_PORT=${PROXY_PORT:-26432}
ADMIN_PORT=${ADMIN_PORT:-29187}
PROMETHEUS_PORT=${PROMETHEUS_PORT:-29090}
ALERTMANAGER_PORT=${ALERTMANAGER_PORT:-29093}
PATIENCE_SECONDS=90

install_needs postgresql prometheus python
if [ -z "${PGTALLY:-}" ]; then
    require_cargo
    install_needs build
    say "building pgtally (the first time takes some minutes)"
    cargo build --release --locked
    PGTALLY=$PWD/target/release/pgtally
fi
WORK=$(mktemp -d)
chmod 755 "$WORK"
programs=
postgres_is_up=

# Whoever runs as root has PostgreSQL run as somebody else: it refuses root.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid postgres --regid postgres --clear-groups "$@"
    else
        "$@"
    fi
}

# shellcheck disable=SC2317 # called by the trap
finish() {
    status=$?
    for program in $programs; do
        kill "$program" 2>/dev/null || :
        wait "$program" 2>/dev/null || :
    done
    [ -z "$postgres_is_up" ] || as_postgres "$postgres" -D "$WORK/data" -m immediate stop >/dev/null 2>&1 || :
    if [ "$status" -ne 0 ]; then
        tail -n 20 "$WORK"/*.log >&2 || :
    fi
    rm -rf "$WORK"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND…: in the background, with its output in a file.
start() {
    name=$1
    shift
    "$@" >"$WORK/$name.log" 2>&1 &
    programs="$! $programs"
}

# until_true WHAT COMMAND…: waits until the command succeeds.
until_true() {
    what=$1
    shift
    tries=$((PATIENCE_SECONDS * 5))
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || give_up "waited in vain: $what"
        sleep 0.2
    done
}

# fetch URL: its body; `curl` may not be there.
fetch() {
    python3 -c 'import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())' "$1"
}

say "1. PostgreSQL"
postgres=$(command -v pg_ctl || find /usr/lib/postgresql -path '*/bin/pg_ctl' | sort -V | tail -n 1)
mkdir "$WORK/data"
[ "$(id -u)" -ne 0 ] || chown postgres "$WORK/data"
as_postgres "$postgres" -D "$WORK/data" -o "-A trust -U postgres" initdb >/dev/null
as_postgres "$postgres" -D "$WORK/data" -w -l "$WORK/data/log" \
    -o "-p $POSTGRES_PORT -c listen_addresses=127.0.0.1 -c unix_socket_directories=''" start >/dev/null
postgres_is_up=yes
psql -q "postgres://postgres@127.0.0.1:$POSTGRES_PORT/postgres" <<'SQL'
CREATE TABLE authors (id int PRIMARY KEY, name text);
CREATE TABLE posts (id int PRIMARY KEY, author_id int REFERENCES authors, title text);
INSERT INTO authors SELECT n, 'author ' || n FROM generate_series(1, 20) AS n;
INSERT INTO posts SELECT n, n, 'post ' || n FROM generate_series(1, 20) AS n;
SQL

say "2. pgtally in front of it"
cat >"$WORK/pgtally.toml" <<TOML
[relay]
upstream = "127.0.0.1:$POSTGRES_PORT"
listen = "127.0.0.1:$PROXY_PORT"

[admin]
listen = "127.0.0.1:$ADMIN_PORT"

[baselines]
state_file = "$WORK/baselines.json"
window = "2s"
min_requests = 20
TOML
"$PGTALLY" check-config --config "$WORK/pgtally.toml" >/dev/null
start pgtally "$PGTALLY" serve --config "$WORK/pgtally.toml"
until_true "pgtally to be ready" fetch "http://127.0.0.1:$ADMIN_PORT/readyz"

say "3. Prometheus and Alertmanager, with the files in grafana/"
sed -e "s/pgtally:9187/127.0.0.1:$ADMIN_PORT/" -e "s/alertmanager:9093/127.0.0.1:$ALERTMANAGER_PORT/" \
    -e 's/_interval: 15s/_interval: 1s/' -e 's/scrape_timeout: 10s/scrape_timeout: 1s/' \
    grafana/prometheus.yaml >"$WORK/prometheus.yaml"
cp -R grafana/alerts "$WORK/alerts"
sed -e 's/group_wait: 30s/group_wait: 0s/' grafana/alertmanager.yaml >"$WORK/alertmanager.yaml"
start alertmanager prometheus-alertmanager --config.file="$WORK/alertmanager.yaml" --storage.path="$WORK/alertmanager" \
    --web.listen-address="127.0.0.1:$ALERTMANAGER_PORT" --cluster.listen-address=
start prometheus prometheus --config.file="$WORK/prometheus.yaml" --storage.tsdb.path="$WORK/tsdb" \
    --web.listen-address="127.0.0.1:$PROMETHEUS_PORT"
until_true "Alertmanager to be ready" fetch "http://127.0.0.1:$ALERTMANAGER_PORT/-/ready"
until_true "Prometheus to be ready" fetch "http://127.0.0.1:$PROMETHEUS_PORT/-/ready"

# serve_page VERSION FIRST QUERIES…: twenty requests of the page, as an application with tags would run them.
serve_page() {
    version=$1
    first=$2
    shift 2
    request=$first
    while [ "$request" -lt $((first + 20)) ]; do
        for query in "$@"; do
            echo "$query /*request_id='$version-$request',route='%2Fposts',version='$version'*/;"
        done
        request=$((request + 1))
    done | psql -q -o /dev/null "postgres://postgres@127.0.0.1:$PROXY_PORT/postgres"
}

baseline_is() {
    fetch "http://127.0.0.1:$ADMIN_PORT/api/v1/baselines" | grep -q "\"state\":\"$1\""
}

alert_has_arrived() {
    fetch "http://127.0.0.1:$ALERTMANAGER_PORT/api/v2/alerts" | grep -q '"alertname":"PgtallyRegressionFound"'
}

say "4. version 1.4.1 serves /posts with one query; pgtally learns that"
number=0
until baseline_is healthy; do
    [ "$number" -lt 4000 ] || give_up "no baseline was learned"
    serve_page 1.4.1 "$number" "SELECT p.title, a.name FROM posts p JOIN authors a ON a.id = p.author_id"
    number=$((number + 20))
done
until_true "Prometheus to have seen the baseline" sh -c \
    "python3 -c 'import sys, urllib.request; sys.exit(\"/posts\" not in urllib.request.urlopen(sys.argv[1]).read().decode())' \
    'http://127.0.0.1:$PROMETHEUS_PORT/api/v1/query?query=pgtally_route_baseline_queries'"

say "5. version 1.4.2 is deployed; it asks for each author by himself"
set -- "SELECT id, author_id, title FROM posts"
author=1
while [ "$author" -le 20 ]; do
    set -- "$@" "SELECT name FROM authors WHERE id = $author"
    author=$((author + 1))
done
until alert_has_arrived; do
    [ "$number" -lt 8000 ] || give_up "no alert has arrived"
    serve_page 1.4.2 "$number" "$@"
    number=$((number + 20))
done

say "6. Alertmanager has the alert, and pgtally says why"
fetch "http://127.0.0.1:$ALERTMANAGER_PORT/api/v2/alerts" | python3 -c '
import json, sys
for alert in json.load(sys.stdin):
    if alert["labels"]["alertname"] == "PgtallyRegressionFound":
        print(alert["labels"]["severity"] + ":", alert["annotations"]["summary"])'
fetch "http://127.0.0.1:$ADMIN_PORT/api/v1/findings" | python3 -c '
import json, sys
for finding in json.load(sys.stdin)["findings"]:
    if finding["kind"] == "query_count_regression":
        print(finding["fix"])'
