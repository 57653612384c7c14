// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/ctl"
	"github.com/cleatd/cleat/daemon"
)

var anyBuild = build{"1.2.3~dev.4.gabc", "abcdef", time.Unix(1767225600, 0).UTC()}

func TestEachSettingHasItsReasonAndNoReasonIsLeftOver(t *testing.T) {
	var names []string
	for _, s := range daemon.Settings() {
		names = append(names, s.Name)
		if reasons[s.Name] == "" {
			t.Errorf("internal/manual/reasons.go does not say why somebody would change %s", s.Name)
		}
	}
	for name := range reasons {
		if !slices.Contains(names, name) {
			t.Errorf("internal/manual/reasons.go has %s, which is no setting", name)
		}
	}
}

// What the file shows as a default is one: with all of its lines in force the
// daemon has the settings that it has without a file.
func TestTheConfigurationFileHoldsEveryDefault(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "")
	text := configFile()
	for _, s := range daemon.Settings() {
		if n := strings.Count(text, "\n#"+s.Name+" = "); n != 1 {
			t.Errorf("%s stands there %d times", s.Name, n)
		}
	}
	for _, line := range strings.Split(text, "\n") {
		if len(line) > 80 || line != "" && line[0] != '#' {
			t.Errorf("a line is too long or in force: %q", line)
		}
	}
	want := daemon.Default()
	inForce := regexp.MustCompile(`(?m)^#([a-z-]+ = )`).ReplaceAllString(text, "$1")
	inForce = strings.Replace(inForce, `name = ""`, `name = "`+want.Name+`"`, 1) // the host's
	path := filepath.Join(t.TempDir(), "cleatd.toml")
	if err := os.WriteFile(path, []byte(inForce), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := daemon.Load(path, nil, nil); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("all lines in force: %v\n%+v\nwant\n%+v", err, got, want)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := daemon.Load(path, nil, nil); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("as it is: %v\n%+v", err, got)
	}
}

// written are all pages by their file's name.
func written(t *testing.T) map[string]string {
	t.Helper()
	pages, err := allPages(anyBuild)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, p := range pages {
		name := p.name + "." + string(rune('0'+p.section))
		if texts[name] != "" {
			t.Errorf("%s is written twice", name)
		}
		texts[name] = p.roff(anyBuild)
	}
	return texts
}

func TestEachCommandHasAPageWithItsFlags(t *testing.T) {
	pages := written(t)
	var look func(above string, commands []*cli.Command)
	look = func(above string, commands []*cli.Command) {
		for _, c := range commands {
			if c.Hidden || c.Name == "help" {
				continue
			}
			name := above + "-" + c.Name
			page := pages[name+".1"]
			if page == "" {
				t.Errorf("there is no %s(1)", name)
			}
			for _, f := range c.VisibleFlags() {
				if want := `\fB` + literal("--"+f.Names()[0]) + `\fR`; !strings.Contains(page, want) && len(f.Names()[0]) > 1 {
					t.Errorf("%s(1) does not tell about --%s", name, f.Names()[0])
				}
			}
			look(name, c.Subcommands)
		}
	}
	look("cleatctl", ctl.App().Commands)
	for _, name := range []string{"cleatctl.1", "cleatctl-put.1", "cleatctl-member-add.1", "cleatd.8", "cleatd-recover.8", "cleatd-restore.8", "cleatd.toml.5"} {
		if pages[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	for _, s := range daemon.Settings() {
		if !strings.Contains(pages["cleatd.8"], literal("--"+s.Name)) || !strings.Contains(pages["cleatd.toml.5"], bold(s.Name)) {
			t.Errorf("cleatd(8) or cleatd.toml(5) does not tell about %s", s.Name)
		}
	}
}

// A page that another names is there.
func TestPagesReferToPages(t *testing.T) {
	pages := written(t)
	reference := regexp.MustCompile(`(?m)^\.BR (\S+) \(([158])\)`)
	for name, text := range pages {
		for _, m := range reference.FindAllStringSubmatch(text, -1) {
			if other := strings.ReplaceAll(m[1], `\-`, "-") + "." + m[2]; pages[other] == "" {
				t.Errorf("%s refers to %s, which there is not", name, other)
			}
		}
	}
}

func TestTwoRunsWriteTheSameBytes(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		if err := write(dir, anyBuild); err != nil {
			t.Fatal(err)
		}
	}
	count := 0
	err := filepath.Walk(one, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		count++
		a, _ := os.ReadFile(path)
		b, err := os.ReadFile(filepath.Join(two, strings.TrimPrefix(path, one)))
		if string(a) != string(b) {
			t.Errorf("%s differs", path)
		}
		return err
	})
	if err != nil || count < 40 {
		t.Errorf("%d files, %v", count, err)
	}
}
