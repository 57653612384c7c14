// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/certificates/authority/provisioner"
)

// accept does one handshake over loopback and returns what the server thinks
// of it. The client waits for the server's verdict, as in TLS 1.3 it must.
func accept(t testing.TB, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	verdict := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			verdict <- err
			return
		}
		defer raw.Close()
		c := tls.Server(raw, server)
		err = c.Handshake()
		if err == nil {
			_, err = c.Write([]byte("welcome"))
		}
		verdict <- err
	}()
	c, clientErr := tls.Dial("tcp", l.Addr().String(), client)
	if clientErr == nil {
		_, clientErr = c.Read(make([]byte, 7))
		defer c.Close()
	}
	return <-verdict, clientErr
}

// clientConfig trusts a's roots and always presents the certificate, whatever
// the server asks for.
func clientConfig(a *Authority, pair *tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.Bundle())
	c := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if pair != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return c
}

// signFor signs any certificate with a's CA, past all checks.
func signFor(t testing.TB, a *Authority, p Profile, s subject, from, to time.Duration) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	now := time.Now()
	chain, err := a.ca().authority.SignWithContext(t.Context(), request(t, key, named(s.name)), provisioner.SignOptions{},
		profileProvisioner{p}.options(s, now.Add(from), now.Add(to))...)
	if err != nil {
		t.Fatal(err)
	}
	return &newIdentity(key, chain).certificate
}

func TestTheDoorsLetInWhomTheyAreFor(t *testing.T) {
	a := open(t, testConfig(t))
	alice := issue(t, a, Client, named("alice"))
	member := &a.current.Load().certificate
	cases := []struct {
		name string
		door *tls.Config
		pair *tls.Certificate
	}{
		{"a client at the client door", a.ClientDoor(), &alice},
		{"a member at the client door", a.ClientDoor(), member},
		{"a member at the peer door", a.PeerDoor(), member},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if serverErr, clientErr := accept(t, test.door, clientConfig(a, test.pair)); serverErr != nil || clientErr != nil {
				t.Errorf("server: %v; client: %v", serverErr, clientErr)
			}
		})
	}
}

func TestTheDoorsRefuseWithAReason(t *testing.T) {
	c := testConfig(t)
	a, stranger := open(t, c), open(t, testConfig(t))
	alice := issue(t, a, Client, named("alice"))
	web := issue(t, a, Server, x509.CertificateRequest{DNSNames: []string{"web"}})
	strange := issue(t, stranger, Client, named("alice"))
	c.ClusterID++
	foreign := open(t, c) // a cluster that shares our CA
	bare, plain := subject{name: "alice"}, a.self()
	plain.sans = plain.sans[:len(plain.sans)-1]
	mismatched := tls.Certificate{Certificate: alice.Certificate, PrivateKey: newKey(t)}
	cases := []struct {
		name   string
		door   *tls.Config
		pair   *tls.Certificate
		reason string
	}{
		{"nobody", a.ClientDoor(), nil, ReasonNoCertificate},
		{"a client of another CA", a.ClientDoor(), &strange, ReasonUnknownAuthority},
		{"an expired client", a.ClientDoor(), signFor(t, a, Client, bare, -time.Hour, -time.Second), ReasonExpired},
		{"an expired client of another CA", a.ClientDoor(), signFor(t, stranger, Client, bare, -time.Hour, -time.Second), ReasonUnknownAuthority},
		{"a client from the future", a.ClientDoor(), signFor(t, a, Client, bare, time.Hour, 2*time.Hour), ReasonNotYetValid},
		{"a service", a.ClientDoor(), &web, ReasonWrongUsage},
		{"a member of another cluster", a.ClientDoor(), &foreign.current.Load().certificate, ReasonBadCertificate},
		{"a client without the key", a.ClientDoor(), &mismatched, ReasonBadCertificate},
		{"nobody at the peer door", a.PeerDoor(), nil, ReasonNoCertificate},
		{"a client at the peer door", a.PeerDoor(), &alice, ReasonWrongUsage},
		{"a service at the peer door", a.PeerDoor(), &web, ReasonWrongUsage},
		{"a peer certificate without a member", a.PeerDoor(), signFor(t, a, Peer, plain, -time.Hour, time.Hour), ReasonWrongUsage},
		{"a member of another cluster at the peer door", a.PeerDoor(), &foreign.current.Load().certificate, ReasonBadCertificate},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			serverErr, clientErr := accept(t, test.door, clientConfig(a, test.pair))
			if got := RefusalReason(serverErr); got != test.reason {
				t.Errorf("reason %q (%v), want %q", got, serverErr, test.reason)
			}
			if clientErr == nil {
				t.Error("the client was let in")
			}
		})
	}
}

