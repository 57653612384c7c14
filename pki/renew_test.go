// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// run starts a's renewal and stops it with the test. It must be called in a
// bubble of synctest, where a month passes at once.
func run(t *testing.T, a *Authority) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// pass lets time pass and waits until all that it set off has settled.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestTheCertificateIsRenewedBetween50And80PercentOfItsLife(t *testing.T) {
	for _, life := range []time.Duration{2 * time.Second, 3 * time.Second, time.Hour, DefaultMemberTTL} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := testConfig(t)
				c.MemberTTL = life
				a := open(t, c)
				run(t, a)
				for range 20 {
					before := leafOf(a)
					issued, whole := issuedAt(before), before.NotAfter.Sub(issuedAt(before))
					pass(time.Until(issued.Add(whole/2 - time.Millisecond)))
					if !leafOf(a).Equal(before) {
						t.Fatal("renewed before half of its life")
					}
					pass(time.Until(issued.Add(whole*8/10 + time.Millisecond)))
					if leafOf(a).Equal(before) {
						t.Fatal("not renewed at 80 % of its life")
					}
					if err := a.checkIdentity(leafOf(a)); err != nil {
						t.Fatal(err)
					}
				}
				if n := value(t, a.metrics.renewals.WithLabelValues("ok")); n < 20 {
					t.Errorf("counted %v renewals, want 20 or more", n)
				}
			})
		})
	}
}

// A hundred lives of two seconds pass under load: every handshake succeeds, and
// the connection from the beginning is still there at the end.
func TestAHundredRenewalsDropNoConnectionAndFailNoHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		c.Logger = slog.New(slog.DiscardHandler)
		c.MemberTTL = 2 * time.Second
		a := open(t, c)
		alice := issue(t, a, Client, named("alice"))
		run(t, a)
		first := dialPipe(t, a, &alice)
		defer first.Close()
		for value(t, a.metrics.renewals.WithLabelValues("ok")) < 100 {
			pass(250 * time.Millisecond)
			ping(t, first)
			next := dialPipe(t, a, &alice)
			ping(t, next)
			_ = next.Close() // its server ends with it
		}
	})
}

// dialPipe connects a client with the client door, where a server echoes.
func dialPipe(t *testing.T, a *Authority, pair *tls.Certificate) *tls.Conn {
	t.Helper()
	left, right := net.Pipe()
	server, client := tls.Server(left, a.ClientDoor()), tls.Client(right, clientConfig(a, pair))
	go func() {
		defer left.Close()
		_, _ = io.Copy(server, server) // until the client hangs up; ping sees a server that fails
	}()
	return client
}

func ping(t *testing.T, c *tls.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
}

func TestRenewalsAreSpread(t *testing.T) {
	now := time.Now()
	leaf := &x509.Certificate{NotBefore: now.Add(-backdate), NotAfter: now.Add(100 * time.Hour)}
	early, late := now.Add(100*time.Hour), now
	for range 1000 {
		at := renewalTime(leaf)
		if at.Before(now.Add(50*time.Hour)) || at.After(now.Add(80*time.Hour)) {
			t.Fatalf("renewal after %v of 100 hours", at.Sub(now))
		}
		if at.Before(early) {
			early = at
		}
		if at.After(late) {
			late = at
		}
	}
	if late.Sub(early) < 25*time.Hour {
		t.Errorf("1000 renewals lie within %v, want them spread over 30 hours", late.Sub(early))
	}
}

func TestAFailingRenewalIsTriedAgainEverMoreSlowlyAndPastTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		c.MemberTTL = 10 * 24 * time.Hour
		ledger := c.Ledger.(*memoryLedger)
		var logged journal
		c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		a := open(t, c)
		before := leafOf(a)
		ledger.fail(errLedger)
		if err := os.RemoveAll(c.Dir); err != nil { // nor can it do without the ledger
			t.Fatal(err)
		}
		run(t, a)
		pass(time.Until(before.NotAfter))
		failed := value(t, a.metrics.renewals.WithLabelValues("failed"))
		// A fifth of 10 days at one attempt every ten minutes are 288, half of 10
		// days are 720; the jitter may add to it.
		if failed < 260 || failed > 1100 {
			t.Errorf("%v attempts until the end, want one every ten minutes or so", failed)
		}
		if strings.Contains(logged.String(), "level=ERROR") || !strings.Contains(logged.String(), "level=WARN") {
			t.Error("a failure while there is time left must be a warning")
		}
		pass(24 * time.Hour)
		if !strings.Contains(logged.String(), "level=ERROR") {
			t.Error("a failure past the end must be an error")
		}
		ledger.fail(nil)
		if err := os.Mkdir(c.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		pass(2 * lastRetry)
		if leafOf(a).Equal(before) {
			t.Error("not renewed when the ledger came back")
		}
		if err := a.checkIdentity(leafOf(a)); err != nil {
			t.Error(err)
		}
	})
}

func TestWithoutAQuorumAMemberStillHasACertificateAndRecordsItLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		c.MemberTTL = time.Hour
		ledger := c.Ledger.(*memoryLedger)
		a := open(t, c)
		ledger.fail(errLedger)
		run(t, a)
		for range 50 {
			pass(5 * time.Minute)
			if err := a.checkIdentity(leafOf(a)); err != nil {
				t.Fatal(err)
			}
		}
		ledger.fail(nil)
		pass(lastRecord)
		serial := leafOf(a).SerialNumber.String()
		for _, table := range []string{certificatesTable, dataTable} {
			if raw, err := ledger.Get(t.Context(), bucketPrefix+table, []byte(serial)); raw == nil || err != nil {
				t.Errorf("%s: the certificate is not recorded (%v)", table, err)
			}
		}
	})
}

func TestAnOldCertificateIsRenewedAtOnceWhenRunStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		first := open(t, c)
		pass(DefaultMemberTTL * 9 / 10)
		second := open(t, c)
		if !leafOf(second).Equal(leafOf(first)) {
			t.Fatal("a valid certificate was not kept")
		}
		run(t, second)
		synctest.Wait()
		if leafOf(second).Equal(leafOf(first)) {
			t.Error("a certificate at 90 % of its life was not renewed at once")
		}
	})
}

func TestAMemberThatWasOffBeyondItsCertificatesLifeComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		c.MemberTTL = 2 * time.Second
		first := open(t, c)
		pass(365 * 24 * time.Hour)
		if got := RefusalReason(first.checkIdentity(leafOf(first))); got != ReasonExpired {
			t.Fatalf("the certificate is not expired: %q", got)
		}
		second := open(t, c)
		if err := second.checkIdentity(leafOf(second)); err != nil {
			t.Error(err)
		}
		if n := c.Ledger.(*memoryLedger).count(t, bucketPrefix+certificatesTable); n != 2 {
			t.Errorf("%d certificates recorded, want 2", n)
		}
	})
}

func TestNoCertificateOutlivesTheCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		a := open(t, c)
		pass(caTTL - 48*time.Hour)
		if err := a.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if leafOf(a).NotAfter.After(a.ca().intermediate.NotAfter) {
			t.Error("the member's certificate outlives the CA")
		}
		_, err := a.Issue(t.Context(), request(t, newKey(t), named("alice")), Client, 72*time.Hour)
		if err == nil || !strings.Contains(err.Error(), "CA itself") {
			t.Errorf("got %v, want a refusal that names the CA's end", err)
		}
	})
}
