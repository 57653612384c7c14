// SPDX-License-Identifier: Apache-2.0

package kv

import "testing"

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
