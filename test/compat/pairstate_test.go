// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// marker is put and deleted, so that whoever watches that far is told of it.
const marker = "m"

// asRoot goes on as who may do everything.
func (p *pair) asRoot(t testing.TB) {
	t.Helper()
	p.actor = "root"
	if p.enabled && p.tokens["root"][0] == "" {
		p.step(t, &pb.AuthenticateRequest{Name: "root", Password: "root"})
	}
}

// compareState compares all that is kept, and how it is found.
func (g *generator) compareState(t testing.TB) {
	t.Helper()
	g.asRoot(t)
	for _, r := range []proto.Message{
		put(marker, ""), del(marker, ""), everything(), &pb.LeaseLeasesRequest{},
		&pb.AuthStatusRequest{}, &pb.AuthUserListRequest{}, &pb.AuthRoleListRequest{},
	} {
		g.step(t, r)
	}
	g.step(t, &pb.HashKVRequest{})
	g.step(t, &pb.HashKVRequest{Revision: g.revision - (g.revision-g.compacted-1)/2})
	for id := range int64(leases) {
		g.step(t, &pb.LeaseTimeToLiveRequest{ID: id + 1, Keys: true})
	}
	for _, name := range slices.Compact(slices.Clone(users)) {
		g.step(t, &pb.AuthUserGetRequest{Name: name})
	}
	for _, name := range slices.Compact(slices.Clone(roles)) {
		g.step(t, &pb.AuthRoleGetRequest{Role: name})
	}
	for range 2 {
		g.compareHistory(t)
	}
}

// compareHistory watches what is kept of the history go by, from somewhere on.
func (g *generator) compareHistory(t testing.TB) {
	t.Helper()
	r := &pb.WatchCreateRequest{
		Key: []byte(keys[g.IntN(len(keys)-1)]), RangeEnd: []byte{0}, PrevKv: g.chance(2), Fragment: g.chance(2),
		StartRevision: max(g.compacted, 1) + g.Int64N(g.revision-1-g.compacted),
	}
	last := g.revision
	switch g.IntN(3) {
	case 0:
		r.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}
	case 1:
		r.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}
		last--
	}
	var told [2][]*mvccpb.Event
	for i := range g.sides {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		w, _, err := creation(g.bearing(ctx, i), g.sides[i], r)
		if err != nil {
			t.Fatal(err)
		}
		told[i] = g.listen(t, i, w, last)
		cancel()
	}
	sameEvents(t, describe(r), told[1], told[0])
}

// compareSnapshots compares what the two write into their snapshots: key for
// key, since the pages of the files are each one's own.
func (p *pair) compareSnapshots(t testing.TB) {
	t.Helper()
	p.asRoot(t)
	// What a compaction removes, etcd removes later.
	p.step(t, &pb.CompactionRequest{Revision: p.revision - 1, Physical: true})
	want, got := p.snapshot(t, 0), p.snapshot(t, 1)
	// Until it has first said yes etcd leaves out what says no.
	enabled := hex.EncodeToString([]byte("authEnabled"))
	if _, said := want["auth"][enabled]; !said {
		want["auth"][enabled] = `"\x00"`
	}
	for _, name := range sortedKeys(want) {
		if !slices.Contains([]string{"key", "lease", "alarm", "auth", "authUsers", "authRoles"}, name) {
			continue
		}
		if !maps.Equal(got[name], want[name]) {
			t.Errorf("the bucket %s of the snapshot at revision %d\ncleatd: %v\n  etcd: %v", name, p.revision, got[name], want[name])
		}
	}
}

// snapshot returns the buckets of a side's snapshot.
func (p *pair) snapshot(t testing.TB, i int) map[string]map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := pb.NewMaintenanceClient(p.sides[i].conn).Snapshot(p.bearing(ctx, i), &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "snapshot.db")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			_, err = file.Write(m.Blob)
		}
		if err != nil {
			t.Fatalf("%s: snapshot: %v", p.sides[i].name, err)
		}
	}
	defer os.Remove(path)
	return buckets(t, path)
}

// salted is a password's hash, of which no two are alike.
var salted = regexp.MustCompile(`\$2a\$04\$[./0-9A-Za-z]{53}`)

func buckets(t testing.TB, path string) map[string]map[string]string {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := make(map[string]map[string]string)
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			all[string(name)] = make(map[string]string)
			return b.ForEach(func(k, v []byte) error {
				all[string(name)][hex.EncodeToString(k)] = salted.ReplaceAllString(fmt.Sprintf("%q", v), "a hash")
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
