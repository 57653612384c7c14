#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What building and testing need beside this checkout.
#   setup.sh install   as root on Debian, install it; otherwise warn
#   setup.sh race      print -race if the race detector can be built
#   setup.sh missing   say which tests did not run for lack of it
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin # where not every user looks
want_go=$(sed -n 's/^go //p' go.mod)

# need PROGRAM PACKAGE: the programs that tests run, and where they come from.
needs() {
	cat <<-END
		cc gcc
		git git
		curl curl
		etcdctl etcd-client
		systemd-socket-activate systemd
		ip iproute2
		nft nftables
		nsenter util-linux
		pod2usage perl
		zsh zsh
		fish fish
		apparmor_parser apparmor
		node nodejs
		npm npm
		rpm rpm
		mandoc mandoc
		groff groff-base
		zip zip
		lego lego
		certbot certbot
		age age
	END
}

lacking() {
	needs | while read -r program package; do
		command -v "$program" >/dev/null 2>&1 || echo "$package"
	done
	[ -e /usr/include/stdio.h ] || echo libc6-dev
	/usr/bin/python3 -c 'import etcd3' >/dev/null 2>&1 || echo python3-etcd3
}

# A Go older than 1.21 does not fetch the one that go.mod asks for; but any Go
# can fetch it as the module that it is published as.
install_go() {
	if GOTOOLCHAIN=auto go version >/dev/null 2>&1 && go env GOTOOLCHAIN 2>/dev/null | grep -q .; then
		return
	fi
	if ! command -v go >/dev/null 2>&1; then
		if ! as_root; then
			echo "There is no Go: install Go $want_go or newer." >&2
			exit 1
		fi
		packages golang-go ca-certificates
	fi
	if go env GOTOOLCHAIN 2>/dev/null | grep -q .; then
		return
	fi
	case $(uname -m) in aarch64) arch=arm64 ;; *) arch=amd64 ;; esac
	version=v0.0.1-go$want_go.linux-$arch
	echo "fetching Go $want_go with $(go version)"
	from=$(cd / && GOFLAGS='' go mod download -json "golang.org/toolchain@$version" | sed -n 's/^.*"Dir": "\(.*\)".*/\1/p')
	mkdir -p .build
	rm -rf .build/go
	cp -r "$from" .build/go
	chmod -R u+w .build/go
	find .build/go/bin .build/go/pkg/tool -type f -exec chmod +x {} +
}

# What checks Prometheus's rules comes with a server that would start by itself;
# it is taken out of the package and nothing is installed.
fetch_promtool() {
	if [ -x .build/promtool ] || ! command -v apt-get >/dev/null 2>&1; then return; fi
	if command -v promtool >/dev/null 2>&1; then
		mkdir -p .build
		ln -sf "$(command -v promtool)" .build/promtool
		return
	fi
	from=$(mktemp -d)
	echo "fetching promtool"
	if ! (cd "$from" && apt-get download -qq prometheus 2>/dev/null); then
		as_root && apt-get update -qq
		(cd "$from" && apt-get download -qq prometheus 2>/dev/null) || true
	fi
	mkdir -p .build
	for package in "$from"/*.deb; do
		[ -e "$package" ] && dpkg-deb --fsys-tarfile "$package" | tar -xf - -O ./usr/bin/promtool >.build/promtool && chmod +x .build/promtool
	done
	rm -rf "$from"
}

# What test/node names is kept out of the checkout; no script of a package runs.
install_node_modules() {
	command -v npm >/dev/null 2>&1 || return 0
	if cmp -s test/node/package-lock.json .build/node/package-lock.json && [ -d .build/node/node_modules ]; then return; fi
	echo "installing npm's etcd3"
	rm -rf .build/node
	mkdir -p .build/node
	cp test/node/package.json test/node/package-lock.json test/node/.npmrc .build/node/
	if ! (cd .build/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null); then
		echo "npm ci failed in .build/node: the test of npm's etcd3 will not run" >&2
		rm -rf .build/node
	fi
}

as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

packages() {
	echo "installing $*"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

case ${1:-} in
install)
	install_go
	fetch_promtool
	packages=$(lacking)
	if [ -n "$packages" ] && as_root; then
		# shellcheck disable=SC2086 # a list of words
		packages $packages
	fi
	install_node_modules
	;;
race)
	if command -v cc >/dev/null 2>&1 && [ -e /usr/include/stdio.h ]; then echo -race; fi
	;;
missing)
	packages=$(lacking | tr '\n' ' ')
	if [ -s .build/skipped ]; then
		echo "These tests did not run:"
		sort -u .build/skipped | sed 's|^github.com/cleatd/cleat/||; s/^/  /'
	fi
	if [ -n "$packages" ]; then
		echo "Not all is here that tests need. These packages bring it:"
		echo "  sudo apt-get install $packages"
	fi
	if [ "$(id -u)" != 0 ] && [ -s .build/skipped ]; then
		echo "As root all of them run, and what they need is installed:"
		echo "  sudo make test"
	fi
	;;
*)
	sed -n '3,7s/^# *//p' "$0"
	exit 2
	;;
esac
