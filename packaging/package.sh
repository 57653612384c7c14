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

rm -f dist/*."$kind"
for ARCH in "$@"; do
	export ARCH
	(cd "dist/stage/$ARCH" && "$top/.build/tools/nfpm" package -f "$top/packaging/nfpm.yaml" -p "$kind" -t "$top/dist/")
done
