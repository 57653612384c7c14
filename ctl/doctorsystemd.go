// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ctl

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	serviceUnit = "cleatd.service"
	socketUnit  = "cleatd.socket"
)

// systemd looks whether the member will be there after the next start of the
// machine, and whether somebody looks after it.
func (p *patient) systemd(ctx context.Context) {
	if _, err := os.Stat(filepath.Join(p.root, "run/systemd/system")); err != nil {
		p.add(skipped, "systemd", "", "systemd does not run this machine")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	text, err := exec.CommandContext(ctx, "systemctl", "show", "--property=Id,LoadState,UnitFileState,ActiveState,Type,WatchdogUSec,Listen,MainPID", serviceUnit, socketUnit).Output()
	if err != nil {
		p.add(skipped, "systemd", "", "systemctl does not tell: %v", err)
		return
	}
	units := readUnits(string(text))
	before := len(p.findings)
	p.service(units[serviceUnit])
	p.socketUnit(units[socketUnit])
	if len(p.findings) == before {
		p.add(good, "systemd", "", "%s and %s are enabled, and systemd watches over the member", serviceUnit, socketUnit)
	}
}

// unit is what systemctl show tells, by property.
type unit map[string]string

// readUnits reads what systemctl show prints: an empty line parts the units.
func readUnits(text string) map[string]unit {
	units := map[string]unit{}
	for _, block := range strings.Split(text, "\n\n") {
		u := unit{}
		for line := range strings.Lines(block) {
			if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found {
				u[name] = value
			}
		}
		units[u["Id"]] = u
	}
	return units
}

func (p *patient) service(u unit) {
	if u["LoadState"] != "loaded" {
		p.add(warning, "systemd", "install the package, or copy packaging/systemd's units", "there is no unit %s, so the member does not start with the machine", serviceUnit)
		return
	}
	if u["UnitFileState"] != "enabled" {
		p.add(warning, "systemd", "systemctl enable "+serviceUnit, "%s is %s, so the member does not start with the machine", serviceUnit, u["UnitFileState"])
	}
	if u["ActiveState"] == "failed" {
		p.add(fault, "systemd", "journalctl -u cleatd says why; systemctl reset-failed cleatd.service cleatd.socket, then systemctl start cleatd", "%s has failed", serviceUnit)
	}
	if t := u["Type"]; t != "notify" && t != "notify-reload" {
		p.add(warning, "systemd", "set Type=notify in "+serviceUnit, "%s is of type %s, so systemd does not know when the member is ready", serviceUnit, t)
	}
	if w := u["WatchdogUSec"]; w == "" || w == "0" || w == "infinity" {
		p.add(warning, "systemd", "set WatchdogSec=1min in "+serviceUnit, "%s has no watchdog, so a member that hangs is not restarted", serviceUnit)
	}
}

// socketUnit should hold the socket, so that callers wait during a restart.
func (p *patient) socketUnit(u unit) {
	const mend = "systemctl stop cleatd; systemctl enable --now " + socketUnit + "; systemctl start cleatd"
	switch {
	case u["LoadState"] != "loaded":
		p.add(warning, "systemd", mend, "there is no unit %s, so callers are refused while the member restarts", socketUnit)
	case u["UnitFileState"] != "enabled":
		p.add(warning, "systemd", mend, "%s is %s, so callers are refused while the member restarts", socketUnit, u["UnitFileState"])
	case u["ActiveState"] != "active":
		p.add(warning, "systemd", mend, "%s is %s, so callers are refused while the member restarts", socketUnit, u["ActiveState"])
	case !strings.HasPrefix(u["Listen"], p.socket+" "):
		p.add(warning, "systemd", "correct ListenStream= in "+socketUnit+", or the setting socket", "%s listens on %s, and not on %s", socketUnit, u["Listen"], p.socket)
	}
}
