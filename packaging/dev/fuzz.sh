#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes each target of each package for the time given.
set -eu
cd "$(dirname "$0")/../.."
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "$package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$package"
	done
done
