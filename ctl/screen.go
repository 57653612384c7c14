// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ctl

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// screen is a terminal that is drawn upon. Between openScreen and Close its lines
// are gone and come back then, whatever happens in between.
type screen struct {
	out  *os.File
	in   *os.File
	was  *term.State
	keys sync.WaitGroup
	stop context.CancelFunc
}

const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // another page, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	keyEvery    = 100 // milliseconds between looks whether to go on waiting for keys
)

// openScreen takes the terminal; leave is called when a person wants to.
func openScreen(ctx context.Context, in, out *os.File, leave func()) (*screen, error) {
	was, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("take the terminal: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	s := &screen{out: out, in: in, was: was, stop: stop}
	_, _ = io.WriteString(out, enterScreen) // the first drawing tells
	s.keys.Go(func() { s.read(ctx, leave) })
	return s, nil
}

// read waits for q and Ctrl-C, which is no signal here. It looks before it
// reads, so that no key is taken from whoever has the terminal next.
func (s *screen) read(ctx context.Context, leave func()) {
	fd := int(s.in.Fd())
	for ctx.Err() == nil {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, keyEvery); n == 0 || err == unix.EINTR {
			continue
		}
		key := make([]byte, 1)
		if n, err := unix.Read(fd, key); err != nil || n == 0 || strings.IndexByte("qQ\x03\x04", key[0]) >= 0 {
			leave() // also when the terminal is gone
			return
		}
	}
}

// draw shows as much of the lines as there is room for.
func (s *screen) draw(lines []string) error {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	text := "\x1b[H"
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			text += "\r\n"
		}
		runes := []rune(line)
		text += string(runes[:min(len(runes), width)]) + "\x1b[K"
	}
	_, err = io.WriteString(s.out, text+"\x1b[J")
	return err
}

// Close gives the terminal back as it was.
func (s *screen) Close() error {
	s.stop()
	s.keys.Wait()
	_, _ = io.WriteString(s.out, leaveScreen) // a terminal that is gone needs nothing
	return term.Restore(int(s.in.Fd()), s.was)
}
