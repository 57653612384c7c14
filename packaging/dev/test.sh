#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs all tests, whatever fails, and ends with what did not run.
set -uo pipefail
cd "$(dirname "$0")/../.."
race=$(sh packaging/dev/setup.sh race)
skipped=.build/skipped
# What measures memory, as the race detector's is not ours; what moves hundreds
# of megabytes; what one goroutine does at length; and what trips over a race of
# hraft's.
unraced='AnExportedKeyUnlocks|AChangedFileIsRefused|AgreesWithASimpleModel|FlagsMeanTheSame|StalledCursor|StopsReading|GivesRoomBack|GiveWhatHappened$|GivesTheSameState|WithoutAChecksum|OlderEtcds|GivenAnotherAddress'
failed=0
# Packages at once: in the first run many wait and leave room for those that work.
beside=$(($(nproc) * 3 / 2))

run() {
	echo "go test $*" | sed 's|github.com/cleatd/cleat|.|g'
	go test -json -vet=off -timeout 25m -p "$beside" "$@" | .build/verdict "$skipped" || failed=1
}

mkdir -p .build
: >"$skipped"
trap 'sh packaging/dev/setup.sh missing' EXIT # also after what fails
go build -o .build/verdict ./internal/verdict || exit 1

# shellcheck disable=SC2046,SC2086 # lists of words
{
	# Those that take long begin first, or one of them would be alone at the end.
	[ -z "$race" ] || export CGO_ENABLED=1
	run $race ${race:+-skip "$unraced"} ./daemon ./api ./watch ./raft $(go list ./... | grep -v -e /test/ -e '/packaging/lab$' -e '/daemon$' -e '/api$' -e '/watch$' -e '/raft$')
	export CGO_ENABLED=0 # as in what is built for users
	# Whole processes are the built programs, of which the race detector would
	# see nothing. Their tests mostly wait, so that the sources are checked beside
	# them, and what was left out above is run.
	nice -n 19 make --no-print-directory check >.build/check 2>&1 &
	check=$!
	beside=$(nproc)
	if [ -n "$race" ]; then
		(failed=0 beside=1; run -run "$unraced" ./watch ./api ./daemon ./backup ./kv ./ctl ./pki/export; exit $failed) >.build/unraced 2>&1 &
		alone=$!
	fi
	run ./test/compat ./test/session ./test/crash $(go list ./test/... | grep -v -e '/compat$' -e '/session$' -e '/crash$')
	if [ -n "$race" ]; then
		wait $alone || failed=1
		cat .build/unraced
	fi
	wait $check || { cat .build/check; failed=1; }
}
exit $failed
