// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cleatd/cleat/client"
	"github.com/cleatd/cleat/pki"
)

// in logs in and returns the bundle.
func (c *loginCA) in(t *testing.T, i pki.Invitation) *client.Bundle {
	t.Helper()
	b, err := client.Login(t.Context(), c.address, c.token(t, i).Text(), filepath.Join(t.TempDir(), "contexts", "c"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// greet connects to the cluster's client door and returns as whom.
func (c *loginCA) greet(t *testing.T, config *tls.Config) (string, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", c.ClientDoor())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	name, failed := make(chan string, 1), make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			err = conn.(*tls.Conn).Handshake()
		}
		if err != nil {
			failed <- err
			return
		}
		name <- conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := tls.Client(raw, config).Handshake(); err != nil {
		raw.Close()
		<-failed
		return "", err
	}
	select {
	case n := <-name:
		return n, nil
	case err := <-failed:
		return "", err
	}
}

func TestAUserLogsInAndIsLetInAtTheClientDoor(t *testing.T) {
	c := startLogin(t)
	b := c.in(t, pki.Invitation{Client: "alice"})
	if got := b.Endpoints(); len(got) != 1 || got[0] != "https://127.0.0.1:2379" {
		t.Errorf("endpoints %q", got)
	}
	if who, err := c.greet(t, b.TLS()); err != nil || who != "alice" {
		t.Errorf("let in as %q: %v", who, err)
	}
	if info, err := os.Stat(b.Dir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(b.Dir())
	if err != nil || len(files) != 3 {
		t.Errorf("files %v, %v", files, err)
	}
	for _, file := range files {
		if info, err := file.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", file.Name(), info.Mode(), err)
		}
	}
	if _, err := tls.LoadX509KeyPair(b.Files().Cert, b.Files().Key); err != nil {
		t.Errorf("other tools: %v", err)
	}
}

// A program that has its settings from before goes on with the new certificate.
func TestARenewedBundleIsTakenUpWithoutARestart(t *testing.T) {
	c := startLogin(t)
	b := c.in(t, pki.Invitation{Client: "alice"})
	config, first := b.TLS(), b.Certificate()
	if err := b.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := b.Certificate()
	if second.SerialNumber.Cmp(first.SerialNumber) == 0 || second.Subject.CommonName != "alice" || string(second.RawSubjectPublicKeyInfo) == string(first.RawSubjectPublicKeyInfo) {
		t.Errorf("renewed: %s, serial %s", second.Subject, second.SerialNumber)
	}
	shown, err := config.GetClientCertificate(nil)
	if err != nil || !shown.Leaf.Equal(second) {
		t.Errorf("shown: %v, %v", shown.Leaf.SerialNumber, err)
	}
	if who, err := c.greet(t, config); err != nil || who != "alice" {
		t.Errorf("let in as %q: %v", who, err)
	}
}

func TestNothingIsToldToWhoIsNotOfTheCluster(t *testing.T) {
	c, other := startLogin(t), startLogin(t)
	token := c.token(t, pki.Invitation{Client: "alice"}).Text()
	dir := filepath.Join(t.TempDir(), "c")
	var told atomic.Int32
	listen := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				told.Add(1)
			}
			h.ServeHTTP(w, r)
		})
	}
	other.open(t, "127.0.0.1:0", listen)
	if _, err := client.Login(t.Context(), other.address, token, dir); !errors.Is(err, client.ErrCluster) {
		t.Errorf("another cluster: %v, want ErrCluster", err)
	}
	// One that has the cluster's roots from the network, and a certificate of its
	// own from the cluster: as a service, not as a member.
	service := c.issued(t, pki.Server, x509.CertificateRequest{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	c.shown = &service
	c.open(t, "127.0.0.1:0", listen)
	if _, err := client.Login(t.Context(), c.address, token, dir); !errors.Is(err, client.ErrCluster) || !strings.Contains(err.Error(), "not a member's") {
		t.Errorf("a service: %v, want ErrCluster", err)
	}
	if n := told.Load(); n != 0 {
		t.Errorf("%d of them were told something", n)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the bundle's directory: %v", err)
	}
}

func TestALoginWhoseAnswerIsLostIsTriedAgainAndCountedOnce(t *testing.T) {
	c := startLogin(t)
	var posts atomic.Int32
	c.open(t, "127.0.0.1:0", func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || posts.Add(1) > 1 {
				h.ServeHTTP(w, r)
				return
			}
			h.ServeHTTP(&lost{header: http.Header{}}, r)
			panic(http.ErrAbortHandler)
		})
	})
	b := c.in(t, pki.Invitation{Client: "alice"})
	if who, err := c.greet(t, b.TLS()); err != nil || who != "alice" || posts.Load() != 2 {
		t.Errorf("let in as %q after %d posts: %v", who, posts.Load(), err)
	}
}

