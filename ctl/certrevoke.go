// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/admin"
)

// revocationReasons are those that a revocation list knows, but for those of CAs
// and for a hold: what is revoked stays so.
var revocationReasons = []string{
	"unspecified", "key-compromise", "affiliation-changed", "superseded", "cessation-of-operation", "privilege-withdrawn",
}

func certRevokeCommand() *cli.Command {
	return &cli.Command{
		Name:      "revoke",
		Usage:     "end certificates before their time",
		ArgsUsage: "SERIAL|NAME",
		Description: `All members refuse the certificate from then on and end the connections that
were made with it; there is no way back. NAME is all that the name has, as of a
client whose machine is lost. A member whose own certificate is revoked makes
itself another: cleatctl member remove is for one that is not to come back.

Reasons: ` + strings.Join(revocationReasons, ", ") + `.

Examples:
  cleatctl cert revoke alice --reason key-compromise
  cleatctl cert revoke 220873540167354160239410264512345871912`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Value: "unspecified", Usage: "say why: `REASON` is in the revocation list"},
		},
		Action: certRevoke,
	}
}

func certRevoke(c *cli.Context) error {
	which := strings.TrimSpace(c.Args().First())
	if c.NArg() != 1 || which == "" {
		return misuse("cert revoke needs one SERIAL or NAME, as cert list shows them")
	}
	if !slices.Contains(revocationReasons, c.String("reason")) {
		return misuse("--reason %q is none of %s", c.String("reason"), strings.Join(revocationReasons, ", "))
	}
	return onSocket(c, []string{simpleForm, jsonForm, tableForm}, func(ctx context.Context, s *session) error {
		reply, err := admin.NewAdminClient(s.ActiveConnection()).RevokeCertificate(ctx,
			&admin.RevokeCertificateRequest{Certificate: which, Reason: c.String("reason")})
		if err != nil {
			return fmt.Errorf("revoke %s: %w", which, err)
		}
		return s.printCertificates(reply.GetCertificates())
	})
}

func certCRLCommand() *cli.Command {
	return &cli.Command{
		Name:  "crl",
		Usage: "write the list of revoked certificates, for programs that check them elsewhere",
		Description: `cleat's own doors need no list: every member knows what was revoked. The list is
made anew with every revocation, and once a day; it may be used for two days. It
is in PEM, or with --der as HTTP serves lists. There is one for each key that
issues; --issuer names another than that of now, by its id, as cert show tells it.

Examples:
  cleatctl cert crl > cleat.crl
  cleatctl cert crl --der --out /var/www/cleat.crl
  openssl crl -in cleat.crl -noout -text`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "der", Usage: "in DER"},
			&cli.StringFlag{Name: "issuer", Usage: "the list of the issuer whose key has this `ID`"},
			&cli.StringFlag{Name: "out", Usage: "write it to `FILE`, which is replaced as a whole"},
		},
		Action: certCRL,
	}
}

func certCRL(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("cert crl takes no argument: --issuer names an issuer, --out a file")
	}
	return onSocket(c, []string{simpleForm}, func(ctx context.Context, s *session) error {
		reply, err := admin.NewAdminClient(s.ActiveConnection()).RevocationList(ctx, &admin.RevocationListRequest{Issuer: c.String("issuer")})
		if err != nil {
			return fmt.Errorf("ask for the revocation list: %w", err)
		}
		list := reply.GetDer()
		if !c.Bool("der") {
			list = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})
		}
		if path := c.String("out"); path != "" {
			return replaceFile(path, list)
		}
		_, err = c.App.Writer.Write(list)
		return err
	})
}

// replaceFile puts a file in the place of what there is, so that a reader sees the
// old or the new.
func replaceFile(path string, content []byte) error {
	next := path + ".new"
	err := os.WriteFile(next, content, 0o644)
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
