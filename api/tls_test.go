// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// authority is a certificate authority of a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return &authority{parse(t, template, template, key, key), key}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parse(t testing.TB, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue makes a certificate for a server on loopback or a client of that name.
func (a *authority) issue(t testing.TB, name string, notAfter time.Time) tls.Certificate {
	t.Helper()
	key := newKey(t)
	c := parse(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.certificate, key, a.key)
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.certificate)
	return p
}

// serverConfig is what the daemon hands over: made anew for each connection,
// as pki does.
func (a *authority) serverConfig(t testing.TB) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool(),
		Certificates: []tls.Certificate{a.issue(t, "member", time.Now().Add(time.Hour))},
	}
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c, nil }}
}

func (a *authority) clientConfig(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: a.pool(), Certificates: certificates}
}

// startTLS opens a TLS door and returns its address.
func startTLS(t testing.TB, s *testServer, config *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t, func() error { return s.ServeTLS(l, config) })
	return l.Addr().String()
}

func TestRefusalsAtTheTLSDoorAreCountedAndLoggedOnce(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	s := startServer(t, nil)
	address := startTLS(t, s, ours.serverConfig(t))
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	overTLS := func(c *tls.Config) func() error {
		return func() error {
			conn, err := tls.Dial("tcp", address, c)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Read(make([]byte, 1)) // in TLS 1.3 the client learns of its refusal here
			return err
		}
	}
	old := ours.clientConfig(ours.issue(t, "alice", later))
	old.MaxVersion = tls.VersionTLS12
	distrustful := other.clientConfig(ours.issue(t, "alice", later))
	cases := []struct {
		reason string
		dial   func() error
	}{
		{"no_certificate", overTLS(ours.clientConfig())},
		{"unknown_authority", overTLS(&tls.Config{RootCAs: ours.pool(), GetClientCertificate: always(other.issue(t, "alice", later))})},
		{"expired", overTLS(ours.clientConfig(ours.issue(t, "alice", before)))},
		{"protocol", overTLS(old)},
		{"client_refused", overTLS(distrustful)},
		{"plaintext", func() error {
			reply, err := http.Get("http://" + address + "/health")
			if err == nil && reply.StatusCode == http.StatusBadRequest {
				err = fmt.Errorf("refused with %s", reply.Status)
			}
			return err
		}},
		{"closed", func() error {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			_ = conn.Close()
			return io.EOF
		}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			if err := c.dial(); err == nil {
				t.Fatal("the client was let in")
			}
			eventually(t, func() error {
				counted := count(t, s.metrics.tlsRefused.WithLabelValues(c.reason))
				lines := s.logged("reason=" + c.reason + " remote=127.0.0.1:")
				if counted != 1 || lines != 1 {
					return fmt.Errorf("counted %v, logged %d times, want once each; log:\n%s", counted, lines, s.logs.String())
				}
				return nil
			})
		})
	}
}

func always(c tls.Certificate) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
}

func TestACheckOfTheConfigurationNamesItsReason(t *testing.T) {
	ours := newAuthority(t)
	s := startServer(t, nil)
	config, _ := ours.serverConfig(t).GetConfigForClient(nil)
	config.VerifyConnection = func(tls.ConnectionState) error { return revoked{} }
	address := startTLS(t, s, config)
	conn, err := tls.Dial("tcp", address, ours.clientConfig(ours.issue(t, "alice", time.Now().Add(time.Hour))))
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if err == nil {
		t.Fatal("a revoked client was let in")
	}
	eventually(t, func() error {
		if n := count(t, s.metrics.tlsRefused.WithLabelValues("revoked")); n != 1 {
			return fmt.Errorf("counted %v", n)
		}
		return nil
	})
}

type revoked struct{}

func (revoked) Error() string  { return "certificate 7 is revoked" }
func (revoked) Reason() string { return "revoked" }

// A configuration that forgets to demand a certificate lets nobody in.
func TestNobodyIsLetInWithoutACertificate(t *testing.T) {
	ours := newAuthority(t)
	s := startServer(t, nil)
	config, _ := ours.serverConfig(t).GetConfigForClient(nil)
	config.ClientAuth = tls.NoClientCert
	address := startTLS(t, s, config)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: ours.clientConfig()}}
	if reply, err := web.Get("https://" + address + "/version"); err == nil {
		t.Fatalf("answered with %s", reply.Status)
	}
	eventually(t, func() error {
		if n := count(t, s.metrics.tlsRefused.WithLabelValues("no_certificate")); n != 1 {
			return fmt.Errorf("counted %v", n)
		}
		return nil
	})
}

func TestALPNSendsEachProtocolToItsServer(t *testing.T) {
	ours := newAuthority(t)
	s := startServer(t, nil)
	address := startTLS(t, s, ours.serverConfig(t))
	config := ours.clientConfig(ours.issue(t, "alice", time.Now().Add(time.Hour)))

	// What offers both, as curl does, gets HTTP/1.1.
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}}
	defer web.CloseIdleConnections()
	reply, err := web.Get("https://" + address + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, _ := io.ReadAll(reply.Body)
	if reply.ProtoMajor != 1 || !strings.Contains(string(body), `"etcdserver":"3.7.3"`) {
		t.Fatalf("got %s: %s", reply.Proto, body)
	}

	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	if _, err := pb.NewKVClient(conn).Put(context.Background(), put); err != nil {
		t.Fatal(err)
	}
}
