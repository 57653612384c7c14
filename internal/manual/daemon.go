// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
)

const (
	daemonWords = `cleatd is one member of a cleat cluster: it keeps a replicated store of keys and
values and speaks etcd's v3 API, over mutually authenticated TLS to the network
and over a Unix socket to this machine, where the kernel says who is calling.

On an empty data directory it makes a cluster of one with a CA of its own, and
serves. Another machine joins with what cleatctl invite prints on a member; see
cleatctl-join(1).

Every setting is a key in the configuration file, a variable CLEATD_NAME in the
environment, and a flag here, each stronger than the one before; cleatd.toml(5)
tells about each.`

	daemonUnits = `The package starts cleatd.socket: the first who connects to /run/cleat/cleat.sock
starts cleatd.service, and so does the next boot. cleatd-net.socket, which is
off, holds the doors to the network open while the service restarts; the comment
in it tells when to use it.

The service has a directory of its own each below /var/lib, /etc and /run and
may write nowhere else. Where data-dir is another place, the unit must allow it:

  # systemctl edit cleatd
  [Service]
  ReadWritePaths=/srv/cleat

Bad configuration, a data directory of which a part is lost or damaged, and
whatever else only a person can mend ends it with code 2, and it is not started
again. What fails five times in two minutes stays down until systemctl reset-failed cleatd.service cleatd.socket.

A token to join a cluster with, unattended, goes into
/etc/credstore/cleatd.join-token (mode 0600), beside join = "HOST:2380" in the
configuration file; a key for JSON Web Tokens into /etc/credstore/cleatd.jwt-key,
which the service reads as /run/credentials/cleatd.service/jwt-key.

The cluster key, which opens the CA's keys, lies in pki/cluster.key unless the
service is handed it, sealed for this machine; then it is never on the disk:

  # cleatctl ca key export cluster-key.age
  # cleatctl ca key decrypt cluster-key.age |
      systemd-creds encrypt --name=cluster.key - /etc/credstore.encrypted/cleatd.cluster.key
  # rm /var/lib/cleat/pki/cluster.key; systemctl restart cleatd`

	daemonExit = `0: stopped in order. 1: failed, and the log says why. 2: only a person can mend
it: bad configuration, a data directory that does not fit or is damaged, a
member that was removed from its cluster.`
)

// daemonPages are cleatd(8) and a page for each of its commands.
func daemonPages(app *cli.App) []page {
	first := page{name: app.Name, section: 8, what: app.Usage}
	first.heading("synopsis")
	fmt.Fprintf(&first.body, "%s [%s]...\n", bold(app.Name), italic("FLAG"))
	first.heading("description")
	first.words(daemonWords)
	first.heading("flags")
	first.flags(app.VisibleFlags())
	first.heading("commands")
	see := []string{"cleatctl(1)", "cleatd.toml(5)"}
	pages := []page{}
	for _, c := range app.VisibleCommands() {
		if c.Name == "help" {
			continue
		}
		first.item(fmt.Sprintf(".BR %s (8)", literal(pageName(app.Name, c))), c.Usage)
		see = append(see, pageName(app.Name, c)+"(8)")
		pages = append(pages, daemonCommandPage(app.Name, c))
	}
	first.heading("under systemd")
	first.words(daemonUnits)
	first.heading("signals")
	first.item("SIGHUP", "Read the configuration and the certificates again. Settings that change with the next start only are named in the log; a bad configuration changes nothing. cleatd reload does the same and tells how it went.")
	first.item("SIGTERM, SIGINT", "Hand leadership over, answer what is under way, and stop.")
	first.heading("exit status")
	first.words(daemonExit)
	first.heading("files")
	first.item(italic("/etc/cleat/cleatd.toml"), "The settings.")
	first.item(italic("/var/lib/cleat"), "Everything that the member keeps, its keys included.")
	first.item(italic("/run/cleat/cleat.sock"), "The socket for programs on this machine.")
	first.seeAlso(see...)
	return append([]page{first}, pages...)
}

func daemonCommandPage(above string, c *cli.Command) page {
	p := page{name: pageName(above, c), section: 8, what: c.Usage}
	p.heading("synopsis")
	p.synopsis(above+" "+c.Name, c)
	p.descriptionOf(c)
	p.ownFlags(c)
	p.examplesOf(c)
	p.seeAlso("cleatd(8)", "cleatctl(1)", "cleatd.toml(5)")
	return p
}

// daemonCompletion completes cleatd's flags and commands in bash.
func daemonCompletion() string {
	words := []string{"recover", "restore", "--config", "--help", "--version"}
	for _, s := range daemon.Settings() {
		words = append(words, "--"+s.Name)
	}
	return "complete -o bashdefault -o default -W '" + strings.Join(words, " ") + "' cleatd\n"
}
