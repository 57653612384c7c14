// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// place is where in a cluster a body is asked to go.
type place struct {
	name   string
	pick   func(leader int) int
	door   int // of cleatd
	bodies []body
}

var places = []place{
	{"leader", func(leader int) int { return leader }, atSocket, asAlone},
	{"follower", func(leader int) int { return (leader + 1) % members }, atPort, append(asAlone, besides...)},
}

type body struct {
	name string
	run  func(*side)
}

// asAlone is what a member of a cluster answers as one that is alone does: at
// least one of each request.
var asAlone = []body{
	{"puts", puts}, {"leased puts", leasedPuts}, {"deletions", deletions}, {"operations", operations}, {"nested", nestedTxns}, {"compactions", compactions}, {"sizes", oversized},
	{"grants", grants}, {"revocations", revocations}, {"lists of leases", leaseLists}, {"keep-alives", keepAlives},
	{"watch responses", watchResponses}, {"watch starts", watchStarts}, {"previous values", previousValues}, {"compacted watches", compactedWatches}, {"progress", progressNotices},
	{"metadata", statedMetadata}, {"status", memberStatus}, {"upkeep", upkeep}, {"probes", probes}, {"alarms", alarmed},
	{"gateway leases", gatewayLeases}, {"gateway watches", gatewayWatches}, {"gateway recipes", gatewayRecipes},
	{"locks", locks}, {"elections", elections}, {"observations", observations}, {"client requests", clientRequests}, {"client watches", clientWatches},
	{"auth management", authManagement}, {"logins", logins}, {"auth leases", authLeases}, {"auth client", authClient},
}

// besides is what is left out at a leader, who is hardly another than one who
// is alone.
var besides = []body{
	{"refused puts", refusedPuts}, {"windows", windowsOfHistory}, {"pieces", piecesOfHistory}, {"failing", failingTxns}, {"comparisons", comparisons},
	{"revocation of many", revocationOfMany}, {"watch ids", watchIDs}, {"filters", filteredWatches}, {"odd watches", oddWatches},
	{"downgrades", downgrades}, {"health", healthService}, {"snapshot", snapshotPieces}, {"gateway keys", gatewayKeys},
	{"lost locks", lostLocks}, {"mixed recipes", mixedRecipes}, {"client concurrency", clientConcurrency},
	{"auth keys", authKeys}, {"auth transactions", authTransactions}, {"auth watches", authWatches}, {"auth administration", authAdministration}, {"auth gateway", authGateway},
}

// A member of a cluster answers as etcd's does, be it the leader or one that
// asks it.
func TestBodiesInACluster(t *testing.T) {
	t.Parallel()
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			w := startTwins(t, cheap...)
			for _, b := range at.bodies {
				if !t.Run(b.name, func(t *testing.T) { w.alike(t, at, b.run) }) {
					w = startTwins(t, cheap...) // these may no longer have the same history
				}
			}
		})
	}
}

// alike runs a body at a place of both, one after the other. Afterwards all
// members of both must have the same keys.
func (w *twins) alike(t *testing.T, at place, run func(*side)) {
	t.Helper()
	var said [2][]entry
	for i, c := range []*cluster{w.want, w.got} {
		s := c.visit(t, at.pick(c.leader()), at.door)
		run(s)
		said[i] = append(s.transcript, c.clear(t)...)
	}
	compare(t, said[1], said[0])
}

// windowsOfHistory asks for windows with every option.
func windowsOfHistory(s *side) {
	history(s)
	for _, w := range windows[:6] {
		for _, name := range sortedKeys(options) {
			r := get(w.key, w.end)
			options[name](r)
			s.ask(r)
		}
	}
}

// piecesOfHistory asks for them as streams.
func piecesOfHistory(s *side) {
	history(s)
	for _, name := range sortedKeys(options) {
		if r := get("a", "\x00"); name != "by value" {
			options[name](r)
			s.askStream(r)
		}
	}
}

// oversized is larger than what is agreed upon may be, and nearly so.
func oversized(s *side) {
	s.ask(&pb.PutRequest{Key: []byte("a"), Value: sized(maxRequest - 128)}, &pb.PutRequest{Key: []byte("a"), Value: sized(maxRequest)}, everything())
}
