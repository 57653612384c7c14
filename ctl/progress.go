// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

const (
	progressAfter = 2 * time.Second // what is shorter needs none
	progressEvery = 250 * time.Millisecond
	progressSpan  = 20 // drawings that the rate is of
)

// progress shows on one line how far something has come, at which rate, and how
// long it will take yet. A person who looks at a terminal sees it; others do not.
// Its methods may be called concurrently, but for Close.
type progress struct {
	what  string
	unit  func(int64) string
	to    io.Writer // nil: nobody looks
	begun time.Time

	done, total atomic.Int64 // total is 0 while it is not known

	drawn []sample      // the last drawings; the drawing goroutine's, and Close's after it
	end   chan struct{} // closed by Close
	ended sync.WaitGroup
}

type sample struct {
	at   time.Time
	done int64
}

func inBytes(n int64) string { return humanize.Bytes(uint64(n)) }

func inEntries(n int64) string { return humanize.Comma(n) + " entries" }

// startProgress begins to show what is done, in a unit. Whoever starts it closes
// it before anything else is said.
func startProgress(c *cli.Context, what string, unit func(int64) string) *progress {
	to := c.App.ErrWriter
	if !terminal(to) {
		to = nil
	}
	return newProgress(to, what, unit)
}

func newProgress(to io.Writer, what string, unit func(int64) string) *progress {
	p := &progress{what: what, unit: unit, to: to, begun: time.Now(), end: make(chan struct{})}
	if to != nil {
		p.ended.Go(p.run)
	}
	return p
}

// terminal says whether a person may be looking.
func terminal(to io.Writer) bool {
	f, ok := to.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Write counts bytes that pass by.
func (p *progress) Write(b []byte) (int, error) {
	p.done.Add(int64(len(b)))
	return len(b), nil
}

// set tells how far it is of how much; 0 if that is not known.
func (p *progress) set(done, total int64) {
	p.done.Store(done)
	p.total.Store(total)
}

// Close wipes the line.
func (p *progress) Close() {
	close(p.end)
	p.ended.Wait()
	if len(p.drawn) > 0 {
		_, _ = io.WriteString(p.to, "\r\x1b[K") // nothing is lost with a line that was to go
	}
}

func (p *progress) run() {
	wait := time.NewTimer(progressAfter)
	defer wait.Stop()
	for {
		select {
		case <-p.end:
			return
		case now := <-wait.C:
			p.draw(now)
			wait.Reset(progressEvery)
		}
	}
}

func (p *progress) draw(now time.Time) {
	if len(p.drawn) == 0 {
		p.drawn = append(p.drawn, sample{at: p.begun})
	}
	p.drawn = append(p.drawn, sample{now, p.done.Load()})
	p.drawn = p.drawn[max(0, len(p.drawn)-progressSpan):]
	_, _ = io.WriteString(p.to, "\r\x1b[K"+p.line(now)) // the next one may get there
}

// line is what is to be seen now.
func (p *progress) line(now time.Time) string {
	first, last, total := p.drawn[0], p.drawn[len(p.drawn)-1], p.total.Load()
	took := now.Sub(p.begun).Round(time.Second)
	if last.done == 0 {
		return fmt.Sprintf("%s: %s", p.what, took)
	}
	rate := float64(last.done-first.done) / last.at.Sub(first.at).Seconds()
	if total < last.done || total == 0 {
		return fmt.Sprintf("%s: %s, %s/s, %s", p.what, p.unit(last.done), p.unit(int64(rate)), took)
	}
	text := fmt.Sprintf("%s: %s of %s (%d %%), %s/s", p.what, p.unit(last.done), p.unit(total), int64(float64(last.done)/float64(total)*100), p.unit(int64(rate)))
	if rate < 1 {
		return text + ", it does not get on"
	}
	left := time.Duration(float64(total-last.done) / rate * float64(time.Second))
	return text + ", " + left.Round(time.Second).String() + " left"
}
