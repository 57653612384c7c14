// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"strings"
	"testing"
)

// A machine that nobody logs in to: its token comes as a credential, in plain
// or sealed with the machine's own key, and it joins at its first start.
func TestAMachineJoinsWithATokenThatIsACredential(t *testing.T) {
	for _, r := range []*release{trixie, bookworm} {
		t.Run(r.name, func(t *testing.T) {
			n := newNetwork(t)
			host := install(t, r, "host", n.wire())
			host.dpkg(newest)
			host.sh(`echo 'advertise = "10.0.0.1"' > /etc/cleat/cleatd.toml`)
			for i, c := range []struct{ name, store string }{
				{"plain", `install -D -m 600 token /etc/credstore/cleatd.join-token`},
				{"sealed", `systemd-creds setup
					systemd-creds encrypt --with-key=host --name=join-token token /etc/cleat/join-token.cred
					mkdir -p /etc/systemd/system/cleatd.service.d
					printf '[Service]\nLoadCredentialEncrypted=join-token:/etc/cleat/join-token.cred\n' > /etc/systemd/system/cleatd.service.d/token.conf
					systemctl daemon-reload`},
			} {
				line := strings.Fields(host.run("cleatctl", "invite"))
				guest := install(t, r, c.name, n.wire())
				guest.dpkg(newest)
				guest.put("/etc/cleat/cleatd.toml", fmt.Sprintf("advertise = %q\njoin = %q\n", guest.port.address, line[4]))
				guest.put("/root/token", line[3]+"\n")
				guest.sh(c.store + "\nrm token")
				guest.run("systemctl", "start", "cleatd")
				eventually(t, c.name+" is a member", func() error {
					if list := guest.try("cleatctl", "member", "list"); strings.Count(list.out, ", started, ") != i+2 {
						return fmt.Errorf("%v", list)
					}
					return nil
				})
				secrets := guest.sh("grep -rlF '" + line[3] + "' /etc /var/lib/cleat || true")
				if c.name == "sealed" && secrets != "" {
					t.Errorf("the token lies in plain in %s", secrets)
				}
			}
		})
	}
}
