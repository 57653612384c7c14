// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"encoding/binary"
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
		if len(tokens.known) != 0 || len(tokens.users) != 0 {
			t.Errorf("%d tokens of %d users are kept", len(tokens.known), len(tokens.users))
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

// The one that was not shown for longest makes room.
func TestAUserHasSoManyTokens(t *testing.T) {
	tokens := NewTokens(time.Minute)
	digest := func(i int) (d Digest) {
		binary.BigEndian.PutUint64(d[:], uint64(i))
		return d
	}
	has := func(i int) bool {
		_, known := tokens.User(digest(i), 1)
		return known
	}
	tokens.Assign(digest(-1), 1, "bob")
	for i := range maxTokens {
		tokens.Assign(digest(i), 1, "alice")
	}
	if !has(0) {
		t.Error("one was ended before there were too many")
	}
	tokens.Assign(digest(maxTokens), 1, "alice")
	if !has(0) || has(1) || !has(2) || !has(maxTokens) || !has(-1) {
		t.Errorf("%t %t %t %t %t", has(0), has(1), has(2), has(maxTokens), has(-1))
	}
	tokens.Forget("alice")
	if len(tokens.known) != 1 || len(tokens.users) != 1 {
		t.Errorf("%d tokens of %d users are left", len(tokens.known), len(tokens.users))
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

func TestTokensTakeOnAnotherLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := NewTokens(time.Hour)
		_, d := NewToken()
		tokens.Assign(d, 1, "alice")
		known := func() bool {
			_, is := tokens.User(d, 1)
			return is
		}
		if !known() {
			t.Fatal("unknown at once")
		}
		tokens.SetTTL(time.Minute)
		time.Sleep(time.Minute)
		if !known() {
			t.Error("unknown before its time has passed")
		}
		time.Sleep(time.Minute + 1)
		if known() {
			t.Error("known after its time has passed")
		}
	})
}
