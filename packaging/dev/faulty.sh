#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the programs of the fault tests into .build/faults:
#   cleatd          cleatd with a wall clock that can be moved from outside
#   broken_reads, broken_acks, broken_watches
#                   the same, each with one rule broken, which the tests notice
# The clock comes from clock/, as files that are laid over cmd/cleatd, so that
# no source of the product knows of it.
#   faulty.sh TAGS
set -eu
cd "$(dirname "$0")/../.."
tags=$1
out=$PWD/.build/faults
mkdir -p "$out"

files=
for file in packaging/dev/clock/*.txt; do
	name=fault$(basename "$file" .txt)
	files="$files${files:+,}\"$PWD/cmd/cleatd/$name\": \"$PWD/$file\""
done
echo "{\"Replace\": {$files}}" >"$out/overlay.json"

build() {
	go build -overlay "$out/overlay.json" -tags "$2" -ldflags '-s -w' -o "$out/$1" ./cmd/cleatd
}
build cleatd "$tags"
for rule in reads acks watches; do
	build broken_$rule "$tags,broken_$rule"
done
