// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

// maxImportBytes bounds what an import sends: some certificates and a key.
const maxImportBytes = 256 << 10

// maxHanging bounds the names in an answer; how many certificates hang in all is
// told beside them.
const maxHanging = 1000

var errRotateAct = errors.New("there is no such act on a rotation: say root, intermediate, continue, finish or abort")

// CAStatus tells what the CA is, and how far a rotation has come.
func (s *Server) CAStatus(ctx context.Context, _ *admin.CAStatusRequest) (*admin.CAStatusResponse, error) {
	return s.standing(ctx, "CAStatus", nil)
}

// RotateCA begins a rotation, or has one go on, end or go back.
func (s *Server) RotateCA(ctx context.Context, r *admin.RotateCARequest) (*admin.CAStatusResponse, error) {
	return s.standing(ctx, "RotateCA", s.rotate(ctx, r))
}

func (s *Server) rotate(ctx context.Context, r *admin.RotateCARequest) error {
	until, err := step(r.Until)
	if err != nil {
		return err
	}
	authority := s.config.Authority
	switch r.Act {
	case string(pki.RotateRoot), string(pki.RotateIntermediate):
		return authority.Rotate(ctx, pki.Kind(r.Act), until)
	case "continue":
		return authority.Resume(ctx, until)
	case "finish":
		return authority.Finish(ctx, s.caMembers(), r.Force)
	case "abort":
		return authority.Abort(ctx)
	}
	return fmt.Errorf("%w, not %q", errRotateAct, r.Act)
}

// RequestCA makes a certificate request for an external CA.
func (s *Server) RequestCA(ctx context.Context, _ *admin.RequestCARequest) (*admin.RequestCAResponse, error) {
	csr, err := s.config.Authority.Request(ctx)
	if err != nil {
		return nil, fault(s.log, "RequestCA", err)
	}
	return &admin.RequestCAResponse{CsrPem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})}, nil
}

// ImportCA begins a rotation to an intermediate from elsewhere.
func (s *Server) ImportCA(ctx context.Context, r *admin.ImportCARequest) (*admin.CAStatusResponse, error) {
	return s.standing(ctx, "ImportCA", s.importCA(ctx, r))
}

func (s *Server) importCA(ctx context.Context, r *admin.ImportCARequest) error {
	if size := len(r.CertificatesPem) + len(r.KeyPem); size > maxImportBytes {
		return fmt.Errorf("%w: %d bytes, at most %d are read", pki.ErrImport, size, maxImportBytes)
	}
	until, err := step(r.Until)
	if err != nil {
		return err
	}
	return s.config.Authority.Import(ctx, r.CertificatesPem, r.KeyPem, until)
}

func step(name string) (pki.Step, error) {
	if name == "" {
		return "", nil
	}
	return pki.ParseStep(name)
}

func (s *Server) caMembers() []uint64 {
	if s.config.CAMembers == nil {
		return nil
	}
	return s.config.CAMembers()
}

// standing answers how the CA stands after a call that has ended with err.
func (s *Server) standing(ctx context.Context, call string, err error) (*admin.CAStatusResponse, error) {
	var now pki.Standing
	if err == nil {
		now, err = s.config.Authority.Standing(ctx, s.caMembers())
	}
	if err != nil {
		return nil, fault(s.log, call, err)
	}
	reply := &admin.CAStatusResponse{Roots: caCertificates(now.Roots), Intermediates: caCertificates(now.Intermediates)}
	if now.Rotation != nil {
		reply.Rotation = rotationOf(now.Rotation)
	}
	return reply, nil
}

func rotationOf(r *pki.Rotation) *admin.CARotation {
	out := &admin.CARotation{
		Id: r.ID, Kind: string(r.Kind), Step: string(r.Step), Until: string(r.Until), Back: r.Back, Crossed: r.Crossed,
		BegunBy: r.By, Begun: timestamppb.New(r.Begun), Arriving: r.Arriving, WaitsFor: r.Against(),
	}
	for _, m := range r.Members {
		out.Members = append(out.Members, &admin.CAMember{Id: m.ID, Trusts: m.Trusts, Moved: m.Moved})
	}
	for _, h := range r.Hanging[:min(len(r.Hanging), maxHanging)] {
		out.Hanging = append(out.Hanging, &admin.CAHanging{Name: h.Name, Count: int32(h.Count), NotAfter: timestamppb.New(h.NotAfter)})
	}
	return out
}

func caCertificates(certs []pki.CACertificate) []*admin.CACertificate {
	var out []*admin.CACertificate
	for _, c := range certs {
		out = append(out, &admin.CACertificate{
			Subject: c.Subject.String(), Serial: c.SerialNumber.String(), Digest: c.Digest, Held: c.Held,
			NotBefore: timestamppb.New(c.NotBefore), NotAfter: timestamppb.New(c.NotAfter),
		})
	}
	return out
}
