// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"strings"
	"testing"
	"time"
)

// onBoth tells a story on a new machine of each release.
func onBoth(t *testing.T, story func(t *testing.T, m *machine)) {
	t.Helper()
	for _, r := range []*release{trixie, bookworm} {
		t.Run(r.name, func(t *testing.T) { story(t, boot(t, r, "alone")) })
	}
}

// The bed itself: what the other stories take for granted.
func TestAMachineKeepsItsDiskAndItsJournalHoweverItEnds(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		id := m.run("cat", "/etc/machine-id")
		for n, end := range []func(){m.reboot, func() { m.powerOff(); m.start() }, func() { m.cutPower(); m.start() }} {
			m.sh("echo one >> /etc/lives; systemd-cat echo lived; journalctl --sync")
			end()
			if got := strings.Count(m.run("cat", "/etc/lives"), "one"); got != n+1 {
				t.Errorf("%d lines after %d lives", got, n+1)
			}
			if got := strings.Count(m.run("journalctl", "--quiet", "-o", "cat"), "lived"); got != n+1 {
				t.Errorf("%d entries in the journal after %d lives", got, n+1)
			}
		}
		if again := m.run("cat", "/etc/machine-id"); len(id) != 32 || again != id {
			t.Errorf("the machine was %q and is %q", id, again)
		}
	})
}

func TestACableIsCutAndMended(t *testing.T) {
	n := newNetwork(t)
	a, b := install(t, trixie, "a", n.wire()), install(t, bookworm, "b", n.wire())
	b.run("systemd-run", "--unit=echo", "-p", "Type=exec", "systemd-socket-activate", "-l", "10.0.0.2:7", "--inetd", "-a", "cat")
	talk := func() error {
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		conn, err := a.dialTCP(soon, "10.0.0.2:7")
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	eventually(t, "a talks with b", talk)
	heal := b.port.cut()
	if err := talk(); err == nil {
		t.Error("a talks with b over a cable that is cut")
	}
	heal()
	eventually(t, "a talks with b again", talk)
}
