// SPDX-License-Identifier: Apache-2.0

// Verdict reads what `go test -json` tells and shows what `go test` would: the
// packages, and all that failed tests have said. Beside that it adds the tests
// that skipped themselves, with their reasons, to a file, because a test that
// did not run must not be mistaken for one that passed. It ends with the tests
// that took longest.
//
//	go test -json ./... | verdict FILE
//
// Tests that failed are its exit code 1.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "verdict:", err)
		os.Exit(1)
	}
}

var errFailed = errors.New("not everything passed")

func run(args []string, in io.Reader, out io.Writer) (err error) {
	if len(args) != 1 {
		return errors.New("name the file for what was skipped")
	}
	skipped, err := os.OpenFile(args[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, skipped.Close()) }()
	return (&reader{out: out, skipped: skipped, said: make(map[test][]string)}).read(in)
}

// An event is a line of `go test -json`, see `go doc test2json`.
type event struct {
	Action, Package, Test, Output string

	Elapsed float64 // seconds, of a test that has ended
}

// A test by its package and its own name; that of a package's own words is "".
type test struct{ pkg, name string }

// Tests of so many seconds are told of, and so many of them.
const (
	longTest = 10.0
	mostLong = 8
)

// A slow test and its seconds.
type slow struct {
	test
	seconds float64
}

// A reader goes through the events once.
type reader struct {
	out, skipped io.Writer
	said         map[test][]string // of those that have not ended
	slow         []slow
	failed       bool
}

func (r *reader) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if line != "" {
			r.line(line)
		}
		if err == nil {
			continue
		}
		r.tellSlow()
		if r.failed {
			return errFailed
		}
		return nil
	}
}

// line takes what is no event, such as a program's own words, as it is.
func (r *reader) line(line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		fmt.Fprint(r.out, line)
		return
	}
	t := test{e.Package, e.Test}
	if e.Elapsed >= longTest && e.Test != "" && !strings.Contains(e.Test, "/") {
		r.slow = append(r.slow, slow{t, e.Elapsed})
	}
	switch e.Action {
	case "output", "build-output":
		r.output(t, e.Output)
	case "pass":
		delete(r.said, t)
	case "skip":
		r.skip(t)
	case "fail", "build-fail":
		r.failed = true
		r.tell(t)
	}
}

// output keeps a test's words until it is known whether anybody wants them.
func (r *reader) output(t test, text string) {
	if t.name == "" {
		if text != "PASS\n" { // which go test tells of single packages only
			fmt.Fprint(r.out, text)
		}
		return
	}
	if !strings.HasPrefix(text, "=== ") {
		r.said[t] = append(r.said[t], text)
	}
}

// skip notes the reason, which stands in the line before the verdict. A package
// without tests is skipped, too, and says so itself.
func (r *reader) skip(t test) {
	if t.name == "" {
		return
	}
	reason := ""
	for _, text := range r.said[t] {
		if _, said, found := strings.Cut(text, ".go:"); found {
			_, reason, _ = strings.Cut(strings.TrimSpace(said), ": ")
		}
	}
	delete(r.said, t)
	fmt.Fprintf(r.skipped, "%s %s: %s\n", t.pkg, t.name, reason)
}

// tell shows what a test said; when its package has failed, also what those
// said that did not come to an end, such as the one that a panic or the time
// limit has cut off.
func (r *reader) tell(t test) {
	for other, said := range r.said {
		if other == t || t.name == "" && other.pkg == t.pkg {
			fmt.Fprint(r.out, strings.Join(said, ""))
			delete(r.said, other)
		}
	}
}

func (r *reader) tellSlow() {
	slices.SortFunc(r.slow, func(a, b slow) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, s := range r.slow[:min(len(r.slow), mostLong)] {
		fmt.Fprintf(r.out, "slow\t%s\t%s\t%.0fs\n", s.pkg, s.name, s.seconds)
	}
}
