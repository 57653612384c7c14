// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cleatd/cleat/backup/file"
)

// A snapshot is the state at one revision, whatever is written meanwhile.
func TestASnapshotIsOneMoment(t *testing.T) {
	s := newSubject(t)
	s.live(rand.New(rand.NewPCG(3, 3)), 2000)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		random := rand.New(rand.NewPCG(3, 4))
		for {
			select {
			case <-stop:
				return
			default:
				// Both or neither: they are of one revision.
				s.put("left", fmt.Sprint(random.Int64()), 0)
				s.live(random, 1)
			}
		}
	})
	for range 20 {
		view, err := s.machine.View()
		if err != nil {
			t.Fatal(err)
		}
		rev, compacted := view.Revision(), view.Compacted()
		saved, err := Save(Source{View: view, Term: 3, Dir: t.TempDir(), Free: plenty, Pause: onward})
		if err != nil {
			t.Fatal(err)
		}
		if err := view.Close(); err != nil {
			t.Fatal(err)
		}
		again := restored(t, writeSnapshot(t, saved), 0)
		if err := saved.Close(); err != nil {
			t.Fatal(err)
		}
		if again.store.Revision() != rev || again.store.Compacted() != compacted {
			t.Fatalf("at revision %d, compacted at %d; restored %d, %d", rev, compacted, again.store.Revision(), again.store.Compacted())
		}
		want, err := s.store.HashKV(rev)
		if err != nil || want.CompactRevision != compacted {
			continue // compacted since: there is nothing to compare with
		}
		if got := again.hash(rev); got.Hash != want.Hash {
			t.Errorf("hash %d at revision %d, restored %d", want.Hash, rev, got.Hash)
		}
	}
	close(stop)
	writer.Wait()
}

func TestWithoutRoomNothingIsWritten(t *testing.T) {
	s := newSubject(t)
	for i := range 200 {
		s.put(fmt.Sprint("k", i), strings.Repeat("v", 100_000), 0)
	}
	view, err := s.machine.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	dir := t.TempDir()
	free := int64(10 << 20)
	source := Source{View: view, Dir: dir, Free: func() (int64, error) { return free, nil }, Pause: onward}
	if _, err := Save(source); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "10 MiB may be used") || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	free = 60 << 20 // less than is sure to do, and enough
	saved, err := Save(source)
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(1.5 * 20e6); saved.Size() > most {
		t.Errorf("20 MB became %d", saved.Size())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("files have names: %v, %v", left, err)
	}
	if err := saved.Close(); err != nil {
		t.Error(err)
	}
}

// Who else writes may take the room that there was: the snapshot gives its own
// back rather than take what is reserved.
func TestRoomThatIsTakenMeanwhileEndsASnapshot(t *testing.T) {
	s := newSubject(t)
	s.live(rand.New(rand.NewPCG(3, 8)), 1000)
	view, err := s.machine.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	dir, asked := t.TempDir(), 0
	free := func() (int64, error) {
		if asked++; asked > 3 {
			return -1, nil
		}
		return plenty()
	}
	if _, err := Save(Source{View: view, Dir: dir, Free: free, Pause: onward}); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), dir) {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestSavingEndsWithItsPause(t *testing.T) {
	s := newSubject(t)
	s.live(rand.New(rand.NewPCG(3, 5)), 1000)
	view, err := s.machine.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	enough := errors.New("enough")
	for after := range 5 {
		n := 0
		pause := func() error {
			if n++; n > after {
				return enough
			}
			return nil
		}
		if _, err := Save(Source{View: view, Dir: t.TempDir(), Free: plenty, Pause: pause}); !errors.Is(err, enough) {
			t.Errorf("after %d: %v", after, err)
		}
	}
}

// What does not fit in memory is sorted all the same, in bounded memory.
func TestRunsAreMerged(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "runs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	random := rand.New(rand.NewPCG(3, 6))
	for _, memory := range []int{1, 1000, 100_000, 1 << 30} {
		s := &sorter{file: f, memory: memory, pause: onward}
		if memory == 1<<30 {
			s.held = []byte{} // it fits without having all of that
		}
		var want []string
		for i := range 5000 {
			key := fmt.Sprintf("%08d-%d", random.IntN(1000), i)
			want = append(want, key)
			if err := s.add([]byte(key), bytes.Repeat([]byte{1}, random.IntN(50))); err != nil {
				t.Fatal(err)
			}
			if len(s.held) > max(memory, 200) {
				t.Fatalf("%d bytes are held, %d may be", len(s.held), memory)
			}
		}
		slices.Sort(want)
		var got []string
		if err := s.each(func(key, _ []byte) error { got = append(got, string(key)); return nil }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("with %d bytes of memory: out of order", memory)
		}
	}
}

// However many runs there are, of the values only one is in memory.
func TestRunsOfLargeValuesAreMergedInLittleMemory(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "runs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &sorter{file: f, memory: 1, pause: onward}
	value := make([]byte, 1<<20)
	for i := range 100 {
		if err := s.add(fmt.Appendf(nil, "%03d", i), value); err != nil {
			t.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := s.each(func(_, value []byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 20<<20 {
		t.Errorf("%d runs took %d bytes", len(s.runs), took)
	}
}

func TestARevisionIsRaised(t *testing.T) {
	s := newSubject(t)
	s.live(rand.New(rand.NewPCG(3, 7)), 500)
	s.put("k", "v", 0)
	rev := s.store.Revision()
	again := restored(t, s.save(), 1_000_000)
	if again.store.Revision() != rev+1_000_000 || again.store.Compacted() != rev+1_000_000 {
		t.Errorf("at %d, compacted at %d", again.store.Revision(), again.store.Compacted())
	}
	again.put("k", "w", 0)
	third := restored(t, again.save(), 0) // the revision that changed nothing goes along
	if third.store.Revision() != rev+1_000_001 || third.hash(0) != again.hash(0) {
		t.Errorf("%+v, restored %+v", again.hash(0), third.hash(0))
	}
	if _, err := tried(t, s.save(), maxRevision); !errors.Is(err, ErrBump) {
		t.Errorf("beyond what there is: %v", err)
	}
}

// tried is Check alone, without the checksum.
func tried(t *testing.T, path string, bump int64) (Found, error) {
	t.Helper()
	snapshot, err := file.Open(path, true)
	if err != nil {
		return Found{}, err
	}
	defer snapshot.Close()
	return Check(snapshot.Reader, bump)
}
