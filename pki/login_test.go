// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/smallstep/certificates/db"
)

// asking is what an honest client sends.
func asking(t testing.TB, token Token, name string) LoginRequest {
	t.Helper()
	return LoginRequest{Token: token, CSR: request(t, newKey(t), named(name)).Raw, Time: time.Now()}
}

func login(t testing.TB, a *Authority, i Invitation) *x509.Certificate {
	t.Helper()
	chain, err := a.Login(t.Context(), asking(t, invite(t, a, i), ""))
	if err != nil {
		t.Fatal(err)
	}
	return chain[0]
}

func renew(t testing.TB, a *Authority, shown *x509.Certificate) (*x509.Certificate, error) {
	t.Helper()
	chain, err := a.RenewClient(t.Context(), shown, request(t, newKey(t), named("")).Raw)
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

func lifeOf(leaf *x509.Certificate) time.Duration { return leaf.NotAfter.Sub(issuedAt(leaf)) }

func TestAClientsTokenIsForItsNameAlone(t *testing.T) {
	a := open(t, testConfig(t))
	token := invite(t, a, Invitation{Client: "alice", CertTTL: time.Hour, Uses: 2})
	if _, err := a.Login(t.Context(), asking(t, token, "bob")); !errors.Is(err, ErrName) {
		t.Errorf("asking for bob: %v, want ErrName", err)
	}
	for _, name := range []string{"", "alice"} {
		chain, err := a.Login(t.Context(), asking(t, token, name))
		if err != nil {
			t.Fatal(err) // bob's attempt was counted
		}
		leaf := chain[0]
		if leaf.Subject.CommonName != "alice" || len(leaf.URIs)+len(leaf.DNSNames) != 0 || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
			t.Errorf("got %s for %v, %v, %v", leaf.Subject, leaf.ExtKeyUsage, leaf.URIs, leaf.DNSNames)
		}
		if life := lifeOf(leaf); life < time.Hour || life > time.Hour+time.Second {
			t.Errorf("it lives for %v, want an hour", life)
		}
	}
	if _, err := a.Login(t.Context(), asking(t, token, "")); !errors.Is(err, ErrTokenUsed) {
		t.Errorf("a third time: %v, want ErrTokenUsed", err)
	}
	list, err := a.Tokens(t.Context())
	if err != nil || len(list) != 1 || list[0].Client != "alice" || list[0].Role != "" || list[0].Left != 0 || len(list[0].Joined) != 0 {
		t.Errorf("listed as %+v, %v", list, err)
	}
}

func TestATokenOfOneKindIsNoneOfTheOther(t *testing.T) {
	a := open(t, testConfig(t))
	machine, client := invite(t, a, Invitation{}), invite(t, a, Invitation{Client: "alice"})
	if _, err := a.Login(t.Context(), asking(t, machine, "")); !errors.Is(err, ErrTokenKind) {
		t.Errorf("logged in with a machine's token: %v", err)
	}
	_, _, redeemed := a.Redeem(t.Context(), redemption(client, "key"))
	_, checked := a.Check(t.Context(), redemption(client, "key"))
	_, admitted := a.Admit(t.Context(), JoinRequest{Token: client, CSR: request(t, newKey(t), named("")).Raw, Name: "blue", Time: time.Now()}, 9)
	for name, err := range map[string]error{"redeem": redeemed, "check": checked, "admit": admitted} {
		if !errors.Is(err, ErrTokenKind) {
			t.Errorf("%s with a client's token: %v", name, err)
		}
	}
	if list, err := a.Tokens(t.Context()); err != nil || list[0].Left != 1 || list[1].Left != 1 {
		t.Errorf("%+v, %v: want none used", list, err)
	}
}

func TestAClientsInvitationThatNobodyCouldUseIsRefused(t *testing.T) {
	a := open(t, testConfig(t))
	for name, i := range map[string]Invitation{
		"a member's name":           {Client: "member/1"},
		"a name of two lines":       {Client: "a\nb"},
		"a name too long":           {Client: strings.Repeat("x", maxNameBytes+1)},
		"a member as well":          {Client: "alice", Member: 3},
		"a role as well":            {Client: "alice", Role: RoleLearner},
		"a short life":              {Client: "alice", CertTTL: time.Millisecond},
		"a life before its start":   {Client: "alice", CertTTL: -time.Hour},
		"a life for no client":      {CertTTL: time.Hour},
		"a token that lives longer": {Client: "alice", TTL: maxTokenTTL + 1},
	} {
		if _, _, err := a.Invite(t.Context(), i); !errors.Is(err, ErrInvitation) {
			t.Errorf("%s: %v, want ErrInvitation", name, err)
		}
	}
}

