// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/smallstep/certificates/authority/provisioner"
	"go.step.sm/crypto/x509util"
	"golang.org/x/crypto/ssh"
)

// profileProvisioner is a profile as smallstep's authority sees it. The
// authority finds it by name in the extension of every certificate that we
// issue, so that a certificate made today is known to belong to its profile
// whatever doors are added. It lets nobody in by itself: whoever signs through
// it was permitted by our own code.
type profileProvisioner struct{ profile Profile }

var _ provisioner.Interface = profileProvisioner{}

// options are what the authority needs to sign one certificate.
func (p profileProvisioner) options(s subject, notBefore, notAfter time.Time) []provisioner.SignOption {
	return []provisioner.SignOption{
		p,
		template{text: templates[p.profile], data: x509util.CreateTemplateData(s.name, s.sans)},
		provisioner.CertificateModifierFunc(func(cert *x509.Certificate, _ provisioner.SignOptions) error {
			cert.NotBefore, cert.NotAfter = notBefore, notAfter
			return p.mark(cert)
		}),
	}
}

// mark names the profile in the certificate.
func (p profileProvisioner) mark(cert *x509.Certificate) error {
	mark := provisioner.Extension{Type: p.GetType(), Name: p.GetName()}
	extension, err := mark.ToExtension()
	if err != nil {
		return fmt.Errorf("encode the profile: %w", err)
	}
	cert.ExtraExtensions = append(cert.ExtraExtensions, extension)
	return nil
}

// template hands smallstep our text and the names to put into it.
type template struct {
	text string
	data x509util.TemplateData
}

func (t template) Options(provisioner.SignOptions) []x509util.Option {
	return []x509util.Option{x509util.WithTemplate(t.text, t.data)}
}

func (p profileProvisioner) GetID() string                        { return string(p.profile) }
func (p profileProvisioner) GetIDForToken() string                { return string(p.profile) }
func (p profileProvisioner) GetName() string                      { return string(p.profile) }
func (profileProvisioner) GetType() provisioner.Type              { return provisioner.TypeJWK }
func (profileProvisioner) GetEncryptedKey() (_, _ string, _ bool) { return "", "", false }
func (profileProvisioner) Init(provisioner.Config) error          { return nil }

func (p profileProvisioner) refuse() error {
	return fmt.Errorf("%w: %s certificates are not given for tokens", ErrProfile, p.profile)
}

func (p profileProvisioner) GetTokenID(string) (string, error) { return "", p.refuse() }

func (p profileProvisioner) AuthorizeSign(context.Context, string) ([]provisioner.SignOption, error) {
	return nil, p.refuse()
}

func (p profileProvisioner) AuthorizeRevoke(context.Context, string) error { return p.refuse() }

func (p profileProvisioner) AuthorizeRenew(context.Context, *x509.Certificate) error {
	return p.refuse()
}

func (p profileProvisioner) AuthorizeSSHSign(context.Context, string) ([]provisioner.SignOption, error) {
	return nil, p.refuse()
}

func (p profileProvisioner) AuthorizeSSHRevoke(context.Context, string) error { return p.refuse() }

func (p profileProvisioner) AuthorizeSSHRenew(context.Context, string) (*ssh.Certificate, error) {
	return nil, p.refuse()
}

func (p profileProvisioner) AuthorizeSSHRekey(context.Context, string) (*ssh.Certificate, []provisioner.SignOption, error) {
	return nil, nil, p.refuse()
}
