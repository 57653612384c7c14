// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// keepers is members that share a ledger and ask one another for keys.
type keepers struct {
	t       *testing.T
	ledger  *memoryLedger
	members map[uint64]*keeper // not changed once all have started

	mu     sync.Mutex
	listed []uint64              // under mu
	here   map[uint64]*Authority // under mu: those that answer
}

func (f *keepers) list() []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.listed)
}

func (f *keepers) forget(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listed = slices.DeleteFunc(slices.Clone(f.listed), func(m uint64) bool { return m == id })
}

func (f *keepers) answers(id uint64, a *Authority) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.here[id] = a
}

type keeper struct {
	config Config
	*Authority
	stop context.CancelFunc // nil: it is away
	done chan struct{}
}

// newKeepers starts n members, of which the first has made the CA.
func newKeepers(t *testing.T, n int) *keepers {
	t.Helper()
	f := &keepers{t: t, ledger: newLedger(), members: make(map[uint64]*keeper), here: make(map[uint64]*Authority)}
	for id := range uint64(n) {
		f.listed = append(f.listed, id+1)
	}
	for _, id := range f.listed {
		c := testConfig(t)
		c.MemberID, c.Name, c.Ledger, c.Replica = id, fmt.Sprint("member", id), f.ledger, replica{f.ledger}
		c.Members = f.list
		c.FetchKey = func(ctx context.Context, r KeyRequest) ([]byte, error) { return f.fetch(ctx, id, r) }
		if id > 1 {
			copyFile(t, keyFile(f.members[1].config), keyFile(c))
		}
		f.members[id] = &keeper{config: c}
		f.start(id)
	}
	synctest.Wait()
	return f
}

func (f *keepers) start(id uint64) *Authority {
	f.t.Helper()
	m := f.members[id]
	m.Authority = open(f.t, m.config)
	f.answers(id, m.Authority)
	ctx, stop := context.WithCancel(f.t.Context())
	m.stop, m.done = stop, make(chan struct{})
	go func() {
		defer close(m.done)
		_ = m.Run(ctx) // returns nil
	}()
	f.t.Cleanup(func() { f.end(id) })
	return m.Authority
}

func (f *keepers) end(id uint64) {
	if m := f.members[id]; m.stop != nil {
		f.answers(id, nil)
		m.stop()
		<-m.done
		m.stop = nil
	}
}

func (f *keepers) fetch(ctx context.Context, by uint64, r KeyRequest) ([]byte, error) {
	var all []error
	for _, id := range f.list() {
		f.mu.Lock()
		a := f.here[id]
		f.mu.Unlock()
		if id != by && a != nil {
			sealed, err := a.GiveKey(ctx, by, r)
			if err == nil {
				return sealed, nil
			}
			all = append(all, err)
		}
	}
	return nil, errors.Join(append(all, errors.New("nobody answers"))...)
}

// settled checks that a member, which may be one that starts anew, has that one
// key and can issue.
func (f *keepers) settled(a *Authority, key string) {
	f.t.Helper()
	if ids := a.vault.ring().ids(); !slices.Equal(ids, []string{key}) {
		f.t.Errorf("member %d holds %v, want %s alone", a.config.MemberID, ids, key)
	}
	if sealed := a.ca().record.sealedWith(); sealed != key {
		f.t.Errorf("member %d knows a CA that is sealed with %s, want %s", a.config.MemberID, sealed, key)
	}
	if err := issues(f.t, a); err != nil {
		f.t.Errorf("member %d: %v", a.config.MemberID, err)
	}
	again := a.config
	again.Offline, again.Registerer = true, nil
	if err := issues(f.t, open(f.t, again)); err != nil {
		f.t.Errorf("member %d, started again: %v", a.config.MemberID, err)
	}
}

