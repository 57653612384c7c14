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
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cleatd/cleat/pki"
)

// loginCA is a CA with a door of its own.
type loginCA struct {
	*pki.Authority
	ledger  *loginLedger
	address string
	served  *http.Server
	shown   *tls.Certificate // by the next door; nil: the member's own
	others  []string         // endpoints of other members
}

func startLogin(t *testing.T) *loginCA {
	t.Helper()
	c := &loginCA{ledger: newLoginLedger()}
	var err error
	c.Authority, err = pki.Open(context.Background(), pki.Config{
		Dir: filepath.Join(t.TempDir(), "pki"), ClusterID: 7, MemberID: 1, Name: "green", Ledger: c.ledger,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.open(t, "127.0.0.1:0", func(h http.Handler) http.Handler { return h })
	return c
}

// open serves at the address; around may come between.
func (c *loginCA) open(t *testing.T, address string, around func(http.Handler) http.Handler) {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	places := Places{Endpoints: func() []string { return append([]string{"https://127.0.0.1:2379"}, c.others...) }}
	c.served = &http.Server{Handler: around(NewLogin(c.Authority, places, logger)), ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelInfo)}
	config := c.CADoor()
	config.VerifyConnection = nil // what is shown is checked by the handler, too
	if c.shown != nil {
		config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.shown, nil }
	}
	l, err := tls.Listen("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	c.address = l.Addr().String()
	served, ended := c.served, make(chan struct{})
	go func() { _ = served.Serve(l); close(ended) }() // it ends when it is closed
	t.Cleanup(func() { _ = served.Close(); <-ended })
}

func (c *loginCA) close(t *testing.T) {
	t.Helper()
	if err := c.served.Close(); err != nil {
		t.Fatal(err)
	}
}

func (c *loginCA) token(t *testing.T, i pki.Invitation) pki.Token {
	t.Helper()
	token, _, err := c.Invite(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func signingRequest(t *testing.T, name string) (csr []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr, key
}

// issued is a certificate with its key, of which the ledger knows.
func (c *loginCA) issued(t *testing.T, p pki.Profile, template x509.CertificateRequest) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := c.Issue(t.Context(), csr, p, 0)
	if err != nil {
		t.Fatal(err)
	}
	pair := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, each := range chain {
		pair.Certificate = append(pair.Certificate, each.Raw)
	}
	return pair
}

// post sends a body as somebody with these certificates.
func (c *loginCA) post(t *testing.T, path, kind string, body io.Reader, as ...tls.Certificate) (int, loginAnswer) {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, Certificates: as}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+c.address+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var a loginAnswer
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil && response.Header.Get("Content-Type") == "application/json" {
		t.Fatal(err)
	}
	return response.StatusCode, a
}

func asJSON(t *testing.T, q loginQuestion) io.Reader {
	t.Helper()
	text, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(text)
}

func TestEachRefusalHasItsCodeAndItsWords(t *testing.T) {
	c, other := startLogin(t), startLogin(t)
	csr, _ := signingRequest(t, "")
	bob, _ := signingRequest(t, "bob")
	alice, used := c.token(t, pki.Invitation{Client: "alice"}), c.token(t, pki.Invitation{Client: "alice"})
	machine, revoked := c.token(t, pki.Invitation{}), c.token(t, pki.Invitation{Client: "alice"})
	strange := other.token(t, pki.Invitation{Client: "alice"})
	if _, err := c.RevokeToken(t.Context(), revoked.ID()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if code, a := c.post(t, loginPath, "application/json", asJSON(t, loginQuestion{used.Text(), csr, now})); code != http.StatusOK || a.Chain == "" || a.Roots != string(c.Bundle()) || len(a.Endpoints) != 1 {
		t.Fatalf("%d: %+v", code, a)
	}
	second, _ := signingRequest(t, "")
	for name, test := range map[string]struct {
		q    loginQuestion
		code int
		want string
	}{
		"used up":             {loginQuestion{used.Text(), second, now}, http.StatusForbidden, "used up"},
		"revoked":             {loginQuestion{revoked.Text(), csr, now}, http.StatusForbidden, "revoked"},
		"a machine's":         {loginQuestion{machine.Text(), csr, now}, http.StatusForbidden, "for something else"},
		"of another cluster":  {loginQuestion{strange.Text(), csr, now}, http.StatusForbidden, "not for this cluster"},
		"cut off":             {loginQuestion{alice.Text()[:60], csr, now}, http.StatusBadRequest, "cut off"},
		"unknown":             {loginQuestion{alice.Text()[:51] + strings.Repeat("A", 43), csr, now}, http.StatusForbidden, "unknown"},
		"for another name":    {loginQuestion{alice.Text(), bob, now}, http.StatusBadRequest, `"bob"`},
		"without a request":   {loginQuestion{alice.Text(), nil, now}, http.StatusBadRequest, "certificate request"},
		"with a strange time": {loginQuestion{alice.Text(), csr, now.Add(time.Hour)}, http.StatusConflict, "set the clocks"},
	} {
		code, a := c.post(t, loginPath, "application/json", asJSON(t, test.q))
		if code != test.code || !strings.Contains(a.Error, test.want) || a.Chain != "" || a.Roots != "" {
			t.Errorf("%s: %d %+v, want %d with %q", name, code, a, test.code, test.want)
		}
		if secret := test.q.Token[min(len(test.q.Token), 52):]; len(secret) > 8 && strings.Contains(a.Error, secret[:8]) {
			t.Errorf("%s: the secret is in %q", name, a.Error)
		}
	}
	c.ledger.broken.Store(true)
	if code, a := c.post(t, loginPath, "application/json", asJSON(t, loginQuestion{alice.Text(), csr, now})); code != http.StatusServiceUnavailable {
		t.Errorf("without a ledger: %d %+v", code, a)
	}
	c.ledger.broken.Store(false)
	if code, a := c.post(t, loginPath, "application/json", asJSON(t, loginQuestion{alice.Text(), csr, now})); code != http.StatusOK {
		t.Errorf("after all that the token is no good: %d %+v", code, a)
	}
}

func TestWhatIsNotAskedAsItShouldBeIsRefused(t *testing.T) {
	c := startLogin(t)
	for name, test := range map[string]struct {
		path, kind, body string
		code             int
	}{
		"a page's form":     {renewPath, "application/x-www-form-urlencoded", "csr=x", http.StatusUnsupportedMediaType},
		"a page's text":     {renewPath, "text/plain", "{}", http.StatusUnsupportedMediaType},
		"no type":           {loginPath, "", "{}", http.StatusUnsupportedMediaType},
		"no JSON":           {loginPath, "application/json", "cleat", http.StatusBadRequest},
		"too much":          {loginPath, "application/json", `{"token":"` + strings.Repeat("x", maxLoginBytes) + `"}`, http.StatusRequestEntityTooLarge},
		"no certificate":    {renewPath, "application/json", "{}", http.StatusUnauthorized},
		"nothing is there":  {"/cleat/v1/root", "application/json", "{}", http.StatusNotFound},
		"roots to be read":  {rootsPath, "application/json", "{}", http.StatusMethodNotAllowed},
		"the door's outset": {"/", "application/json", "{}", http.StatusNotFound},
	} {
		if code, a := c.post(t, test.path, test.kind, strings.NewReader(test.body)); code != test.code {
			t.Errorf("%s: %d %+v, want %d", name, code, a, test.code)
		}
	}
}

func TestOnlyAClientsOwnCertificateIsRenewed(t *testing.T) {
	c, other := startLogin(t), startLogin(t)
	alice := c.issued(t, pki.Client, x509.CertificateRequest{Subject: pkix.Name{CommonName: "alice"}})
	service := c.issued(t, pki.Server, x509.CertificateRequest{DNSNames: []string{"db.example.org"}})
	strange := other.issued(t, pki.Client, x509.CertificateRequest{Subject: pkix.Name{CommonName: "alice"}})
	csr, _ := signingRequest(t, "")
	bob, _ := signingRequest(t, "bob")
	for name, test := range map[string]struct {
		as   tls.Certificate
		csr  []byte
		code int
		want string
	}{
		"alice's":            {alice, csr, http.StatusOK, ""},
		"alice's, as bob":    {alice, bob, http.StatusBadRequest, `"bob"`},
		"a service's":        {service, csr, http.StatusForbidden, "is not a client's"},
		"of another cluster": {strange, csr, http.StatusForbidden, "unknown authority"},
	} {
		code, a := c.post(t, renewPath, "application/json", asJSON(t, loginQuestion{CSR: test.csr}), test.as)
		if code != test.code || !strings.Contains(a.Error, test.want) || (a.Chain != "") != (code == http.StatusOK) {
			t.Errorf("%s: %d %+v, want %d with %q", name, code, a, test.code, test.want)
		}
	}
}

func FuzzLogin(f *testing.F) {
	f.Add([]byte(`{"token":"cleat1.a.b","csr":"AAAA","time":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"csr":null}`))
	f.Add([]byte(`[`))
	a, err := pki.Open(f.Context(), pki.Config{Dir: filepath.Join(f.TempDir(), "pki"), ClusterID: 7, MemberID: 1, Name: "green",
		Ledger: newLoginLedger()})
	if err != nil {
		f.Fatal(err)
	}
	h := NewLogin(a, Places{}, nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{loginPath, renewPath} {
			r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code < 400 || w.Code >= 500 {
				t.Error(fmt.Sprint(path, " answers ", w.Code, " ", w.Body))
			}
		}
	})
}
