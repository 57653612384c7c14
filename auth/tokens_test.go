// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestATokenLastsAsLongAsItIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := NewTokens(time.Minute)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { _ = tokens.Run(ctx) }() // ends with ctx, which synctest waits for
		letters, digest := NewToken()
		tokens.Assign(digest, 7, "alice")
		d, index, ok := ParseToken(TokenText(letters, 7))
		if !ok || d != digest || index != 7 {
			t.Fatalf("%x %d %t", d, index, ok)
		}
		for range 5 {
			time.Sleep(50 * time.Second) // of a bubble, like all here: no time passes outside
			if name, ok := tokens.User(d, index); name != "alice" || !ok {
				t.Fatalf("shown in time: %q %t", name, ok)
			}
		}
		time.Sleep(61 * time.Second)
		if name, ok := tokens.User(d, index); ok {
			t.Errorf("after its time: %q", name)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(tokens.known) != 0 {
			t.Errorf("%d tokens are kept", len(tokens.known))
		}
	})
}

func TestTokensEndWithTheirUser(t *testing.T) {
	tokens := NewTokens(time.Minute)
	for _, user := range []string{"alice", "alice", "bob"} {
		_, d := NewToken()
		tokens.Assign(d, 1, user)
	}
	tokens.Forget("alice")
	if len(tokens.known) != 1 {
		t.Errorf("%d are left", len(tokens.known))
	}
	tokens.Clear()
	if len(tokens.known) != 0 {
		t.Errorf("%d are left", len(tokens.known))
	}
}

func TestATokenIsOfItsEntryOnly(t *testing.T) {
	tokens := NewTokens(time.Minute)
	_, d := NewToken()
	tokens.Assign(d, 7, "alice")
	if _, ok := tokens.User(d, 8); ok {
		t.Error("another index was believed")
	}
}

func FuzzToken(f *testing.F) {
	f.Add("abc.7")
	f.Add("abc.7.8")
	f.Add(".")
	f.Fuzz(func(t *testing.T, text string) {
		if _, index, ok := ParseToken(text); !ok && index != 0 {
			t.Errorf("%q: index %d of no token", text, index)
		}
	})
}