func TestWhatIsNoLoginWritesNothing(t *testing.T) {
	c := testConfig(t)
	ledger := c.Ledger.(*memoryLedger)
	a := open(t, c)
	token, never := invite(t, a, Invitation{Client: "alice"}), newToken(a.ca().root)
	before := fmt.Sprint(ledger.values)
	honest := asking(t, token, "")
	spoilt := request(t, newKey(t), named("")).Raw
	spoilt[len(spoilt)-1] ^= 1
	for name, test := range map[string]struct {
		r    LoginRequest
		want error
	}{
		"an unknown token":       {LoginRequest{Token: never, CSR: honest.CSR, Time: time.Now()}, ErrTokenUnknown},
		"a token of elsewhere":   {LoginRequest{Token: newToken(open(t, testConfig(t)).ca().root), CSR: honest.CSR, Time: time.Now()}, ErrTokenDigest},
		"another name":           {asking(t, token, "root"), ErrName},
		"no request":             {LoginRequest{Token: token, Time: time.Now()}, ErrRequest},
		"a request far too long": {LoginRequest{Token: token, CSR: make([]byte, maxJoinRequestBytes+1), Time: time.Now()}, ErrRequest},
		"a key that is not held": {LoginRequest{Token: token, CSR: spoilt, Time: time.Now()}, ErrRequest},
		"a clock far off":        {LoginRequest{Token: token, CSR: honest.CSR, Time: time.Now().Add(time.Hour)}, ErrClock},
	} {
		if _, err := a.Login(t.Context(), test.r); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if fmt.Sprint(ledger.values) != before {
		t.Error("the ledger has changed")
	}
}

func TestAClientWhoseAnswerWasLostIsCountedOnce(t *testing.T) {
	c := testConfig(t)
	ledger := c.Ledger.(*memoryLedger)
	a := open(t, c)
	r := asking(t, invite(t, a, Invitation{Client: "alice"}), "")
	ledger.failAt, ledger.failAfter = ledger.calls+3, true // the use is counted, and we are told that it failed
	if _, err := a.Login(t.Context(), r); !errors.Is(err, errLedger) {
		t.Fatalf("%v, want the ledger's error", err)
	}
	if _, err := a.Login(t.Context(), r); err != nil {
		t.Errorf("again with the same key: %v", err)
	}
	if _, err := a.Login(t.Context(), asking(t, r.Token, "")); !errors.Is(err, ErrTokenUsed) {
		t.Errorf("with another key: %v, want ErrTokenUsed", err)
	}
}

func TestOfManyClientsExactlyAsManyLogInAsMay(t *testing.T) {
	const clients, uses = 16, 3
	a := open(t, testConfig(t))
	token := invite(t, a, Invitation{Client: "alice", Uses: uses})
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		r := asking(t, token, "")
		wg.Go(func() { _, errs[i] = a.Login(t.Context(), r) })
	}
	wg.Wait()
	in := 0
	for _, err := range errs {
		if err == nil {
			in++
		} else if !errors.Is(err, ErrTokenUsed) {
			t.Error(err)
		}
	}
	if in != uses {
		t.Errorf("%d logged in, want %d", in, uses)
	}
}

// A hundred renewals later the certificate says what it said, and lives as long.
func TestARenewalKeepsNameAndLifeForAnyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, testConfig(t))
		first := login(t, a, Invitation{Client: "alice", CertTTL: 10 * time.Second})
		leaf := first
		for range 100 {
			time.Sleep(lifeOf(leaf)*6/10 + 7*time.Millisecond) // of a bubble, like all here: no time passes outside
			next, err := renew(t, a, leaf)
			if err != nil {
				t.Fatal(err)
			}
			if next.Subject.String() != first.Subject.String() || next.SerialNumber.Cmp(leaf.SerialNumber) == 0 || bytes.Equal(next.RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo) {
				t.Fatalf("renewed: %s with serial %s", next.Subject, next.SerialNumber)
			}
			leaf = next
		}
		if life := lifeOf(leaf); life < 9*time.Second || life > 11*time.Second {
			t.Errorf("after a hundred renewals it lives for %v", life)
		}
		same := newKey(t)
		for range 2 {
			chain, err := a.RenewClient(t.Context(), leaf, request(t, same, named("alice")).Raw)
			if err != nil || !same.PublicKey.Equal(chain[0].PublicKey) {
				t.Fatalf("with the same key: %v", err)
			}
			leaf = chain[0]
		}
	})
}

func TestEachReasonNotToRenewHasItsOwnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		a := open(t, c)
		old := login(t, a, Invitation{Client: "alice", CertTTL: time.Second})
		time.Sleep(10 * time.Second)
		good, revoked := login(t, a, Invitation{Client: "alice"}), login(t, a, Invitation{Client: "alice"})
		if err := a.ca().database.Revoke(&db.RevokedCertificateInfo{Serial: revoked.SerialNumber.String()}); err != nil {
			t.Fatal(err)
		}
		service := issue(t, a, Server, x509.CertificateRequest{DNSNames: []string{"db.example.org"}}).Leaf
		strange := login(t, open(t, testConfig(t)), Invitation{Client: "alice"})
		for name, test := range map[string]struct {
			shown  *x509.Certificate
			reason string
		}{
			"expired":                       {old, ReasonExpired},
			"of another CA":                 {strange, ReasonUnknownAuthority},
			"a service's":                   {service, ReasonWrongUsage},
			"a member's":                    {leafOf(a), ReasonWrongUsage},
			"revoked":                       {revoked, ReasonRevoked},
			"signed by us, never issued":    {forge(t, a, "alice", big.NewInt(77)), ReasonUnknownAuthority},
			"with the serial of one of our": {forge(t, a, "root", good.SerialNumber), ReasonUnknownAuthority},
		} {
			_, err := renew(t, a, test.shown)
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Reason() != test.reason {
				t.Errorf("%s: %v, want %s", name, err, test.reason)
			}
		}
		if _, err := a.RenewClient(t.Context(), good, request(t, newKey(t), named("root")).Raw); !errors.Is(err, ErrName) {
			t.Errorf("another name: %v, want ErrName", err)
		}
		if _, err := a.RenewClient(t.Context(), good, nil); !errors.Is(err, ErrRequest) {
			t.Errorf("no request: %v, want ErrRequest", err)
		}
		c.Ledger.(*memoryLedger).fail(errLedger)
		if _, err := renew(t, a, good); !errors.Is(err, errLedger) {
			t.Errorf("no ledger: %v", err)
		}
	})
}

// forge signs with the CA's key past the CA.
func forge(t *testing.T, a *Authority, name string, serial *big.Int) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-backdate), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca().intermediate, newKey(t).Public(), a.ca().signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}
