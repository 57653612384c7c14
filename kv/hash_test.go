// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"errors"
	"testing"
)

// The number is what etcd 3.7.3 answers.
func TestTheHashOfANegativeRevisionIsOfNothing(t *testing.T) {
	s := newStore(t)
	put(t, s, 1, "a", "1")
	got, err := s.HashKV(-1)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Hash{Hash: 1084519789, Revision: 2, CompactRevision: -1, HashRevision: -1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAPacedHashIsTheSameOrEndsAsTold(t *testing.T) {
	s := newStore(t)
	put(t, s, 1, "a", "1")
	want, err := s.HashKV(0)
	if err != nil {
		t.Fatal(err)
	}
	pauses := 0
	if got, err := s.HashKVPaced(0, func() error { pauses++; return nil }); err != nil || got != want || pauses == 0 {
		t.Errorf("got %+v, %v after %d pauses, want %+v", got, err, pauses, want)
	}
	enough := errors.New("enough")
	if _, err := s.HashKVPaced(0, func() error { return enough }); !errors.Is(err, enough) {
		t.Errorf("ended with %v", err)
	}
}
