// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	smallstep "github.com/smallstep/certificates/acme"
	"golang.org/x/crypto/acme"

	"github.com/cleatd/cleat/pki"
)

// local lets ACME validate and name what is on this machine.
func local(t testing.TB) Policy {
	t.Helper()
	names, err := ParseNames([]string{"127.0.0.0/8", "*.example.internal"})
	if err != nil {
		t.Fatal(err)
	}
	return Policy{Names: names, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

// responder answers http-01 for all who validate in this process.
type responder struct {
	mu      sync.Mutex
	answers map[string]string // under mu: by path
	asked   atomic.Int32
}

var (
	respond     sync.Once
	responds    = &responder{answers: map[string]string{}}
	respondPort int
)

// challenges is the one responder: smallstep's port of http-01 is the process's.
func challenges(t testing.TB) *responder {
	t.Helper()
	respond.Do(func() {
		server := httptest.NewServer(responds)
		respondPort = server.Listener.Addr().(*net.TCPAddr).Port
		smallstep.InsecurePortHTTP01 = respondPort
	})
	return responds
}

func (r *responder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.asked.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = w.Write([]byte(r.answers[q.URL.Path])) // the validator is gone
}

func (r *responder) set(path, answer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[path] = answer
}

// user is an ACME client, whose connections go to one member after the other.
func user(t testing.TB, doors []served, key *ecdsa.PrivateKey) *acme.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(doors[0].authority.Bundle())
	var turn atomic.Int32
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", doors[int(turn.Add(1))%len(doors)].address)
		},
	}
	return &acme.Client{
		Key: key, DirectoryURL: "https://localhost/acme/acme/directory", HTTPClient: &http.Client{Transport: transport},
		RetryBackoff: func(n int, _ *http.Request, answer *http.Response) time.Duration {
			if n > 3 || answer != nil && answer.StatusCode != http.StatusBadRequest {
				return -1
			}
			return time.Millisecond
		},
	}
}

