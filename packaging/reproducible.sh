#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds packages and archives in two places that differ in all that must not
# matter (path, umask, time zone, language, the files' dates), and compares them
# byte for byte. FRESH=1 compiles everything anew for the second, which takes as
# long as that takes.
#   reproducible.sh ARCH...
set -eu
cd "$(dirname "$0")/.."
CLEAT_VERSION=$(sh packaging/version.sh version)
CLEAT_COMMIT=$(sh packaging/version.sh commit)
SOURCE_DATE_EPOCH=$(sh packaging/version.sh epoch)
export CLEAT_VERSION CLEAT_COMMIT SOURCE_DATE_EPOCH
nfpm=$PWD/.build/tools/nfpm
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT # Go's cache, for one, is read-only

# make_in DIR ARCH... leaves all there is to compare in DIR/dist.
make_in() {
	mkdir -p "$1"
	git ls-files -z --cached --others --exclude-standard --exclude=/.build | xargs -0 cp --parents -t "$1"
	(
		cd "$1"
		shift
		mkdir -p .build/tools
		ln -s "$nfpm" .build/tools/nfpm
		go build -ldflags "$(sh packaging/version.sh ldflags)" -o bin/ ./cmd/...
		sh packaging/stage.sh "$@"
		sh packaging/package.sh deb "$@"
		sh packaging/package.sh rpm "$@"
		# shellcheck disable=SC2086 # a list of words
		sh packaging/dist.sh ${TARGETS:-}
		rm -rf dist/stage
	)
}
(umask 022 && TZ=UTC LC_ALL=C make_in "$work/one" "$@")
(
	[ -z "${FRESH:-}" ] || export GOCACHE="$work/cache"
	umask 077
	TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 make_in "$work/another/place with a longer name" "$@"
)
(cd "$work/one/dist" && LC_ALL=C sha256sum ./*) >"$work/sums"
cat "$work/sums"
(cd "$work/another/place with a longer name/dist" && sha256sum --quiet -c "$work/sums")
test "$(ls "$work/one/dist")" = "$(ls "$work/another/place with a longer name/dist")"
echo "Both are equal."
