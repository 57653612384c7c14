// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// etcdMutual is etcd that takes a user's name from its certificate, which is
// alice's as at the door mutual.
var etcdMutual = door{"etcd", startEtcdMutual}

func startEtcdMutual(t testing.TB, flags ...string) server {
	t.Helper()
	certified, by := etcdCertificates(t)
	client, peer := freeAddress(t), freeAddress(t)
	run(t, program(t, etcd), slices.Concat([]string{
		"--data-dir", t.TempDir(), "--log-level=panic", "--unsafe-no-fsync",
		"--listen-client-urls=https://" + client, "--advertise-client-urls=https://" + client,
		"--listen-peer-urls=http://" + peer, "--initial-advertise-peer-urls=http://" + peer, "--initial-cluster=default=http://" + peer,
	}, certified, flags)...)
	by.address = client
	return by
}

// etcdCertificates returns the flags by which etcd wants certificates, and how
// its clients come with alice's.
func etcdCertificates(t testing.TB) (flags []string, by server) {
	t.Helper()
	dir := t.TempDir()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := newKey(t)
	authority.PublicKey = &key.PublicKey
	root := sign(t, authority, authority, key)
	_, _ = write(t, dir, "ca", root, key)
	certify := func(name string) (crt, private string) {
		own := newKey(t)
		return write(t, dir, name, sign(t, &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
			PublicKey: &own.PublicKey,
		}, root, key), own)
	}
	crt, private := certify("server")
	pair, err := tls.LoadX509KeyPair(certify("alice"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	flags = []string{"--client-cert-auth", "--trusted-ca-file=" + filepath.Join(dir, "ca.crt"), "--cert-file=" + crt, "--key-file=" + private}
	return flags, server{tls: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS13}, bundle: dir}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, template.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t testing.TB, dir, name string, c *x509.Certificate, key *ecdsa.PrivateKey) (crt, private string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crt, private = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{crt: {Type: "CERTIFICATE", Bytes: c.Raw}, private: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return crt, private
}

// alikeByCertificate is alike for clients whose certificate says alice.
func alikeByCertificate(t *testing.T, body func(*side)) {
	t.Parallel()
	want, got := etcdMutual.open(t, cheap...), mutual.open(t, cheap...)
	body(want)
	body(got)
	compare(t, got.transcript, want.transcript)
}

func TestAuthCertificateOfAUser(t *testing.T) {
	alikeByCertificate(t, func(s *side) {
		s.staff()
		root := s.token
		alice := func() {
			s.token = ""
			s.ask(put("a", "1"), put("b", "1"), get("a", ""), get("a", "c"), get("r", ""), del("a", ""), &pb.TxnRequest{}, &pb.LeaseGrantRequest{ID: 7, TTL: 100}, &pb.PutRequest{Key: []byte("a"), Lease: 7},
				&pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}, &pb.LeaseLeasesRequest{}, &pb.LeaseRevokeRequest{ID: 7})
			s.renew(7)
			s.ask(administration()...)
			s.refuses(named()...)
			s.create(&pb.WatchCreateRequest{Key: []byte("a")})
			s.create(&pb.WatchCreateRequest{Key: []byte("b")})
		}
		alice()
		s.token = root
		s.ask(put("b", "1"), &pb.AuthUserGrantRoleRequest{User: "alice", Role: "root"})
		alice()
		s.token = root
		s.ask(&pb.AuthUserDeleteRequest{Name: "alice"})
		alice() // of nobody
		s.excused("a certificate at the gateway", func() {
			s.token = root
			s.ask(addUser("alice", "alice"))
			s.transcript = s.transcript[:len(s.transcript)-1] // alike
			s.post("/v3/auth/user/get", `{"name":"alice"}`)
		})
	})
}
