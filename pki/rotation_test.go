// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
)

// fleet are members over one ledger, of which the first leads.
type fleet struct {
	t       *testing.T
	members []*Authority
	configs []Config
}

func newFleet(t *testing.T, size int) *fleet {
	t.Helper()
	f := &fleet{t: t}
	ledger := newLedger()
	for n := range size {
		c := testConfig(t)
		c.MemberID, c.Name, c.Ledger, c.Replica = uint64(n+1), fmt.Sprint("member", n+1), ledger, replica{ledger}
		if n > 0 {
			key, err := os.ReadFile(filepath.Join(f.configs[0].Dir, clusterKeyFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(c.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.Dir, clusterKeyFile), key, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f.configs = append(f.configs, c)
		f.members = append(f.members, open(t, c))
	}
	return f
}

// IDs and Changed make a fleet the members that its leader knows.
func (f *fleet) IDs() []uint64 {
	var ids []uint64
	for _, c := range f.configs {
		ids = append(ids, c.MemberID)
	}
	return ids
}

func (f *fleet) Changed() <-chan struct{} { return nil }

// run starts all, and has the first lead. It must be called in a bubble.
func (f *fleet) run() {
	for _, a := range f.members {
		run(f.t, a)
	}
	var g errgroup.Group
	ctx := f.t.Context()
	g.Go(func() error { return f.members[0].Lead(ctx, f) })
	g.Go(func() error { return f.members[0].LeadCRL(ctx) })
	for _, a := range f.members {
		g.Go(func() error { return a.Follow(ctx) })
	}
	f.t.Cleanup(func() {
		if err := g.Wait(); err != nil {
			f.t.Error(err)
		}
	})
}

// issueFor issues a client's certificate with that life.
func issueFor(t *testing.T, a *Authority, name string, ttl time.Duration) tls.Certificate {
	t.Helper()
	key := newKey(t)
	chain, err := a.Issue(t.Context(), request(t, key, named(name)), Client, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return newIdentity(key, chain).certificate
}

func (f *fleet) standing() Standing {
	f.t.Helper()
	s, err := f.members[0].Standing(f.t.Context(), f.IDs())
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// verified fails the test unless each member's chain, as it is shown, is good for
// who holds only that root, to crypto/x509 and to openssl.
func (f *fleet) verified(when, which string, root *x509.Certificate) {
	f.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(root)
	for _, a := range f.members {
		shown, err := a.certificate(nil)
		if err != nil {
			f.t.Fatal(err)
		}
		between := x509.NewCertPool()
		var rest []*x509.Certificate
		for _, der := range shown.Certificate[1:] {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				f.t.Fatal(err)
			}
			between.AddCert(c)
			rest = append(rest, c)
		}
		if _, err := shown.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "localhost"}); err != nil {
			f.t.Errorf("%s: who holds the %s root refuses %s: %v", when, which, a.config.Name, err)
		}
		opensslVerify(f.t, when+", the "+which+" root, "+a.config.Name, root, shown.Leaf, rest)
	}
}

func opensslVerify(t *testing.T, what string, root, leaf *x509.Certificate, between []*x509.Certificate) {
	t.Helper()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl: apt-get install openssl")
	}
	dir := t.TempDir()
	write := func(name string, certs ...*x509.Certificate) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, EncodePEM(certs...), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := []string{"verify", "-no-CApath", "-no-CAstore", "-attime", fmt.Sprint(time.Now().Unix()), "-purpose", "sslserver", "-verify_hostname", "localhost",
		"-CAfile", write("root.pem", root), "-untrusted", write("between.pem", between...), write("leaf.pem", leaf)}
	if out, err := exec.Command(openssl, args...).CombinedOutput(); err != nil {
		t.Errorf("%s: openssl refuses: %s", what, out)
	}
}

// accepted fails the test unless each member lets in each other one and the
// clients.
func (f *fleet) accepted(when string, clients map[string]tls.Certificate) {
	f.t.Helper()
	for _, a := range f.members {
		for _, b := range f.members {
			if err := a.verifyPeer(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leafOf(b)}}); err != nil {
				f.t.Errorf("%s: %s does not let %s in: %v", when, a.config.Name, b.config.Name, err)
			}
		}
		for name, c := range clients {
			if err := a.verifyClient(tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.Leaf}}); err != nil {
				f.t.Errorf("%s: %s does not let the client %s in: %v", when, a.config.Name, name, err)
			}
		}
	}
}

