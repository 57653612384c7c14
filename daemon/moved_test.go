// SPDX-License-Identifier: Apache-2.0

//go:build !race

// hraft replaces what it knows of a member whose address changes under a lock,
// and reads that member's id without it. Both have the same bytes, so nothing
// comes of it; the race detector sees it all the same.

package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/cleatd/cleat/admin"
)

// forward opens another way to an address.
func forward(t *testing.T, to string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // closed already when all went well
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("tcp", to)
			if err != nil {
				_ = from.Close()
				continue
			}
			go func() { _, _ = io.Copy(back, from); _ = back.Close() }() // they end with either side
			go func() { _, _ = io.Copy(from, back); _ = from.Close() }()
		}
	}()
	return l
}

// It is asked all the while, and comes back where it was said to be.
func TestARunningMemberIsGivenAnotherAddress(t *testing.T) {
	members := leaderFirst(t)
	moved := members[1]
	way := forward(t, moved.d.peerAddress())
	urls := []string{"https://" + way.Addr().String()}
	if _, err := members[2].client.MemberUpdate(within(t), moved.d.dir.memberID(), urls); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		for _, l := range members {
			if _, err := l.client.Put(within(t), "k", l.d.config().Name); err != nil {
				t.Fatal(err)
			}
			if m := l.list()[moved.d.config().Name]; !slices.Equal(m.peer, urls) || m.learner {
				t.Fatalf("%s sees it as %+v", l.d.config().Name, m)
			}
		}
	}
	o := Options{Config: *moved.d.config(), Level: moved.d.level, Logger: moved.d.log}
	o.Config.ListenPeer = way.Addr().String()
	if err := errors.Join(moved.end(), way.Close()); err != nil {
		t.Fatal(err)
	}
	moved = begin(t, o)
	if err := errors.Join(members[0].put("k", 10), second(moved.client.Get(within(t), "k"))); err != nil {
		t.Fatal(err) // it is not reached again
	}
	if err := members[2].end(); err != nil {
		t.Fatal(err)
	}
	if _, err := members[0].client.Put(within(t), "k", "by two"); err != nil { // which takes the one that moved
		t.Fatal(err)
	}
	if m := moved.list()[o.Config.Name]; !slices.Equal(m.peer, urls) {
		t.Errorf("it sees itself as %+v", m)
	}
}

func second[T any](_ T, err error) error { return err }

// The others find a member whose peer door has moved, and its new host is in its
// certificate.
func TestAMemberOfSeveralMovesWithoutAStart(t *testing.T) {
	one := begin(t, advertised(t, "one"))
	two := beginReloading(t, advertised(t, "two"))
	two.join(one.invite(new(admin.InviteRequest)))
	two.voter()
	o := two.with(func(c *Config) { c.Advertise, c.ListenPeer = "localhost", "localhost:0" })
	if o.err != nil || len(o.changed) == 0 || o.waiting != nil {
		t.Fatalf("%+v", o)
	}
	urls := []string{"https://" + two.d.peerAddress()}
	if !strings.HasPrefix(urls[0], "https://localhost:") {
		t.Errorf("it is at %v", urls)
	}
	if err := two.until(func() error {
		if m := one.list()["two"]; m == nil || !slices.Equal(m.peer, urls) {
			return fmt.Errorf("the other knows %+v, want %v", m, urls)
		}
		for _, m := range one.d.node.Members() {
			if m.ID == two.d.dir.memberID() && "https://"+m.Address != urls[0] {
				return fmt.Errorf("raft has it at %s", m.Address)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(one.put("k", 10), second(two.client.Get(within(t), "k"))); err != nil {
		t.Error(err)
	}
}
