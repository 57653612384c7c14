// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/raft"
)

// connect opens a connection between two members that nobody uses.
func (l *life) connect(to *life) (net.Conn, error) {
	return l.d.peers.Dial(within(l.t), to.d.dir.memberID(), to.d.peerAddress())
}

// A member that was removed may not know, or not want to: it is cut off by the
// others, both ways, and gets in nowhere with its certificate.
func TestWhoWasRemovedIsCutOffEvenIfItStays(t *testing.T) {
	members := threeOf(t, func(o *Options) { o.faults.stays = true })
	gone, others := members[2], members[:2]
	var links []net.Conn
	for _, other := range others {
		for _, way := range [][2]*life{{gone, other}, {other, gone}} {
			link, err := way[0].connect(way[1])
			if err != nil {
				t.Fatal(err)
			}
			links = append(links, link)
		}
		if _, err := other.client.Put(within(t), "k", "v"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := gone.client.Put(within(t), "k", "v"); err != nil { // which makes it call the leader
		t.Fatal(err)
	}

	began := time.Now()
	if _, err := others[0].client.MemberRemove(within(t), gone.d.dir.memberID()); err != nil {
		t.Fatal(err)
	}
	told := time.Since(began)
	for _, link := range links {
		_ = link.SetReadDeadline(time.Now().Add(patience)) // a link that is cut says so at the read
		if _, err := link.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection is open still: %v", err)
		}
		_ = link.Close() // this end of it
	}
	gone.reports(func(*admin.StatusResponse) error { return gone.unconnected() })
	t.Logf("removed after %v, cut off everywhere after %v", told, time.Since(began))

	for _, other := range others {
		if link, err := gone.connect(other); err == nil { // TLS 1.3 tells it to who reads
			if n, err := link.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s lets it in: %d bytes, %v", other.d.config().Name, n, err)
			}
		}
		_, err := gone.d.peers.Call(within(t), other.d.dir.memberID(), other.d.peerAddress(), nil)
		if !errors.Is(err, raft.ErrUnreached) {
			t.Errorf("%s hears it: %v", other.d.config().Name, err)
		}
		if _, err := other.connect(gone); err == nil {
			t.Errorf("%s comes to it", other.d.config().Name)
		}
		if _, err := other.client.Put(within(t), "k", "w"); err != nil {
			t.Error(err)
		}
	}
}

// unconnected returns an error while the member has a connection to any other.
func (l *life) unconnected() error {
	if n := l.metric("cleat_peer_connections"); n != 0 {
		return fmt.Errorf("%v connections", n)
	}
	return nil
}

// metric is a counter or gauge of a member, the sum of all its labels.
func (l *life) metric(name string) float64 {
	l.t.Helper()
	families, err := l.d.registry.Gather()
	if err != nil {
		l.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
