// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/admin"
)

func caImportCommand() *cli.Command {
	return &cli.Command{
		Name:  "import",
		Usage: "have an intermediate of your own CA issue in the place of the cluster's",
		Description: `The certificate's file has the intermediate first, then what leads to its root,
which is part of it. It comes into use as with cleatctl ca rotate. Without --key
the key is the one that --csr made: it never leaves the cluster.

Examples:
  cleatctl ca import --csr > cleat.csr
  cleatctl ca import --cert chain.pem
  cleatctl ca import --cert chain.pem --key intermediate.key`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "csr", Usage: "print a request that your CA is to sign as an intermediate"},
			// --cert and --key mean the client's own elsewhere; here they are the CA's.
			&cli.StringFlag{Name: "cert", Usage: "the intermediate and what leads to its root, in PEM, from `FILE`"},
			&cli.StringFlag{Name: "key", Usage: "the intermediate's key, in PEM, from `FILE`"},
			untilFlag(), noWaitFlag(),
		},
		Action: caImport,
	}
}

func caImport(c *cli.Context) error {
	cert, key := c.String("cert"), c.String("key")
	switch {
	case c.NArg() > 0 || c.Bool("csr") == (cert != ""):
		return misuse("ca import needs either --csr or --cert FILE")
	case c.Bool("csr") && (key != "" || c.String("until") != ""):
		return misuse("ca import --csr takes neither --key nor --until")
	}
	if err := checkUntil(c); err != nil {
		return err
	}
	if c.Bool("csr") {
		return onSocket(c, adminForms, printRequest)
	}
	request := &admin.ImportCARequest{Until: c.String("until")}
	var err error
	if request.CertificatesPem, err = os.ReadFile(cert); err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	if key != "" {
		if request.KeyPem, err = os.ReadFile(key); err != nil {
			return fmt.Errorf("read the key: %w", err)
		}
	}
	return rotating(c, func(ctx context.Context, calls admin.AdminClient) (*admin.CAStatusResponse, error) {
		return calls.ImportCA(ctx, request)
	})
}

func printRequest(ctx context.Context, s *session) error {
	reply, err := admin.NewAdminClient(s.ActiveConnection()).RequestCA(ctx, &admin.RequestCARequest{})
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	form, err := jsonOf(reply)
	if err != nil {
		return err
	}
	return s.out.print(answer{json: form, simple: func(p *printer) { _, _ = p.out.Write(reply.GetCsrPem()) }})
}
