// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"fmt"
	"strings"
	"testing"
)

// exceptions are the places where cleat is not etcd, by name, each with its
// reason. A step that is excused must differ: one that no longer does has to
// leave the table.
var exceptions = map[string]string{
	"hash of a compaction": "HashKV of one of the last compacted revisions: etcd remembers the hash it took while it compacted, " +
		"of what it removed too; cleat hashes what there is, and refuses revisions below the compaction",
	"key changed twice": "a transaction that deletes a key and puts it, where the deletion has \"\\x00\" as its end or is nested behind a " +
		"nested put: etcd's check overlooks it, and when that revision is compacted etcd loses the key and dies of the next read; " +
		"cleat says duplicate key, as etcd does everywhere else",
	"order of leases": "LeaseLeases: etcd lists first what expires first, by its own clock; cleat lists by ID, alike on every member",
	"pages of other sites": "OPTIONS, the Access-Control headers, the Origin of a websocket: etcd lets the pages of any site ask its gateway; " +
		"cleat lets none, since a browser would show them the user's certificate",
	"plaintext between members": "MemberAdd of an http URL: etcd takes it; cleat has nothing but mutual TLS between members, and refuses it as a bad URL",
	"a malformed update":        "MemberUpdate with a malformed URL: etcd takes what it refuses in MemberAdd; cleat refuses it there too",
	"a permission granted again": "a role's permission for a key and an end that it has already, behind another with the same key: etcd keeps both, so that a " +
		"right that is to be reduced stays; cleat puts it in the place of the old one",
	"a range turned round": "a range that ends before it begins, by who has two rights of which one holds its first key: it holds nothing, and whether etcd refuses it " +
		"depends on the shape of the tree that it makes of the rights; cleat takes it for its first key",
	"a certificate at the gateway": "a request over HTTP with a client certificate and no token: etcd's gateway asks with the server's certificate, and so etcd takes " +
		"nobody's name from it; cleat's asks as its caller, who is the certificate's user there as over gRPC",
	leaderlessWrites: "what needs agreement while nobody leads: etcd says DeadlineExceeded after its own limit of seven seconds, as if the caller's deadline had passed; " +
		"cleat says that the request timed out, as both do of reads; what it can answer by itself it answers",
	"a learner":       "etcd's serves serializable reads and little else; cleat's serves whatever a voter does, through the leader",
	"debug variables": "GET /debug/vars: etcd has raft.status and file_descriptor_limit too; cleat's raft is another, and metrics tell both",
	"downgrade":       "Downgrade to one minor version below: etcd says that it may; cleat has no version to go back to, and refuses it like any other",
	"version":         "GET /version: cleat also tells its own version, as \"cleat\"",
	"stream by a target": "RangeStream with a sort target and no order: etcd sorts each chunk by itself and goes on behind the key that " +
		"came out last, so it repeats some keys and leaves others out; cleat says Unimplemented, upon which clients ask with Range",
}

// differences is how many a test shows before it says no more of them.
const differences = 10

// alike runs a body against etcd and against each of the doors, and fails for
// every step whose outcome differs.
func alike(t *testing.T, doors []door, body func(*side)) {
	t.Parallel()
	want := etcdDoor.open(t)
	body(want)
	if len(want.transcript) == 0 {
		t.Fatal("the body wrote nothing down, so nothing is compared")
	}
	for _, d := range doors {
		t.Run(d.name, func(t *testing.T) {
			got := d.open(t)
			body(got)
			compare(t, got.transcript, want.transcript)
		})
	}
}

func compare(t testing.TB, got, want []entry) {
	t.Helper()
	shown := 0
	for i := range min(len(got), len(want)) {
		if difference := got[i].against(want[i]); difference != "" {
			if shown++; shown <= differences {
				t.Errorf("step %d: %s", i, difference)
			}
		}
	}
	if shown > differences {
		t.Errorf("%d more steps of %d differ", shown-differences, len(want))
	}
	if len(got) != len(want) {
		t.Errorf("cleatd took %d steps, etcd %d", len(got), len(want))
	}
}

// against says how an entry differs from etcd's, or nothing.
func (e entry) against(want entry) string {
	switch {
	case e.step != want.step:
		return fmt.Sprintf("the sides did different things\ncleatd: %s\n  etcd: %s", e.step, want.step)
	case e.excuse != "" && e.outcome == want.outcome:
		return fmt.Sprintf("%s\nno longer needs the exception %q: both %s", e.step, e.excuse, e.outcome)
	case e.excuse == "" && e.outcome != want.outcome:
		return fmt.Sprintf("%s\ncleatd: %s\n  etcd: %s", e.step, e.outcome, want.outcome)
	}
	return ""
}

// The comparison itself finds what it is for.
func TestADifferenceIsFound(t *testing.T) {
	same := entry{step: "put", outcome: "done"}
	cases := map[string]struct {
		got, want entry
		says      string
	}{
		"the same":                     {same, same, ""},
		"another outcome":              {entry{step: "put", outcome: "refused"}, same, "cleatd: refused"},
		"another step":                 {entry{step: "get", outcome: "done"}, same, "different things"},
		"an outcome that is excused":   {entry{step: "put", outcome: "refused", excuse: "x"}, same, ""},
		"an excuse no longer needed":   {entry{step: "put", outcome: "done", excuse: "x"}, same, "no longer needs"},
		"another step that is excused": {entry{step: "get", outcome: "x", excuse: "x"}, same, "different things"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			said := c.got.against(c.want)
			if (said == "") != (c.says == "") || !strings.Contains(said, c.says) {
				t.Errorf("said %q, want %q", said, c.says)
			}
		})
	}
}
