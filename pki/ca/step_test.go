// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/certificates/api"
	"go.step.sm/crypto/jose"

	"github.com/cleatd/cleat/pki"
)

func copyKey(t testing.TB, from, dir string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.key"), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStrangersAreToldWhomToTrustAndNoSecret(t *testing.T) {
	s := one(t)
	root := s.authority.Certificates()[0]
	sum := sha256.Sum256(root.Raw)
	before := s.ledger.written()
	for path, part := range map[string]string{
		"/health": `"ok"`, "/1.0/health": `"ok"`, "/version": `"test"`, "/roots": "BEGIN CERTIFICATE",
		"/root/" + hex.EncodeToString(sum[:]): "BEGIN CERTIFICATE", "/federation": "BEGIN CERTIFICATE",
		"/roots.pem": "BEGIN CERTIFICATE", "/intermediates": "BEGIN CERTIFICATE", "/intermediates.pem": "BEGIN CERTIFICATE",
		"/provisioners": `"kid"`, "/1.0/provisioners?limit=20": `"JWK"`,
	} {
		code, text := s.ask(t, nil, path, nil)
		if code/100 != 2 || !strings.Contains(text, part) {
			t.Errorf("%s: %d %s", path, code, text)
		}
		if strings.Contains(text, `"d"`) || strings.Contains(text, "encryptedKey") || strings.Contains(text, "PRIVATE") {
			t.Errorf("%s tells a private key: %s", path, text)
		}
	}
	for path, part := range map[string]string{
		"/root/00":                       "no root with the fingerprint",
		"/provisioners/x/encrypted-key":  "with its members alone",
		"/v3/kv/range":                   "client door",
		"/ssh/roots":                     "ca door",
		"/1.0/provisioners/admin/things": "ca door",
	} {
		code, text := s.ask(t, nil, path, nil)
		wantRefusal(t, path, code, text, http.StatusNotFound, part)
	}
	if after := s.ledger.written(); after != before {
		t.Errorf("strangers wrote %d times", after-before)
	}
}

func TestATokenGivesOneCertificateOfItsNameAndProfile(t *testing.T) {
	s := one(t)
	key := newKey(t)
	token := s.token(t, pki.Client, "alice")
	code, text := s.ask(t, nil, "/sign", api.SignRequest{CsrPEM: request(t, key, "mallory"), OTT: token})
	wantRefusal(t, "another name", code, text, http.StatusForbidden, `for user \"alice\"`)

	alice := s.must(t, nil, "/sign", api.SignRequest{CsrPEM: request(t, key, "alice", "alice"), OTT: token}, key)
	if alice.Leaf.Subject.String() != "CN=alice" || len(alice.Leaf.DNSNames) != 0 ||
		!slices.Equal(alice.Leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("got %s %v %v", alice.Leaf.Subject, alice.Leaf.DNSNames, alice.Leaf.ExtKeyUsage)
	}
	code, text = s.ask(t, nil, "/sign", api.SignRequest{CsrPEM: request(t, key, "alice"), OTT: token})
	wantRefusal(t, "the same token", code, text, http.StatusUnauthorized, "used up")

	web := s.holder(t, pki.Server, "web.example.org")
	if !slices.Equal(web.Leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || !slices.Equal(web.Leaf.DNSNames, []string{"web.example.org"}) {
		t.Errorf("got %v %v", web.Leaf.ExtKeyUsage, web.Leaf.DNSNames)
	}
	greedy := request(t, key, "web.example.org", "web.example.org", "db.example.org")
	code, text = s.ask(t, nil, "/sign", api.SignRequest{CsrPEM: greedy, OTT: s.token(t, pki.Server, "web.example.org")})
	wantRefusal(t, "one name more", code, text, http.StatusForbidden, "db.example.org")
}

func TestForgedTokensWriteNothing(t *testing.T) {
	s, other := one(t), one(t)
	key := newKey(t)
	before := s.ledger.written()
	forged := other.token(t, pki.Client, "alice")
	for name, token := range map[string]string{"another CA's": forged, "cut off": forged[:40], "none": "x"} {
		code, text := s.ask(t, nil, "/sign", api.SignRequest{CsrPEM: request(t, key, "alice"), OTT: token})
		wantRefusal(t, name, code, text, http.StatusUnauthorized, "token")
		code, text = s.ask(t, nil, "/revoke", api.RevokeRequest{Serial: "1", OTT: token, Passive: true})
		wantRefusal(t, name, code, text, http.StatusUnauthorized, "token")
	}
	if after := s.ledger.written(); after != before {
		t.Errorf("they wrote %d times", after-before)
	}
}

// step's X5C provisioners would take a certificate's holder at his word.
func TestAClientGetsNoOtherNameByItsOwnCertificate(t *testing.T) {
	s := one(t)
	alice := s.holder(t, pki.Client, "alice")
	options := new(jose.SignerOptions).WithHeader("x5c", []string{base64.StdEncoding.EncodeToString(alice.Certificate[0])})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: alice.PrivateKey}, options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.Signed(signer).Claims(jose.Claims{
		Issuer: "client", Subject: "bob", ID: "1", Audience: jose.Audience{"https://" + s.address + "/1.0/sign"},
		Expiry: jose.NewNumericDate(time.Now().Add(time.Minute)),
	}).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	code, text := s.ask(t, alice, "/sign", api.SignRequest{CsrPEM: request(t, newKey(t), "bob"), OTT: token})
	wantRefusal(t, "signed by alice", code, text, http.StatusUnauthorized, "no key of this cluster signed it")
}

