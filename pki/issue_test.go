// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEveryCertificateIsRecordedUntilAfterItsEnd(t *testing.T) {
	c := testConfig(t)
	ledger := c.Ledger.(*memoryLedger)
	a := open(t, c)
	issue(t, a, Client, named("alice"))
	leaf := leafOf(a)
	for _, table := range []string{certificatesTable, dataTable} {
		if n := ledger.count(t, bucketPrefix+table); n != 2 {
			t.Errorf("%s: %d records, want the member's and alice's", table, n)
		}
		at := bucketPrefix + table + "\x00" + leaf.SerialNumber.String()
		if end := ledger.ends[at]; !end.Equal(leaf.NotAfter.Add(recordGrace)) {
			t.Errorf("%s expires at %v, the certificate at %v", table, end, leaf.NotAfter)
		}
	}
	if raw, _ := ledger.Get(t.Context(), bucketPrefix+certificatesTable, []byte(leaf.SerialNumber.String())); !bytes.Equal(raw, leaf.Raw) {
		t.Error("the record is not the certificate")
	}
}

func TestIssueGivesWhatTheProfileSaysAndNoMore(t *testing.T) {
	a := open(t, testConfig(t))
	greedy := x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "alice", Organization: []string{"admins"}},
		DNSNames:    []string{"web.example.org"},
		IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
		URIs:        leafOf(a).URIs,
	}
	client := issue(t, a, Client, greedy).Leaf
	if client.Subject.String() != "CN=alice" || len(client.DNSNames)+len(client.IPAddresses)+len(client.URIs) != 0 {
		t.Errorf("client: %s %v %v %v", client.Subject, client.DNSNames, client.IPAddresses, client.URIs)
	}
	if !slices.Equal(client.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("client: usage %v", client.ExtKeyUsage)
	}
	server := issue(t, a, Server, greedy).Leaf
	if len(server.URIs) != 0 || server.VerifyHostname("web.example.org") != nil || server.VerifyHostname("10.0.0.1") != nil {
		t.Errorf("server: %v %v %v", server.DNSNames, server.IPAddresses, server.URIs)
	}
	if !slices.Equal(server.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Errorf("server: usage %v", server.ExtKeyUsage)
	}
}

func TestIssueRefuses(t *testing.T) {
	a := open(t, testConfig(t))
	key := newKey(t)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := request(t, key, named("alice"))
	forged.RawTBSCertificateRequest = append([]byte(nil), forged.RawTBSCertificateRequest...)
	forged.RawTBSCertificateRequest[20] ^= 1
	hosts := func(names ...string) *x509.CertificateRequest {
		return request(t, key, x509.CertificateRequest{DNSNames: names})
	}
	alice := request(t, key, named("alice"))
	cases := []struct {
		name    string
		csr     *x509.CertificateRequest
		profile Profile
		ttl     time.Duration
		want    error
	}{
		{"an empty name", request(t, key, named("")), Client, 0, ErrName},
		{"a name of 65 bytes", request(t, key, named(strings.Repeat("x", 65))), Client, 0, ErrName},
		{"a control character", request(t, key, named("ali\nce")), Client, 0, ErrName},
		{"an invisible character", request(t, key, named("ali\u200bce")), Client, 0, ErrName},
		{"a space at the end", request(t, key, named("alice ")), Client, 0, ErrName},
		{"the name of a member", request(t, key, named("member/0000000000000001")), Client, 0, ErrName},
		{"a server without names", alice, Server, 0, ErrName},
		{"a wildcard", hosts("*.example.org"), Server, 0, ErrName},
		{"a name with an empty label", hosts("a..b"), Server, 0, ErrName},
		{"101 names", hosts(slices.Repeat([]string{"a.example.org"}, 101)...), Server, 0, ErrName},
		{"half a second", alice, Client, time.Second / 2, ErrTTL},
		{"a negative life", alice, Client, -time.Hour, ErrTTL},
		{"more than a year", alice, Client, maxTTL + 1, ErrTTL},
		{"a signature that is not the key's", forged, Client, 0, ErrRequest},
		{"no request", nil, Client, 0, ErrRequest},
		{"P-224", request(t, p224, named("alice")), Client, 0, ErrKey},
		{"RSA of 1024 bits", weakRequest(t), Client, 0, ErrKey},
		{"a peer certificate", alice, Peer, 0, ErrProfile},
		{"an unknown profile", alice, "root", 0, ErrProfile},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if chain, err := a.Issue(t.Context(), test.csr, test.profile, test.ttl); !errors.Is(err, test.want) {
				t.Errorf("got %v and %d certificates, want %v", err, len(chain), test.want)
			}
		})
	}
}

func TestIssueTakesTheKindsOfKeyThatTLSSpeaks(t *testing.T) {
	a := open(t, testConfig(t))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []any{ed, p384, newKey(t)} {
		if _, err := a.Issue(t.Context(), request(t, key, named("alice")), Client, time.Hour); err != nil {
			t.Errorf("%T: %v", key, err)
		}
	}
}

func TestALedgerThatFailsIsSaidAsItIs(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	c.Ledger.(*memoryLedger).fail(errLedger)
	if _, err := a.Issue(t.Context(), request(t, newKey(t), named("alice")), Client, 0); !errors.Is(err, errLedger) {
		t.Errorf("got %v, want the ledger's error", err)
	}
}

func TestALifeIsNeverCutByTheUnitOfCertificates(t *testing.T) {
	whole := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for add, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Second, time.Second / 2: time.Second, time.Second: time.Second, time.Second + 1: 2 * time.Second,
	} {
		if got := roundUp(whole.Add(add)).Sub(whole); got != want {
			t.Errorf("%v past a full second became %v, want %v", add, got, want)
		}
	}
}
