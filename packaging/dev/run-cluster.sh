#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Starts three members below ./run/cluster, joins them to one cluster as an
# administrator would, shows a put at one and a get at another, and leaves them
# in the foreground. What is there from the last time starts again as it is.
# Their ports are 23791 to 3, 23801 to 3 and 23811 to 3; PORTS=24 takes 24791 and so on.
#
# CHECK=1 begins with empty directories of its own, prints how long it took until
# the cluster was healthy, and ends: with 1 if it was not after a minute.
set -eu
cd "$(dirname "$0")/../.."
top=$PWD/run/cluster
ports=${PORTS:-23}
check=${CHECK:-}
if [ "$check" ]; then
	top=$(mktemp -d)
	ports=${PORTS:-22}
fi
mkdir -p "$top/1" "$top/2" "$top/3"
sockets=$top
if [ ${#top} -gt 90 ]; then # the kernel takes no path beyond 107 bytes
	sockets=$(mktemp -d)
	mkdir "$sockets/1" "$sockets/2" "$sockets/3"
	echo "The path of this checkout is too long for sockets; they are in $sockets instead."
fi

socket() { echo "$sockets/$1/sock"; }

# ctl MEMBER ARGUMENTS: cleatctl at a member's socket.
ctl() {
	at=$(socket "$1")
	shift
	CLEATCTL_SOCKET=$at bin/cleatctl "$@"
}

# show MEMBER ARGUMENTS: the same, after telling.
show() {
	echo "$1\$ cleatctl $(shift; echo "$*" | sed 's/\(cleat1\.[^.]*\)\.[^ ]*/\1.…/')"
	ctl "$@"
}

now() { date +%s%3N; }

for i in 1 2 3; do
	if ctl $i status >/dev/null 2>&1; then
		echo "Member $i runs here already: type in another terminal"
		echo "  export CLEATCTL_SOCKET=$(socket 1); $PWD/bin/cleatctl member list"
		exit 1
	fi
done

# Members in sessions of their own do not get the terminal's Ctrl-C: they are
# ended one after the other, the last that came first.
members=
end() {
	trap '' INT TERM
	for member in $members; do
		kill "$member" 2>/dev/null || continue
		wait "$member" 2>/dev/null || true
	done
	[ -z "$check" ] || rm -rf "$top"
}
trap 'end; exit 130' INT
trap 'end; exit 143' TERM
trap end EXIT

fail() {
	echo "$*" >&2
	tail -n 5 "$top"/*/log >&2
	if grep -q 'address already in use' "$top"/*/log; then
		echo "Others have the ports: PORTS=24 make run-cluster takes 24791 and so on." >&2
	fi
	exit 1
}

# eventually WHAT COMMAND: try for a minute, unless a member ends.
eventually() {
	what=$1
	shift
	tries=1200
	until "$@" >/dev/null 2>&1; do
		for member in $members; do
			kill -0 "$member" 2>/dev/null || fail "A member has ended before $what:"
		done
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "Not in a minute: $what."
		sleep 0.05
	done
}

# voting: member 1 lists three voters, and each says itself that it is one.
voting() {
	[ "$(ctl 1 member list | grep -c ', started, .*, false$')" = 3 ] || return 1
	for i in 1 2 3; do
		ctl $i status | grep -Eq '^agreement +(leads|follows)' || return 1
	done
}

began=$(now)
new=
[ -e "$top/1/data" ] || new=1
for i in 1 2 3; do
	setsid bin/cleatd --name member$i --data-dir "$top/$i/data" --socket "$(socket $i)" \
		--listen-client "127.0.0.1:${ports}79$i" --listen-peer "127.0.0.1:${ports}80$i" --listen-ca "127.0.0.1:${ports}81$i" --advertise 127.0.0.1 2>"$top/$i/log" &
	members="$! $members"
done

if [ "$new" ]; then
	for i in 1 2 3; do
		eventually "member $i is up" ctl $i endpoint health
	done
	echo "1\$ cleatctl invite --uses 2"
	line=$(ctl 1 invite --uses 2)
	for i in 2 3; do
		# shellcheck disable=SC2086 # words of a command
		show $i ${line#cleatctl }
	done
fi
eventually "three members vote" voting
for i in 1 2 3; do
	eventually "member $i is healthy" ctl $i endpoint health
done
took=$(($(now) - began))

show 1 member list
show 2 put foo bar
show 3 get foo
if [ "$new" ]; then
	what="From empty directories to three healthy voters"
else
	what="From their directories to three healthy voters (rm -r run/cluster for new ones)"
fi
echo
printf '%s: %d.%03d s.\n' "$what" $((took / 1000)) $((took % 1000))
[ -z "$check" ] || exit 0
echo "Data and logs are in run/cluster/1 to 3. In another terminal:"
echo "  export CLEATCTL_SOCKET=$(socket 2); $PWD/bin/cleatctl put foo baz"
echo "  kill -9 $(echo "$members" | awk '{ print $NF }'); $PWD/bin/cleatctl get foo   # member 1 is gone, the others go on"
echo "All three over the network:"
echo "  $PWD/bin/cleatctl cert issue admin --out run/cluster/admin --force"
echo "  $PWD/bin/cleatctl endpoint status --cluster -w table --cacert run/cluster/admin/ca.crt --cert run/cluster/admin/admin.crt --key run/cluster/admin/admin.key"
echo "Ctrl-C stops the members."
wait