func TestAHolderRenewsAtAnyMemberAndKeepsWhatItIs(t *testing.T) {
	members := cluster(t, 2, Policy{})
	for _, p := range []pki.Profile{pki.Client, pki.Server} {
		held := members[0].holder(t, p, "web.example.org")
		next := members[1].must(t, held, "/1.0/renew", struct{}{}, held.PrivateKey.(*ecdsa.PrivateKey))
		key := newKey(t)
		rekeyed := members[0].must(t, next, "/rekey", api.RekeyRequest{CsrPEM: request(t, key, "mallory", "db.example.org")}, key)
		for _, got := range []*x509.Certificate{next.Leaf, rekeyed.Leaf} {
			if got.Subject.String() != held.Leaf.Subject.String() || !slices.Equal(got.DNSNames, held.Leaf.DNSNames) ||
				!slices.Equal(got.ExtKeyUsage, held.Leaf.ExtKeyUsage) || got.SerialNumber.Cmp(held.Leaf.SerialNumber) == 0 {
				t.Errorf("%s: got %s %v %v", p, got.Subject, got.DNSNames, got.ExtKeyUsage)
			}
			if grown := got.NotAfter.Sub(got.NotBefore) - held.Leaf.NotAfter.Sub(held.Leaf.NotBefore); grown != 0 {
				t.Errorf("%s: its life has grown by %v", p, grown)
			}
		}
		if !key.PublicKey.Equal(rekeyed.Leaf.PublicKey) {
			t.Errorf("%s: rekeyed for another key", p)
		}
	}
}

