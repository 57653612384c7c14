// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/urfave/cli/v2"
)

// seenText is what a person sees, who looks while it is written.
type seenText struct {
	mu   sync.Mutex
	text bytes.Buffer // under mu
}

func (s *seenText) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *seenText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestProgressTellsRateAndTheTimeThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := new(seenText)
		last := func() string {
			synctest.Wait()
			lines := strings.Split(seen.String(), "\r\x1b[K")
			return lines[len(lines)-1]
		}
		p := newProgress(seen, "saving", inBytes)
		time.Sleep(progressAfter - time.Millisecond) // of a bubble, like all here: no time passes outside
		if got := last(); got != "" {
			t.Errorf("before it is worth it: %q", got)
		}
		time.Sleep(time.Millisecond)
		if got := last(); got != "saving: 2s" {
			t.Errorf("before the first byte: %q", got)
		}
		_, _ = p.Write(make([]byte, 1e6))
		time.Sleep(2 * time.Second)
		if got := last(); got != "saving: 1.0 MB, 250 kB/s, 4s" {
			t.Errorf("without a total: %q", got)
		}
		p.set(2e6, 10e6)
		time.Sleep(time.Second)
		if got := last(); got != "saving: 2.0 MB of 10 MB (20 %), 400 kB/s, 20s left" {
			t.Errorf("with a total: %q", got)
		}
		time.Sleep(time.Minute)
		if got := last(); got != "saving: 2.0 MB of 10 MB (20 %), 0 B/s, it does not get on" {
			t.Errorf("one that hangs: %q", got)
		}
		p.Close()
		if !strings.HasSuffix(seen.String(), "\r\x1b[K") {
			t.Errorf("the line stays: %q", last())
		}
	})
}

func TestWhatIsQuickOrNotLookedAtShowsNoProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := new(seenText)
		p := newProgress(seen, "joining", inEntries)
		time.Sleep(time.Second)
		p.Close()
		c := cli.NewContext(&cli.App{ErrWriter: seen}, nil, nil)
		p = startProgress(c, "joining", inEntries)
		time.Sleep(time.Minute)
		p.Close()
		if seen.String() != "" {
			t.Errorf("shown: %q", seen)
		}
	})
	reading, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	defer writing.Close()
	for _, to := range []io.Writer{writing, io.Discard} {
		if terminal(to) {
			t.Errorf("%T is no terminal", to)
		}
	}
}
