// SPDX-License-Identifier: Apache-2.0

package packages

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func gunzip(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if !z.ModTime.IsZero() || z.Name != "" {
		t.Errorf("%s says when or of what it was made", path)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pages are the manual's, unpacked.
func pages(t *testing.T) (paths []string) {
	t.Helper()
	root, plain := unpacked(t), t.TempDir()
	found, err := filepath.Glob(filepath.Join(root, "usr/share/man/man?/*.gz"))
	if err != nil || len(found) < 40 {
		t.Fatalf("%d pages, %v", len(found), err)
	}
	for _, path := range found {
		page := filepath.Join(plain, strings.TrimSuffix(filepath.Base(path), ".gz"))
		if err := os.WriteFile(page, []byte(gunzip(t, path)), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, page)
	}
	return paths
}

func TestTheManualPleasesItsReaders(t *testing.T) {
	need(t, "mandoc", "mandoc")
	need(t, "groff", "groff")
	for _, path := range pages(t) {
		// It need not know the pages of others, nor like our dates and titles.
		var out bytes.Buffer
		lint := exec.Command("mandoc", "-Tlint", "-Wwarning", path)
		lint.Stdout, lint.Stderr = &out, &out
		if err := lint.Run(); err != nil || out.Len() > 0 {
			t.Errorf("mandoc: %v\n%s", err, &out)
		}
		out.Reset()
		read := exec.Command("groff", "-man", "-ww", "-K", "utf8", "-T", "utf8", "-z", path)
		read.Stdout, read.Stderr = &out, &out
		if err := read.Run(); err != nil || out.Len() > 0 {
			t.Errorf("groff: %v\n%s", err, &out)
		}
	}
}

func TestCompletionsAreScriptsOfTheirShells(t *testing.T) {
	root := unpacked(t)
	said(t, "bash", "-n", filepath.Join(root, "usr/share/bash-completion/completions/cleatctl"))
	said(t, "bash", "-n", filepath.Join(root, "usr/share/bash-completion/completions/cleatd"))
	words, _ := said(t, "bash", "-c", `
		PATH=$1/usr/bin:$PATH
		. "$1/usr/share/bash-completion/completions/cleatctl"
		COMP_WORDS=(cleatctl member a) COMP_CWORD=2
		_cleatctl
		echo "${COMPREPLY[@]}"`, "-", root)
	if strings.TrimSpace(words) != "add" {
		t.Errorf("bash makes %q of member a", words)
	}
}
