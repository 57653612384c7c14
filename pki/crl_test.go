// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// leadCRL has a make the lists, and serve them, until the test ends.
func leadCRL(t *testing.T, a *Authority) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.LeadCRL(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	follow(t, a)
}

// crlOf is the list that a serves, checked as a program elsewhere would.
func crlOf(t *testing.T, a *Authority) *x509.RevocationList {
	t.Helper()
	der, err := a.CRL("")
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(a.ca().intermediate); err != nil {
		t.Error(err)
	}
	if now := time.Now(); now.Before(list.ThisUpdate) || !now.Before(list.NextUpdate) {
		t.Errorf("it is %v, the list is good from %v to %v", now, list.ThisUpdate, list.NextUpdate)
	}
	return list
}

func wantList(t *testing.T, a *Authority, number int64, serials ...*big.Int) {
	t.Helper()
	list := crlOf(t, a)
	if list.Number.Int64() != number {
		t.Errorf("number %v, want %d", list.Number, number)
	}
	found := map[string]bool{}
	for _, e := range list.RevokedCertificateEntries {
		found[e.SerialNumber.String()] = true
	}
	for _, serial := range serials {
		if !found[serial.String()] {
			t.Errorf("list %d lacks %v", number, serial)
		}
	}
	if len(found) != len(serials) {
		t.Errorf("list %d has %d entries, want %d", number, len(found), len(serials))
	}
}

func TestTheListHasEveryRevocationAndTheNextNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := heedfulConfig(t)
		removed := uint64(0)
		c.Removed = func(member uint64) bool { return member == removed }
		a := open(t, c)
		if _, err := a.CRL(""); !errors.Is(err, ErrNoCRL) {
			t.Errorf("before there is one: %v", err)
		}
		leadCRL(t, a)
		pass(time.Second)
		wantList(t, a, 1)
		alice, bob := issue(t, a, Client, named("alice")), issue(t, a, Client, named("bob"))
		pass(time.Hour)
		wantList(t, a, 1) // nothing has changed
		if _, err := a.Revoke(t.Context(), Revocable{Which: "alice", Reason: "key-compromise"}); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		wantList(t, a, 2, alice.Leaf.SerialNumber)
		if code := crlOf(t, a).RevokedCertificateEntries[0].ReasonCode; code != 1 {
			t.Errorf("reason %d, want 1, a key's compromise", code)
		}
		pass(crlAge)
		wantList(t, a, 3, alice.Leaf.SerialNumber) // it was a day old
		if _, err := a.Revoke(t.Context(), Revocable{Which: "bob"}); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		wantList(t, a, 4, alice.Leaf.SerialNumber, bob.Leaf.SerialNumber)

		blue := colleague(t, a, 2)
		removed = 2
		if err := a.RevokeMember(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		wantList(t, a, 5, alice.Leaf.SerialNumber, bob.Leaf.SerialNumber, leafOf(blue).SerialNumber)
		if der, err := a.CRL(strings.ToLower(a.ca().keyID())); err != nil || len(a.CRLs()) != 1 || string(a.CRLs()[0]) != string(der) {
			t.Errorf("by the issuer's id: %v", err)
		}
		if _, err := a.CRL("c0ffee"); !errors.Is(err, ErrNoCRL) {
			t.Errorf("of an unknown issuer: %v", err)
		}
	})
}

// A leader that could not record it may be followed by one that can.
func TestANewLeaderRevokesWhoWasRemovedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := heedfulConfig(t)
		c.Removed = func(member uint64) bool { return member == 2 }
		a := open(t, c)
		blue := colleague(t, a, 2)
		leadCRL(t, a)
		pass(time.Minute)
		wantList(t, a, 2, leafOf(blue).SerialNumber)
	})
}

// smallstep's generator reads a number, adds one and writes: of thirty at once
// twenty were lost.
func TestLeadersAtOnceUseNoNumberTwice(t *testing.T) {
	c := heedfulConfig(t)
	a := open(t, c)
	issue(t, a, Client, named("alice"))
	seen := map[string]string{}
	for round := range 5 {
		if round == 1 {
			if _, err := a.Revoke(t.Context(), Revocable{Which: "alice"}); err != nil {
				t.Fatal(err)
			}
		}
		if round > 1 {
			issue(t, a, Client, named("more"))
			if _, err := a.Revoke(t.Context(), Revocable{Which: "more"}); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				if _, err := a.makeCRLs(t.Context()); err != nil && !errors.Is(err, errChanged) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := a.readCRLs(); err != nil {
			t.Fatal(err)
		}
		list := crlOf(t, a)
		if list.Number.Int64() != int64(round+1) || len(list.RevokedCertificateEntries) != round {
			t.Errorf("round %d: number %v with %d entries", round, list.Number, len(list.RevokedCertificateEntries))
		}
		if was := seen[list.Number.String()]; was != "" && was != string(list.Raw) {
			t.Errorf("two lists have number %v", list.Number)
		}
		seen[list.Number.String()] = string(list.Raw)
	}
}

func TestOpenSSLTakesTheListAndRefusesWhoIsOnIt(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: apt-get install openssl")
	}
	a := open(t, heedfulConfig(t))
	alice, bob := issue(t, a, Client, named("alice")), issue(t, a, Client, named("bob"))
	if _, err := a.Revoke(t.Context(), Revocable{Which: "alice"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.makeCRLs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.readCRLs(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := a.CRL("")
	if err != nil {
		t.Fatal(err)
	}
	crl := file("crl.pem", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	issuers := file("issuers.pem", EncodePEM(a.ca().intermediate, a.ca().root))
	said, err := exec.CommandContext(t.Context(), openssl, "crl", "-in", crl, "-noout", "-verify", "-CAfile", issuers).CombinedOutput()
	if err != nil || !strings.Contains(string(said), "verify OK") {
		t.Errorf("openssl crl: %v: %s", err, said)
	}
	for name, test := range map[string]struct {
		leaf *x509.Certificate
		want string
	}{"alice": {alice.Leaf, "certificate revoked"}, "bob": {bob.Leaf, "OK"}} {
		leaf := file(name+".pem", EncodePEM(test.leaf))
		said, _ := exec.CommandContext(t.Context(), openssl, "verify", "-crl_check", "-CRLfile", crl, "-CAfile", issuers, leaf).CombinedOutput()
		if !strings.Contains(string(said), test.want) {
			t.Errorf("openssl verify of %s: %s, want %q", name, said, test.want)
		}
	}
}

func TestALockedLeaderMakesNoListAndOneWhenItIsUnlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, heedfulConfig(t))
		pass(time.Second)
		if err := a.Lock(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		leadCRL(t, a)
		if pass(time.Minute); len(a.CRLs()) != 0 {
			t.Error("a list is there though nobody can sign it")
		}
		if err := a.Unlock(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		pass(2 * lastRecord)
		wantList(t, a, 1)
		if got := acts(t, a); len(got) != 3 || got[1] != "keys: the CA is locked here" || got[2] != "keys: the CA is unlocked here" {
			t.Errorf("the audit tells %q", got)
		}
	})
}
