#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes packages of what stage.sh has laid out.
#   package.sh deb|rpm ARCH...
set -eu
cd "$(dirname "$0")/.."
kind=$1
shift
top=$PWD
VERSION=$(sh packaging/version.sh version)
SOURCE_DATE_EPOCH=$(sh packaging/version.sh epoch)
export VERSION SOURCE_DATE_EPOCH # the date of every file

# described is nfpm.yaml with the manual's pages behind the comment that says so.
described() {
	(cd "dist/stage/$ARCH" && find usr/share/man -name '*.gz' | LC_ALL=C sort |
		sed 's|.*|  - { src: &, dst: /&, type: doc, packager: rpm }|') >"dist/stage/$ARCH/pages"
	sed "/^  # package.sh lists them here/r dist/stage/$ARCH/pages" packaging/nfpm.yaml
}

rm -f dist/*."$kind"
for ARCH in "$@"; do
	export ARCH
	described >"dist/stage/$ARCH/nfpm.yaml"
	(cd "dist/stage/$ARCH" && "$top/.build/tools/nfpm" package -f nfpm.yaml -p "$kind" -t "$top/dist/")
done
