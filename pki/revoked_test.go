// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// heedfulConfig is testConfig of a member that follows what its state has.
func heedfulConfig(t testing.TB) Config {
	t.Helper()
	c := testConfig(t)
	c.Replica = nearLedger{replica{c.Ledger.(*memoryLedger)}}
	return c
}

// follow has a keep up with its state until the test ends.
func follow(t *testing.T, a *Authority) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Follow(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// revoke revokes and waits until a has heard of it.
func revoke(t *testing.T, a *Authority, which string) []Issued {
	t.Helper()
	changed := a.RevocationsChanged()
	done, err := a.Revoke(t.Context(), Revocable{Which: which})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("nobody is told")
	}
	return done
}

func TestARevokedCertificateOpensNoDoor(t *testing.T) {
	c := heedfulConfig(t)
	green := open(t, c)
	follow(t, green)
	blue := colleague(t, green, 2)
	alice, again, bob := issue(t, green, Client, named("alice")), issue(t, green, Client, named("alice")), issue(t, green, Client, named("bob"))

	if green.Revoked(alice.Leaf) {
		t.Error("revoked before it was")
	}
	if done := revoke(t, green, "alice"); len(done) != 2 {
		t.Errorf("%d certificates were revoked, want both of alice", len(done))
	}
	revoke(t, green, fmt.Sprintf("%x", leafOf(blue).SerialNumber)) // as openssl writes it

	atTheDoor, _ := accept(t, green.ClientDoor(), clientConfig(green, &alice))
	another, _ := accept(t, green.ClientDoor(), clientConfig(green, &again))
	asAMember, _ := accept(t, green.PeerDoor(), blue.PeerDialer(1))
	_, dialled := accept(t, blue.PeerDoor(), green.PeerDialer(2))
	for where, err := range map[string]error{"alice": atTheDoor, "her other": another, "blue at the door": asAMember, "blue dialled": dialled} {
		if RefusalReason(err) != ReasonRevoked {
			t.Errorf("%s: reason %q (%v), want %q", where, RefusalReason(err), err, ReasonRevoked)
		}
	}
	if serverErr, _ := accept(t, green.ClientDoor(), clientConfig(green, &bob)); serverErr != nil {
		t.Errorf("bob: %v", serverErr)
	}
	if !green.Revoked(alice.Leaf) || green.Revoked(bob.Leaf) {
		t.Error("doors are told wrongly whose connections end")
	}
	anew := open(t, c) // a start, which reads what the state has
	if serverErr, _ := accept(t, anew.ClientDoor(), clientConfig(anew, &alice)); RefusalReason(serverErr) != ReasonRevoked {
		t.Errorf("after a restart: %v", serverErr)
	}
}

func TestARevocationIsKeptUntilAfterTheEnd(t *testing.T) {
	c := heedfulConfig(t)
	a := open(t, c)
	alice := issue(t, a, Client, named("alice"))
	if _, err := a.Revoke(t.Context(), Revocable{Which: "alice"}); err != nil {
		t.Fatal(err)
	}
	at := revokedBucket + "\x00" + alice.Leaf.SerialNumber.String()
	if got, want := c.Ledger.(*memoryLedger).ends[at], alice.Leaf.NotAfter.Add(recordGrace); !got.Equal(want) {
		t.Errorf("kept until %v, want %v", got, want)
	}
}

