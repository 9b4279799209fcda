# shellcheck shell=sh
# What building and running pgtally needs on a Debian-like machine, and how it gets there. Sourced by deploy/demo.sh
# and tests/run.sh. Everything here is quick and silent when nothing is missing.

say() {
    printf '\n== %s\n' "$*"
}

# Stops with a message for the user.
give_up() {
    printf '%s\n' "$*" >&2
    exit 1
}

has_postgresql() {
    command -v initdb >/dev/null && command -v postgres >/dev/null && return 0
    for program in /usr/lib/postgresql/*/bin/postgres; do
        [ -x "$program" ] && return 0
    done
    return 1
}

# The build of libpg_query reads C headers by libclang, and needs its library and its own headers.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    for header in /usr/lib/llvm-*/lib/clang/*/include/stddef.h; do
        [ -f "$header" ] || continue
        for library in "${header%%/lib/clang/*}"/lib/libclang*.so*; do
            [ -e "$library" ] && return 0
        done
    done
    return 1
}

has_libpq() {
    for library in /usr/lib/*/libpq.so.5; do
        [ -e "$library" ] && return 0
    done
    return 1
}

has_venv() {
    python3 -c 'import ensurepip, venv' 2>/dev/null
}

has_prometheus() {
    command -v prometheus >/dev/null && command -v promtool >/dev/null && command -v amtool >/dev/null
}

has_ruby_libraries() {
    ruby -e 'require "active_record"; require "pg"; require "sequel"' 2>/dev/null
}

has_php_libraries() {
    php -r 'require_once "Illuminate/Database/autoload.php"; require_once "Illuminate/Pagination/autoload.php";
        require_once "Doctrine/ORM/autoload.php"; exit(extension_loaded("pdo_pgsql") ? 0 : 1);' >/dev/null 2>&1
}

# The packages of Debian that are missing for the named needs: browser, build, openssl, postgresql, prometheus,
# python, node, ruby, php, libpq, java, tracers, peers, redis, terminal, images, test-frameworks.
missing_packages() {
    for need in "$@"; do
        case $need in
            browser)
                command -v chromium >/dev/null || echo chromium
                [ -d /usr/share/fonts/truetype/dejavu ] || echo fonts-dejavu-core
                ;;
            build)
                command -v cc >/dev/null && command -v make >/dev/null || echo build-essential
                has_libclang || echo libclang-dev
                ;;
            postgresql) has_postgresql || echo postgresql ;;
            openssl) command -v openssl >/dev/null || echo openssl ;;
            prometheus) has_prometheus || echo prometheus prometheus-alertmanager ;;
            python)
                command -v python3 >/dev/null || echo python3
                has_venv || echo python3-venv
                ;;
            node)
                command -v node >/dev/null || echo nodejs
                command -v npm >/dev/null || echo npm
                ;;
            ruby) has_ruby_libraries || echo ruby-activerecord ruby-pg ruby-sequel ;;
            images) command -v buildah >/dev/null || echo buildah ;;
            terminal) command -v tmux >/dev/null || echo tmux ;;
            php)
                has_php_libraries ||
                    echo php-cli php-pgsql php-illuminate-database php-illuminate-pagination php-doctrine-orm
                ;;
            libpq) has_libpq || echo libpq5 ;;
            java)
                command -v javac >/dev/null || echo default-jdk-headless
                [ -f /usr/share/java/postgresql.jar ] || echo libpostgresql-jdbc-java
                ;;
            test-frameworks)
                ruby -e 'require "rspec"' 2>/dev/null || echo ruby-rspec
                [ -f /usr/share/java/junit-jupiter-api.jar ] || echo junit5
                command -v go >/dev/null || echo golang-go
                [ -d /usr/share/gocode/src/github.com/lib/pq ] || echo golang-github-lib-pq-dev
                ;;
            tracers)
                command -v strace >/dev/null || echo strace
                command -v valgrind >/dev/null || echo valgrind
                ;;
            peers)
                [ -x /usr/sbin/pgbouncer ] || echo pgbouncer
                [ -x /usr/sbin/haproxy ] || echo haproxy
                [ -x /usr/sbin/pgpool ] || echo pgpool2
                ;;
            redis)
                command -v redis-server >/dev/null || echo redis-server
                command -v redis-benchmark >/dev/null || echo redis-tools
                ;;
        esac
    done
}

# Runs a command as root, or says what the user should do.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        give_up "This needs root: run it as root, install sudo, or run by yourself: $*"
    fi
}

# Installs what is missing for the named needs.
install_needs() {
    packages=$(missing_packages "$@" | tr '\n' ' ')
    [ -z "$packages" ] && return 0
    say "installing $packages(some minutes on a fresh machine)"
    command -v apt-get >/dev/null || give_up "There is no apt-get here: install the counterparts of $packages"
    as_root true
    apt_log=$(mktemp) || give_up "cannot make a temporary file"
    as_root apt-get update >"$apt_log" 2>&1 || apt_failed
    # Programs are wanted, no services: both variables keep Debian from starting what it installs, with systemd and
    # without it. Word splitting is wanted too: a list of names.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 RUNLEVEL=1 \
        apt-get install -y --no-install-recommends $packages >"$apt_log" 2>&1 || apt_failed
    rm -f "$apt_log"
}

apt_failed() {
    tail -n 30 "$apt_log" >&2
    rm -f "$apt_log"
    give_up "apt-get could not install $packages"
}

# Finds cargo also where a login shell of its own would have put it on the path.
require_cargo() {
    command -v cargo >/dev/null || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    export PATH
    command -v cargo >/dev/null || give_up "Rust is missing: install its stable toolchain (rustup) and run this again"
}