func TestARotationOfTheRootRefusesNobodyAtAnyStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3)
		f.run()
		ctx, first := t.Context(), f.members[0]
		old := first.ca().root
		clients := map[string]tls.Certificate{"alice, of before": issueFor(t, first, "alice", 2*time.Hour)}
		invited, _, err := first.Invite(ctx, Invitation{TTL: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		redeemed := func() error {
			return first.checkRedemption(Redemption{Token: invited, Time: time.Now()}, time.Now())
		}
		if err := first.Rotate(ctx, RotateRoot, StepPrepared); err != nil {
			t.Fatal(err)
		}
		if err := f.members[1].Rotate(ctx, RotateRoot, ""); !errors.Is(err, ErrRotating) || !strings.Contains(err.Error(), "--abort") {
			t.Errorf("a second rotation: %v, want ErrRotating and what to do", err)
		}
		fresh := first.ca().generations[1].root
		for _, step := range []Step{StepPrepared, StepTrusted, StepIssuing} {
			if err := f.members[2].Resume(ctx, step); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
			f.waitsAt(step)
			clients["bob, at "+string(step)] = issueFor(t, f.members[1], "bob", 2*time.Hour)
			f.verified(string(step), "old", old)
			f.verified(string(step), "new", fresh)
			f.accepted(string(step), clients)
			if err := redeemed(); err != nil {
				t.Errorf("at %s, a token of before: %v", step, err)
			}
		}
		if s := f.standing(); len(s.Rotation.Hanging) != 2 || s.Rotation.Hanging[0].Name != "alice" || s.Rotation.Hanging[1].Count != 2 {
			t.Errorf("hanging: %+v, want alice's and two of bob's", s.Rotation.Hanging)
		}
		if err := first.Resume(ctx, ""); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if err := first.Finish(ctx, f.IDs(), false); !errors.Is(err, ErrRotation) || !strings.Contains(err.Error(), "3 unexpired certificates hang") {
			t.Errorf("finish while certificates hang: %v", err)
		}
		f.verified("while some hang", "old", old)
		pass(3 * time.Hour) // they end
		f.endsWith(fresh)
		if err := redeemed(); !errors.Is(err, ErrTokenDigest) {
			t.Errorf("afterwards, a token of before: %v, want ErrTokenDigest", err)
		}
	})
}

// waitsAt fails the test unless the rotation stands at the step because it was
// told to, and clients are given both roots.
func (f *fleet) waitsAt(step Step) {
	f.t.Helper()
	s := f.standing()
	if s.Rotation == nil || s.Rotation.Step != step || s.Rotation.Left() != 0 || len(s.Roots) != 2 || len(s.Rotation.Against()) == 0 {
		f.t.Fatalf("at %s: %+v", step, s.Rotation)
	}
	for _, a := range f.members {
		if n := bytes.Count(a.Bundle(), []byte("BEGIN CERTIFICATE")); n != 2 {
			f.t.Errorf("at %s a client is given %d roots, want both", step, n)
		}
	}
}