// lost is an answer that nobody gets.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(b []byte) (int, error) { return len(b), nil }
func (l *lost) WriteHeader(int)             {}

func TestABundleOfSecondsIsKeptThroughManyLives(t *testing.T) {
	c := startLogin(t)
	b := c.in(t, pki.Invitation{Client: "alice", CertTTL: 2 * time.Second})
	config := b.TLS()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	serials := map[string]bool{b.Certificate().SerialNumber.String(): true}
	if err := b.Keep(ctx, func(b *client.Bundle, err error) {
		if err != nil {
			t.Error(err)
		}
		serials[b.Certificate().SerialNumber.String()] = true
		if who, err := c.greet(t, config); err != nil || who != "alice" {
			t.Errorf("let in as %q: %v", who, err)
		}
		if len(serials) == 4 {
			cancel()
		}
	}); err != nil || len(serials) != 4 {
		t.Errorf("%d certificates, %v", len(serials), err)
	}
}

func TestARenewalGoesToAnotherMemberWhenOneIsDown(t *testing.T) {
	c := startLogin(t)
	c.others = []string{"https://127.0.0.2:2379"}
	b := c.in(t, pki.Invitation{Client: "alice"})
	first := b.Certificate()
	c.close(t)
	_, port, err := net.SplitHostPort(c.address)
	if err != nil {
		t.Fatal(err)
	}
	c.open(t, net.JoinHostPort("127.0.0.2", port), func(h http.Handler) http.Handler { return h })
	if err := b.Renew(t.Context()); err != nil || b.Certificate().Equal(first) {
		t.Errorf("renewed: %v", err)
	}
}

// A root that a member of the cluster tells of is trusted from then on.
func TestRootsAreBroughtUpToDateBetweenRenewals(t *testing.T) {
	c, other := startLogin(t), startLogin(t)
	b, bob := c.in(t, pki.Invitation{Client: "alice"}), c.in(t, pki.Invitation{Client: "bob"})
	both, before := string(c.Bundle())+string(other.Bundle()), b.Certificate()
	c.close(t)
	c.open(t, c.address, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeLogin(w, http.StatusOK, loginAnswer{Roots: both}) })
	})
	if err := b.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(b.Files().CACert); err != nil || string(text) != both || !b.Certificate().Equal(before) {
		t.Errorf("roots %q, %v", text, err)
	}
	// Only who knows both goes on when the old root is gone.
	c.close(t)
	other.open(t, c.address, func(h http.Handler) http.Handler { return h })
	if err := b.Refresh(t.Context()); err != nil {
		t.Errorf("with the new root: %v", err)
	}
	if err := bob.Refresh(t.Context()); !errors.Is(err, client.ErrCluster) {
		t.Errorf("without it: %v, want ErrCluster", err)
	}
}

func TestARenewalThatFailsIsTriedAgain(t *testing.T) {
	c := startLogin(t)
	b := c.in(t, pki.Invitation{Client: "alice", CertTTL: 30 * time.Second})
	before := b.Certificate()
	c.close(t)
	failing := b.Renew(t.Context())
	if failing == nil || errors.Is(failing, client.ErrExpired) || !b.Certificate().Equal(before) {
		t.Fatalf("with nobody there: %v", failing)
	}
	c.open(t, c.address, func(h http.Handler) http.Handler { return h })
	c.ledger.broken.Store(true)
	var refused *client.Refused
	if err := b.Renew(t.Context()); !errors.As(err, &refused) || refused.Code != http.StatusServiceUnavailable || !b.Certificate().Equal(before) {
		t.Errorf("without a ledger: %v", err)
	}
	c.ledger.broken.Store(false)
	if err := b.Renew(t.Context()); err != nil || b.Certificate().Equal(before) {
		t.Errorf("afterwards: %v", err)
	}
}
