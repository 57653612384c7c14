// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

// ListCertificates tells of the certificates that the cluster has issued.
func (s *Server) ListCertificates(ctx context.Context, r *admin.ListCertificatesRequest) (*admin.ListCertificatesResponse, error) {
	found, err := s.listCertificates(ctx, r)
	if err != nil {
		return nil, fault(s.log, "ListCertificates", err)
	}
	return &admin.ListCertificatesResponse{Certificates: issuedForms(found)}, nil
}

func (s *Server) listCertificates(ctx context.Context, r *admin.ListCertificatesRequest) ([]pki.Issued, error) {
	if r.EndsWithinSeconds < 0 {
		return nil, fmt.Errorf("%w: %d seconds", pki.ErrTTL, r.EndsWithinSeconds)
	}
	if r.Profile != "" {
		if _, err := pki.ParseProfile(r.Profile); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	fits := func(i pki.Issued) bool {
		switch {
		case r.Profile != "" && string(i.Profile) != r.Profile,
			r.Member != 0 && i.Member != r.Member,
			r.Revoked && i.Revoked == nil,
			!r.Ended && now.After(i.NotAfter),
			r.EndsWithinSeconds != 0 && i.NotAfter.Unix() > now.Unix()+r.EndsWithinSeconds:
			return false
		}
		return true
	}
	if r.Certificate == "" {
		return s.config.Authority.ListIssued(ctx, fits)
	}
	found, err := s.config.Authority.FindIssued(ctx, r.Certificate)
	var out []pki.Issued
	for _, i := range found {
		if fits(i) {
			out = append(out, i)
		}
	}
	return out, err
}

// RevokeCertificate ends certificates before their time.
func (s *Server) RevokeCertificate(ctx context.Context, r *admin.RevokeCertificateRequest) (*admin.RevokeCertificateResponse, error) {
	done, err := s.config.Authority.Revoke(ctx, pki.Revocable{Which: r.Certificate, Reason: r.Reason, By: s.config.Name})
	if err != nil {
		return nil, fault(s.log, "RevokeCertificate", err)
	}
	return &admin.RevokeCertificateResponse{Certificates: issuedForms(done)}, nil
}

// RevocationList gives an issuer's list.
func (s *Server) RevocationList(_ context.Context, r *admin.RevocationListRequest) (*admin.RevocationListResponse, error) {
	der, err := s.config.Authority.CRL(r.Issuer)
	if err != nil {
		return nil, fault(s.log, "RevocationList", err)
	}
	return &admin.RevocationListResponse{Der: der}, nil
}

func issuedForms(found []pki.Issued) []*admin.IssuedCertificate {
	var out []*admin.IssuedCertificate
	for _, i := range found {
		form := &admin.IssuedCertificate{
			Serial: i.SerialNumber.String(), Name: i.Name(), Profile: string(i.Profile), Member: i.Member,
			NotBefore: timestamppb.New(i.NotBefore), NotAfter: timestamppb.New(i.NotAfter), Der: i.Raw,
		}
		if i.Revoked != nil {
			form.Revoked = &admin.Revocation{Time: timestamppb.New(i.Revoked.Time), Reason: i.Revoked.Reason}
		}
		out = append(out, form)
	}
	return out
}