// endsWith fails the test unless that root alone is left, also for members that
// begin anew without the others.
func (f *fleet) endsWith(root *x509.Certificate) {
	f.t.Helper()
	if s := f.standing(); s.Rotation != nil || len(s.Roots) != 1 || !s.Roots[0].Equal(root) {
		f.t.Fatalf("it has not ended: %+v", s)
	}
	f.verified("afterwards", "remaining", root)
	f.accepted("afterwards", map[string]tls.Certificate{"carol": issueFor(f.t, f.members[0], "carol", time.Hour)})
	for _, c := range f.configs {
		c.Offline = true
		if again := open(f.t, c); !again.ca().root.Equal(root) || len(again.ca().roots) != 1 {
			f.t.Errorf("%s begins again with another CA", c.Name)
		}
	}
}

func TestTheOldGenerationIsDroppedByForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3)
		f.run()
		ctx, first := t.Context(), f.members[0]
		alice := issueFor(t, first, "alice", 2*time.Hour)
		if err := first.Finish(ctx, f.IDs(), true); !errors.Is(err, ErrRotation) {
			t.Errorf("finish where there is no rotation: %v", err)
		}
		if err := first.Rotate(ctx, RotateIntermediate, StepTrusted); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if err := first.Finish(ctx, f.IDs(), true); !errors.Is(err, ErrRotation) {
			t.Errorf("finish before the new one issues: %v", err)
		}
		if err := first.Resume(ctx, ""); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if lists := first.CRLs(); len(lists) != 2 {
			t.Errorf("%d revocation lists, want one of each issuer", len(lists))
		}
		stranger := append(f.IDs(), 99)
		if err := first.Finish(ctx, stranger, true); !errors.Is(err, ErrRotation) || !strings.Contains(err.Error(), "member 0000000000000063") {
			t.Errorf("a member that has not moved is forced off: %v", err)
		}
		if err := first.Finish(ctx, f.IDs(), true); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if s := f.standing(); s.Rotation != nil || len(s.Intermediates) != 1 || len(s.Roots) != 1 {
			t.Fatalf("it goes on: %+v", s)
		}
		f.accepted("afterwards", nil)
		events, err := first.Events(ctx, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		for _, e := range events {
			if e.Act == ActRotate {
				steps = append(steps, e.What)
			}
		}
		want := []string{"rotation of the CA begun", "rotation of the CA is trusted", "rotation of the CA is issuing", "old generation of the CA dropped"}
		if !slices.Equal(steps, want) {
			t.Errorf("the audit has %q, want %q", steps, want)
		}
		for _, a := range f.members {
			if !a.Revoked(alice.Leaf) || a.Revoked(leafOf(f.members[1])) {
				t.Errorf("%s: connections of alice are kept, or those of members end", a.config.Name)
			}
			if err := a.verifyClient(tls.ConnectionState{PeerCertificates: []*x509.Certificate{alice.Leaf}}); RefusalReason(err) != ReasonUnknownAuthority {
				t.Errorf("%s: a certificate of the intermediate that was dropped: %v", a.config.Name, err)
			}
		}
	})
}

func TestARotationIsAbortedAtEachStep(t *testing.T) {
	for _, step := range []Step{StepPrepared, StepTrusted, StepIssuing} {
		t.Run(string(step), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 3)
				f.run()
				ctx, first := t.Context(), f.members[0]
				old := first.ca().root
				if err := first.Rotate(ctx, RotateRoot, StepPrepared); err != nil {
					t.Fatal(err)
				}
				if err := first.Resume(ctx, step); err != nil {
					t.Fatal(err)
				}
				pass(time.Second)
				fresh := f.standing().Roots[0].Certificate
				if step != StepIssuing {
					fresh = f.standing().Roots[1].Certificate
				}
				clients := map[string]tls.Certificate{"bob": issueFor(t, first, "bob", 2*time.Hour)}
				if err := f.members[1].Abort(ctx); err != nil {
					t.Fatal(err)
				}
				if step == StepIssuing { // bob's hangs on what is to go
					if err := f.members[2].Abort(ctx); !errors.Is(err, ErrRotation) {
						t.Errorf("aborted twice: %v", err)
					}
					pass(time.Second)
					f.verified("going back", "old", old)
					f.verified("going back", "new", fresh)
					f.accepted("going back", clients)
					if s := f.standing(); s.Rotation == nil || !s.Rotation.Back || len(s.Rotation.Hanging) != 1 || s.Rotation.Left() != 0 {
						t.Fatalf("going back: %+v", s.Rotation)
					}
					pass(3 * time.Hour)
				}
				pass(time.Second)
				if s := f.standing(); s.Rotation != nil || len(s.Roots) != 1 || !s.Roots[0].Equal(old) {
					t.Fatalf("not back: %+v", s)
				}
				f.verified("back", "old", old)
				f.accepted("back", nil)
				if err := first.Rotate(ctx, RotateRoot, ""); err != nil {
					t.Errorf("another one: %v", err)
				}
			})
		})
	}
}