func TestAllMembersGetANewClusterKeyAndForgetTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKeepers(t, 3)
		first := f.members[1].KeyStatus().Key
		root := f.members[1].Bundle()
		for _, by := range []uint64{2, 3, 2} {
			before := f.members[1].KeyStatus().Key
			r, err := f.members[by].RotateKey(t.Context(), time.Minute)
			if err != nil || !r.Sealed || len(r.Missing) != 0 || r.Old != before || r.New == before {
				t.Fatalf("%+v, %v", r, err)
			}
			pass(time.Second)
			for _, m := range f.members {
				f.settled(m.Authority, r.New)
				if s := m.KeyStatus(); s.Next != "" || s.Previous != "" || s.Waiting != nil {
					t.Errorf("it is not over: %+v", s)
				}
			}
		}
		if f.members[1].KeyStatus().Key == first || !bytes.Equal(root, f.members[1].Bundle()) {
			t.Error("the key is the first one, or the CA another")
		}
	})
}

func TestAMemberThatWasAwayGetsTheKeyWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKeepers(t, 3)
		f.end(3)
		r, err := f.members[1].RotateKey(t.Context(), time.Minute)
		if err != nil || !r.Sealed || !slices.Equal(r.Missing, []uint64{3}) {
			t.Fatalf("%+v, %v", r, err)
		}
		pass(time.Minute)
		if s := f.members[2].KeyStatus(); s.Previous != r.Old || !slices.Equal(s.Waiting, []uint64{3}) {
			t.Errorf("%+v", s)
		}
		if _, err := f.members[2].RotateKey(t.Context(), time.Minute); !errors.Is(err, ErrKeyRotation) {
			t.Errorf("another rotation: %v, want ErrKeyRotation", err)
		}
		f.start(3)
		pass(time.Minute)
		for _, m := range f.members {
			f.settled(m.Authority, r.New)
		}
	})
}

func TestAMemberThatIsRemovedKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKeepers(t, 3)
		f.end(3)
		r, err := f.members[1].RotateKey(t.Context(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		f.forget(3)
		f.members[1].nudge()
		pass(time.Minute)
		f.settled(f.members[1].Authority, r.New)
		f.settled(f.members[2].Authority, r.New)
	})
}

func TestTooFewMembersChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKeepers(t, 3)
		f.end(2)
		f.end(3)
		before := f.members[1].KeyStatus().Key
		r, err := f.members[1].RotateKey(t.Context(), time.Minute)
		if !errors.Is(err, ErrKeyRotation) || r.Sealed {
			t.Fatalf("%+v, %v", r, err)
		}
		if now := f.members[1].KeyStatus(); now.Key != before || now.Next != r.New {
			t.Errorf("%+v", now)
		}
		f.start(2)
		pass(time.Minute)
		again, err := f.members[2].RotateKey(t.Context(), time.Second)
		if err != nil || again.New != r.New || !again.Sealed {
			t.Fatalf("%+v, %v", again, err)
		}
		f.start(3)
		pass(time.Minute)
		for _, m := range f.members {
			f.settled(m.Authority, r.New)
		}
	})
}

// Wherever a rotation is cut off, at any call to the ledger and before or after
// it took effect, all members can start with what they have and go on with it.
func TestARotationThatIsCutOffAnywhereIsTakenUpAgain(t *testing.T) {
	calls := cutOff(t, 0, false) // nowhere
	if calls < 10 {
		t.Fatalf("a rotation makes %d calls", calls)
	}
	for _, after := range []bool{false, true} {
		for cut := 1; cut <= calls; cut++ {
			if cutOff(t, cut, after); t.Failed() {
				t.Fatalf("cut at call %d, after it took effect: %v", cut, after)
			}
		}
	}
}

