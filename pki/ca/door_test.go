// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smallstep/certificates/api"
	"go.step.sm/crypto/jose"

	"github.com/cleatd/cleat/pki"
)

// memoryLedger is a ledger in memory, which counts what is written to it.
type memoryLedger struct {
	mu      sync.Mutex
	values  map[string][]byte    // by bucket 00 key
	ends    map[string]time.Time // of those that have one
	commits int                  // that did something
}

var _ pki.Ledger = (*memoryLedger)(nil)

func newLedger() *memoryLedger {
	return &memoryLedger{values: map[string][]byte{}, ends: map[string]time.Time{}}
}

func (l *memoryLedger) Get(ctx context.Context, bucket string, key []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.values[bucket+"\x00"+string(key)]), ctx.Err()
}

func (l *memoryLedger) List(ctx context.Context, bucket string, prefix []byte) (items []pki.Item, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range slices.Sorted(maps.Keys(l.values)) {
		if key, in := strings.CutPrefix(at, bucket+"\x00"); in && strings.HasPrefix(key, string(prefix)) {
			items = append(items, pki.Item{Key: []byte(key), Value: bytes.Clone(l.values[at])})
		}
	}
	return items, ctx.Err()
}

func (l *memoryLedger) Commit(ctx context.Context, ops []pki.Op) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	for _, op := range ops {
		now, there := l.values[op.Bucket+"\x00"+string(op.Key)]
		if op.If == pki.Absent && there || op.If == pki.Equals && (!there || !bytes.Equal(now, op.Old)) {
			return false, nil
		}
	}
	l.commits++
	for _, op := range ops {
		at := op.Bucket + "\x00" + string(op.Key)
		delete(l.values, at)
		delete(l.ends, at)
		if op.Value != nil {
			l.values[at] = bytes.Clone(op.Value)
		}
		if op.Value != nil && !op.Expires.IsZero() {
			l.ends[at] = op.Expires
		}
	}
	return true, nil
}

func (l *memoryLedger) written() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commits
}

func (l *memoryLedger) count(t testing.TB, bucket string) int {
	t.Helper()
	items, err := l.List(t.Context(), bucket, nil)
	if err != nil {
		t.Fatal(err)
	}
	return len(items)
}

// served is a door of one member at an address of its own.
type served struct {
	*Door
	authority *pki.Authority
	ledger    *memoryLedger
	address   string
}

// cluster are the doors of members that share a ledger, of which the first is the
// one that most tests look at.
func cluster(t testing.TB, n int, p Policy) []served {
	t.Helper()
	ledger := newLedger()
	var doors []served
	key := ""
	for i := range n {
		dir := filepath.Join(t.TempDir(), "pki")
		if i > 0 {
			copyKey(t, key, dir)
		}
		key = filepath.Join(dir, "cluster.key")
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		a, err := pki.Open(context.Background(), pki.Config{
			Dir: dir, ClusterID: 0xc1ea7, MemberID: uint64(i + 1), Name: "green", Ledger: ledger, Logger: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		d, err := New(Config{Authority: a, Version: "test", Policy: p, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		doors = append(doors, served{d, a, ledger, serve(t, d)})
	}
	return doors
}

func one(t testing.TB) served {
	t.Helper()
	return cluster(t, 1, Policy{})[0]
}

func serve(t testing.TB, d *Door) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = l.Close()
	})
	return l.Addr().String()
}

// client dials the door, as the holder of pair if that is not nil.
func (s served) client(t testing.TB, pair *tls.Certificate) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.authority.Bundle())
	config := &tls.Config{RootCAs: roots}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	return &http.Client{Transport: transport}
}

// ask returns the answer's code and body.
func (s served) ask(t testing.TB, as *tls.Certificate, path string, body any) (int, string) {
	t.Helper()
	method, reader := http.MethodGet, io.Reader(nil)
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		method, reader = http.MethodPost, bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.address+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.client(t, as).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// must asks for a certificate and returns it with its key.
func (s served) must(t testing.TB, as *tls.Certificate, path string, body any, key *ecdsa.PrivateKey) *tls.Certificate {
	t.Helper()
	code, text := s.ask(t, as, path, body)
	var got api.SignResponse
	if code != http.StatusCreated || json.Unmarshal([]byte(text), &got) != nil {
		t.Fatalf("%s: %d %s", path, code, text)
	}
	pair := &tls.Certificate{PrivateKey: key, Leaf: got.CertChainPEM[0].Certificate}
	for _, c := range got.CertChainPEM {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func request(t testing.TB, key *ecdsa.PrivateKey, name string, hosts ...string) api.CertificateRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, DNSNames: hosts,
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return api.NewCertificateRequest(csr)
}

func (s served) token(t testing.TB, p pki.Profile, name string) string {
	t.Helper()
	token, err := s.authority.MintOneTime(pki.OneTime{Profile: p, Name: name, Doors: []string{s.address}})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// holder is whoever was given a certificate by a token.
func (s served) holder(t testing.TB, p pki.Profile, name string) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	csr := request(t, key, name)
	if p == pki.Server {
		csr = request(t, key, name, name)
	}
	return s.must(t, nil, "/1.0/sign", api.SignRequest{CsrPEM: csr, OTT: s.token(t, p, name)}, key)
}

func wantRefusal(t testing.TB, what string, code int, text string, wanted int, part string) {
	t.Helper()
	if code != wanted || !strings.Contains(text, part) {
		t.Errorf("%s: got %d %s, want %d with %q", what, code, text, wanted, part)
	}
}

// memberPair is the certificate that the member serves with.
func memberPair(t testing.TB, s served) *tls.Certificate {
	t.Helper()
	pair, err := s.authority.CADoor().GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// revokeToken is what step ca token --revoke makes.
func revokeToken(t testing.TB, s served, p pki.Profile, serial string) string {
	t.Helper()
	key, err := s.authority.TokenKey(p)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.Signed(signer).Claims(jose.Claims{
		Issuer: string(p), Subject: serial, ID: rand.Text(), Audience: jose.Audience{"https://" + s.address + "/1.0/revoke"},
		Expiry: jose.NewNumericDate(time.Now().Add(time.Minute)),
	}).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// post asks without a network, for the fuzzers.
func (s served) post(path, kind string, body []byte) int {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", kind)
	r.RemoteAddr = net.JoinHostPort(fmt.Sprintf("10.%d.%d.%d", mathrand.N(256), mathrand.N(256), mathrand.N(256)), "1")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code
}
