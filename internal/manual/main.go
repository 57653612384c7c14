// SPDX-License-Identifier: Apache-2.0

// Command manual writes what people read about cleat beside its programs: the
// manual pages, the configuration file with every setting, and what shells need
// to complete a command line. All of it is made of the words that the programs
// themselves have, their commands, flags and settings, so it cannot grow stale;
// what is said here in addition, a setting's reason, fails a test when there is
// no such setting or a setting has no reason.
//
//	manual -o ROOT -version VERSION -commit COMMIT -epoch SECONDS
//
// writes into ROOT/usr/share and ROOT/etc as packages have them. Two runs with
// the same words write the same bytes.
package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cleatd/cleat/ctl"
	"github.com/cleatd/cleat/daemon/command"
)

// build is what the pages are of.
type build struct {
	version string
	commit  string
	date    time.Time
}

func main() {
	root := flag.String("o", "", "write below this `DIR`")
	version := flag.String("version", "", "the programs' version")
	commit := flag.String("commit", "", "the commit that they are made of")
	epoch := flag.Int64("epoch", 0, "the pages' date in `SECONDS` since 1970")
	flag.Parse()
	if *root == "" || *version == "" || *commit == "" || *epoch <= 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(*root, build{*version, *commit, time.Unix(*epoch, 0).UTC()}); err != nil {
		fmt.Fprintf(os.Stderr, "manual: %v\n", err)
		os.Exit(1)
	}
}

// write puts everything where packages have it.
func write(root string, b build) error {
	files := map[string][]byte{"etc/cleat/cleatd.toml": []byte(configFile())}
	pages, err := allPages(b)
	if err != nil {
		return err
	}
	for _, p := range pages {
		files[fmt.Sprintf("usr/share/man/man%d/%s.%d.gz", p.section, p.name, p.section)] = compress(p.roff(b))
	}
	if err := addCompletions(files); err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// allPages are the manual of both programs.
func allPages(b build) ([]page, error) {
	daemon := command.Build{Version: b.version, Commit: b.commit}.App()
	daemon.Setup()
	tool := ctl.App()
	tool.Setup()
	pages := append(daemonPages(daemon), settingsPage())
	return append(pages, toolPages(tool)...), nil
}

// compress is gzip -9n: no name, no time.
func compress(text string) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	_, _ = w.Write([]byte(text)) // to memory
	_ = w.Close()
	return out.Bytes()
}

// addCompletions asks the tool for its scripts, as a user would.
func addCompletions(files map[string][]byte) error {
	for shell, places := range map[string][]string{
		"bash": {"usr/share/bash-completion/completions/cleatctl"},
		"zsh":  {"usr/share/zsh/vendor-completions/_cleatctl", "usr/share/zsh/site-functions/_cleatctl"},
		"fish": {"usr/share/fish/vendor_completions.d/cleatctl.fish"},
	} {
		var script, complaint bytes.Buffer
		if code := ctl.Main([]string{"cleatctl", "completion", shell}, nil, &script, &complaint); code != 0 {
			return fmt.Errorf("completion %s: code %d: %s", shell, code, &complaint)
		}
		for _, place := range places {
			files[place] = script.Bytes()
		}
	}
	files["usr/share/bash-completion/completions/cleatd"] = []byte(daemonCompletion())
	return nil
}
