// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// acts are what the events tell, in their order.
func acts(t *testing.T, a *Authority) []string {
	t.Helper()
	events, err := a.Events(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range events {
		out = append(out, fmt.Sprintf("%s: %s", e.Act, e.What))
	}
	return out
}

func TestWhatTheCADoesIsShownOnEveryMember(t *testing.T) {
	green := open(t, testConfig(t))
	token, _, err := green.Invite(t.Context(), Invitation{Uses: 2, By: "green"})
	if err != nil {
		t.Fatal(err)
	}
	j := join(t, token)
	m := admit(t, green, j, 2)
	if err := j.Accept(m); err != nil {
		t.Fatal(err)
	}
	blue := open(t, newcomer(green, j, m))
	alice := issue(t, green, Client, named("alice"))
	if _, err := green.Revoke(t.Context(), Revocable{Which: "alice", Reason: "key-compromise", By: "green"}); err != nil {
		t.Fatal(err)
	}
	if _, err := green.RevokeToken(t.Context(), token.ID()); err != nil {
		t.Fatal(err)
	}
	blue.Refused(t.Context(), Denial{Door: "client", Reason: ReasonExpired, Remote: "10.0.0.9:4711", Err: errors.New("expired")})
	want := []string{
		"issue: certificate made", "invite: token made", "join: member admitted", "issue: certificate issued",
		"revoke: certificate revoked", "revoke: token revoked", "refuse: connection refused",
	}
	acts(t, green) // which records what green waits with
	for _, a := range []*Authority{blue, green} {
		if got := acts(t, a); !slices.Equal(got, want) {
			t.Errorf("member %d shows %q, want %q", a.config.MemberID, got, want)
		}
	}
	events, err := blue.Events(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	admitted, revoked, refused := events[2], events[4], events[6]
	if admitted.Member != 1 || admitted.Subject != 2 || admitted.Token != token.ID()[:16] || admitted.Profile != Peer {
		t.Errorf("admitted: %+v", admitted)
	}
	if revoked.Serial != alice.Leaf.SerialNumber.String() || revoked.Name != "alice" || revoked.Reason != "key-compromise" || revoked.By != "green" {
		t.Errorf("revoked: %+v", revoked)
	}
	if refused.Member != 2 || refused.Door != "client" || refused.Remote != "10.0.0.9:4711" || refused.Detail != "expired" {
		t.Errorf("refused: %+v", refused)
	}
	if late, err := green.Events(t.Context(), revoked.Time.Add(time.Nanosecond)); err != nil || len(late) != 2 {
		t.Errorf("since the revocation: %+v, %v", late, err)
	}
}

func TestNoSecretIsInTheAuditNorInItsLines(t *testing.T) {
	said := new(journal)
	c := testConfig(t)
	ledger := newLedger()
	c.Ledger, c.Logger = ledger, slog.New(slog.NewTextHandler(said, nil))
	a := open(t, c)
	token, _, err := a.Invite(t.Context(), Invitation{})
	if err != nil {
		t.Fatal(err)
	}
	j := join(t, token)
	m := admit(t, a, j, 2)
	a.Refused(t.Context(), Denial{Door: "join", Reason: ReasonNotAdmitted, Token: token.ID()[:16], Err: errors.New("no")})
	issue(t, a, Client, named("alice"))
	acts(t, a)

	text := said.String()
	items, err := ledger.List(t.Context(), auditBucket, nil)
	if err != nil || len(items) != 5 {
		t.Fatalf("%d records, %v", len(items), err)
	}
	for _, item := range items {
		text += string(item.Value)
	}
	key, _ := pem.Decode(m.ClusterKey)
	identity, err := os.ReadFile(a.identityPath())
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"the token": token.Text(), "its secret": base64url.EncodeToString(token.secret[:]), "its secret in hex": hex.EncodeToString(token.secret[:]),
		"the token's whole id": token.ID(), "the cluster key": strings.TrimSpace(string(m.ClusterKey)),
		"the cluster key in hex": hex.EncodeToString(key.Bytes), "the cluster key in base64": base64.StdEncoding.EncodeToString(key.Bytes),
		"a private key": "PRIVATE KEY", "the member's key": strings.Split(string(identity), "\n")[1],
	}
	for what, secret := range secrets {
		if secret == "" || strings.Contains(text, secret) {
			t.Errorf("%s is told", what)
		}
	}
}

func TestStrangersFillNeitherTheLogNorTheRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := new(journal)
		c := testConfig(t)
		ledger := newLedger()
		c.Ledger, c.Logger = ledger, slog.New(slog.NewTextHandler(said, nil))
		a := open(t, c)
		run(t, a)
		pass(time.Second)
		for i := range 1000 {
			a.Refused(t.Context(), Denial{
				Door: "client", Reason: ReasonUnknownAuthority, Remote: fmt.Sprint("10.0.0.", i%200), Err: errors.New(strings.Repeat("x", 10_000)),
			})
			a.Refused(t.Context(), Denial{Door: "client", Reason: "plaintext", Err: errors.New("no TLS")})
		}
		pass(2 * refusalsTold)
		if n := strings.Count(said.String(), `msg="connection refused"`); n != 2*refusalsEach {
			t.Errorf("%d lines of single refusals, want %d", n, 2*refusalsEach)
		}
		if n := strings.Count(said.String(), `msg="more were refused"`); n != 2 || !strings.Contains(said.String(), "count=999") {
			t.Errorf("%d lines that count the others, want 2, with 999", n)
		}
		events, err := a.Events(t.Context(), time.Time{})
		if err != nil || len(events) != 3 || events[1].Remote != "10.0.0.0" || events[2].Count != 999 {
			t.Errorf("records %+v, %v; want the first refusal, and one that counts 999", events, err)
		}
		if n := len(events[1].Detail); n > maxEventText {
			t.Errorf("a stranger's text of %d bytes is kept", n)
		}
		a.Refused(t.Context(), Denial{Door: "client", Reason: ReasonUnknownAuthority, Err: errors.New("again")})
		pass(time.Second)
		if got := acts(t, a); len(got) != 4 {
			t.Errorf("the next minute's first refusal is not recorded: %q", got)
		}
	})
}

