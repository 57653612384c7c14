// SPDX-License-Identifier: Apache-2.0

package ctl

import "fmt"

// grade is how bad a finding is.
type grade string

const (
	good    grade = "ok"
	skipped grade = "skipped" // it could not be looked at; what says why
	warning grade = "warning" // it can wait
	fault   grade = "fault"   // something is broken, or will be before anybody looks again
)

// finding is what status or doctor has to say of one thing, and how to mend it.
type finding struct {
	Check string `json:"check"`
	Grade grade  `json:"grade"`
	What  string `json:"what"`
	Mend  string `json:"mend,omitempty"`
}

// findings are gathered by whoever looks.
type findings []finding

func (f *findings) add(g grade, check, mend, format string, args ...any) {
	*f = append(*f, finding{Check: check, Grade: g, What: fmt.Sprintf(format, args...), Mend: mend})
}

func (f findings) count(g grade) (n int) {
	for _, each := range f {
		if each.Grade == g {
			n++
		}
	}
	return n
}

// verdict is nil when nothing is broken. Warnings are no failure: a cluster of
// two members, or one in the middle of an upgrade, would be one for ever.
func (f findings) verdict() error {
	n := f.count(fault)
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%s to mend: see above", count(n, "fault"))
}

// line is the finding for a person.
func (f finding) line() string {
	if f.Mend == "" {
		return f.What
	}
	return f.What + ": " + f.Mend
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