func TestARefusalOnTheWayUpKeepsItsReason(t *testing.T) {
	err := fmt.Errorf("handshake: %w", &Refusal{ReasonRevoked, "certificate 7 is revoked"})
	var named interface{ Reason() string }
	if !errors.As(err, &named) || named.Reason() != ReasonRevoked || RefusalReason(err) != ReasonRevoked {
		t.Errorf("%v lost its reason", err)
	}
	if got := RefusalReason(errors.New("tls: first record does not look like a TLS handshake")); got != "" {
		t.Errorf("a failure without a certificate has the reason %q", got)
	}
}

func TestAStrangersNameIsShortAndOnOneLineInTheRefusal(t *testing.T) {
	a := open(t, testConfig(t))
	pair := signFor(t, open(t, testConfig(t)), Client, subject{name: "x\n" + strings.Repeat("y", 62)}, -time.Hour, time.Hour)
	serverErr, _ := accept(t, a.ClientDoor(), clientConfig(a, pair))
	if serverErr == nil || strings.Contains(serverErr.Error(), "\n") {
		t.Errorf("got %q, want a refusal on one line", serverErr)
	}
}

func TestTheDoorsSpeakTLS13Only(t *testing.T) {
	a := open(t, testConfig(t))
	alice := issue(t, a, Client, named("alice"))
	old := clientConfig(a, &alice)
	old.MaxVersion = tls.VersionTLS12
	if serverErr, _ := accept(t, a.ClientDoor(), old); serverErr == nil || RefusalReason(serverErr) != "" {
		t.Errorf("got %v, want a refusal of the version", serverErr)
	}
}

func TestARenewalDropsNoConnectionAndServesTheNextHandshake(t *testing.T) {
	a := open(t, testConfig(t))
	alice := issue(t, a, Client, named("alice"))
	door := a.ClientDoor()
	client := dialPipe(t, a, &alice)
	defer client.Close()

	ping(t, client)
	before := leafOf(a)
	if err := a.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	ping(t, client)
	if !client.ConnectionState().PeerCertificates[0].Equal(before) {
		t.Error("the first connection did not see the first certificate")
	}
	var seen *x509.Certificate
	next := clientConfig(a, &alice)
	next.VerifyConnection = func(c tls.ConnectionState) error { seen = c.PeerCertificates[0]; return nil }
	if serverErr, _ := accept(t, door, next); serverErr != nil {
		t.Fatal(serverErr)
	}
	if !seen.Equal(leafOf(a)) || seen.Equal(before) {
		t.Error("the next connection did not see the new certificate")
	}
	if before.PublicKey.(*ecdsa.PublicKey).Equal(seen.PublicKey) {
		t.Error("the renewed certificate has the old key")
	}
}

// smallstep's authority would renew and rekey whatever it signed once. Here a
// renewal is an act of the member or of an administrator.
func TestTheAuthorityRenewsAndSignsNothingByItself(t *testing.T) {
	a := open(t, testConfig(t))
	alice := issue(t, a, Client, named("alice"))
	if _, err := a.ca().authority.RenewContext(t.Context(), alice.Leaf, nil); err == nil {
		t.Error("a certificate was renewed")
	}
	if _, err := a.ca().authority.RenewContext(t.Context(), alice.Leaf, newKey(t).Public()); err == nil {
		t.Error("a certificate was given another key")
	}
	p := profileProvisioner{Client}
	_, signErr := p.AuthorizeSign(t.Context(), "token")
	_, idErr := p.GetTokenID("token")
	_, sshSignErr := p.AuthorizeSSHSign(t.Context(), "token")
	_, sshRenewErr := p.AuthorizeSSHRenew(t.Context(), "token")
	_, _, sshRekeyErr := p.AuthorizeSSHRekey(t.Context(), "token")
	for name, err := range map[string]error{
		"sign": signErr, "token id": idErr, "ssh sign": sshSignErr, "ssh renew": sshRenewErr, "ssh rekey": sshRekeyErr,
		"revoke": p.AuthorizeRevoke(t.Context(), "token"), "ssh revoke": p.AuthorizeSSHRevoke(t.Context(), "token"),
	} {
		if !errors.Is(err, ErrProfile) {
			t.Errorf("%s: %v, want ErrProfile", name, err)
		}
	}
}

// BenchmarkVerify is what the door's own check costs a handshake.
func BenchmarkVerify(b *testing.B) {
	a := open(b, testConfig(b))
	alice := issue(b, a, Client, named("alice"))
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{alice.Leaf}}
	for b.Loop() {
		if err := a.verifyClient(state); err != nil {
			b.Fatal(err)
		}
	}
}