// cutOff has the n-th call of a rotation fail, ends all members, starts them
// again, and rotates once more. It returns how many calls were made.
func cutOff(t *testing.T, n int, after bool) (calls int) {
	synctest.Test(t, func(t *testing.T) {
		f := newKeepers(t, 3)
		pass(time.Second)
		f.ledger.mu.Lock()
		before := f.ledger.calls
		if n > 0 {
			f.ledger.failAt, f.ledger.failAfter = before+n, after
		}
		f.ledger.mu.Unlock()
		_, _ = f.members[1].RotateKey(t.Context(), time.Minute) // cut off or not
		f.ledger.mu.Lock()
		calls = f.ledger.calls - before
		f.ledger.mu.Unlock()
		for _, id := range f.listed {
			f.end(id)
		}
		f.ledger.mu.Lock()
		f.ledger.failAt = 0
		f.ledger.mu.Unlock()
		for _, id := range f.listed {
			c := f.members[id].config
			c.Offline = true
			if err := issues(t, open(t, c)); err != nil {
				t.Errorf("member %d: %v", id, err)
			}
			f.start(id)
		}
		pass(time.Minute)
		r, err := f.members[2].RotateKey(t.Context(), time.Minute)
		if err != nil || !r.Sealed {
			t.Fatalf("%+v, %v", r, err)
		}
		pass(time.Minute)
		for _, m := range f.members {
			f.settled(m.Authority, r.New)
		}
	})
	return calls
}

func TestAKeyIsGivenOnlySealedWithOneThatTheAskerHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKeepers(t, 2)
		f.end(2)
		a := f.members[1].Authority
		old := a.KeyStatus().Key
		if _, err := a.RotateKey(t.Context(), time.Second); !errors.Is(err, ErrKeyRotation) {
			t.Fatal(err)
		}
		next := a.KeyStatus().Next
		secret, _ := a.vault.ring().byID(next)
		sealed, err := a.GiveKey(t.Context(), 2, KeyRequest{Want: next, Have: []string{"ffffffffffffffff", old}})
		if err != nil || bytes.Contains(sealed, secret.secret) {
			t.Fatalf("given in plain, or not: %v", err)
		}
		for name, r := range map[string]KeyRequest{
			"nothing to seal with":   {Want: next},
			"sealed with itself":     {Want: next, Have: []string{next}},
			"a key that nobody has":  {Want: "ffffffffffffffff", Have: []string{old}},
			"no key":                 {Have: []string{old}},
			"a key that is not used": {Want: testClusterKey(t, 1).ID(), Have: []string{old}},
		} {
			if sealed, err := a.GiveKey(t.Context(), 2, r); !errors.Is(err, ErrClusterKey) {
				t.Errorf("%s: given %d bytes, %v", name, len(sealed), err)
			}
		}
		if err := a.Lock(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if _, err := a.GiveKey(t.Context(), 2, KeyRequest{Want: next, Have: []string{old}}); !errors.Is(err, ErrLocked) {
			t.Errorf("a locked member gave it: %v", err)
		}
	})
}

// Every private key in a record is sealed anew: what lies in the ledger
// afterwards is nowhere sealed with the key of before.
func TestNothingStaysSealedWithTheOldKey(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	old := a.vault.ring()[0]
	if _, err := a.RotateKey(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	found := 0
	for at, value := range c.Ledger.(*memoryLedger).values {
		var fields map[string]any
		if json.Unmarshal(value, &fields) != nil {
			continue
		}
		raw, err := json.Marshal(deepDecode(fields))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(fmt.Sprintf("01%x", old.id))) {
			t.Errorf("%q has something that the old key opens", at)
		}
		if bytes.Contains(raw, []byte("01"+a.KeyStatus().Key)) {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d items have something that the new key seals, want the CA", found)
	}
}

// deepDecode makes hex of what is base64 in a JSON value.
func deepDecode(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, each := range v {
			v[k] = deepDecode(each)
		}
	case []any:
		for i, each := range v {
			v[i] = deepDecode(each)
		}
	case string:
		var raw []byte
		if json.Unmarshal(mustJSON(v), &raw) == nil {
			return hex.EncodeToString(raw)
		}
	}
	return v
}
