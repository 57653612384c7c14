// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestHelpIsOneScreenWithAnExample(t *testing.T) {
	pages := []string{"", "lease", "endpoint", "cert", "context", "member", "token", "auth", "user", "role", "snapshot", "alarm", "downgrade", "check"}
	for name := range leaves(newApp(nil, io.Discard, io.Discard).Commands) {
		pages = append(pages, name)
	}
	for _, page := range pages {
		var stdout, stderr bytes.Buffer
		line := append(append([]string{"cleatctl"}, strings.Fields(page)...), "--help")
		code := Main(line, strings.NewReader(""), &stdout, &stderr)
		text := stdout.String()
		if code != exitDone || stderr.Len() > 0 || !strings.Contains(text, "Example") || !strings.Contains(text, "cleatctl "+page) {
			t.Errorf("%q: exit code %d, stderr %q, help:\n%s", line, code, &stderr, text)
		}
		screen := 50
		if page == "" {
			screen = 60 // it names every command
		}
		if lines := strings.Count(text, "\n"); lines > screen {
			t.Errorf("%q: help is %d lines, more than a screen", line, lines)
		}
	}
}

func TestHelpIsNotACommandOfEachCommand(t *testing.T) {
	for _, line := range []string{"get help", "get h", "del help"} {
		if got := run(t, strings.Fields(line)); !strings.Contains(got, strings.Fields(line)[1]) {
			t.Errorf("cleatctl %s: the action got %s", line, got)
		}
	}
}