// A member that is down has nothing but its ca.json when it comes back: the new
// generation must not issue before it is in there.
func TestARotationWaitsForEveryMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3)
		away := f.members[2]
		f.members = f.members[:2]
		f.run()
		ctx := t.Context()
		if err := f.members[0].Rotate(ctx, RotateRoot, ""); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		s := f.standing()
		if s.Rotation == nil || s.Rotation.Step != StepPrepared || s.Rotation.Left() != 1 || !strings.Contains(s.Rotation.Against()[0], "member 0000000000000003") {
			t.Fatalf("without one member: %+v", s.Rotation)
		}
		run(t, away)
		f.members = append(f.members, away)
		pass(time.Minute)
		if s := f.standing(); s.Rotation != nil {
			t.Errorf("with all members, and nothing that hangs: %+v", s.Rotation)
		}
		f.accepted("with all", nil)
	})
}

// A machine that was let in before the rotation knows the old generation only.
func TestARotationWaitsForAMachineThatWasLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		f.run()
		ctx, first := t.Context(), f.members[0]
		token, info, err := first.Invite(ctx, Invitation{})
		if err != nil {
			t.Fatal(err)
		}
		key := newKey(t)
		machine := request(t, key, x509.CertificateRequest{})
		if _, err := first.Admit(ctx, JoinRequest{Token: token, CSR: machine.Raw, Name: "late", Time: time.Now()}, 7); err != nil {
			t.Fatal(err)
		}
		if err := first.Rotate(ctx, RotateRoot, ""); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if s := f.standing(); s.Rotation == nil || s.Rotation.Step != StepPrepared || len(s.Rotation.Arriving) != 1 {
			t.Fatalf("it does not wait: %+v", s.Rotation)
		}
		if _, err := first.RevokeToken(ctx, info.ID); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if s := f.standing(); s.Rotation != nil {
			t.Errorf("it waits for a machine that cannot come: %+v", s.Rotation)
		}
	})
}

func FuzzDecodeCA(f *testing.F) {
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":2,"version":7,"root":"AA==","rotation":{"step":"issuing","other":{"root":"AA=="}}}`))
	f.Add([]byte(`{"format":2,"between":["AA=="],"cross":"AA=="}`))
	secret := bytes.Repeat([]byte{7}, clusterKeySize)
	key, err := newClusterKey(secret)
	if err != nil {
		f.Fatal(err)
	}
	if raw, err := makeCA(f.Context(), 1, key); err == nil {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		record, err := decodeCA(raw)
		if err != nil {
			return
		}
		if record.Rotation != nil {
			_ = record.Rotation.Other // what is there can be read
		}
		i, err := record.unlock(nowhere{}, keyring{key})
		if err != nil {
			return
		}
		if len(i.roots) == 0 || len(i.chain) == 0 || i.authority == nil {
			t.Errorf("opened without %d roots and %d certificates", len(i.roots), len(i.chain))
		}
	})
}

func FuzzDecodeSeen(f *testing.F) {
	f.Add([]byte(`{"format":1,"version":3,"issuer":"00"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := decodeSeen(raw); err == nil && s.Format != seenFormat {
			t.Errorf("format %d was read", s.Format)
		}
	})
}
