// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/authority/provisioner"

	"github.com/cleatd/cleat/pki"
)

// routeStep routes step-ca's API. Its clients ask for paths with and without the
// version before them.
func (d *Door) routeStep(r chi.Router) {
	r.Get("/health", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, api.HealthResponse{Status: "ok"})
	})
	r.Get("/version", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, api.VersionResponse{Version: d.version})
	})
	r.Get("/root/{sha}", d.root)
	r.Get("/roots", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusCreated, api.RootsResponse{Certificates: inJSON(d.roots())})
	})
	r.Get("/federation", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusCreated, api.FederationResponse{Certificates: inJSON(d.roots())})
	})
	r.Get("/roots.pem", func(w http.ResponseWriter, _ *http.Request) { writePEM(w, d.authority.Bundle()) })
	r.Get("/intermediates", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusCreated, api.IntermediatesResponse{Certificates: inJSON(d.intermediates())})
	})
	r.Get("/intermediates.pem", func(w http.ResponseWriter, _ *http.Request) { writePEM(w, pki.EncodePEM(d.intermediates()...)) })
	r.Get("/provisioners", d.provisioners)
	r.Get("/provisioners/{kid}/encrypted-key", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "the keys of this CA's provisioners are with its members alone: have an administrator make you a token")
	})
	r.Get("/crl", d.revocationList)
	r.Post("/sign", d.sign)
	r.Post("/renew", d.renew)
	r.Post("/rekey", d.rekey)
	r.Post("/revoke", d.revoke)
}

// revocationList answers with the list of the issuer of now, or of the one whose
// key id is asked for, in DER, or with ?pem in PEM, as step-ca does.
func (d *Door) revocationList(w http.ResponseWriter, r *http.Request) {
	list, err := d.authority.CRL(r.URL.Query().Get("issuer"))
	if err != nil {
		refuse(w, http.StatusNotFound, err.Error())
		return
	}
	kind := "application/pkix-crl"
	if r.URL.Query().Has("pem") {
		kind, list = "application/x-pem-file", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(list) // the caller is gone
}

func (d *Door) roots() []*x509.Certificate {
	var roots []*x509.Certificate
	for rest := d.authority.Bundle(); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return roots
		}
		if root, err := x509.ParseCertificate(block.Bytes); err == nil { // it was encoded by us
			roots = append(roots, root)
		}
	}
}

func (d *Door) intermediates() (found []*x509.Certificate) {
	for _, c := range d.authority.Certificates() {
		if c.Kind == "intermediate" {
			found = append(found, c.Certificate)
		}
	}
	return found
}

// root answers with the root that the caller knows the digest of.
func (d *Door) root(w http.ResponseWriter, r *http.Request) {
	asked := strings.ToLower(strings.ReplaceAll(chi.URLParam(r, "sha"), "-", ""))
	for _, root := range d.roots() {
		if sum := sha256.Sum256(root.Raw); hex.EncodeToString(sum[:]) == asked {
			write(w, http.StatusOK, api.RootResponse{RootPEM: api.NewCertificate(root)})
			return
		}
	}
	refuse(w, http.StatusNotFound, fmt.Sprintf("this cluster has no root with the fingerprint %q", asked))
}

// provisioners tells which there are. Of keys only the public ones are told.
func (d *Door) provisioners(w http.ResponseWriter, _ *http.Request) {
	var list provisioner.List
	for _, p := range []pki.Profile{pki.Client, pki.Server} {
		key, err := d.authority.TokenKey(p)
		if err != nil {
			d.fail(w, err)
			return
		}
		public := key.Public()
		list = append(list, &provisioner.JWK{Type: "JWK", Name: string(p), Key: &public})
	}
	if !d.current().Names.empty() {
		list = append(list, &provisioner.ACME{Type: "ACME", Name: pki.ACMEProvisioner, Challenges: []provisioner.ACMEChallenge{provisioner.HTTP_01}})
	}
	write(w, http.StatusOK, api.ProvisionersResponse{Provisioners: list})
}

func inJSON(certs []*x509.Certificate) []api.Certificate {
	out := make([]api.Certificate, len(certs))
	for i, c := range certs {
		out[i] = api.NewCertificate(c)
	}
	return out
}

func write(w http.ResponseWriter, code int, what any) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(what); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError) // of a type that JSON lacks
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body.Bytes()) // the caller is gone
}

func writePEM(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(text) // the caller is gone
}

// refuse answers in step-ca's form.
func refuse(w http.ResponseWriter, code int, why string) {
	write(w, code, struct {
		Status  int    `json:"status"`
		Message string `json:"message"`
	}{code, why})
}

// problem answers in ACME's form; step's clients read the detail too.
func problem(w http.ResponseWriter, code int, kind, why string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(struct { // the caller is gone
		Type    string `json:"type"`
		Detail  string `json:"detail"`
		Status  int    `json:"status"`
		Message string `json:"message"`
	}{"urn:ietf:params:acme:error:" + kind, why, code, why})
}
