// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// book is a machine with behaviour: it writes down every command, in memory,
// and puts its pages on disk only when it is told to, as a database without a
// log does. Opened again after a crash it is as old as its last Persist.
type book struct {
	path string

	mu        sync.Mutex
	pages     pages
	applies   int           // calls of Apply
	batch     []int         // commands of each call
	gate      chan struct{} // if set, Apply waits until it is closed
	entered   chan struct{} // if set, told of each Apply that waits
	broken    bool          // Apply's disk has failed
	persist   error         // what Persist fails with
	step      func() error  // if set, called by Persist before and after it writes
	installed int           // times it became another
	twice     []string      // commands applied more than once
	seen      map[string]bool
}

type pages struct {
	Index uint64
	Lines []string
}

func openBook(path string) (*book, error) {
	b := &book{path: path, seen: map[string]bool{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &b.pages); err != nil {
		return nil, err
	}
	for _, line := range b.pages.Lines {
		b.seen[line] = true
	}
	return b, nil
}

func (b *book) Apply(entries []Entry) [][]byte {
	b.mu.Lock()
	gate, entered := b.gate, b.entered
	b.mu.Unlock()
	if gate != nil {
		if entered != nil {
			entered <- struct{}{}
		}
		<-gate
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken {
		return nil
	}
	var results [][]byte
	b.applies++
	for _, e := range entries {
		if e.Index <= b.pages.Index {
			panic(fmt.Sprintf("entry %d applied again, at %d", e.Index, b.pages.Index))
		}
		for _, c := range e.Commands {
			line := string(c)
			if b.seen[line] {
				b.twice = append(b.twice, line)
			}
			b.seen[line] = true
			b.pages.Lines = append(b.pages.Lines, line)
			results = append(results, []byte(fmt.Sprintf("%d:%s", len(b.pages.Lines), line)))
		}
		b.pages.Index = e.Index
	}
	b.batch = append(b.batch, len(results))
	return results
}

func (b *book) AppliedIndex() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pages.Index
}

func (b *book) Persist(index uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	step := b.step
	if step == nil {
		step = func() error { return nil }
	}
	if err := errors.Join(b.persist, step()); err != nil {
		return err
	}
	b.pages.Index = max(b.pages.Index, index)
	data, err := json.Marshal(b.pages)
	if err != nil {
		return err
	}
	if err := writeDurably(b.path, data); err != nil {
		return err
	}
	return step()
}

// Checkpoint is of the pages as they are.
func (b *book) Checkpoint(index uint64) (Checkpoint, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pages.Index = max(b.pages.Index, index)
	data, err := json.Marshal(b.pages)
	return copied(data), err
}

// copied is a checkpoint that is written in many small pieces.
type copied []byte

func (c copied) WriteTo(to io.Writer) (int64, error) {
	for i, piece := range slices.Collect(slices.Chunk(c, 10)) {
		if _, err := to.Write(piece); err != nil {
			return int64(i * 10), err
		}
	}
	return int64(len(c)), nil
}

func (copied) Close() error { return nil }

func (b *book) Prepare(from io.Reader) (Prepared, error) {
	next := &nextBook{book: b}
	err := json.NewDecoder(from).Decode(&next.pages)
	return next, err
}

type nextBook struct {
	book   *book
	pages  pages
	closed int
}

func (n *nextBook) Index() uint64 { return n.pages.Index }

func (n *nextBook) Close() error { n.closed++; return nil }

func (n *nextBook) Install() error {
	b := n.book
	b.mu.Lock()
	step := b.step
	if step == nil {
		step = func() error { return nil }
	}
	b.mu.Unlock()
	if err := step(); err != nil {
		return err
	}
	data, err := json.Marshal(n.pages)
	if err != nil {
		return err
	}
	if err := writeDurably(b.path, data); err != nil {
		return err
	}
	b.mu.Lock()
	b.pages, b.seen = n.pages, map[string]bool{}
	for _, line := range b.pages.Lines {
		b.seen[line] = true
	}
	b.installed++
	b.mu.Unlock()
	return step()
}

func (b *book) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.pages.Lines)
}

// durable is the index that the book on disk holds.
func (b *book) durable() uint64 {
	data, err := os.ReadFile(b.path)
	if err != nil {
		return 0
	}
	var p pages
	if json.NewDecoder(bytes.NewReader(data)).Decode(&p) != nil {
		return 0
	}
	return p.Index
}

func bookPath(dir string) string { return filepath.Join(dir, "book") }
