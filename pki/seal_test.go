// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"encoding/pem"
	"errors"
	"testing"
)

func testClusterKey(t testing.TB, fill byte) clusterKey {
	t.Helper()
	k, err := newClusterKey(bytes.Repeat([]byte{fill}, clusterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func clusterSecret(t *testing.T, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil || len(block.Bytes) != clusterKeySize {
		t.Fatal("the cluster key's file is not what it should be")
	}
	return block.Bytes
}

func TestASealedKeyOpensForItsRoleAndClusterKeyOnly(t *testing.T) {
	key := testClusterKey(t, 1)
	private := newKey(t)
	sealed, err := key.seal(roleRoot, private)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := key.open(roleRoot, sealed)
	if err != nil || !private.Equal(opened) {
		t.Fatalf("opened another key (%v)", err)
	}
	if _, err := key.open(roleIntermediate, sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("in another role: %v, want ErrSealed", err)
	}
	if _, err := testClusterKey(t, 2).open(roleRoot, sealed); !errors.Is(err, ErrClusterKey) {
		t.Errorf("with another cluster key: %v, want ErrClusterKey", err)
	}
	again, err := key.seal(roleRoot, private)
	if err != nil || bytes.Equal(sealed, again) {
		t.Errorf("sealing twice gave the same bytes (%v)", err)
	}
}

func TestADamagedSealedKeyDoesNotOpen(t *testing.T) {
	key := testClusterKey(t, 1)
	sealed, err := key.seal(roleRoot, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		damaged := bytes.Clone(sealed)
		damaged[i] ^= 0x40
		if _, err := key.open(roleRoot, damaged); !errors.Is(err, ErrSealed) && !errors.Is(err, ErrClusterKey) {
			t.Fatalf("byte %d damaged: %v", i, err)
		}
		if _, err := key.open(roleRoot, sealed[:i]); !errors.Is(err, ErrSealed) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestAClusterKeyOfTheWrongLengthIsRefused(t *testing.T) {
	for _, n := range []int{0, clusterKeySize - 1, clusterKeySize + 1} {
		if _, err := newClusterKey(make([]byte, n)); !errors.Is(err, ErrClusterKey) {
			t.Errorf("%d bytes: %v, want ErrClusterKey", n, err)
		}
	}
}

// Whatever lies in the ledger, opening it gives a key that was sealed here, or
// one of two errors.
func FuzzOpenSealedKey(f *testing.F) {
	key := testClusterKey(f, 1)
	sealed, err := key.seal(roleRoot, newKey(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, roleRoot)
	f.Add(sealed, roleIntermediate)
	f.Add(sealed[:sealHeaderSize], roleRoot)
	f.Add([]byte{}, "")
	f.Fuzz(func(t *testing.T, blob []byte, role string) {
		opened, err := key.open(role, blob)
		if err == nil {
			_, again := key.open(role+"x", blob)
			if opened == nil || again == nil {
				t.Fatal("opened for a role that it was not sealed for")
			}
		}
		if err != nil && !errors.Is(err, ErrSealed) && !errors.Is(err, ErrClusterKey) {
			t.Fatalf("unexpected error %v", err)
		}
	})
}
