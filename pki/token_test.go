// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func invite(t testing.TB, a *Authority, i Invitation) Token {
	t.Helper()
	token, info, err := a.Invite(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	if info.ID != token.ID() || info.Left < 1 {
		t.Fatalf("%s is %+v", token, info)
	}
	return token
}

// redemption is what an honest machine sends.
func redemption(token Token, key string) Redemption {
	return Redemption{Token: token, Key: []byte(key), Time: time.Now(), Member: 7}
}

func TestATokenIsReadAsItWasWritten(t *testing.T) {
	a := open(t, testConfig(t))
	token := invite(t, a, Invitation{})
	text := token.Text()
	if !strings.HasPrefix(text, "cleat1.") || len(text) != len("cleat1.")+43+1+43 {
		t.Errorf("the token is %d characters long: %s", len(text), token)
	}
	again, err := ParseToken(" " + text + "\n")
	if err != nil || again != token {
		t.Errorf("read again it is another one: %v", err)
	}
	if token.Digest != sha256.Sum256(a.ca().root.Raw) {
		t.Error("the digest is not the root's")
	}
	secret := text[strings.LastIndex(text, ".")+1:]
	for _, shown := range []string{token.String(), fmt.Sprintf("%v %+v %#v %s", token, token, token, token), token.ID()} {
		if strings.Contains(shown, secret) || strings.Contains(shown, fmt.Sprint(token.secret)) {
			t.Errorf("the secret is shown: %s", shown)
		}
	}
}

