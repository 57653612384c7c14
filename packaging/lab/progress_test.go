// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// What takes long shows a person how far it is. That it does take long here is not
// the machine's doing: the cable is made thin, and the program that restores is held
// until it is seen to be waited for. Trixie is enough: who shows it is cleatctl.
func TestWhatTakesLongShowsHowFarItIs(t *testing.T) {
	n := newNetwork(t)
	host, guest := install(t, trixie, "host", n.wire()), install(t, trixie, "guest", n.wire())
	for _, m := range []*machine{host, guest} {
		m.dpkg(newest)
		m.sh(fmt.Sprintf(`echo 'advertise = %q' > /etc/cleat/cleatd.toml`, m.port.address))
	}
	fill(t, host.local(), 24<<20)
	host.sh("cleatctl cert issue app --out app")
	for _, name := range []string{"ca.crt", "app.crt", "app.key"} {
		guest.put("/root/app/"+name, host.run("cat", "/root/app/"+name)+"\n")
	}
	host.port.thin(t)
	rate := regexp.MustCompile(`: [0-9.]+ [kM]?B of [0-9.]+ [kM]?B \([0-9]+ %\), [0-9.]+ [kM]?B/s, [0-9hms]+ left`)

	saved := guest.looked("cleatctl --endpoints 10.0.0.1:2379 --cacert app/ca.crt --cert app/app.crt --key app/app.key snapshot save backup.db")
	want(t, saved, "saving")
	if !rate.MatchString(saved) {
		t.Errorf("no rate and time in %q", saved)
	}
	quiet := guest.try("cleatctl", "--endpoints", "10.0.0.1:2379", "--cacert", "app/ca.crt", "--cert", "app/app.crt", "--key", "app/app.key", "snapshot", "save", "again.db")
	if quiet.code != 0 || strings.Contains(quiet.out+quiet.err, "saving") {
		t.Errorf("when nobody looks: %v", quiet)
	}

	line := host.run("cleatctl", "invite")
	want(t, guest.looked(strings.TrimSpace(line)), "catching up")

	// The program beside cleatctl holds cleatd until somebody opens the pipe.
	guest.put("/root/held/cleatd", "#!/bin/sh\nread -r go < /root/held/gate\nexec /usr/bin/cleatd \"$@\"\n")
	guest.sh("cp /usr/bin/cleatctl held/ && chmod +x held/cleatd && mkfifo held/gate")
	restored := make(chan said, 1)
	go func() {
		restored <- guest.try("script", "--quiet", "--return", "--flush", "--command", "held/cleatctl snapshot restore backup.db --data-dir restored", "seen")
	}()
	eventually(t, "it is seen that it takes long", func() error {
		seen, err := os.ReadFile(guest.path("/root/seen"))
		if err == nil && !strings.Contains(string(seen), "restoring: ") {
			err = fmt.Errorf("seen is %q", seen)
		}
		return err
	})
	guest.sh("echo go > held/gate")
	if s := <-restored; s.code != 0 {
		t.Errorf("restore: %v", s)
	}
}

// fill puts what cannot be made smaller.
func fill(t *testing.T, c *clientv3.Client, bytes int) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{7})
	value := make([]byte, 512<<10)
	for i := range bytes / len(value) {
		_, _ = random.Read(value) // never fails
		if _, err := c.Put(within(t), fmt.Sprint("fill/", i), string(value)); err != nil {
			t.Fatal(err)
		}
	}
}

// looked runs a line as if typed at a terminal, and returns what could be seen.
func (m *machine) looked(line string) string {
	m.t.Helper()
	return m.run("script", "--quiet", "--return", "--flush", "--command", line, "/dev/null")
}

// thin lets no more than this out of the machine's cable in a second; what comes
// above it is lost, as in a cheap switch.
func (p *port) thin(t *testing.T) {
	t.Helper()
	c := exec.Command("ip", "netns", "exec", p.space, "nft", "-f", "-")
	c.Stdin = strings.NewReader(`table inet lab {
	chain out {
		type filter hook output priority 0
		oifname "eth0" limit rate over 3 mbytes/second burst 256 kbytes drop
	}
}
`)
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, said)
	}
}
