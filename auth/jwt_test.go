// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pair writes a key and its public half and returns their paths.
func pair(t testing.TB, key crypto.Signer) (private, public string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	half, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return file(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		file(t, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: half}))
}

func file(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func setting(t testing.TB, text string) *JWT {
	t.Helper()
	j, err := ParseTokenSetting(text)
	if err != nil || j == nil {
		t.Fatalf("%s: %v, %v", text, j, err)
	}
	return j
}

func TestTokensOfEveryMethodAreBelievedByWhoHasTheKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var last *JWT
	for method, key := range map[string]crypto.Signer{"RS256": rsaKey, "PS512": rsaKey, "ES256": ecKey, "EdDSA": edKey} {
		private, public := pair(t, key)
		signer := setting(t, "jwt,priv-key="+private+",pub-key="+public+",sign-method="+method)
		verifier := setting(t, "jwt,pub-key="+public+",sign-method="+method+",ttl=1m")
		token, err := signer.Token("alice", 7)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		for _, j := range []*JWT{signer, verifier} {
			if c, err := j.Caller(token); err != nil || c != (Caller{Name: "alice", Revision: 7}) {
				t.Errorf("%s: %+v, %v", method, c, err)
			}
		}
		if _, err := verifier.Token("alice", 7); !errors.Is(err, ErrVerifyOnly) {
			t.Errorf("%s: signed with a public key: %v", method, err)
		}
		if last != nil {
			if _, err := last.Caller(token); !errors.Is(err, ErrToken) {
				t.Errorf("%s: believed with another's key: %v", method, err)
			}
		}
		last = signer
	}
	for _, text := range []string{"", "a.b.c", "eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6OX0."} {
		if _, err := last.Caller(text); !errors.Is(err, ErrToken) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAJWTEnds(t *testing.T) {
	key := file(t, []byte("secret"))
	synctest.Test(t, func(t *testing.T) {
		j := setting(t, "jwt,sign-method=HS256,ttl=1m,priv-key="+key)
		token, err := j.Token("alice", 7)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second) // of a bubble: no time passes outside
		if _, err := j.Caller(token); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if _, err := j.Caller(token); !errors.Is(err, ErrToken) {
			t.Errorf("after its life: %v", err)
		}
	})
}

func TestTokenSettingsThatCannotBeUsedAreNamed(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, another, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, _ := pair(t, key)
	_, public := pair(t, another)
	longer, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, _ := pair(t, longer)
	for text, says := range map[string]string{
		"":                                "simple or jwt",
		"other":                           "simple or jwt",
		"jwt":                             "needs sign-method",
		"jwt,sign-method":                 "NAME=VALUE",
		"jwt,ttl=1m,ttl=2m":               "each once",
		"jwt,sign-method=none":            "unknown",
		"jwt,sign-method=RS255":           "unknown",
		"jwt,sign-method=RS256":           "neither",
		"jwt,sign-method=HS256":           "priv-key is missing",
		"jwt,sign-method=RS256,ttl=-1s":   "positive",
		"jwt,sign-method=RS256,colour=b":  "unknown option",
		"jwt,sign-method=RS256,pub-key=/": "pub-key",
		"jwt,sign-method=RS256,priv-key=" + private:                        "priv-key",
		"jwt,sign-method=EdDSA,priv-key=" + private + ",pub-key=" + public: "does not belong",
		"jwt,sign-method=ES256,priv-key=" + curve:                          "does not do for ES256",
	} {
		if _, err := ParseTokenSetting(text); !errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if j, err := ParseTokenSetting("simple"); j != nil || err != nil {
		t.Errorf("simple: %v, %v", j, err)
	}
}

func FuzzJWT(f *testing.F) {
	j := setting(f, "jwt,sign-method=HS256,priv-key="+file(f, []byte("secret")))
	token, err := j.Token("alice", 7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := j.Caller(text)
		if err == nil && c != (Caller{Name: "alice", Revision: 7}) || err != nil && !errors.Is(err, ErrToken) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	})
}

func FuzzTokenSetting(f *testing.F) {
	f.Add("simple")
	f.Add("jwt,sign-method=HS256,ttl=1m")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "-key=") {
			t.Skip("it would read any file")
		}
		if j, err := ParseTokenSetting(text); err != nil && !errors.Is(err, ErrSetting) || err == nil && j != nil {
			t.Errorf("%q: %v, %v", text, j, err)
		}
	})
}
