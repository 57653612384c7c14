// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
	"github.com/cleatd/cleat/pki/export"
)

// clusterKeyOf reads the key that --cluster-key names, nil for none.
func clusterKeyOf(c *cli.Context) ([]byte, error) {
	path := c.String(clusterKeyFlag)
	if path == "" {
		if c.IsSet(passphraseFlag) {
			return nil, fmt.Errorf("%w: --%s is that of --%s FILE, which is missing", daemon.ErrConfig, passphraseFlag, clusterKeyFlag)
		}
		return nil, nil
	}
	key, err := export.Read(path, c.String(passphraseFlag))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", daemon.ErrConfig, clusterKeyFlag, err)
	}
	return key, nil
}

// shownHolders is how many holders of certificates a person is told by name.
const shownHolders = 50

// aboutCA says what has become of the CA, and who has to do something.
func aboutCA(r daemon.Restored) string {
	var b strings.Builder
	switch n := len(r.Holders); {
	case r.CA:
		fmt.Fprintf(&b, "The CA goes on: the certificates of %s stay good. The members that join make themselves new ones.", holders(n))
		return b.String()
	case n == 0:
		return "The new cluster makes itself another CA. The snapshot knows of nobody who has a certificate of the one before."
	default:
		fmt.Fprintf(&b, "The new cluster makes itself another CA: %s must be issued a new certificate (cleatctl cert issue NAME; or restore with --%s):", holders(n), clusterKeyFlag)
	}
	for _, name := range r.Holders[:min(len(r.Holders), shownHolders)] {
		fmt.Fprintf(&b, "\n  %s", name)
	}
	if more := len(r.Holders) - shownHolders; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more: --json lists all", more)
	}
	return b.String()
}

func holders(n int) string {
	if n == 1 {
		return "1 client or service"
	}
	return fmt.Sprintf("%d clients and services", n)
}
