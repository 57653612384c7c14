// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

const (
	// eventsAtOnce bounds one message of an audit.
	eventsAtOnce = 500
	// auditPause is how soon a reader who follows is told of what comes next: all
	// records are read for that.
	auditPause = 200 * time.Millisecond
)

// Audit tells what the CA did and refused.
func (s *Server) Audit(r *admin.AuditRequest, out grpc.ServerStreamingServer[admin.AuditResponse]) error {
	var since time.Time
	if r.Since != nil {
		since = r.Since.AsTime()
	}
	told := newest{}
	for {
		changed := s.config.Authority.EventsChanged()
		events, err := s.config.Authority.Events(out.Context(), since)
		if err != nil {
			return fault(s.log, "Audit", err)
		}
		if err := sendEvents(out, told.fresh(events)); err != nil || !r.Follow {
			return err
		}
		if err := awaitEvents(out.Context(), changed); err != nil {
			return fault(s.log, "Audit", err)
		}
	}
}

// awaitEvents returns when there may be more to tell, a pause after what was told
// last.
func awaitEvents(ctx context.Context, changed <-chan struct{}) error {
	pause := time.NewTimer(auditPause)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-pause.C:
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
		return nil
	}
}

func sendEvents(out grpc.ServerStreamingServer[admin.AuditResponse], events []pki.Event) error {
	for len(events) > 0 {
		n := min(len(events), eventsAtOnce)
		reply := new(admin.AuditResponse)
		for _, e := range events[:n] {
			reply.Events = append(reply.Events, eventForm(e))
		}
		if err := out.Send(reply); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// newest are the sequences that were told last, by the member and the kind of
// event that count together.
type newest map[line]uint64

type line struct {
	member uint64
	ring   string
}

// fresh are the events that were not told yet.
func (n newest) fresh(events []pki.Event) []pki.Event {
	var out []pki.Event
	for _, e := range events {
		at := line{e.Member, e.Act.Ring()}
		if last, told := n[at]; told && e.Sequence <= last {
			continue
		}
		out = append(out, e)
	}
	for _, e := range out {
		at := line{e.Member, e.Act.Ring()}
		n[at] = max(n[at], e.Sequence)
	}
	return out
}

func eventForm(e pki.Event) *admin.AuditEvent {
	form := &admin.AuditEvent{
		Time: timestamppb.New(e.Time), Member: e.Member, Act: string(e.Act), What: e.What, By: e.By,
		Name: e.Name, Profile: string(e.Profile), Serial: e.Serial, Subject: e.Subject, Token: e.Token,
		Door: e.Door, Remote: e.Remote, Reason: e.Reason, Detail: e.Detail, Count: int64(e.Count),
	}
	if !e.NotAfter.IsZero() {
		form.NotAfter = timestamppb.New(e.NotAfter)
	}
	return form
}
