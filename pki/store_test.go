// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"errors"
	"testing"
	"time"

	"github.com/smallstep/certificates/db"
	"github.com/smallstep/nosql/database"
)

func TestTheStoreHasTheMeaningThatSmallstepRelysOn(t *testing.T) {
	s := store{newLedger()}
	table, key := []byte("t"), []byte("k")
	if _, err := s.Get(table, key); !errors.Is(err, database.ErrNotFound) {
		t.Errorf("a missing key: %v, want ErrNotFound", err)
	}
	if _, swapped, err := s.CmpAndSwap(table, key, nil, []byte("1")); err != nil || !swapped {
		t.Errorf("create: %v, %v", swapped, err)
	}
	if current, swapped, err := s.CmpAndSwap(table, key, nil, []byte("2")); err != nil || swapped || string(current) != "1" {
		t.Errorf("create what is there: %q, %v, %v", current, swapped, err)
	}
	if current, swapped, err := s.CmpAndSwap(table, key, []byte("1"), []byte("2")); err != nil || !swapped || string(current) != "2" {
		t.Errorf("swap: %q, %v, %v", current, swapped, err)
	}
	if _, swapped, err := s.CmpAndSwap(table, key, []byte("2"), nil); err != nil || !swapped {
		t.Errorf("delete by swapping: %v, %v", swapped, err)
	}
	if _, err := s.Get(table, key); !errors.Is(err, database.ErrNotFound) {
		t.Errorf("deleted: %v, want ErrNotFound", err)
	}
	if err := s.Set(table, key, nil); err != nil {
		t.Error(err)
	}
	if v, err := s.Get(table, key); err != nil || v == nil || len(v) != 0 {
		t.Errorf("an empty value: %v, %v", v, err)
	}
	if entries, err := s.List(table); err != nil || len(entries) != 1 || string(entries[0].Key) != "k" {
		t.Errorf("list: %v, %v", entries, err)
	}
	if err := s.Del(table, key); err != nil {
		t.Error(err)
	}
	if entries, err := s.List(table); err != nil || len(entries) != 0 {
		t.Errorf("list of an empty table: %v, %v", entries, err)
	}
}

func TestATransactionIsDoneAsAWholeOrNotAtAll(t *testing.T) {
	s := store{newLedger()}
	table, nonce := []byte("nonces"), []byte("n")
	consume := func() *database.Tx {
		tx := new(database.Tx)
		tx.Set(table, []byte("used"), []byte("yes"))
		tx.Get(table, nonce)
		tx.Del(table, nonce)
		return tx
	}
	if err := s.Update(consume()); !errors.Is(err, database.ErrNotFound) {
		t.Errorf("a missing key: %v, want ErrNotFound", err)
	}
	if _, err := s.Get(table, []byte("used")); !errors.Is(err, database.ErrNotFound) {
		t.Error("half of an aborted transaction was done")
	}
	if err := s.Set(table, nonce, []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(consume()); err != nil {
		t.Error(err)
	}
	if err := s.Update(consume()); !errors.Is(err, database.ErrNotFound) {
		t.Errorf("the nonce was used twice: %v", err)
	}
}

func TestATransactionThatCannotBeAtomicIsRefused(t *testing.T) {
	s := store{newLedger()}
	if err := s.Set([]byte("t"), []byte("k"), []byte("1")); err != nil {
		t.Fatal(err)
	}
	read, compare := new(database.Tx), new(database.Tx)
	read.Get([]byte("t"), []byte("k"))
	compare.Cas([]byte("t"), []byte("k"), []byte("2"))
	for _, tx := range []*database.Tx{read, compare} {
		if err := s.Update(tx); !errors.Is(err, database.ErrOpNotSupported) {
			t.Errorf("%v: %v, want ErrOpNotSupported", tx.Operations[0].Cmd, err)
		}
	}
}

func TestEachCallOfTheStoreSaysWhatTheLedgerSays(t *testing.T) {
	l := newLedger()
	l.fail(errLedger)
	s := store{l}
	tx := new(database.Tx)
	tx.Set([]byte("t"), []byte("k"), nil)
	_, getErr := s.Get([]byte("t"), nil)
	_, listErr := s.List([]byte("t"))
	_, _, swapErr := s.CmpAndSwap([]byte("t"), nil, nil, nil)
	for name, err := range map[string]error{
		"get": getErr, "list": listErr, "swap": swapErr, "update": s.Update(tx),
		"set": s.Set([]byte("t"), nil, nil), "del": s.Del([]byte("t"), nil),
	} {
		if !errors.Is(err, errLedger) {
			t.Errorf("%s: %v, want the ledger's error", name, err)
		}
	}
}

func TestSmallstepsDatabaseWorksOnTheLedger(t *testing.T) {
	l := newLedger()
	database := newDatabase(l)
	end := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	if first, err := database.UseToken("id", "token"); err != nil || !first {
		t.Errorf("a new token: %v, %v", first, err)
	}
	if again, err := database.UseToken("id", "token"); err != nil || again {
		t.Errorf("a used token: %v, %v", again, err)
	}
	info := &db.RevokedCertificateInfo{Serial: "7", ExpiresAt: end}
	if err := database.Revoke(info); err != nil {
		t.Error(err)
	}
	if err := database.Revoke(info); !errors.Is(err, db.ErrAlreadyExists) {
		t.Errorf("revoked twice: %v", err)
	}
	if revoked, err := database.IsRevoked("7"); err != nil || !revoked {
		t.Errorf("revoked: %v, %v", revoked, err)
	}
	if revoked, err := database.IsRevoked("8"); err != nil || revoked {
		t.Errorf("not revoked: %v, %v", revoked, err)
	}
	if got := l.ends[bucketPrefix+revokedTable+"\x007"]; !got.Equal(end.Add(recordGrace)) {
		t.Errorf("the revocation expires at %v, the certificate at %v", got, end)
	}
}
