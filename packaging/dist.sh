#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Packs cleatctl for the machines that people sit at: it speaks to members over
# the network there. One date and owner for all, so that two runs on one commit
# are equal byte for byte.
#   dist.sh [OS/ARCH...]
set -eu
umask 022
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
version=$(sh packaging/version.sh version)
epoch=$(sh packaging/version.sh epoch)
ldflags=$(sh packaging/version.sh ldflags)
work=$PWD/dist/archives

rm -rf "$work" dist/cleatctl_* dist/SHA256SUMS
for target in "$@"; do
	os=${target%/*} arch=${target#*/}
	name=cleatctl_${version}_${os}_${arch}
	mkdir -p "$work/$name"
	export GOOS="$os" GOARCH="$arch"
	# shellcheck disable=SC2016 # it is a template's variable
	go list -deps -f '{{if and .Module .Module.Main}}{{$in := .ImportPath}}{{range .GoFiles}}{{$in}}/{{.}} {{end}}{{end}}' ./cmd/cleatctl |
		sed 's|github.com/cleatd/cleat/|./|g' | # wherever the checkout lies
		while read -r files; do
			# shellcheck disable=SC2086 # a list of words; tests are of the systems that they run on
			[ -z "$files" ] || go vet $files || exit 1
		done
	go build -ldflags "$ldflags" -o "$work/$name/" ./cmd/cleatctl
	unset GOOS GOARCH
	install -m 644 LICENSE README.md "$work/$name/" # whatever their modes in the checkout
	find "$work/$name" -exec touch -d "@$epoch" {} +
	if [ "$os" = windows ]; then
		(cd "$work" && find "$name" | LC_ALL=C sort | TZ=UTC zip -q -X "../$name.zip" -@)
	else
		tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf - "$name" | gzip -9n >"dist/$name.tar.gz"
	fi
done
rm -rf "$work"
(cd dist && LC_ALL=C sha256sum cleatctl_* >SHA256SUMS)
