#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Starts a member below ./run, shows a put, a get and a watch through the real
# programs, and leaves the member in the foreground.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p run
socket=$PWD/run/cleat.sock
if [ ${#socket} -gt 100 ]; then # the kernel takes no path beyond 107 bytes
	socket=$(mktemp -d)/cleat.sock
	echo "The path of this checkout is too long for a socket; it is $socket instead."
fi
export CLEATCTL_SOCKET="$socket"
if bin/cleatctl endpoint health >/dev/null 2>&1; then
	echo "A member runs here already: type in another terminal"
	echo "  export CLEATCTL_SOCKET=$socket; bin/cleatctl get foo"
	echo "or stop it with: pkill -f -- '--socket $socket'"
	exit 1
fi

# start LISTEN: run the daemon and wait until it answers or ends.
start() {
	bin/cleatd --data-dir "$PWD/run/data" --socket "$socket" --listen-client "$1" 2>>run/cleatd.log &
	daemon=$!
	until bin/cleatctl endpoint health >/dev/null 2>&1; do
		kill -0 $daemon 2>/dev/null || return 1
		sleep 0.1
	done
}

: >run/cleatd.log
trap 'kill $daemon 2>/dev/null; wait $daemon; exit $?' INT TERM
if ! start 127.0.0.1:2379; then
	if grep -q 'address already in use' run/cleatd.log; then
		start 127.0.0.1:0
	fi
fi
if ! kill -0 $daemon 2>/dev/null; then
	cat run/cleatd.log >&2
	exit 1
fi

show() {
	echo "\$ cleatctl $*"
	bin/cleatctl "$@"
}
echo "A member runs; its data is in run/data, its log in run/cleatd.log."
show put foo bar
show get foo
echo "\$ cleatctl watch foo --rev 1"
bin/cleatctl watch foo --rev 1 >run/watch &
watcher=$!
tries=100 # ten seconds
until grep -q bar run/watch; do
	tries=$((tries - 1))
	[ $tries -gt 0 ] || { echo "the watch saw nothing" >&2; kill $daemon $watcher; exit 1; }
	sleep 0.1
done
head -3 run/watch
kill $watcher
wait $watcher 2>/dev/null || true

echo
echo "In another terminal:"
echo "  export CLEATCTL_SOCKET=$socket; $PWD/bin/cleatctl put foo baz"
echo "Over the network: $(grep -o 'client=[^ ]*' run/cleatd.log | tail -1), after: bin/cleatctl cert issue alice --out run/alice"
echo "Ctrl-C stops the member."
wait $daemon
