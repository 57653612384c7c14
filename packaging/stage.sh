#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Lays out the files of the packages below dist/stage/ARCH as they lie on a
# machine. Nothing in them tells of where or when they were made, so that two
# builds of one commit are equal byte for byte.
#   stage.sh ARCH...
# For this machine's own ARCH the programs are those in bin/.
set -eu
umask 022
cd "$(dirname "$0")/.."
top=$PWD/dist/stage
own=$(go env GOHOSTARCH)
version=$(sh packaging/version.sh version)
commit=$(sh packaging/version.sh commit)
epoch=$(sh packaging/version.sh epoch)
ldflags=$(sh packaging/version.sh ldflags)

rm -rf "$top"
mkdir -p "$top/words"
go run ./internal/manual -o "$top/words" -version "$version" -commit "$commit" -epoch "$epoch"

# The licences of all that is linked in ask to be shown beside the programs.
licences() {
	printf 'cleat is linked with the modules below; each stands with its licence.\n\n\n===== Go %s\n\n' "$(go env GOVERSION)"
	cat "$(go env GOROOT)/LICENSE"
	go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/... | LC_ALL=C sort -u |
		while read -r module release dir; do
			[ -n "$dir" ] || continue
			printf '\n\n===== %s %s\n\n' "$module" "$release"
			LC_ALL=C find "$dir" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'notice*' -o -iname 'copying*' -o -iname 'patents*' \) | LC_ALL=C sort |
				while read -r file; do cat "$file"; done
		done
}
licences | gzip -9n >"$top/words/licences.gz"

# The packages' own changelog has one entry, which refers to ours.
cat >"$top/words/changelog.yml" <<END
- semver: $version-1
  date: $(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
  packager: The cleat authors <cleatd@users.noreply.github.com>
  deb: { urgency: medium, distributions: [unstable] }
  changes:
    - note: What changed is in changelog.gz beside this file.
END
gzip -9n <CHANGELOG.md >"$top/words/changelog.gz"

for arch in "$@"; do
	root=$top/$arch
	mkdir -p "$root/usr/bin" "$root/scripts"
	if [ "$arch" = "$own" ]; then
		install bin/cleatd bin/cleatctl "$root/usr/bin/"
	else
		GOARCH=$arch go build -ldflags "$ldflags" -o "$root/usr/bin/" ./cmd/...
	fi
	cp -r "$top/words/etc" "$top/words/usr" "$root/"
	place() { # FILE PATH, whatever the file's mode in the checkout
		install -D -m 644 "$1" "$root/$2"
	}
	for unit in cleatd.service cleatd.socket cleatd-net.socket; do
		place packaging/systemd/$unit usr/lib/systemd/system/$unit
	done
	for unit in cleatctl-renew.service cleatctl-renew.timer; do
		place packaging/systemd/$unit usr/lib/systemd/user/$unit
	done
	place packaging/systemd/cleat.preset usr/lib/systemd/system-preset/50-cleat.preset
	place packaging/systemd/cleat.sysusers usr/lib/sysusers.d/cleat.conf
	place packaging/systemd/cleat.tmpfiles usr/lib/tmpfiles.d/cleat.conf
	place packaging/grafana/cleat.json usr/share/cleat/grafana/cleat.json
	place packaging/prometheus/cleat.rules.yml usr/share/cleat/prometheus/cleat.rules.yml
	place README.md usr/share/doc/cleat/README.md
	place packaging/copyright usr/share/doc/cleat/copyright
	place "$top/words/licences.gz" usr/share/doc/cleat/third-party.txt.gz
	place "$top/words/changelog.gz" usr/share/doc/cleat/changelog.gz
	place "$top/words/changelog.yml" scripts/changelog.yml
	place LICENSE usr/share/licenses/cleat/LICENSE
	place packaging/apparmor/usr.bin.cleatd etc/apparmor.d/usr.bin.cleatd
	place packaging/deb/lintian-overrides usr/share/lintian/overrides/cleat
	mkdir "$root/scripts/deb" "$root/scripts/rpm"
	install packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm "$root/scripts/deb/"
	install packaging/rpm/pre packaging/rpm/post packaging/rpm/preun packaging/rpm/postun "$root/scripts/rpm/"
done
rm -rf "$top/words"
