// SPDX-License-Identifier: Apache-2.0

package packages

import (
	"debug/elf"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wanted is what both packages hold beside the manual, with the file's mode.
var wanted = map[string]string{
	"/usr/bin/cleatd":                                    "-rwxr-xr-x",
	"/usr/bin/cleatctl":                                  "-rwxr-xr-x",
	"/etc/cleat/cleatd.toml":                             "-rw-r--r--",
	"/usr/lib/systemd/system/cleatd.service":             "-rw-r--r--",
	"/usr/lib/systemd/system/cleatd.socket":              "-rw-r--r--",
	"/usr/lib/systemd/system/cleatd-net.socket":          "-rw-r--r--",
	"/usr/lib/systemd/user/cleatctl-renew.service":       "-rw-r--r--",
	"/usr/lib/systemd/user/cleatctl-renew.timer":         "-rw-r--r--",
	"/usr/lib/systemd/system-preset/50-cleat.preset":     "-rw-r--r--",
	"/usr/lib/sysusers.d/cleat.conf":                     "-rw-r--r--",
	"/usr/lib/tmpfiles.d/cleat.conf":                     "-rw-r--r--",
	"/usr/share/cleat/grafana/cleat.json":                "-rw-r--r--",
	"/usr/share/cleat/prometheus/cleat.rules.yml":        "-rw-r--r--",
	"/usr/share/bash-completion/completions/cleatctl":    "-rw-r--r--",
	"/usr/share/bash-completion/completions/cleatd":      "-rw-r--r--",
	"/usr/share/fish/vendor_completions.d/cleatctl.fish": "-rw-r--r--",
	"/usr/share/doc/cleat/README.md":                     "-rw-r--r--",
	"/usr/share/doc/cleat/changelog.gz":                  "-rw-r--r--",
	"/usr/share/man/man1/cleatctl.1.gz":                  "-rw-r--r--",
	"/usr/share/man/man1/cleatctl-put.1.gz":              "-rw-r--r--",
	"/usr/share/man/man1/cleatctl-member-add.1.gz":       "-rw-r--r--",
	"/usr/share/man/man5/cleatd.toml.5.gz":               "-rw-r--r--",
	"/usr/share/man/man8/cleatd.8.gz":                    "-rw-r--r--",
	"/usr/share/man/man8/cleatd-recover.8.gz":            "-rw-r--r--",
	"/usr/share/man/man8/cleatd-restore.8.gz":            "-rw-r--r--",
}

// and what only one of them holds, where its distribution looks for it.
var wantedIn = map[string][]string{
	"deb": {
		"/usr/share/zsh/vendor-completions/_cleatctl", "/usr/share/doc/cleat/copyright", "/usr/share/doc/cleat/changelog.Debian.gz",
		"/usr/share/doc/cleat/third-party.txt.gz", "/etc/apparmor.d/usr.bin.cleatd",
	},
	"rpm": {
		"/usr/share/zsh/site-functions/_cleatctl", "/usr/share/licenses/cleat/LICENSE", "/usr/share/licenses/cleat/third-party.txt.gz",
	},
}

// entry is a line of ls -l as dpkg-deb and rpm print it: mode, owner, path.
type entry struct{ mode, owner string }

func entries(list string, line *regexp.Regexp) map[string]entry {
	found := map[string]entry{}
	for _, m := range line.FindAllStringSubmatch(list, -1) {
		found[strings.TrimPrefix(m[3], ".")] = entry{m[1], m[2]}
	}
	return found
}

func TestThePackagesHoldWhatTheyShould(t *testing.T) {
	for kind, list := range map[string]func(t *testing.T) map[string]entry{"deb": inDeb, "rpm": inRPM} {
		t.Run(kind, func(t *testing.T) {
			found := list(t)
			expected := maps.Clone(wanted)
			for _, path := range wantedIn[kind] {
				expected[path] = "-rw-r--r--"
			}
			for path, mode := range expected {
				if found[path].mode != mode {
					t.Errorf("%s has mode %q, want %q", path, found[path].mode, mode)
				}
			}
			for path, e := range found {
				if e.owner != "root/root" && e.owner != "0/0" {
					t.Errorf("%s is %s's", path, e.owner)
				}
				page := strings.HasPrefix(path, "/usr/share/man/man") || strings.HasPrefix(path, "/usr/share/lintian/")
				if expected[path] == "" && !page && !strings.HasPrefix(e.mode, "d") {
					t.Errorf("%s is more than expected", path)
				}
			}
		})
	}
}

func inDeb(t *testing.T) map[string]entry {
	need(t, "dpkg-deb", "dpkg")
	list, _ := said(t, "dpkg-deb", "-c", built(t, "deb"))
	return entries(list, regexp.MustCompile(`(?m)^(\S+) (\S+) +\d+ \S+ \S+ (\S+?)/?$`))
}

func inRPM(t *testing.T) map[string]entry {
	need(t, "rpm", "rpm")
	list, _ := said(t, "rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]", built(t, "rpm"))
	return entries(list, regexp.MustCompile(`(?m)^(\S+) (\S+) (\S+)$`))
}

// An administrator's changes to the settings outlive an upgrade.
func TestTheSettingsAreAConfigurationFile(t *testing.T) {
	need(t, "dpkg-deb", "dpkg")
	list, _ := said(t, "dpkg-deb", "-I", built(t, "deb"), "conffiles")
	if got := strings.Fields(list); !slices.Equal(got, []string{"/etc/apparmor.d/usr.bin.cleatd", "/etc/cleat/cleatd.toml"}) {
		t.Errorf("conffiles: %q", got)
	}
	need(t, "rpm", "rpm")
	list, _ = said(t, "rpm", "-qp", "--qf", "[%{FILEFLAGS:fflags} %{FILENAMES}\n]", built(t, "rpm"))
	if !regexp.MustCompile(`(?m)^cn /etc/cleat/cleatd.toml$`).MatchString(list) {
		t.Errorf("no %%config(noreplace) in\n%s", list)
	}
}

func TestTheProgramsAreStaticStrippedAndSayWhatTheyAre(t *testing.T) {
	root := unpacked(t)
	version, _ := said(t, "dpkg-deb", "-f", built(t, "deb"), "Version")
	version = strings.TrimSuffix(strings.TrimSpace(version), "-1")
	for name, want := range map[string]string{
		"cleatd":   `^cleatd version ` + regexp.QuoteMeta(version) + ` \(commit [0-9a-f]{12}(\.dirty)?, go1\.\d+`,
		"cleatctl": `^cleatctl version ` + regexp.QuoteMeta(version) + ` \(commit [0-9a-f]{12}(\.dirty)?, go1\.\d+`,
	} {
		path := filepath.Join(root, "usr/bin", name)
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if libraries, _ := f.ImportedLibraries(); len(libraries) > 0 || f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
			t.Errorf("%s: needs %q, or is not stripped", name, libraries)
		}
		_ = f.Close()
		if got, _ := said(t, path, "--version"); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s --version says %q, want %s", name, got, want)
		}
	}
}

// Every module that is linked in is named with its licence.
func TestTheLicencesOfOthersAreThere(t *testing.T) {
	root := unpacked(t)
	text := gunzip(t, filepath.Join(root, "usr/share/doc/cleat/third-party.txt.gz"))
	modules, _ := said(t, "go", "version", "-m", filepath.Join(root, "usr/bin/cleatd"))
	count := 0
	for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(modules, -1) {
		count++
		_, after, found := strings.Cut(text, "\n===== "+m[1]+" "+m[2]+"\n")
		own, _, _ := strings.Cut(after, "\n===== ")
		if !found || len(own) < 200 {
			t.Errorf("%s %s has no licence there", m[1], m[2])
		}
	}
	if count < 50 {
		t.Errorf("%d modules in\n%s", count, modules)
	}
}

func TestTheMaintainersScriptsAreShell(t *testing.T) {
	need(t, "dpkg-deb", "dpkg")
	dir := t.TempDir()
	said(t, "dpkg-deb", "-e", built(t, "deb"), dir)
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v %v", name, info, err)
		}
		said(t, "sh", "-n", path)
	}
}
