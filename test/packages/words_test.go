// SPDX-License-Identifier: Apache-2.0

package packages

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// zsh completes at a terminal only, so it gets one; the line is printed instead of
// carried out.
func TestZshCompletesAtATerminal(t *testing.T) {
	need(t, "zsh", "zsh")
	need(t, "script", "bsdutils")
	root := unpacked(t)
	c := exec.Command("script", "--quiet", "--return", "--flush", "--command", "zsh -f -i", "/dev/null")
	c.Env = append(os.Environ(), "PATH="+root+"/usr/bin:"+os.Getenv("PATH"), "TERM=dumb", "HOME="+t.TempDir())
	c.Stdin = strings.NewReader("fpath=(" + root + "/usr/share/zsh/vendor-completions $fpath); autoload -Uz compinit; compinit -u -D; bindkey -e\n" +
		"cleatctl member upd\t\x01print -r -- GOT: \n" + // ^A goes to the line's beginning
		"cleatctl member update --pe\t\x01print -r -- GOT: \n" +
		"exit\n")
	said, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, want := range []string{"GOT: cleatctl member update", "GOT: cleatctl member update --peer-urls"} {
		if !regexp.MustCompile(`(?m)^` + want + ` ?\r?$`).Match(said) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
}

func TestFishCompletes(t *testing.T) {
	need(t, "fish", "fish")
	root := unpacked(t)
	for typed, want := range map[string]string{"cleatctl member upd": "update", "cleatctl snapshot sa": "save", "cleatctl get --pref": "--prefix"} {
		said, _ := said(t, "fish", "--no-config", "-c",
			"source "+root+"/usr/share/fish/vendor_completions.d/cleatctl.fish; complete --do-complete '"+typed+"'")
		if word, _, _ := strings.Cut(said, "\t"); strings.TrimSpace(word) != want {
			t.Errorf("fish makes %q of %q, want %s", said, typed, want)
		}
	}
}
