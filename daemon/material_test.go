// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
)

// material is a secret in all forms in which somebody might find it.
type material struct {
	name  string
	forms [][]byte
}

// newMaterial takes forms of a key, and what of them is random: a part of that
// is enough, since PEM breaks lines anywhere.
func newMaterial(name string, random [][]byte, whole ...[]byte) material {
	m := material{name: name}
	add := func(s []byte) {
		m.forms = append(m.forms, []byte(base64.StdEncoding.EncodeToString(s)), []byte(base64.URLEncoding.EncodeToString(s)))
	}
	for _, s := range append(whole, random...) {
		m.forms = append(m.forms, s, []byte(hex.EncodeToString(s)), []byte(strings.ToUpper(hex.EncodeToString(s))))
	}
	const part = 15 // bytes: no two strangers have them in common
	for _, s := range random {
		for at := range len(s) - part + 1 { // wherever it begins in what is encoded
			add(s[at : at+part])
		}
	}
	return m
}

func (m material) in(text []byte) bool {
	for _, form := range m.forms {
		if bytes.Contains(text, form) {
			return true
		}
	}
	return false
}

// clusterSecrets are the keys in a cluster.key.
func clusterSecrets(t *testing.T, text []byte) (secrets [][]byte) {
	t.Helper()
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return secrets
		}
		secrets = append(secrets, block.Bytes)
	}
}

// unsealed opens a sealed key with what the format says, independently of the
// code that is tested. One that is not sealed is what it is.
func unsealed(t *testing.T, sealed []byte, role string, secrets [][]byte) []byte {
	t.Helper()
	const header = 1 + 8
	for _, secret := range secrets {
		sealing, err := hkdf.Key(sha256.New, secret, nil, "cleat seals CA keys", 32)
		if err != nil {
			t.Fatal(err)
		}
		block, err := aes.NewCipher(sealing)
		if err != nil {
			t.Fatal(err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		body := sealed[header:]
		der, err := aead.Open(nil, body[:aead.NonceSize()], body[aead.NonceSize():], append(bytes.Clone(sealed[:header]), role...))
		if err == nil {
			return der
		}
	}
	return sealed[header:]
}

// secretsOf returns the cluster keys that a member has had, and the CA's private
// keys, as they are in what it keeps of the CA.
func secretsOf(t *testing.T, ca []byte, keys ...[]byte) []material {
	t.Helper()
	var secrets [][]byte
	for _, text := range keys {
		secrets = append(secrets, clusterSecrets(t, text)...)
	}
	found := []material{newMaterial("a cluster key", secrets)}
	var record struct {
		RootKey         []byte `json:"root_key"`
		IntermediateKey []byte `json:"intermediate_key"`
	}
	if err := json.Unmarshal(ca, &record); err != nil {
		t.Fatal(err)
	}
	for role, sealed := range map[string][]byte{"root": record.RootKey, "intermediate": record.IntermediateKey} {
		der := unsealed(t, sealed, role, secrets)
		key, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			t.Fatalf("the %s key: %v", role, err)
		}
		private := key.(*ecdsa.PrivateKey)
		scalar, err := private.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		sec1, err := x509.MarshalECPrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, newMaterial("the "+role+" key", [][]byte{scalar}, der, sec1))
	}
	return found
}

// whatLiesOpen is all that lies where keys must not be, by place.
func whatLiesOpen(t *testing.T, l *life, backup string, said string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"the journal": []byte(said)}
	for name, root := range map[string]string{
		"state/": filepath.Join(l.d.config().DataDir, "state"), "raft/": filepath.Join(l.d.config().DataDir, "raft"), "a backup": backup,
	} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			all[name] = append(all[name], text...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Tables are compressed, so that a text in them may lie in pieces.
	store, err := kv.Open(kv.Options{Dir: filepath.Join(l.d.config().DataDir, "state"), Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	view, err := store.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	err = state.View{View: view}.Ledger(func(key, value []byte) error {
		all["the ledger"] = append(append(all["the ledger"], key...), value...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// exposed has members live through all that moves keys about: the CA is made, a
// machine joins, one that joins late is sent a checkpoint, the cluster key is
// replaced, a backup is made. It returns which secrets are in which places.
func exposed(t *testing.T) map[string][]string {
	t.Helper()
	var said sayings
	short := func(o *Options) {
		o.faults.raft = func(c *raft.Config) { c.SnapshotBytes, c.TrailingBytes = 4<<10, 1 }
		o.Logger = NewLogger(&said, o.Level)
	}
	o := advertised(t, "one")
	short(&o)
	first := begin(t, o)
	first.issue()
	early := first.backup()
	var keys [][]byte // the text of cluster.key, of all times
	rotate := func() string {
		text, err := os.ReadFile(first.keyFile())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, text)
		r, err := first.administer().RotateClusterKey(within(t), &admin.RotateClusterKeyRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return r.New
	}
	first.hasKey(rotate())
	first.cutLog(0)
	o = advertised(t, "late")
	short(&o)
	late := begin(t, o)
	late.join(first.invite(&admin.InviteRequest{}))
	late.voter()
	late.issue()
	last := rotate() // what it writes is the last in the logs
	first.hasKey(last)
	late.hasKey(last)
	file := late.backup()
	text, err := os.ReadFile(first.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(filepath.Dir(first.keyFile()), "ca.json"))
	if err != nil {
		t.Fatal(err)
	}
	all := secretsOf(t, ca, append(keys, text)...)
	if err := late.end(); err != nil {
		t.Fatal(err)
	}
	_ = first.end() // alone it has no quorum to end in order
	found := make(map[string][]string)
	for _, l := range []struct {
		*life
		backup string
	}{{first, early}, {late, file}} {
		for place, text := range whatLiesOpen(t, l.life, l.backup, said.String()) {
			if len(text) == 0 {
				t.Errorf("nothing lies in %s", place)
			}
			for _, m := range all {
				if m.in(text) {
					found[place] = append(found[place], m.name)
				}
			}
		}
	}
	return found
}
