// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// configuration has cleatd itself check the settings: those that the running
// member was given, or those that the next start would be.
func (p *patient) configuration(c *cli.Context) {
	args, environ, from := p.startedWith(c)
	program, err := cleatd()
	if err != nil {
		p.add(skipped, "configuration", "", "%s", err)
		return
	}
	run := exec.CommandContext(c.Context, program, append([]string{"check", "--json"}, args...)...)
	run.Env = environ
	var said, why bytes.Buffer
	run.Stdout, run.Stderr = &said, &why
	err = run.Run()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		p.add(fault, "configuration", "correct it, then cleatd check tells whether it is good", "cleatd does not take its settings (%s): %s", from, strings.TrimPrefix(firstLine(why.String()), "cleatd: "))
		return
	}
	if err == nil {
		err = json.Unmarshal(said.Bytes(), &p.settings)
	}
	if err != nil {
		p.add(skipped, "configuration", "", "%s does not tell: %v; is it as new as this program?", program, err)
		return
	}
	if p.dataDir == "" {
		p.dataDir = p.settings["data-dir"]
	}
	p.add(good, "configuration", "", "the settings are good (%s)", from)
	p.configFile(args)
}

// configFile looks who else may change the settings.
func (p *patient) configFile(args []string) {
	at := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "--config") })
	if at < 0 {
		return
	}
	_, path, attached := strings.Cut(args[at], "=")
	if !attached && at+1 < len(args) {
		path = args[at+1]
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o022 != 0 {
		p.add(warning, "configuration", "chmod go-w "+path, "others than its owner may change %s (mode %04o)", path, info.Mode().Perm())
	}
}

// startedWith is how cleatd was started, or would be, and where that is known
// from. Another's environment is for root.
func (p *patient) startedWith(c *cli.Context) (args, environ []string, from string) {
	if path := c.String("config"); path != "" {
		return []string{"--config", path}, foreign(os.Environ()), path
	}
	if p.pid > 0 {
		line, err := os.ReadFile(p.proc("cmdline"))
		words := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		if own, unread := os.ReadFile(p.proc("environ")); err == nil && unread == nil {
			return words[1:], strings.Split(strings.TrimSuffix(string(own), "\x00"), "\x00"), fmt.Sprintf("as process %d was started", p.pid)
		}
	}
	if _, err := os.Stat(configFile); !errors.Is(err, fs.ErrNotExist) {
		return []string{"--config", configFile}, foreign(os.Environ()), configFile
	}
	return nil, foreign(os.Environ()), "there is no " + configFile + ", so the defaults"
}

// foreign leaves out what is meant for a cleatd that this shell would start.
func foreign(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(pair string) bool { return strings.HasPrefix(pair, "CLEATD_") })
}

// proc is a file of the member's process.
func (p *patient) proc(name string) string {
	return filepath.Join(p.root, "proc", fmt.Sprint(p.pid), name)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