func registered(t testing.TB, doors []served) *acme.Client {
	t.Helper()
	c := user(t, doors, newKey(t))
	if _, err := c.Register(t.Context(), new(acme.Account), acme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	return c
}

// obtain goes through an order.
func obtain(t testing.TB, c *acme.Client, ids []acme.AuthzID) ([][]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a client waits for ever
	defer cancel()
	order, err := c.AuthorizeOrder(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, url := range order.AuthzURLs {
		if err := prove(ctx, t, c, url); err != nil {
			return nil, err
		}
	}
	if order, err = c.WaitOrder(ctx, order.URI); err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{}
	for _, id := range ids {
		if ip := net.ParseIP(id.Value); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, newKey(t))
	if err != nil {
		return nil, err
	}
	chain, _, err := c.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	return chain, err
}

func prove(ctx context.Context, t testing.TB, c *acme.Client, url string) error {
	az, err := c.GetAuthorization(ctx, url)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(az.Challenges, func(ch *acme.Challenge) bool { return ch.Type == "http-01" })
	if at < 0 || len(az.Challenges) != 1 {
		return fmt.Errorf("offered %v", az.Challenges)
	}
	answer, err := c.HTTP01ChallengeResponse(az.Challenges[at].Token)
	if err != nil {
		return err
	}
	challenges(t).set(c.HTTP01ChallengePath(az.Challenges[at].Token), answer)
	if _, err := c.Accept(ctx, az.Challenges[at]); err != nil {
		return err
	}
	_, err = c.WaitAuthorization(ctx, url)
	return err
}

func TestAnACMEClientIsServedByAllMembersInTurn(t *testing.T) {
	doors := cluster(t, 3, local(t))
	c := registered(t, doors)
	chain, err := obtain(t, c, acme.IPIDs("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(chain) != 2 || leaf.VerifyHostname("127.0.0.1") != nil || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Errorf("%d certificates, %v %v", len(chain), leaf.IPAddresses, leaf.ExtKeyUsage)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > pki.DefaultClientTTL+time.Hour {
		t.Errorf("it lives %v", life)
	}
	if err := c.RevokeCert(t.Context(), nil, chain[0], acme.CRLReasonKeyCompromise); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if err := c.RevokeCert(t.Context(), nil, chain[0], acme.CRLReasonKeyCompromise); err != nil && !strings.Contains(err.Error(), "alreadyRevoked") {
		t.Errorf("revoke again: %v", err)
	}
	if n := doors[0].ledger.count(t, "pki/revoked_x509_certs"); n != 1 {
		t.Errorf("%d revocations are recorded", n)
	}
	stranger := registered(t, doors)
	if err := stranger.RevokeCert(t.Context(), nil, chain[0], acme.CRLReasonUnspecified); err == nil {
		t.Error("another account revoked it")
	}
}

func TestManyOrdersOfOneAccountAtOnceLoseNothing(t *testing.T) {
	doors := cluster(t, 3, local(t))
	c := registered(t, doors)
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			if _, err := obtain(t, c, acme.IPIDs("127.0.0.1")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := doors[0].ledger.count(t, certificatesBucket); n != 12 {
		t.Errorf("%d certificates for 12 orders", n)
	}
}

func TestEverythingThatIsWrittenEnds(t *testing.T) {
	p := local(t)
	s := cluster(t, 1, p)
	if _, err := obtain(t, registered(t, s), acme.IPIDs("127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	alice := s[0].holder(t, pki.Client, "alice")
	s[0].must(t, alice, "/renew", struct{}{}, alice.PrivateKey.(*ecdsa.PrivateKey))
	s[0].ledger.mu.Lock()
	defer s[0].ledger.mu.Unlock()
	seen := map[string]bool{}
	for at := range s[0].ledger.values {
		bucket, _, _ := strings.Cut(at, "\x00")
		seen[bucket] = true
		if s[0].ledger.ends[at].IsZero() && bucket != "pki/ca" {
			t.Errorf("%q never ends", at)
		}
	}
	for _, bucket := range []string{ordersBucket, accountsOrders, accountsBucket, certificatesBucket, noncesBucket, "pki/used_ott", "pki/x509_certs", "pki/x509_certs_data"} {
		if !seen[bucket] {
			t.Errorf("nothing was written to %s: this test proves nothing of it", bucket)
		}
	}
}

func problemOf(t testing.TB, err error) *acme.Error {
	t.Helper()
	var told *acme.Error
	if !errors.As(err, &told) {
		t.Fatalf("got %v, want a problem document", err)
	}
	return told
}

func TestACMEIsOffWhileNoNamesAreAllowed(t *testing.T) {
	s := one(t)
	before := s.ledger.written()
	_, err := user(t, []served{s}, newKey(t)).Register(t.Context(), new(acme.Account), acme.AcceptTOS)
	if told := problemOf(t, err); told.StatusCode != http.StatusForbidden || !strings.Contains(told.Detail, "acme-names is empty") {
		t.Errorf("got %+v", told)
	}
	if after := s.ledger.written(); after != before {
		t.Error("it wrote")
	}
	s.SetPolicy(local(t))
	registered(t, []served{s})
}

func TestNamesThatAreNotAllowedAreRefusedAndWriteNoOrder(t *testing.T) {
	s := cluster(t, 1, local(t))
	c := registered(t, s)
	for name, ids := range map[string][]acme.AuthzID{
		"another domain":           acme.DomainIDs("web.example.org"),
		"the domain itself":        acme.DomainIDs("example.internal"),
		"one that ends alike":      acme.DomainIDs("web.badexample.internal"),
		"one good one bad":         acme.DomainIDs("web.example.internal", "web.example.org"),
		"a wildcard":               acme.DomainIDs("*.web.example.internal"),
		"an address of elsewhere":  acme.IPIDs("10.0.0.1"),
		"more names than there is": acme.DomainIDs(slices.Repeat([]string{"a.example.internal"}, 101)...),
	} {
		_, err := c.AuthorizeOrder(t.Context(), ids)
		if told := problemOf(t, err); told.ProblemType != "urn:ietf:params:acme:error:rejectedIdentifier" || !strings.Contains(told.Detail, "acme-names") && !strings.Contains(told.Detail, "wildcards") && !strings.Contains(told.Detail, "at most") {
			t.Errorf("%s: %+v", name, told)
		}
	}
	if n := s[0].ledger.count(t, ordersBucket) + s[0].ledger.count(t, accountsOrders); n != 0 {
		t.Errorf("%d records of orders", n)
	}
}

func TestWhatIsNotAllowedAnyMoreIsNotIssuedOrRenewed(t *testing.T) {
	s := cluster(t, 1, local(t))
	chain, err := obtain(t, registered(t, s), acme.IPIDs("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := s[0].stillAllowed(leaf); err != nil {
		t.Errorf("while it is allowed: %v", err)
	}
	s[0].SetPolicy(Policy{})
	if err := s[0].stillAllowed(leaf); !errors.Is(err, pki.ErrName) {
		t.Errorf("after that: %v", err)
	}
}

func TestUnsignedRequestsWriteNothing(t *testing.T) {
	s := cluster(t, 1, local(t))
	c := registered(t, s)
	forger := user(t, s, newKey(t))
	forger.KID = acme.KeyID(mustAccount(t, c).URI)
	before := s[0].ledger.written()
	if _, err := forger.AuthorizeOrder(t.Context(), acme.IPIDs("127.0.0.1")); err == nil || !strings.Contains(err.Error(), "not signed") {
		t.Errorf("got %v", err)
	}
	if after := s[0].ledger.written(); after != before {
		t.Errorf("a forged request wrote %d times", after-before)
	}
}

func mustAccount(t testing.TB, c *acme.Client) *acme.Account {
	t.Helper()
	account, err := c.GetReg(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return account
}

func TestANonceIsGoodOnceAtAllMembersAndCostsNothingUnused(t *testing.T) {
	doors := cluster(t, 2, local(t))
	ledger := doors[0].ledger
	before := ledger.written()
	nonce, err := doors[0].tables().CreateNonce(t.Context())
	if err != nil || ledger.written() != before {
		t.Fatalf("%v, %d writes", err, ledger.written()-before)
	}
	if err := doors[1].tables().DeleteNonce(t.Context(), nonce); err != nil {
		t.Errorf("at another member: %v", err)
	}
	for name, bad := range map[string]smallstep.Nonce{
		"used": nonce, "changed": "A" + nonce[1:], "cut off": nonce[:20], "empty": "", "of another cluster": foreignNonce(t),
	} {
		var told *smallstep.Error
		if err := doors[0].tables().DeleteNonce(t.Context(), bad); !errors.As(err, &told) || told.Type != "urn:ietf:params:acme:error:badNonce" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := ledger.count(t, noncesBucket); n != 1 {
		t.Errorf("%d nonces are recorded", n)
	}
}

func foreignNonce(t testing.TB) smallstep.Nonce {
	t.Helper()
	nonce, err := one(t).tables().CreateNonce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return nonce
}

func FuzzACME(f *testing.F) {
	s := cluster(f, 1, local(f))[0]
	f.Add([]byte(`{"protected":"e30","payload":"","signature":""}`), "new-account")
	f.Add([]byte(`{"protected":"eyJhbGciOiJFUzI1NiIsImtpZCI6IngifQ","payload":"e30","signature":"AAAA"}`), "new-order")
	f.Add([]byte(`e30.e30.e30`), "revoke-cert")
	before := s.ledger.written()
	f.Fuzz(func(t *testing.T, body []byte, to string) {
		if strings.ContainsAny(to, "?#% \x00\r\n") {
			return
		}
		path := "/acme/acme/" + to
		if _, err := http.NewRequest(http.MethodPost, path, nil); err != nil {
			return
		}
		if code := s.post(path, "application/jose+json", body); code >= 500 && code != http.StatusNotImplemented {
			t.Errorf("%s: %d", path, code)
		}
		if s.ledger.written() != before {
			t.Errorf("%s: %q wrote", path, body)
		}
	})
}