func TestStolenOrMadeUpCertificatesAreNotRenewed(t *testing.T) {
	s := one(t)
	held := s.holder(t, pki.Client, "alice")
	code, text := s.ask(t, nil, "/renew", struct{}{})
	wantRefusal(t, "nothing shown", code, text, http.StatusBadRequest, "no certificate was shown")

	forgotten := s.holder(t, pki.Client, "bob")
	s.ledger.mu.Lock()
	delete(s.ledger.values, "pki/x509_certs\x00"+forgotten.Leaf.SerialNumber.String())
	s.ledger.mu.Unlock()
	code, text = s.ask(t, forgotten, "/renew", struct{}{})
	wantRefusal(t, "signed by the issuer, not recorded", code, text, http.StatusUnauthorized, "record")
	code, text = s.ask(t, forgotten, "/rekey", api.RekeyRequest{CsrPEM: request(t, newKey(t), "bob")})
	wantRefusal(t, "rekeyed", code, text, http.StatusUnauthorized, "record")
	code, text = s.ask(t, forgotten, "/revoke", api.RevokeRequest{Serial: forgotten.Leaf.SerialNumber.String(), Passive: true})
	wantRefusal(t, "revoked", code, text, http.StatusUnauthorized, "record")

	code, text = s.ask(t, held, "/revoke", api.RevokeRequest{Serial: held.Leaf.SerialNumber.String(), Passive: true})
	if code != http.StatusOK {
		t.Fatalf("revoke: %d %s", code, text)
	}
	code, text = s.ask(t, held, "/renew", struct{}{})
	wantRefusal(t, "revoked", code, text, http.StatusUnauthorized, "revoked")

	stranger := one(t).holder(t, pki.Client, "alice")
	if answer, err := s.client(t, stranger).Get("https://" + s.address + "/health"); err == nil {
		_ = answer.Body.Close()
		t.Error("another CA's certificate was let in")
	}
}

func TestAMemberDoesNotRenewHere(t *testing.T) {
	s := one(t)
	pair := memberPair(t, s)
	code, text := s.ask(t, pair, "/renew", struct{}{})
	wantRefusal(t, "a member's", code, text, http.StatusForbidden, "renews its certificate itself")
}

func TestATokenRevokesOnlyWhatIsOfItsProvisioner(t *testing.T) {
	s := one(t)
	alice, web := s.holder(t, pki.Client, "alice"), s.holder(t, pki.Server, "web.example.org")
	revoke := func(p pki.Profile, leaf, of *x509.Certificate) (int, string) {
		return s.ask(t, nil, "/1.0/revoke", api.RevokeRequest{
			Serial: leaf.SerialNumber.String(), OTT: revokeToken(t, s, p, of.SerialNumber.String()), Passive: true,
		})
	}
	code, text := revoke(pki.Client, web.Leaf, web.Leaf)
	wantRefusal(t, "another provisioner's", code, text, http.StatusForbidden, "revokes client certificates only")
	code, text = revoke(pki.Client, alice.Leaf, web.Leaf)
	wantRefusal(t, "for another serial", code, text, http.StatusForbidden, "serial number")
	code, text = s.ask(t, alice, "/revoke", api.RevokeRequest{Serial: web.Leaf.SerialNumber.String(), Passive: true})
	wantRefusal(t, "shown another", code, text, http.StatusForbidden, "shown in the handshake")
	if code, text = revoke(pki.Client, alice.Leaf, alice.Leaf); code != http.StatusOK {
		t.Errorf("its own: %d %s", code, text)
	}
	code, text = revoke(pki.Client, alice.Leaf, alice.Leaf)
	wantRefusal(t, "twice", code, text, http.StatusBadRequest, "already")
	code, text = s.ask(t, web, "/renew", struct{}{})
	if code != http.StatusCreated {
		t.Errorf("what nobody revoked is not renewed: %d %s", code, text)
	}
}

func TestTooLargeRequestsAreRefused(t *testing.T) {
	s := one(t)
	code, text := s.ask(t, nil, "/sign", map[string]string{"ott": strings.Repeat("x", maxBody)})
	wantRefusal(t, "a large token", code, text, http.StatusRequestEntityTooLarge, "more than 65536 bytes")
}

func FuzzSign(f *testing.F) {
	s := one(f)
	raw, err := json.Marshal(api.SignRequest{CsrPEM: request(f, newKey(f), "alice"), OTT: s.token(f, pki.Client, "alice")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{"/sign", "/rekey", "/revoke"} {
			if code := s.post(path, "application/json", body); code >= 500 {
				t.Errorf("%s: %d", path, code)
			}
		}
	})
}
