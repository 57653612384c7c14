// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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

// readClusterKey returns the first key in a member's file.
func readClusterKey(path string) (clusterKey, error) {
	h, err := Config{Dir: filepath.Dir(path)}.readKeys()
	if err != nil {
		return clusterKey{}, err
	}
	return h.ring[0], nil
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

func TestNoKeyMaterialIsInTheLedgerOrTheLog(t *testing.T) {
	c := testConfig(t)
	var logged bytes.Buffer
	c.Logger = slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := open(t, c)
	issue(t, a, Client, named("alice"))
	if err := a.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	ledger := c.Ledger.(*memoryLedger)
	where := map[string][]byte{"the log": logged.Bytes()}
	for at, value := range ledger.values {
		where[fmt.Sprintf("ledger item %q", at)] = value
	}
	for name, secret := range secrets(t, c) {
		forms := [][]byte{secret, []byte(hex.EncodeToString(secret)), []byte(base64.StdEncoding.EncodeToString(secret))[:40]}
		for place, text := range where {
			for _, form := range forms {
				if bytes.Contains(text, form) {
					t.Errorf("%s is in %s", name, place)
				}
			}
		}
	}
}

// secrets returns every private key of a member and its CA in raw form.
func secrets(t *testing.T, c Config) map[string][]byte {
	t.Helper()
	key, err := readClusterKey(filepath.Join(c.Dir, clusterKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.Ledger.Get(t.Context(), caBucket, []byte(caKey))
	if err != nil {
		t.Fatal(err)
	}
	record, err := decodeCA(raw)
	if err != nil {
		t.Fatal(err)
	}
	scalar := func(private any, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		d, err := private.(*ecdsa.PrivateKey).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	text, err := os.ReadFile(filepath.Join(c.Dir, clusterKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(c.Dir, identityFile), filepath.Join(c.Dir, identityFile))
	root, rootErr := key.open(roleRoot, record.RootKey)
	middle, middleErr := key.open(roleIntermediate, record.IntermediateKey)
	return map[string][]byte{
		"the cluster key":      clusterSecret(t, text),
		"the root key":         scalar(root, rootErr),
		"the intermediate key": scalar(middle, middleErr),
		"the member's key":     scalar(pair.PrivateKey, err),
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
