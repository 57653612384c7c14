#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the programs of the fault tests into .build/faults:
#   cleatd          cleatd with a wall clock that can be moved from outside
#   broken_reads, broken_acks, broken_watches
#                   the same, each with one rule broken, which the tests notice
# The clock is an overlay over the standard library's package time, so that no
# source of the product knows of it. Everything depends on that package: the
# first build takes minutes.
#   faulty.sh TAGS
set -eu
cd "$(dirname "$0")/../.."
tags=$1
out=$PWD/.build/faults
mkdir -p "$out"
root=$(go env GOROOT)

sed 's/^\tsec, nsec, mono := runtimeNow()$/\tsec, nsec, mono := wallNow()/' "$root/src/time/time.go" >"$out/time.go.txt"
if [ "$(grep -c 'wallNow()' "$out/time.go.txt")" != 1 ]; then
	echo "time.Now in $root/src/time/time.go is not what the fault clock knows: adapt $0" >&2
	exit 1
fi
cat >"$out/overlay.json" <<END
{"Replace": {
	"$root/src/time/time.go": "$out/time.go.txt",
	"$root/src/time/shift.go": "$PWD/packaging/dev/shift.go.txt"
}}
END

build() {
	CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -overlay "$out/overlay.json" -tags "$2" -o "$out/$1" ./cmd/cleatd
}
build cleatd "$tags"
for rule in reads acks watches; do
	build broken_$rule "$tags,broken_$rule"
done
