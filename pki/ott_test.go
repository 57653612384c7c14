// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.step.sm/crypto/jose"
)

func mint(t testing.TB, a *Authority, o OneTime) string {
	t.Helper()
	if o.Doors == nil {
		o.Doors = []string{"green:2381"}
	}
	token, err := a.MintOneTime(o)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// forAlice is a token for a client certificate of alice.
func forAlice(t testing.TB, a *Authority) string {
	return mint(t, a, OneTime{Profile: Client, Name: "alice"})
}

func TestAOneTimeTokenIsUsedOnceHoweverManyComeWithIt(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	token := forAlice(t, a)
	var wins, losses atomic.Int32
	var all sync.WaitGroup
	for range 24 {
		all.Go(func() {
			checked, err := a.CheckSign(token)
			if err != nil {
				t.Error(err)
				return
			}
			switch err := a.UseOneTime(t.Context(), checked); {
			case err == nil:
				wins.Add(1)
			case errors.Is(err, ErrTokenUsed):
				losses.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if wins.Load() != 1 || losses.Load() != 23 {
		t.Errorf("%d used it, %d were told that it is used up", wins.Load(), losses.Load())
	}
	ledger := c.Ledger.(*memoryLedger)
	for at, end := range ledger.ends {
		if strings.HasPrefix(at, usedTokens) && (end.IsZero() || end.After(time.Now().Add(time.Hour))) {
			t.Errorf("the record of the use is kept until %v", end)
		}
	}
	if n := ledger.count(t, usedTokens); n != 1 {
		t.Errorf("%d uses are recorded", n)
	}
}

func TestAOneTimeTokenSaysItsNameAndProfile(t *testing.T) {
	a := open(t, testConfig(t))
	alice, err := a.CheckSign(forAlice(t, a))
	if err != nil || alice.Profile != Client || alice.Subject != "alice" {
		t.Errorf("got %+v, %v", alice, err)
	}
	web, err := a.CheckSign(mint(t, a, OneTime{Profile: Server, Name: "web.example.org", Hosts: []string{"10.0.0.1"}}))
	if err != nil || web.Profile != Server || !slices.Equal(web.Hosts, []string{"web.example.org", "10.0.0.1"}) {
		t.Errorf("got %+v, %v", web, err)
	}
}

func TestNoOneTimeTokenIsMadeForWhatNobodyMayHave(t *testing.T) {
	a := open(t, testConfig(t))
	door := []string{"green:2381"}
	for name, test := range map[string]struct {
		ask  OneTime
		want error
	}{
		"a member":              {OneTime{Profile: Peer, Name: "green", Doors: door}, ErrProfile},
		"a member's name":       {OneTime{Profile: Client, Name: "member/1", Doors: door}, ErrName},
		"a host that is none":   {OneTime{Profile: Server, Name: "a..b", Doors: door}, ErrName},
		"a life of two months":  {OneTime{Profile: Client, Name: "alice", Doors: door, TTL: 60 * 24 * time.Hour}, ErrInvitation},
		"no door to go to":      {OneTime{Profile: Client, Name: "alice"}, ErrInvitation},
		"a life that has ended": {OneTime{Profile: Client, Name: "alice", Doors: door, TTL: -time.Second}, ErrInvitation},
	} {
		if token, err := a.MintOneTime(test.ask); !errors.Is(err, test.want) {
			t.Errorf("%s: got %q, %v", name, token, err)
		}
	}
}

// sign makes a token as somebody would who has the key.
func sign(t testing.TB, key *jose.JSONWebKey, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.Signed(signer).Claims(claims).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestForgedTokensAreRefusedAndWriteNothing(t *testing.T) {
	c := testConfig(t)
	a, other := open(t, c), open(t, testConfig(t))
	client, err := a.TokenKey(Client)
	if err != nil {
		t.Fatal(err)
	}
	forger := &jose.JSONWebKey{Key: newKey(t), KeyID: client.KeyID}
	good := jose.Claims{
		Issuer: "client", Subject: "alice", ID: "1", Audience: jose.Audience{"https://green/1.0/sign"},
		Expiry: jose.NewNumericDate(time.Now().Add(time.Minute)),
	}
	with := func(change func(*jose.Claims)) jose.Claims {
		out := good
		change(&out)
		return out
	}
	before := c.Ledger.(*memoryLedger).calls
	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"another cluster's":            {forAlice(t, other), ErrTokenUnknown},
		"a forger's with our key's id": {sign(t, forger, good), ErrTokenUnknown},
		"of another profile's issuer":  {sign(t, client, with(func(c *jose.Claims) { c.Issuer = "server" })), ErrTokenUnknown},
		"without an id":                {sign(t, client, with(func(c *jose.Claims) { c.ID = "" })), ErrTokenFormat},
		"without an end":               {sign(t, client, with(func(c *jose.Claims) { c.Expiry = nil })), ErrTokenFormat},
		"without an audience":          {sign(t, client, with(func(c *jose.Claims) { c.Audience = nil })), ErrTokenFormat},
		"to revoke":                    {sign(t, client, with(func(c *jose.Claims) { c.Audience = jose.Audience{"https://green/1.0/revoke"} })), ErrTokenFormat},
		"good for a year":              {sign(t, client, with(func(c *jose.Claims) { c.Expiry = jose.NewNumericDate(time.Now().AddDate(1, 0, 0)) })), ErrTokenFormat},
		"of yesterday":                 {sign(t, client, with(func(c *jose.Claims) { c.Expiry = jose.NewNumericDate(time.Now().AddDate(0, 0, -1)) })), ErrTokenExpired},
		"of tomorrow":                  {sign(t, client, with(func(c *jose.Claims) { c.NotBefore = jose.NewNumericDate(time.Now().Add(time.Hour)) })), ErrClock},
		"no token":                     {"a.b", ErrTokenFormat},
		"cut off":                      {forAlice(t, a)[:100], ErrTokenFormat},
	} {
		if out, err := a.CheckSign(test.token); !errors.Is(err, test.want) {
			t.Errorf("%s: got %+v, %v", name, out, err)
		}
	}
	if after := c.Ledger.(*memoryLedger).calls; after != before {
		t.Errorf("checking tokens asked the ledger %d times", after-before)
	}
}

func TestAOneTimeTokenEndsWithItsTime(t *testing.T) {
	c := testConfig(t)
	synctest.Test(t, func(t *testing.T) {
		a := open(t, c)
		token := mint(t, a, OneTime{Profile: Client, Name: "alice", TTL: time.Minute})
		time.Sleep(time.Minute + time.Second) // of a bubble: no time passes outside
		if out, err := a.CheckSign(token); !errors.Is(err, ErrTokenExpired) {
			t.Errorf("got %+v, %v", out, err)
		}
	})
}

func FuzzCheckSign(f *testing.F) {
	a := open(f, testConfig(f))
	f.Add(forAlice(f, a))
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, token string) {
		out, err := a.CheckSign(token)
		if err == nil && out.Subject != "alice" {
			t.Errorf("%q is good for %+v", token, out)
		}
	})
}
