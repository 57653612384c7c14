#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What Debian, Fedora, man and systemd have to say about the packages in dist.
# As root on Debian, what is missing is installed.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin
missing=
for pair in lintian:lintian rpmlint:rpmlint rpm:rpm mandoc:mandoc systemd-analyze:systemd apparmor_parser:apparmor shellcheck:shellcheck; do
	command -v "${pair%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
		echo "These are missing: sudo apt-get install$missing" >&2
		exit 1
	fi
	echo "installing$missing"
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

failed=0
run() {
	echo "$*" | cut -c 1-100
	"$@" || failed=1
}
for package in dist/*.deb; do
	run lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$package"
done
for package in dist/*.rpm; do
	run rpmlint -c packaging/rpm/rpmlint.toml "$package"
done
run shellcheck -s sh packaging/*.sh packaging/dev/lint.sh packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm
run apparmor_parser -Q -K -T packaging/apparmor/usr.bin.cleatd
exit $failed
