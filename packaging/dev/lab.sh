#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds what packaging/lab wants beside the packages in dist, into .build/lab,
# tells its stories, and shows what the one of three machines was told.
#   older/         the packages of these sources under a lower version
#   broken_apply   a cleatd that hangs when it is told to
#   systemd-*.rpm  what stands for Fedora's systemd
#   lab.sh TAGS [ARGUMENTS OF THE TEST]
set -eu
cd "$(dirname "$0")/../.."
tags=$1
shift
top=$PWD
out=$PWD/.build/lab
arch=$(go env GOHOSTARCH)
skipped=$out/skipped

rm -rf "$out"
mkdir -p "$out/older"
cp -r "dist/stage/$arch" "$out/stage"
(
	CLEAT_VERSION=0.0.9
	export CLEAT_VERSION
	go build -ldflags "$(sh packaging/version.sh ldflags)" -o "$out/stage/usr/bin/" ./cmd/...
	VERSION=$CLEAT_VERSION
	SOURCE_DATE_EPOCH=$(sh packaging/version.sh epoch)
	MTIME=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
	ARCH=$arch
	export VERSION SOURCE_DATE_EPOCH MTIME ARCH
	cd "$out/stage"
	for kind in deb rpm; do
		"$top/.build/tools/nfpm" package -f "$top/packaging/nfpm.yaml" -p $kind -t "$out/older/" >/dev/null
	done
)
rm -rf "$out/stage"

go build -tags "$tags,broken_apply" -ldflags '-s -w' -o "$out/broken_apply" ./cmd/cleatd

cat >"$out/systemd.yaml" <<'END'
name: systemd
arch: all
version: "257"
maintainer: the lab
description: says that the machine has what it has
license: none
provides: [/bin/sh]
END
.build/tools/nfpm package -f "$out/systemd.yaml" -p rpm -t "$out/" >/dev/null

go build -o .build/verdict ./internal/verdict
code=0
go test -json -count 1 -vet=off -timeout 45m ./packaging/lab -session "$out/session" "$@" | .build/verdict "$skipped" || code=1
if [ -s "$skipped" ]; then
	echo "Nothing was booted: $(head -n 1 "$skipped" | sed 's/^[^ ]* //')"
fi
if [ -s "$out/session" ]; then
	cat "$out/session"
fi
exit $code
