// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cleatd/cleat/admin"
)

// bundle is what a remote user has: a certificate with its key, and our roots.
type bundle struct {
	certificate tls.Certificate
	roots       *x509.CertPool
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue asks the member for a client certificate over its socket.
func (p *process) issue(name string, ttl time.Duration) bundle {
	p.t.Helper()
	key := newKey(p.t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix://"+p.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	issued, err := admin.NewAdminClient(conn).IssueCertificate(limited(p.t), &admin.IssueCertificateRequest{
		Csr: csr, Profile: "client", TtlSeconds: int64(ttl / time.Second),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	b := bundle{certificate: tls.Certificate{PrivateKey: key}, roots: x509.NewCertPool()}
	for rest := issued.ChainPem; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		b.certificate.Certificate = append(b.certificate.Certificate, block.Bytes)
	}
	if !b.roots.AppendCertsFromPEM(issued.BundlePem) {
		p.t.Fatal("no roots in the bundle")
	}
	return b
}

func (b bundle) config() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{b.certificate}, RootCAs: b.roots}
}

func (p *process) address() string {
	p.t.Helper()
	return p.await(`msg=ready.*client=(\S+)`)[1]
}

func (p *process) remote(b bundle) *clientv3.Client {
	p.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + p.address()}, TLS: b.config(), DialTimeout: patience})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (p *process) get(b bundle, path string) (int, string) {
	p.t.Helper()
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: b.config(), ForceAttemptHTTP2: true}, Timeout: patience}
	defer web.CloseIdleConnections()
	r, err := web.Get("https://" + p.address() + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func TestARemoteUserNeedsOnlyTheBundle(t *testing.T) {
	p := start(t, t.TempDir(), nil).ready()
	alice := p.issue("alice", time.Hour)
	c := p.remote(alice)
	if _, err := c.Put(limited(t), "foo", "bar"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/health", "/livez", "/readyz", "/version", "/metrics"} {
		if code, body := p.get(alice, path); code != 200 || body == "" {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	r, err := c.Get(limited(t), "foo")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "bar" {
		t.Errorf("%+v %v", r, err)
	}
}

// In TLS 1.3 a refused client has finished its own handshake first, so what
// counts is what the server counts and says.
func TestStrangersAreRefusedInTheHandshakeAndCounted(t *testing.T) {
	p := start(t, t.TempDir(), nil).ready()
	alice := p.issue("alice", time.Hour)
	short := p.issue("short", time.Second)
	deadline := time.Now().Add(patience)
	for leaf := parseLeaf(t, short); time.Now().Before(leaf.NotAfter) && time.Now().Before(deadline); {
		p.get(alice, "/version") // pass the time until it has expired
	}
	nobody := bundle{roots: alice.roots}
	stranger := bundle{certificate: selfSigned(t), roots: alice.roots}

	for reason, b := range map[string]bundle{"no_certificate": nobody, "unknown_authority": stranger, "expired": short} {
		config := b.config()
		if b.certificate.Certificate == nil {
			config.Certificates = nil
		}
		refused(t, p.address(), config)
		p.await(`connection refused.*reason=` + reason)
		if _, metrics := p.get(alice, "/metrics"); !strings.Contains(metrics, `cleat_tls_refused_total{reason="`+reason+`"} 1`) {
			t.Errorf("%s is not counted once", reason)
		}
		if n := strings.Count(p.said(), "reason="+reason); n != 1 {
			t.Errorf("%s is logged %d times", reason, n)
		}
	}
	plain, err := net.DialTimeout("tcp", p.address(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := io.WriteString(plain, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(plain) // the reset that may follow does not matter
	if strings.Contains(string(answer), " 200 ") {
		t.Errorf("plaintext is served: %q", answer)
	}
	p.await(`connection refused.*reason=plaintext`)
}

// refused checks that a connection gives its caller nothing.
func refused(t *testing.T, address string, config *tls.Config) {
	t.Helper()
	config.ServerName = "localhost"
	config.NextProtos = []string{"h2"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", address, config)
	if err != nil {
		return
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("a refused client read %d bytes", n)
	}
}

func parseLeaf(t *testing.T, b bundle) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(b.certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "alice"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
