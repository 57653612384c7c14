// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cleatd/cleat/daemon"
)

// presets are the settings of a member that is told nothing, whatever the
// machine on which this runs is called.
func presets() daemon.Config {
	c := daemon.Default()
	c.Name, c.DataDir = "", "/var/lib/cleat"
	return c
}

// configFile is /etc/cleat/cleatd.toml: every setting with its default, as a
// comment.
func configFile() string {
	var b strings.Builder
	b.WriteString(`# The settings of cleatd: "man cleatd.toml" tells about each. What is commented
# out is the default. "systemctl reload cleatd" takes over what can change while
# it runs, and the log names what needs "systemctl restart cleatd".
#
# For a cluster one line is enough: advertise, the host by which others reach
# this machine. Then "cleatctl invite" prints what to type on the next one.
`)
	c := presets()
	for _, s := range daemon.Settings() {
		b.WriteString("\n")
		for _, line := range wrapped(sentence(s.Usage), 78) {
			b.WriteString("# " + line + "\n")
		}
		b.WriteString("#" + s.Name + " = " + s.TOML(&c) + "\n")
	}
	return b.String()
}

// values are words that a usage may begin with; they keep their case.
var values = []string{"wal or ", "debug, ", "simple, ", "periodic or "}

// sentence makes one of a usage.
func sentence(usage string) string {
	if !slices.ContainsFunc(values, func(v string) bool { return strings.HasPrefix(usage, v) }) {
		usage = strings.ToUpper(usage[:1]) + usage[1:]
	}
	return usage + "."
}

// wrapped breaks a text into lines of at most width characters.
func wrapped(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// settingsPage is cleatd.toml(5).
func settingsPage() page {
	p := page{name: "cleatd.toml", section: 5, what: "settings of cleatd"}
	p.heading("synopsis")
	fmt.Fprintf(&p.body, "%s\n", italic("/etc/cleat/cleatd.toml"))
	p.heading("description")
	p.words(settingsWords)
	p.heading("settings")
	c := presets()
	for _, s := range daemon.Settings() {
		p.item(bold(s.Name)+" = "+literal(s.TOML(&c)), sentence(s.Usage))
		for _, paragraph := range strings.Split(reasons[s.Name], "\n\n") {
			p.body.WriteString(".IP\n" + beginning(prose(strings.Join(strings.Fields(paragraph), " "))) + "\n")
		}
	}
	p.heading("examples")
	p.words(settingsExamples)
	p.seeAlso("cleatd(8)", "cleatctl-join(1)", "cleatctl-invite(1)")
	return p
}

const (
	settingsWords = `The file is TOML: one NAME = VALUE a line, text in quotes, # before a comment. A
name that there is not is an error, so that a slip does not pass for a default.

A variable in the environment, CLEATD_ and the name in capitals with underscores
for hyphens, counts more than the file, and a flag, --NAME, more than both. Time
spans are written 500ms, 10s, 5m or 24h.

Below, each setting stands with the value that it has when nothing is said.`

	settingsExamples = `The first machine of a cluster:

  advertise = "10.0.0.1"

A machine that joins by itself at its first start, with the token in systemd's
credential join-token (see cleatd(8)):

  advertise = "10.0.0.2"
  join = "10.0.0.1:2380"`
)
