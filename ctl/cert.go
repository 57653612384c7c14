// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/admin"
)

func certCommand() *cli.Command {
	return &cli.Command{
		Name:  "cert",
		Usage: "certificates for programs and people elsewhere",
		Description: `Example:
  cleatctl cert issue alice --out alice-cert
  cleatctl cert list -w table
  cleatctl cert revoke alice --reason key-compromise`,
		Subcommands: []*cli.Command{
			certIssueCommand(), certListCommand(), certShowCommand(), certRevokeCommand(), certCRLCommand(),
		},
	}
}

func certIssueCommand() *cli.Command {
	return &cli.Command{
		Name:      "issue",
		Usage:     "make a key and certificate with which a client may come over the network",
		ArgsUsage: "NAME",
		Description: `Run it on a member; it speaks to the socket. The key is made here and does not
leave this machine. Writes NAME.crt, NAME.key and ca.crt, readable by you alone;
copy them to where the client runs. To the cluster the client is user NAME.

Examples:
  cleatctl cert issue alice
  cleatctl cert issue backup --out /etc/backup/cleat --ttl 2160h`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Value: ".", Usage: "write the files into `DIR`, which is made if missing"},
			&cli.DurationFlag{Name: "ttl", DefaultText: "the cluster's, 90 days unless set", Usage: "let the certificate live for `TIME`, as 720h"},
			&cli.BoolFlag{Name: "force", Usage: "replace files that are there"},
		},
		Action: certIssue,
	}
}

func certIssue(c *cli.Context) error {
	name := c.Args().First()
	if c.NArg() != 1 || name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\x00") {
		return misuse("cert issue needs NAME, the client's user name, which also names the files")
	}
	if c.Duration("ttl") < 0 {
		return misuse("--ttl %s is in the past", c.Duration("ttl"))
	}
	files := newBundle(c.String("out"), name)
	if !c.Bool("force") {
		if err := files.absent(); err != nil {
			return err
		}
	}
	request, key, err := signingRequest(name)
	if err != nil {
		return err
	}
	return onSocket(c, anyForm, func(ctx context.Context, s *session) error {
		member := admin.NewAdminClient(s.ActiveConnection())
		issued, err := member.IssueCertificate(ctx, &admin.IssueCertificateRequest{
			Csr: request, Profile: "client", TtlSeconds: int64(c.Duration("ttl") / time.Second),
		})
		if err != nil {
			return fmt.Errorf("issue a certificate for %s: %w", name, err)
		}
		if err := files.write(key, issued.GetChainPem(), issued.GetBundlePem(), c.Bool("force")); err != nil {
			return err
		}
		return s.sayNext(files, clientAddress(ctx, member), issued)
	})
}

// signingRequest makes a key, in PEM, and the request to certify it.
func signingRequest(name string) (request, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	request, err = x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a signing request: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key: %w", err)
	}
	return request, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// clientAddress is where clients reach the member; a placeholder if it does
// not tell, since the files are written and good.
func clientAddress(ctx context.Context, member admin.AdminClient) string {
	status, err := member.Status(ctx, &admin.StatusRequest{})
	if address := status.GetDoors().GetClient(); err == nil && address != "" {
		return address
	}
	return "HOST:2379"
}

// issuedFiles is what cert issue has made, as JSON.
type issuedFiles struct {
	Cert     string    `json:"cert"`
	Key      string    `json:"key"`
	CACert   string    `json:"cacert"`
	Endpoint string    `json:"endpoint"`
	NotAfter time.Time `json:"not_after"`
	Serial   string    `json:"serial"`
}

// sayNext tells what was written and the line to type with it.
func (s *session) sayNext(files bundle, address string, r *admin.IssueCertificateResponse) error {
	until := r.GetNotAfter().AsTime()
	return s.out.outcome(issuedFiles{files.cert, files.key, files.ca, address, until, r.GetSerial()},
		`wrote %s, %s and %s, good until %s; use them with
  cleatctl --endpoints=%s --cacert=%s --cert=%s --key=%s get foo
  etcdctl --endpoints=https://%s --cacert=%s --cert=%s --key=%s get foo`,
		files.cert, files.key, files.ca, until.Format(time.RFC3339),
		address, files.ca, files.cert, files.key,
		address, files.ca, files.cert, files.key)
}
