#!/bin/sh
# Makes a Debian package of a built pgtally: deploy/debian/build.sh BINARY FOLDER. Prints the package's path.
# Needs dpkg-deb and binutils; no root.
set -eu

binary=$(realpath "$1")
folder=$(realpath "$2")
cd "$(dirname "$0")/../.."

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)
# The oldest C library that has all symbols; a static binary needs none.
glibc=$(objdump -T "$binary" | sed -n 's/.*(\{0,1\}GLIBC_\([0-9.]*\).*/\1/p' | sort -Vu | tail -n 1)
depends=${glibc:+Depends: libc6 (>= $glibc), libgcc-s1}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
umask 022
chmod 755 "$root"

# place MODE SOURCE TARGET
place() {
    install -D -m "$1" "$2" "$root/$3"
}

place 755 "$binary" usr/bin/pgtally
strip --strip-unneeded "$root/usr/bin/pgtally"
place 644 deploy/config/minimal.toml etc/pgtally/pgtally.toml
place 644 deploy/systemd/pgtally.service lib/systemd/system/pgtally.service
place 644 deploy/systemd/pgtally.socket lib/systemd/system/pgtally.socket
for file in README.md SECURITY.md deploy/config/reference.toml deploy/config/pgtally.schema.json; do
    place 644 "$file" "usr/share/doc/pgtally/$(basename "$file")"
done
for file in grafana/dashboards/*.json grafana/alerts/*.yaml; do
    place 644 "$file" "usr/share/pgtally/${file#grafana/}"
done
place 644 deploy/debian/copyright usr/share/doc/pgtally/copyright
gzip -9n <CHANGELOG.md >"$root/usr/share/doc/pgtally/CHANGELOG.md.gz"
for script in postinst prerm postrm; do
    place 755 "deploy/debian/$script" "DEBIAN/$script"
done
printf '/etc/pgtally/pgtally.toml\n' >"$root/DEBIAN/conffiles"

grep . >"$root/DEBIAN/control" <<EOF
Package: pgtally
Version: $version
Architecture: $architecture
Maintainer: The pgtally contributors <pgtally@example.org>
Installed-Size: $(du -sk --exclude DEBIAN "$root" | cut -f 1)
$depends
Recommends: prometheus
Section: database
Priority: optional
Description: PostgreSQL proxy that counts statements per request
 pgtally stands between an application and PostgreSQL, forwards every byte as it
 is, counts the statements that each request makes, proves N+1 patterns by the
 values of earlier results, and exports all of it to Prometheus.
EOF
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
package=$folder/pgtally_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
printf '%s\n' "$package"
