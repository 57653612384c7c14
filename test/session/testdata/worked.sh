#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What a script for etcdctl 3.7 does in its life: it registers services, rolls
# out configuration, takes locks, stands for election, keeps a copy, keeps house
# and backs up. It knows nothing of cleat. worked_test.go runs it with etcdctl
# and with cleatctl in etcdctl's place, and compares what it says.
set -eu -o pipefail
cd "$WORK"

say() { printf '== %s\n' "$*"; }
# try says what a command ends with instead of ending with it.
try() { local code=0; "$@" 2>errors || code=$?; if [ $code -ne 0 ]; then echo "failed"; fi; }
# until_it waits for a command to succeed.
until_it() { local i; for i in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "never: $*"; exit 1; }
value() { etcdctl get --print-value-only "$1"; }
is() { [ "$(value "$1")" = "$2" ]; }
follows() { [ "$(grep -c "$2" "$1")" -ge "$3" ]; }

say health
etcdctl endpoint health | sed 's/^[^ ]* is/HERE is/; s/took = .*/took = TIME/'
until [ -n "$(etcdctl member list)" ]; do sleep 0.1; done
etcdctl member list -w json | grep -o '"members":\[{"ID":[0-9]*' | sed 's/[0-9][0-9]*/ID/'
etcdctl endpoint status -w fields | grep -c '"RaftTerm" : '

say configuration
etcdctl put app/config/color blue
etcdctl put app/config/size 7
printf 'a text\nof two lines' | etcdctl put app/config/text
etcdctl put -- app/config/offset -12
etcdctl put app/config/empty ''
etcdctl get app/config/ --prefix
etcdctl get --prefix app/config/ --keys-only | grep -v '^$'
etcdctl get app/config/color app/config/size
etcdctl get app/config/z --from-key --limit=1
etcdctl get app/config/color --hex
count=$(etcdctl get app/ --prefix --count-only --write-out=fields | awk '/"Count"/ {print $3}')
echo "there are $count"
etcdctl get app/config/color -w json | grep -o '"key":"[^"]*"\|"value":"[^"]*"' | cut -d'"' -f4 | base64 -di
echo
first=$(etcdctl get app/config/color -w json | grep -o '"mod_revision":[0-9]*' | cut -d: -f2)
etcdctl put app/config/color red --prev-kv
value app/config/color
etcdctl get app/config/color --rev="$first" --print-value-only
etcdctl get --prefix app/config/ --sort-by=MODIFY --order=DESCEND --limit=1 --print-value-only
etcdctl get nothing
[ -z "$(value nothing)" ] && echo "nothing is nothing"

say compare and swap
swap() {
	etcdctl txn <<END
value("$1") = "$2"

put $1 "$3"

get $1

END
}
swap app/config/color red green
swap app/config/color red yellow
etcdctl txn -w json <<'END' | grep -o '"succeeded":true\|"response_[a-z_]*"'
mod("app/config/size") > "0"
create("app/config/none") = "0"

put app/config/none 'made "now"'
del app/config/empty
get app/config/none


END

say service
lease=$(etcdctl lease grant 600 | awk '{print $2}')
[ "${#lease}" -eq 16 ] && echo "a lease"
etcdctl put services/web/1 10.0.0.1:80 --lease="$lease"
etcdctl put services/web/2 10.0.0.2:80 --lease "$lease"
etcdctl lease timetolive "$lease" --keys | grep -o 'services/web/[0-9]' | sort # etcd lists them in any order
etcdctl lease keep-alive --once "$lease" | sed "s/$lease/LEASE/"
etcdctl lease list | sed "s/$lease/LEASE/"
etcdctl lease revoke "$lease" | sed "s/$lease/LEASE/"
etcdctl get services/ --prefix
try etcdctl put services/web/3 x --lease="$lease"

say watch
etcdctl watch app/ --prefix -- sh -c 'echo "$ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"' >seen &
watcher=$!
begun() { etcdctl put app/begin begin; grep -q app/begin seen; }
until_it begun
etcdctl put app/one 1
etcdctl del app/one
etcdctl del app/begin >/dev/null
until_it grep -q 'DELETE.*app/begin' seen
kill $watcher
wait $watcher 2>/dev/null || true
grep ^.PUT.*one seen
grep ^.DELETE.*one seen
ETCDCTL_WATCH_KEY=app/config/color etcdctl watch --rev="$first" >past &
watcher=$!
until_it follows past green 1
kill $watcher
wait $watcher 2>/dev/null || true
head -9 past