func TestRecordsTakeABoundedRoomAndRareOnesStay(t *testing.T) {
	c := testConfig(t)
	ledger := newLedger()
	c.Ledger = ledger
	a := open(t, c)
	a.Audit(t.Context(), Event{Act: ActRotate, What: "root replaced"})
	slots := int(ActRefuse.ring().slots)
	for round := range 2 {
		for i := range slots {
			a.Audit(t.Context(), Event{Act: ActRefuse, What: "refused", Count: round*slots + i})
		}
		acts(t, a)
		if round == 0 {
			a = open(t, c) // which goes on where it was
		}
	}
	a.Audit(t.Context(), Event{Act: ActRefuse, What: "refused", Count: 2 * slots})
	events, err := a.Events(t.Context(), time.Time{})
	if err != nil || len(events) != slots+2 {
		t.Fatalf("%d events, %v, want %d", len(events), err, slots+2)
	}
	if events[0].Act != ActIssue || events[1].Act != ActRotate {
		t.Errorf("what is rare was pushed out: first are %+v", events[:2])
	}
	for i, e := range events[2:] {
		if e.Count != slots+1+i {
			t.Fatalf("event %d counts %d, want %d: the oldest goes first", i, e.Count, slots+1+i)
		}
	}
	for at, until := range ledger.ends {
		if strings.HasPrefix(at, auditBucket) && until.After(time.Now().Add(auditKept)) {
			t.Errorf("%q is kept until %v", at, until)
		}
	}
	if n := ledger.count(t, auditBucket); n != slots+2 {
		t.Errorf("%d records in the ledger", n)
	}
}

func TestEventsAreRecordedInOrderWhenThereIsAQuorumAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		ledger := newLedger()
		c.Ledger = ledger
		a := open(t, c)
		run(t, a)
		acts(t, a)
		ledger.fail(errLedger)
		for i := range waitingMost + 7 {
			a.Audit(t.Context(), Event{Act: ActIssue, What: "issued", Count: i})
		}
		pass(10 * time.Minute)
		ledger.fail(nil)
		pass(2 * lastRecord)
		events, err := a.Events(t.Context(), time.Time{})
		if err != nil || len(events) != waitingMost+1 {
			t.Fatalf("%d events, %v, want the newest %d", len(events), err, waitingMost)
		}
		for i, e := range events[1:] {
			if e.Count != i+7 || e.Sequence != uint64(i+1) {
				t.Fatalf("event %d is %+v", i, e)
			}
		}
	})
}

func TestACommitWhoseOutcomeIsUnknownRecordsOnce(t *testing.T) {
	c := testConfig(t)
	ledger := newLedger()
	c.Ledger = ledger
	a := open(t, c)
	acts(t, a)
	a.Audit(t.Context(), Event{Act: ActKeys, What: "locked"})
	ledger.failAt, ledger.failAfter = ledger.calls+1, true // the commit
	if err := a.chronicle.flush(t.Context()); !errors.Is(err, errLedger) {
		t.Fatal(err)
	}
	if got := acts(t, a); len(got) != 2 {
		t.Errorf("recorded %q", got)
	}
}
