// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// telling is what an administrator types and is told, for the README.
type telling struct {
	t     *testing.T
	began time.Time
	text  strings.Builder
}

func tellFrom(t *testing.T) *telling { return &telling{t: t, began: time.Now()} }

// types runs a line on a machine, and notes it with what it printed.
func (s *telling) types(m *machine, line string) string {
	s.t.Helper()
	fmt.Fprintf(&s.text, "%s# %s\n", m.name, line)
	r := m.try("sh", "-c", line)
	if r.code != 0 {
		s.t.Fatalf("%s# %s: %v", m.name, line, r)
	}
	for line := range strings.Lines(r.out) {
		fmt.Fprintln(&s.text, strings.TrimSpace(line))
	}
	for line := range strings.Lines(r.err) {
		fmt.Fprintln(&s.text, strings.TrimSpace(line))
	}
	return r.out
}

// secret is a token, which nobody needs to see.
var secret = regexp.MustCompile(`cleat1\.\S*`)

// finish writes all of it to the file that was asked for.
func (s *telling) finish() {
	s.t.Helper()
	fmt.Fprintf(&s.text, "\n%.1f seconds from the first line to the last.\n", time.Since(s.began).Seconds())
	text := secret.ReplaceAllString(s.text.String(), "cleat1.…")
	s.t.Log(text)
	if *session == "" {
		return
	}
	if err := os.WriteFile(*session, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}
