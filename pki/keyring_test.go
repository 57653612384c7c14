// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestAKeyringIsReadAsItWasWritten(t *testing.T) {
	ring := keyring{testClusterKey(t, 1), testClusterKey(t, 2), testClusterKey(t, 3)}
	for _, credential := range []keyring{nil, {ring[0]}, {ring[2], ring[0]}} {
		text := ring.encode(credential)
		got, err := decodeKeyring(text, credential)
		if err != nil {
			t.Fatal(err)
		}
		all := credential.with(got...).ids()
		want := ring.ids()
		slices.Sort(all)
		slices.Sort(want)
		if !slices.Equal(all, want) {
			t.Errorf("with %v: %v, want %v", credential, all, want)
		}
		if credential != nil {
			if _, err := decodeKeyring(text, nil); !errors.Is(err, ErrClusterKey) {
				t.Errorf("read without the credential: %v", err)
			}
		}
	}
	if text := fmt.Sprintf("%v %+v %#v %s", ring, ring[0], ring[0], ring[0]); bytes.Contains([]byte(text), ring[0].secret) || bytes.Contains([]byte(text), []byte("1, 1, 1, 1")) || bytes.Contains([]byte(text), []byte("1 1 1 1")) {
		t.Errorf("a print shows the key: %s", text)
	}
}

// Whatever lies in a file of keys, it is read or refused by one of two errors, and
// what is read can be written and read again.
func FuzzKeyring(f *testing.F) {
	ring := keyring{testClusterKey(f, 1), testClusterKey(f, 2)}
	f.Add(ring.encode(nil))
	f.Add(ring.encode(ring[:1]))
	f.Add([]byte("-----BEGIN CLEAT CLUSTER KEY-----\n\n-----END CLEAT CLUSTER KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := decodeKeyring(text, ring[:1])
		if err != nil {
			if !errors.Is(err, ErrClusterKey) && !errors.Is(err, ErrSealed) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		again, err := decodeKeyring(got.encode(nil), nil)
		if err != nil || !slices.Equal(again.ids(), got.ids()) {
			t.Fatalf("%v became %v (%v)", got, again, err)
		}
	})
}

// Whatever lies in the ledger in the place of the CA, it is read or refused.
func FuzzCARecord(f *testing.F) {
	c := testConfig(f)
	a := open(f, c)
	f.Add(a.ca().record.raw)
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":1,"intermediate_key":"AQ=="}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		record, err := decodeCA(raw)
		if err != nil {
			return
		}
		if i, err := record.open(a.config); err == nil && i.locked == nil && i.signer == nil {
			t.Fatal("opened without a signer")
		}
		if sealed, err := reseal(raw, true, a.vault.ring(), testClusterKey(t, 1)); err == nil && sealed != nil {
			if _, err := decodeCA(sealed); err != nil {
				t.Fatalf("sealed anew it cannot be read: %v", err)
			}
		}
		b := NewBackup()
		b.See(caBucket, []byte(caKey), raw, time.Now())
		_ = b.Opens(a.vault.ring().encode(nil))
	})
}
