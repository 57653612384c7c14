// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stream keeps a stream of raft's messages to a member open as raft does: it
// dials again when it is cut, which takes a while.
type stream struct {
	door    *Door
	member  uint64
	life    time.Duration // of each certificate
	takes   time.Duration // to dial
	opened  atomic.Int64
	missing *atomic.Int64 // streams that are not there now
	worst   *atomic.Int64 // the most that were missing at once
}

func (s *stream) run() {
	for {
		near, far := net.Pipe()
		l := &link{
			Conn: near, raw: near, member: s.member, protocol: raftProtocol, dialed: true,
			opened: time.Now(), until: time.Now().Add(s.life),
		}
		if s.opened.Add(1) > 1 { // it is there before the door hears of it, which may cut another at once
			s.missing.Add(-1)
		}
		if err := s.door.links.add(l); err != nil {
			_ = near.Close()
			return // the door is closed
		}
		_, _ = far.Read(make([]byte, 1)) // returns when it is cut
		s.worst.Store(max(s.worst.Load(), s.missing.Add(1)))
		time.Sleep(s.takes)
	}
}

// All certificates end at the same moment, again and again: the streams are
// replaced before it, and one by one.
func TestStreamsAreMadeAnewOneAtATimeBeforeTheirCertificatesEnd(t *testing.T) {
	for name, life := range map[string]time.Duration{"lives of a minute": time.Minute, "lives of an hour": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := New(slog.New(slog.DiscardHandler), nil)
				d.work.Go(d.remake)
				var missing, worst atomic.Int64
				var streams []*stream
				for member := range uint64(4) {
					s := &stream{door: d, member: member + 1, life: life, takes: 200 * time.Millisecond, missing: &missing, worst: &worst}
					streams = append(streams, s)
					d.work.Go(s.run)
				}
				time.Sleep(5 * life)
				if n := d.links.expired.Load(); n != 0 {
					t.Errorf("%d streams were cut by their certificates", n)
				}
				if n := worst.Load(); n != 1 {
					t.Errorf("%d streams were missing at once", n)
				}
				for _, s := range streams {
					if n := s.opened.Load(); n < 5 || n > 8 {
						t.Errorf("member %d was dialed %d times in 5 lives", s.member, n)
					}
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A stream that nobody wants any more keeps the others waiting, but not for
// longer than they have.
func TestAStreamThatIsNotDialedAgainHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(slog.New(slog.DiscardHandler), nil)
		d.work.Go(d.remake)
		for member := range uint64(4) {
			near, _ := net.Pipe()
			err := d.links.add(&link{
				Conn: near, raw: near, member: member + 1, protocol: raftProtocol, dialed: true,
				opened: time.Now(), until: time.Now().Add(4 * time.Second),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		if n := d.links.expired.Load(); n != 0 {
			t.Errorf("%d streams were cut by their certificates", n)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}
