// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

func certShowCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show all that a certificate says, and whether it was revoked",
		ArgsUsage: "SERIAL|FILE",
		Description: `SERIAL is a serial number as cert list shows it, or in hex as openssl does. FILE
has a certificate in PEM; what the cluster knows of it is asked on the socket.

Examples:
  cleatctl cert show 220873540167354160239410264512345871912
  cleatctl cert show /etc/backup/cleat/backup.crt`,
		Action: certShow,
	}
}

func certShow(c *cli.Context) error {
	which := strings.TrimSpace(c.Args().First())
	if c.NArg() != 1 || which == "" {
		return misuse("cert show needs one SERIAL, as cert list shows it, or a FILE")
	}
	leaf, err := readCertificate(which)
	if err != nil {
		return err
	}
	if leaf != nil {
		which = leaf.SerialNumber.String()
	}
	return onSocket(c, adminForms, func(ctx context.Context, s *session) error {
		reply, err := admin.NewAdminClient(s.ActiveConnection()).ListCertificates(ctx,
			&admin.ListCertificatesRequest{Certificate: which, Ended: true})
		if leaf != nil && status.Code(err) == codes.NotFound {
			note(c, "the cluster does not know this certificate: it is another's, or ended more than a week ago")
			return s.printDetails(leaf, nil)
		}
		if err != nil {
			return fmt.Errorf("show certificate %s: %w", which, err)
		}
		for _, i := range reply.GetCertificates() {
			issued, err := x509.ParseCertificate(i.GetDer())
			if err != nil {
				return fmt.Errorf("read certificate %s as the member tells it: %w", i.GetSerial(), err)
			}
			if leaf != nil && !leaf.Equal(issued) {
				note(c, "the cluster does not know this certificate: its own of this number is another")
				return s.printDetails(leaf, nil)
			}
			if err := s.printDetails(issued, i); err != nil {
				return err
			}
		}
		return nil
	})
}

// readCertificate returns the first certificate in a file, nil if the text names
// none and may be a serial number.
func readCertificate(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(path, "/.") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%s has no certificate in PEM: give the .crt that cert issue wrote", path)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return leaf, nil
	}
}

// certificateDetails is what cert show prints in JSON.
type certificateDetails struct {
	certificate
	State       string   `json:"state"`
	Issuer      string   `json:"issuer"`
	IssuerKeyID string   `json:"issuer_key_id"`
	Names       []string `json:"names,omitempty"` // DNS names, IP addresses, URIs
	Usages      []string `json:"usages"`
	Key         string   `json:"key"`
	SHA256      string   `json:"sha256"`
}

// detailsOf tells of a certificate; the cluster may not know it.
func detailsOf(leaf *x509.Certificate, known *admin.IssuedCertificate) certificateDetails {
	d := certificateDetails{
		Issuer: leaf.Issuer.CommonName, IssuerKeyID: hex.EncodeToString(leaf.AuthorityKeyId),
		Names: leaf.DNSNames, Usages: usagesOf(leaf),
		Key: leaf.PublicKeyAlgorithm.String(), SHA256: fmt.Sprintf("%x", sha256.Sum256(leaf.Raw)),
	}
	for _, ip := range leaf.IPAddresses {
		d.Names = append(d.Names, ip.String())
	}
	for _, uri := range leaf.URIs {
		d.Names = append(d.Names, uri.String())
	}
	if known != nil {
		d.certificate = certificateOf(known)
		d.State = d.state(time.Now())
		return d
	}
	d.certificate = certificate{
		Serial: leaf.SerialNumber.String(), Name: leaf.Subject.CommonName, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}
	d.State = "unknown to the cluster"
	return d
}

func usagesOf(leaf *x509.Certificate) []string {
	var out []string
	for _, usage := range leaf.ExtKeyUsage {
		switch usage {
		case x509.ExtKeyUsageClientAuth:
			out = append(out, "client")
		case x509.ExtKeyUsageServerAuth:
			out = append(out, "server")
		default:
			out = append(out, fmt.Sprintf("other (%d)", usage))
		}
	}
	return out
}

func (s *session) printDetails(leaf *x509.Certificate, known *admin.IssuedCertificate) error {
	d := detailsOf(leaf, known)
	return s.out.print(answer{json: d, simple: func(p *printer) {
		for _, line := range [][2]string{
			{"serial", d.Serial + " (hex " + leaf.SerialNumber.Text(16) + ")"}, {"name", d.Name}, {"profile", d.Profile}, {"member", d.Member},
			{"not before", d.NotBefore.UTC().Format(time.RFC3339)}, {"not after", d.NotAfter.UTC().Format(time.RFC3339)}, {"state", d.State},
			{"issuer", d.Issuer + " (key " + d.IssuerKeyID + ")"}, {"names", strings.Join(d.Names, " ")},
			{"usages", strings.Join(d.Usages, " ")}, {"key", d.Key}, {"sha256", d.SHA256},
		} {
			if line[1] != "" {
				p.linef("%s: %s", line[0], line[1])
			}
		}
	}})
}
