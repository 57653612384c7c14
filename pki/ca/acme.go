// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"

	"github.com/smallstep/certificates/acme"
	apilog "github.com/smallstep/certificates/api/log"
	"github.com/smallstep/certificates/authority"
	"go.step.sm/crypto/jose"
)

// acmeAllowed refuses ACME as a whole while no names are allowed.
func (d *Door) acmeAllowed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.current().Names.empty() {
			problem(w, http.StatusForbidden, "unauthorized",
				"ACME is off at this member: its setting acme-names is empty. Name there what certificates may be given for, such as [\"*.example.internal\"], and reload cleatd")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// signed lets through what is signed with the key that it names, before anything
// is written for it: smallstep's handlers use the nonce up first.
func (d *Door) signed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			problem(w, http.StatusRequestEntityTooLarge, "malformed", fmt.Sprintf("the request has more than %d bytes", large.Limit))
			return
		}
		if err == nil {
			err = d.verifyJWS(r, string(body))
		}
		if err != nil {
			d.failACME(w, r, err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

func (d *Door) verifyJWS(r *http.Request, body string) error {
	jws, err := jose.ParseJWS(body)
	if err != nil {
		return malformed("the request is no JWS: %v", err)
	}
	if len(jws.Signatures) != 1 {
		return malformed("the request has %d signatures, not one", len(jws.Signatures))
	}
	header := jws.Signatures[0].Protected
	key := header.JSONWebKey
	if key == nil {
		account, err := d.tables().GetAccount(r.Context(), path.Base(header.KeyID))
		if errors.Is(err, acme.ErrNotFound) {
			return acme.NewDetailedError(acme.ErrorAccountDoesNotExistType, "there is no account %q, or it was not used for long; register it again", path.Base(header.KeyID))
		}
		if err != nil {
			return err
		}
		key = account.Key
	}
	if !key.Valid() {
		return malformed("its key is none")
	}
	if _, err := jws.Verify(key); err != nil {
		return malformed("it is not signed with the key that it names")
	}
	return nil
}

func malformed(format string, args ...any) error {
	return acme.NewDetailedError(acme.ErrorMalformedType, format, args...)
}

// failACME answers in ACME's form.
func (d *Door) failACME(w http.ResponseWriter, r *http.Request, err error) {
	told := acme.WrapErrorISE(err, "the member cannot do this now; try again, or at another member")
	if told.Status >= http.StatusInternalServerError {
		note(w, err)
	}
	if nonce, err := d.tables().CreateNonce(r.Context()); err == nil { // without one the client asks for it
		w.Header().Set("Replay-Nonce", string(nonce))
	}
	told.Render(w, r)
}

// acmeContext hands smallstep's handlers what they look for.
func (d *Door) acmeContext(next http.Handler) http.Handler {
	linker := acme.NewLinker("", "/acme")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := authority.NewContext(r.Context(), d.embedded.Authority)
		ctx = acme.NewContext(ctx, d.tables(), d.fetcher.within(ctx), linker, nil)
		ctx = apilog.WithErrorLogger(ctx, func(w http.ResponseWriter, _ *http.Request, err error) { note(w, err) })
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