say lock
etcdctl lock deploy -- sh -c 'echo "has the lock"; test -n "$ETCD_LOCK_KEY" && test "$ETCD_LOCK_REV" -gt 0 && exit 0; exit 9'
code=0; etcdctl lock deploy --ttl=5 -- sh -c 'exit 5' 2>/dev/null || code=$?
echo "the command's code is $code"
etcdctl lock deploy >held &
holder=$!
until_it test -s held
sed 's,/[0-9a-f]*$,/ID,' held
etcdctl lock deploy echo second >second &
second=$!
two() { [ "$(etcdctl get deploy/ --prefix --keys-only | grep -c deploy/)" -eq 2 ]; }
until_it two
[ ! -s second ] && echo "the second waits"
kill -TERM $holder
wait $holder && echo "let go"
wait $second
cat second
etcdctl get deploy/ --prefix --keys-only

say election
etcdctl elect primary host1 >leader &
leader=$!
until_it test -s leader
etcdctl elect -l primary >watching &
watching=$!
until_it follows watching host1 1
etcdctl elect primary host2 >next &
next=$!
candidates() { [ "$(etcdctl get primary/ --prefix --keys-only | grep -c primary/)" -eq 2 ]; }
until_it candidates
kill -TERM $leader
wait $leader && echo "resigned"
until_it follows watching host2 1
until_it grep -q host2 next
tail -1 next
kill -TERM $next $watching
wait $next $watching && echo "nobody leads"

say copy
etcdctl make-mirror "${ETCDCTL_ENDPOINTS}" --prefix=app/config/ --dest-prefix=copy/ >copied 2>&1 &
mirror=$!
until_it is copy/size 7
etcdctl put app/config/size 8
until_it is copy/size 8
etcdctl del app/config/size
gone() { [ -z "$(value copy/size)" ]; }
until_it gone
kill $mirror
wait $mirror 2>/dev/null || true
etcdctl get copy/ --prefix

say users
etcdctl role add reader
etcdctl role grant-permission reader read app/ --prefix
etcdctl user add root:secret
etcdctl user add alice --new-user-password=word
echo other | etcdctl user passwd alice --interactive=false
etcdctl user grant-role alice reader
etcdctl user get alice --detail
etcdctl role list
etcdctl auth enable
etcdctl --user=alice:other get app/config/color
try etcdctl --user=alice:other put app/config/color black
try etcdctl --user=alice:word get app/config/color
ETCDCTL_USER=root ETCDCTL_PASSWORD=secret etcdctl user list
etcdctl --user root:secret auth disable
etcdctl auth status

say house
etcdctl del app/config/ --prefix >/dev/null
revision=$(etcdctl endpoint status --write-out="json" | grep -Eo '"revision":[0-9]*' | grep -Eo '[0-9]+' | head -1)
etcdctl compact "$revision" | sed "s/$revision/REVISION/"
try etcdctl get app/config/color --rev=2
etcdctl defrag | sed 's/\[.*\]/[HERE]/; s/took .*/took TIME/'
etcdctl defrag -w json 2>&1 | wc -l
etcdctl alarm list
etcdctl alarm disarm
etcdctl endpoint hashkv | awk -F', ' '{print NF}'
etcdctl put after housekeeping

say backup
etcdctl snapshot save backup.db 2>/dev/null | grep '^Snapshot'
test -s backup.db && echo "a file"

say mistakes
try etcdctl get
try etcdctl put
try etcdctl nonsense
try etcdctl get a --nonsense
try etcdctl lock
try etcdctl compaction 99999
try etcdctl lease revoke 123
try etcdctl downgrade validate 1.0
try etcdctl --endpoints=127.0.0.1:1 --dial-timeout=300ms --command-timeout=300ms get a

say help
etcdctl help get >/dev/null && echo "helps"
etcdctl options | grep 'can be passed'
etcdctl completion bash | grep -c '^complete\|complete -o' | sed 's/.*/completes/'
say done