func TestWhatIsNoTokenIsRefusedWithWhatIsWrong(t *testing.T) {
	good := invite(t, open(t, testConfig(t)), Invitation{}).Text()
	parts := strings.Split(good, ".")
	for text, want := range map[string]string{
		"":                                  "does not begin",
		"hello":                             "does not begin",
		"cleat2." + good:                    "another version",
		parts[0] + "." + parts[1]:           "2 parts",
		good + ".x":                         "4 parts",
		good[:len(good)-1]:                  "secret has 42 characters",
		good + "A":                          "secret has 44 characters",
		strings.Replace(good, ".", ".A", 1): "digest has 44 characters",
		parts[0] + "." + parts[1] + "." + "=" + parts[2][1:]: "secret is not base64url",
		parts[0] + "." + parts[1][:42] + "_." + parts[2]:     "digest is not base64url", // bits beyond the last byte
	} {
		_, err := ParseToken(text)
		if !errors.Is(err, ErrTokenFormat) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && len(text) > 50 && strings.Contains(err.Error(), parts[2][1:20]) {
			t.Errorf("the secret is in the error: %v", err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("cleat1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("cleat1..")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err == nil && token.Text() != strings.TrimSpace(text) {
			t.Errorf("%q is read as %q", text, token.Text())
		}
		if err != nil && !errors.Is(err, ErrTokenFormat) {
			t.Error(err)
		}
	})
}

func TestInviteRefusesWhatNobodyCouldUse(t *testing.T) {
	a := open(t, testConfig(t))
	for name, i := range map[string]Invitation{
		"another role":         {Role: "leader"},
		"no time":              {TTL: time.Millisecond},
		"time that has passed": {TTL: -time.Hour},
		"too long":             {TTL: maxTokenTTL + 1},
		"fewer than no uses":   {Uses: -1},
		"too many uses":        {Uses: maxTokenUses + 1},
		"one id, two machines": {Uses: 2, Member: 9},
	} {
		if _, _, err := a.Invite(t.Context(), i); !errors.Is(err, ErrInvitation) {
			t.Errorf("%s: %v, want ErrInvitation", name, err)
		}
	}
}

func TestTheLedgerHasNoSecret(t *testing.T) {
	c := testConfig(t)
	ledger := c.Ledger.(*memoryLedger)
	a := open(t, c)
	token := invite(t, a, Invitation{Role: RoleLearner, TTL: time.Minute, Uses: 3, By: "root"})
	secret := base64url.EncodeToString(token.secret[:])
	for at, value := range ledger.values {
		if text := at + string(value); strings.Contains(text, string(token.secret[:])) || strings.Contains(text, secret) {
			t.Errorf("the secret is in %q", at)
		}
	}
	end := ledger.ends[tokensBucket+"\x00"+token.ID()]
	if d := time.Until(end) - time.Minute - tokenGrace; d.Abs() > 10*time.Second {
		t.Errorf("the record is kept until %v, want a day after the token's end", end)
	}
	list, err := a.Tokens(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("%d tokens, %v", len(list), err)
	}
	got := list[0]
	if got.ID != token.ID() || got.Role != RoleLearner || got.Left != 3 || got.By != "root" || got.Expires.Sub(got.Created) != time.Minute {
		t.Errorf("listed as %+v", got)
	}
}

func TestOfManyMachinesExactlyAsManyGetInAsMay(t *testing.T) {
	const machines, uses = 24, 5
	a := open(t, testConfig(t))
	token := invite(t, a, Invitation{Uses: uses})
	errs := make([]error, machines)
	var wg sync.WaitGroup
	for i := range machines {
		wg.Go(func() {
			r := redemption(token, fmt.Sprint("key ", i))
			r.Member = uint64(100 + i)
			_, member, err := a.Redeem(t.Context(), r)
			if err == nil && member != r.Member {
				err = fmt.Errorf("machine %d became member %d", i, member)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	in := 0
	for _, err := range errs {
		switch {
		case err == nil:
			in++
		case !errors.Is(err, ErrTokenUsed):
			t.Error(err)
		}
	}
	if in != uses {
		t.Errorf("%d got in, want %d", in, uses)
	}
	list, err := a.Tokens(t.Context())
	if err != nil || list[0].Left != 0 || len(list[0].Joined) != uses {
		t.Errorf("the record says %+v, %v", list, err)
	}
}

func TestAMachineWhoseAnswerWasLostComesAgain(t *testing.T) {
	c := testConfig(t)
	ledger := c.Ledger.(*memoryLedger)
	a := open(t, c)
	token := invite(t, a, Invitation{})
	ledger.failAt, ledger.failAfter = ledger.calls+2, true // it is counted, and we are told that it failed
	first := redemption(token, "key")
	if _, _, err := a.Redeem(t.Context(), first); !errors.Is(err, errLedger) {
		t.Fatalf("%v, want the ledger's error", err)
	}
	second := redemption(token, "key")
	second.Member = 8
	if _, member, err := a.Redeem(t.Context(), second); err != nil || member != first.Member {
		t.Errorf("the second time it is member %d (%v), want %d", member, err, first.Member)
	}
	if _, _, err := a.Redeem(t.Context(), redemption(token, "another key")); !errors.Is(err, ErrTokenUsed) {
		t.Errorf("%v, want ErrTokenUsed", err)
	}
}

func TestAReservedIDIsGivenToWhoeverHasItsToken(t *testing.T) {
	a := open(t, testConfig(t))
	token := invite(t, a, Invitation{Member: 0x99})
	info, member, err := a.Redeem(t.Context(), redemption(token, "key"))
	if err != nil || member != 0x99 || info.Role != RoleMember || info.Left != 0 {
		t.Errorf("member %x, %+v, %v", member, info, err)
	}
}

func TestEachBadRedemptionHasItsOwnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, other := open(t, testConfig(t)), open(t, testConfig(t))
		never := newToken(a.ca().root)
		old := invite(t, a, Invitation{TTL: time.Minute})
		used, revoked := invite(t, a, Invitation{}), invite(t, a, Invitation{})
		strange := invite(t, other, Invitation{})
		if _, _, err := a.Redeem(t.Context(), redemption(used, "first")); err != nil {
			t.Fatal(err)
		}
		if _, err := a.RevokeToken(t.Context(), revoked.ID()[:12]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // of a bubble: no time passes outside
		good := invite(t, a, Invitation{})
		late, early := redemption(good, "k"), redemption(good, "k")
		late.Time, early.Time = late.Time.Add(24*time.Hour), early.Time.Add(-5*time.Minute-time.Second)
		timeless := redemption(good, "k")
		timeless.Time = time.Time{}
		for name, test := range map[string]struct {
			redemption Redemption
			want       error
		}{
			"unknown":              {redemption(never, "k"), ErrTokenUnknown},
			"expired":              {redemption(old, "k"), ErrTokenExpired},
			"used up":              {redemption(used, "k"), ErrTokenUsed},
			"revoked":              {redemption(revoked, "k"), ErrTokenRevoked},
			"of another cluster":   {redemption(strange, "k"), ErrTokenDigest},
			"a clock a day ahead":  {late, ErrClock},
			"a clock far behind":   {early, ErrClock},
			"a clock that says no": {timeless, ErrClock},
			"good":                 {redemption(good, "k"), nil},
		} {
			_, checkErr := a.Check(t.Context(), test.redemption)
			_, _, err := a.Redeem(t.Context(), test.redemption)
			if !errors.Is(err, test.want) || !errors.Is(checkErr, test.want) {
				t.Errorf("%s: %v, at the check %v, want %v", name, err, checkErr, test.want)
			}
		}
		_, _, err := a.Redeem(t.Context(), late)
		if text := fmt.Sprint(err); !strings.Contains(text, stamp(late.Time)) || !strings.Contains(text, stamp(time.Now())) {
			t.Errorf("%v does not have both times", err)
		}
	})
}

func TestCheckCountsNothing(t *testing.T) {
	a := open(t, testConfig(t))
	token := invite(t, a, Invitation{})
	for range 3 {
		if info, err := a.Check(t.Context(), redemption(token, "key")); err != nil || info.ID != token.ID() {
			t.Fatal(err)
		}
	}
	if list, err := a.Tokens(t.Context()); err != nil || list[0].Left != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestATokenIsRevokedByTheBeginningOfItsIDOrWhole(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	token, other := invite(t, a, Invitation{}), invite(t, a, Invitation{})
	for name, test := range map[string]struct {
		prefix string
		want   error
	}{
		"nothing":        {"", ErrTokenUnknown},
		"another one":    {strings.Repeat("0", 64), ErrTokenUnknown},
		"a part of text": {token.Text()[:60], ErrTokenUnknown},
	} {
		_, err := a.RevokeToken(t.Context(), test.prefix)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if len(test.prefix) == 60 && strings.Contains(err.Error(), test.prefix[52:]) {
			t.Errorf("a part of the secret is in %v", err)
		}
	}
	list, err := a.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	twin := list[0]
	raw, _ := c.Ledger.Get(t.Context(), tokensBucket, []byte(twin.ID))
	if _, err := c.Ledger.Commit(t.Context(), []Op{{Bucket: tokensBucket, Key: []byte(twin.ID[:63] + "x"), Value: raw}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.RevokeToken(t.Context(), twin.ID[:20]); !errors.Is(err, ErrTokenAmbiguous) {
		t.Errorf("%v, want ErrTokenAmbiguous", err)
	}
	for _, prefix := range []string{strings.ToUpper(token.ID()), other.Text()} {
		info, err := a.RevokeToken(t.Context(), prefix)
		if err != nil || info.Revoked.IsZero() {
			t.Fatalf("%+v, %v", info, err)
		}
		again, err := a.RevokeToken(t.Context(), prefix)
		if err != nil || !again.Revoked.Equal(info.Revoked) {
			t.Errorf("revoked again: %+v, %v", again, err)
		}
	}
	if _, _, err := a.Redeem(t.Context(), redemption(token, "k")); !errors.Is(err, ErrTokenRevoked) {
		t.Errorf("%v, want ErrTokenRevoked", err)
	}
}

func TestWithoutTheLedgerThereAreNoTokens(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	token := invite(t, a, Invitation{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Ledger.(*memoryLedger).fail(errLedger)
	_, _, inviteErr := a.Invite(ctx, Invitation{})
	_, listErr := a.Tokens(ctx)
	_, revokeErr := a.RevokeToken(ctx, token.ID())
	_, checkErr := a.Check(ctx, redemption(token, "k"))
	_, _, redeemErr := a.Redeem(ctx, redemption(token, "k"))
	for name, err := range map[string]error{"invite": inviteErr, "list": listErr, "revoke": revokeErr, "check": checkErr, "redeem": redeemErr} {
		if !errors.Is(err, errLedger) {
			t.Errorf("%s: %v, want the ledger's error", name, err)
		}
	}
}

func TestATokenOfANewerVersionIsLeftAlone(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	token := newToken(a.ca().root)
	if _, err := c.Ledger.Commit(t.Context(), []Op{{Bucket: tokensBucket, Key: []byte(token.ID()), Value: []byte(`{"format":2}`)}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Redeem(t.Context(), redemption(token, "k")); !errors.Is(err, ErrFormat) {
		t.Errorf("%v, want ErrFormat", err)
	}
}