func TestRevokeRefusesWhatMakesNoSense(t *testing.T) {
	a := open(t, heedfulConfig(t))
	signed := signFor(t, a, Client, subject{name: "old"}, -time.Hour, -time.Second)
	for name, test := range map[string]struct {
		Revocable
		want error
	}{
		"nobody":           {Revocable{Which: "nobody"}, ErrCertificateUnknown},
		"nothing":          {Revocable{Which: " "}, ErrCertificateUnknown},
		"a foreign serial": {Revocable{Which: "1234567890"}, ErrCertificateUnknown},
		"a strange reason": {Revocable{Which: "old", Reason: "whim"}, ErrReason},
		"a hold":           {Revocable{Which: "old", Reason: "certificate-hold"}, ErrReason},
		"an expired one":   {Revocable{Which: signed.Leaf.SerialNumber.String()}, ErrCertificateEnded},
	} {
		if _, err := a.Revoke(t.Context(), test.Revocable); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestASecondRevocationLeavesTheFirstAsItWas(t *testing.T) {
	a := open(t, heedfulConfig(t))
	issue(t, a, Client, named("alice"))
	first, err := a.Revoke(t.Context(), Revocable{Which: "alice", Reason: "superseded"})
	if err != nil {
		t.Fatal(err)
	}
	issue(t, a, Client, named("alice"))
	second, err := a.Revoke(t.Context(), Revocable{Which: "alice", Reason: "key-compromise"})
	if err != nil || len(second) != 2 {
		t.Fatalf("%d, %v", len(second), err)
	}
	reasons := map[string]string{}
	for _, i := range second {
		reasons[i.SerialNumber.String()] = i.Revoked.Reason
	}
	if old := first[0].SerialNumber.String(); reasons[old] != "superseded" || len(reasons) != 2 {
		t.Errorf("reasons %v", reasons)
	}
	listed, err := a.ListIssued(t.Context(), func(i Issued) bool { return i.Revoked != nil })
	if err != nil || len(listed) != 2 {
		t.Errorf("listed %d, %v", len(listed), err)
	}
}

func TestAMemberWhoseCertificateIsRevokedMakesItselfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := heedfulConfig(t)
		a := open(t, c)
		run(t, a)
		follow(t, a)
		before := leafOf(a)
		if _, err := a.Revoke(t.Context(), Revocable{Which: before.SerialNumber.String()}); err != nil {
			t.Fatal(err)
		}
		c.Ledger.(*memoryLedger).fail(errLedger) // nobody listens to it any more
		pass(time.Second)
		after := leafOf(a)
		if after.Equal(before) || a.Revoked(after) || !a.Revoked(before) {
			t.Error("it serves with the revoked certificate")
		}
		c.Ledger.(*memoryLedger).fail(nil)
		pass(2 * lastRecord)
		if known, err := a.FindIssued(t.Context(), after.SerialNumber.String()); err != nil || len(known) != 1 {
			t.Errorf("the new one is not recorded: %v", err)
		}

		a.Doubted() // by a member that knows more
		pass(time.Second)
		second := leafOf(a)
		a.Doubted()
		a.Doubted()
		pass(time.Second)
		if second.Equal(after) || !leafOf(a).Equal(second) {
			t.Error("a doubt must replace the certificate, and those right behind it must not")
		}
		pass(2 * doubtPause)
		a.Doubted()
		pass(time.Second)
		if leafOf(a).Equal(second) {
			t.Error("a doubt that stays must replace it again")
		}
	})
}

func TestAMemberDoesNotStartWithACertificateThatWasRevoked(t *testing.T) {
	c := heedfulConfig(t)
	a := open(t, c)
	before := leafOf(a)
	if _, err := a.Revoke(t.Context(), Revocable{Which: before.SerialNumber.String()}); err != nil {
		t.Fatal(err)
	}
	if anew := open(t, c); leafOf(anew).Equal(before) {
		t.Error("it does")
	}
}

// After a crash the state may be older than what this member knew.
func TestWhatWasRevokedIsKnownThoughTheStateIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := heedfulConfig(t)
		a := open(t, c)
		alice := issue(t, a, Client, named("alice"))
		if _, err := a.Revoke(t.Context(), Revocable{Which: "alice"}); err != nil {
			t.Fatal(err)
		}
		if err := a.readReplica(); err != nil {
			t.Fatal(err)
		}
		c.Replica = nearLedger{replica{newLedger()}}
		a = open(t, c)
		follow(t, a)
		if pass(time.Second); !a.Revoked(alice.Leaf) {
			t.Error("it is forgotten")
		}
		pass(time.Until(alice.Leaf.NotAfter) + 2*recordGrace)
		if err := a.readReplica(); err != nil {
			t.Fatal(err)
		}
		if a.Revoked(alice.Leaf) {
			t.Error("it is kept for ever")
		}
		if err := os.WriteFile(a.keptPath(), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, c) // a damaged file is no reason not to start
	})
}

// What a stranger could do with the number of another's certificate.
func TestTheSerialOfAnotherCAsCertificateDoesNotCount(t *testing.T) {
	a, stranger := open(t, heedfulConfig(t)), open(t, testConfig(t))
	issue(t, stranger, Client, named("alice"))
	listed, err := a.ListIssued(t.Context(), nil)
	if err != nil || len(listed) != 1 || listed[0].Profile != Peer || listed[0].Member != 1 {
		t.Errorf("listed %+v, %v, want the member's own", listed, err)
	}
}

// BenchmarkVerifyAmongRevoked is BenchmarkVerify where ten thousand were revoked.
func BenchmarkVerifyAmongRevoked(b *testing.B) {
	a := open(b, heedfulConfig(b))
	alice := issue(b, a, Client, named("alice"))
	set := &serials{all: map[string]int64{}, changed: make(chan struct{})}
	for i := range 10_000 {
		set.all[string(new(big.Int).Lsh(big.NewInt(int64(i+1)), 100).Bytes())] = 0
	}
	a.revoked.set.Store(set)
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{alice.Leaf}}
	for b.Loop() {
		if err := a.verifyClient(state); err != nil {
			b.Fatal(err)
		}
	}
}
