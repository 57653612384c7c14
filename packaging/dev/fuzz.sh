#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes each target of each package for the time given. What is found is not
# made smaller, beyond one try: with files of some pages as seeds that took all
# of the time (20 executions in 25 s where there are 200,000 now).
set -eu
cd "$(dirname "$0")/../.."
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "$package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 1x "$package"
	done
done
