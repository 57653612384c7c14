// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"cmp"
	"context"
	"crypto/x509"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Whatever the CA does or refuses is told twice: as a line of this member's log,
// and as a record in the ledger, which every member shows. A record is made
// behind the act (chronicle.go), so that neither fails by it nor waits for it.

// Act is a kind of event.
type Act string

// The acts.
const (
	ActIssue  Act = "issue"  // a certificate was issued
	ActRenew  Act = "renew"  // a certificate took another's place
	ActRefuse Act = "refuse" // somebody was turned away
	ActRevoke Act = "revoke" // a certificate or token was ended before its time
	ActInvite Act = "invite" // a token was made
	ActJoin   Act = "join"   // a machine was let in with a token
	ActRotate Act = "rotate" // a step in the change of the root or intermediate
	ActKeys   Act = "keys"   // the CA's keys: locked, unlocked, sealed anew, exported, imported
)

// maxEventText bounds each text of an event, some of which strangers choose.
const maxEventText = 256

// Event is one thing that the CA did or refused. It has no secrets: of a token it
// has the beginning of its id, which is a hash. Fields that say nothing are left
// empty.
type Event struct {
	Time     time.Time `json:"time"`     // zero: now
	Member   uint64    `json:"member"`   // at which it happened; Audit sets it
	Sequence uint64    `json:"sequence"` // of the member's events of the kind; set when it is recorded
	Act      Act       `json:"act"`
	What     string    `json:"what"` // for people, and the message of the log's line
	By       string    `json:"by,omitempty"`
	Name     string    `json:"name,omitempty"` // of the certificate or the machine
	Profile  Profile   `json:"profile,omitempty"`
	Serial   string    `json:"serial,omitempty"` // in decimal digits
	NotAfter time.Time `json:"not_after,omitzero"`
	Subject  uint64    `json:"subject,omitempty"` // the member that it is about
	Token    string    `json:"token,omitempty"`   // the beginning of its id
	Door     string    `json:"door,omitempty"`    // where somebody was refused
	Remote   string    `json:"remote,omitempty"`  // the address of who was refused
	Reason   string    `json:"reason,omitempty"`  // in one word
	Detail   string    `json:"detail,omitempty"`  // in a sentence
	Count    int       `json:"count,omitempty"`   // how many it stands for, if not one
}

// Audit tells of an event in the log and records it soon, without waiting. It
// cannot fail: what cannot be recorded is tried again for as long as Run lasts.
func (a *Authority) Audit(ctx context.Context, e Event) {
	e = a.complete(e)
	level := slog.LevelInfo
	if e.Act == ActRefuse {
		level = slog.LevelWarn
	}
	a.log.LogAttrs(ctx, level, e.What, e.attributes()...)
	a.chronicle.add(e)
}

// noteIdentity records what became of this member's own certificate, of which the
// log has told.
func (a *Authority) noteIdentity(act Act, what, detail string) {
	e := eventOf(act, what, a.current.Load().certificate.Leaf)
	e.Detail = detail
	a.chronicle.add(a.complete(e))
}

func (a *Authority) complete(e Event) Event {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time, e.Member = e.Time.UTC(), a.config.MemberID
	for _, text := range []*string{&e.What, &e.By, &e.Name, &e.Serial, &e.Token, &e.Door, &e.Remote, &e.Reason, &e.Detail} {
		*text = shorten(*text, maxEventText)
	}
	return e
}

// shorten cuts a text between two characters.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "")
}

// eventOf tells of a certificate.
func eventOf(act Act, what string, leaf *x509.Certificate) Event {
	e := Event{
		Act: act, What: what, Name: leaf.Subject.CommonName, Profile: profileHeld(leaf),
		Serial: leaf.SerialNumber.String(), NotAfter: leaf.NotAfter.UTC(),
	}
	if e.Name == "" && len(leaf.DNSNames) != 0 {
		e.Name = leaf.DNSNames[0]
	}
	if member, err := memberOf(leaf); err == nil {
		e.Subject = member
	}
	return e
}

// attributes are the fields that say something, by the words that the log uses
// everywhere.
func (e Event) attributes() []slog.Attr {
	var out []slog.Attr
	for _, text := range []struct{ key, value string }{
		{"profile", string(e.Profile)}, {"name", e.Name}, {"serial", e.Serial}, {"by", e.By}, {"token", e.Token},
		{"door", e.Door}, {"reason", e.Reason}, {"remote", e.Remote}, {"detail", e.Detail},
	} {
		if text.value != "" {
			out = append(out, slog.String(text.key, text.value))
		}
	}
	if e.Subject != 0 {
		out = append(out, slog.String("member", hexID(e.Subject)))
	}
	if !e.NotAfter.IsZero() {
		out = append(out, slog.Time("not_after", e.NotAfter))
	}
	if e.Count > 1 {
		out = append(out, slog.Int("count", e.Count))
	}
	return out
}

// Events returns what was recorded on all members since then, oldest first, this
// member's own up to now. Its error is the ledger's.
func (a *Authority) Events(ctx context.Context, since time.Time) ([]Event, error) {
	if err := a.chronicle.flush(ctx); err != nil {
		return nil, err
	}
	items, err := a.config.Ledger.List(ctx, auditBucket, nil)
	if err != nil {
		return nil, err
	}
	return eventsOf(items, since), nil
}

func eventsOf(items []Item, since time.Time) []Event {
	var out []Event
	for _, item := range items {
		if e := decodeEvent(item.Value); !e.Time.Before(since) {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Member, b.Member), cmp.Compare(a.Sequence, b.Sequence))
	})
	return out
}

// EventsChanged returns a channel that is closed when this member's state has
// other events than now. It is never closed without Config.Replica.
func (a *Authority) EventsChanged() <-chan struct{} {
	if a.config.Replica == nil {
		return nil
	}
	return a.config.Replica.Changed(auditBucket)
}
