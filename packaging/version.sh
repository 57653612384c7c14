#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What this checkout is: for the programs, and for the packages made of them.
#   version.sh version   a tag's own, or one that sorts before the next: 0.1.0~dev.COUNT.gCOMMIT
#   version.sh commit    the commit, with .dirty if there is more than it
#   version.sh epoch     when it was made: the time of every file in a package
#   version.sh ldflags   what the linker puts into the programs
# Without git, as in an archive of the sources, CLEAT_VERSION, CLEAT_COMMIT and
# SOURCE_DATE_EPOCH say so; they are the stronger ones with git, too.
set -eu
cd "$(dirname "$0")/.."
self=packaging/version.sh
next=0.1.0

git() { command git "$@" 2>/dev/null; }

dirty() { [ -z "$(git status --porcelain --untracked-files=no)" ] || echo .dirty; }

case ${1:-} in
version)
	if [ -n "${CLEAT_VERSION:-}" ]; then
		echo "$CLEAT_VERSION"
	elif tag=$(git describe --tags --exact-match --match 'v[0-9]*'); then
		echo "${tag#v}$(dirty)"
	elif commit=$(git rev-parse --short=7 HEAD); then
		echo "$next~dev.$(git rev-list --count HEAD).g$commit$(dirty)"
	else
		echo "$next~dev"
	fi
	;;
commit)
	if [ -n "${CLEAT_COMMIT:-}" ]; then
		echo "$CLEAT_COMMIT"
	elif commit=$(git rev-parse --short=12 HEAD); then
		echo "$commit$(dirty)"
	else
		echo unknown
	fi
	;;
epoch)
	if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
		echo "$SOURCE_DATE_EPOCH"
	else
		git log -1 --format=%ct || echo 1767225600
	fi
	;;
ldflags)
	version=$(sh $self version)
	commit=$(sh $self commit)
	ctl=github.com/cleatd/cleat/ctl
	echo "-s -w -X main.version=$version -X main.commit=$commit -X $ctl.Version=$version -X $ctl.Commit=$commit"
	;;
*)
	sed -n '3,10s/^# *//p' "$0"
	exit 2
	;;
esac
