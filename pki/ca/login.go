// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/cleatd/cleat/pki"
)

// What a remote user's cleatctl speaks, all of it JSON:
//
//	GET  /cleat/v1/roots  -> {roots}
//	POST /cleat/v1/login  {token, csr, time} -> {chain, roots, endpoints}
//	POST /cleat/v1/renew  {csr} -> {chain, roots, endpoints}; whose certificate is
//	                      renewed is known by the client certificate of the handshake
//
// csr is DER in base64, chain and roots are PEM. Who does not know the roots yet
// reads them over a connection that he has no reason to trust, keeps the one whose
// digest is in his token, and logs in over a connection that ends in it. What is
// refused has a code, and {error} for a person.
const (
	// LoginRoot is what all its paths begin with.
	LoginRoot = "/cleat/v1"

	rootsPath = LoginRoot + "/roots"
	loginPath = LoginRoot + "/login"
	renewPath = LoginRoot + "/renew"

	maxLoginBytes = 64 << 10
)

type loginQuestion struct {
	Token string    `json:"token"`
	CSR   []byte    `json:"csr"`
	Time  time.Time `json:"time"`
}

type loginAnswer struct {
	Chain     string   `json:"chain,omitempty"`
	Roots     string   `json:"roots,omitempty"`
	Endpoints []string `json:"endpoints,omitempty"`
	Error     string   `json:"error,omitempty"`
}

// Places are where a client finds the members, for its bundle.
type Places struct {
	Endpoints func() []string // of the client doors, as host and port. Nil: unknown
}

// login is the handler. It is safe for concurrent use.
type login struct {
	authority *pki.Authority
	places    Places
	log       *slog.Logger
}

// NewLogin returns what answers under /cleat/v1/: it gives a client its
// certificate for a token, and its certificate's successor. It must be served
// over TLS that lets a client show a certificate of any kind; what it is worth
// is checked here. Rates are the caller's to bound.
func NewLogin(a *pki.Authority, p Places, log *slog.Logger) http.Handler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &login{authority: a, places: p, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+rootsPath, l.roots)
	mux.HandleFunc("POST "+loginPath, l.answer(l.login))
	mux.HandleFunc("POST "+renewPath, l.answer(l.renew))
	return http.MaxBytesHandler(mux, maxLoginBytes)
}

func (l *login) roots(w http.ResponseWriter, _ *http.Request) {
	writeLogin(w, http.StatusOK, loginAnswer{Roots: string(l.authority.Bundle())})
}

// answer reads the question and writes what came of it.
func (l *login) answer(issue func(*http.Request, loginQuestion) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q loginQuestion
		err := readLogin(r, &q)
		if err != nil {
			l.refuse(w, r, err)
			return
		}
		chain, err := issue(r, q)
		if err != nil {
			l.refuse(w, r, err)
			return
		}
		out := loginAnswer{Chain: chain, Roots: string(l.authority.Bundle())}
		if l.places.Endpoints != nil {
			out.Endpoints = l.places.Endpoints()
		}
		writeLogin(w, http.StatusOK, out)
	}
}

func (l *login) login(r *http.Request, q loginQuestion) (string, error) {
	token, err := pki.ParseToken(q.Token)
	if err != nil {
		return "", err
	}
	chain, err := l.authority.Login(r.Context(), pki.LoginRequest{Token: token, CSR: q.CSR, Time: q.Time})
	return string(pki.EncodePEM(chain...)), err
}

func (l *login) renew(r *http.Request, q loginQuestion) (string, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", errNoCertificate
	}
	chain, err := l.authority.RenewClient(r.Context(), r.TLS.PeerCertificates[0], q.CSR)
	return string(pki.EncodePEM(chain...)), err
}

var (
	errNoCertificate = errors.New("no certificate was shown: renew shows the one that it replaces")
	errNotJSON       = errors.New("the request is not JSON of this form")
	errMediaType     = errors.New("the request is not of type application/json")
)

// readLogin refuses other media types, so that no page of another site can have a
// browser renew its user's certificate: this one it would have to ask for first.
func readLogin(r *http.Request, q *loginQuestion) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errMediaType
	}
	if err := json.NewDecoder(r.Body).Decode(q); err != nil {
		return fmt.Errorf("%w: %w", errNotJSON, err)
	}
	return nil
}

// loginCodes says how a client is refused. 503 is for what may be tried again with
// the same key.
var loginCodes = []struct {
	cause error
	code  int
}{
	{errMediaType, http.StatusUnsupportedMediaType},
	{errNotJSON, http.StatusBadRequest},
	{errNoCertificate, http.StatusUnauthorized},
	{pki.ErrTokenFormat, http.StatusBadRequest},
	{pki.ErrRequest, http.StatusBadRequest},
	{pki.ErrKey, http.StatusBadRequest},
	{pki.ErrName, http.StatusBadRequest},
	{pki.ErrClock, http.StatusConflict},
	{pki.ErrTokenDigest, http.StatusForbidden},
	{pki.ErrTokenUnknown, http.StatusForbidden},
	{pki.ErrTokenKind, http.StatusForbidden},
	{pki.ErrTokenExpired, http.StatusForbidden},
	{pki.ErrTokenUsed, http.StatusForbidden},
	{pki.ErrTokenRevoked, http.StatusForbidden},
	{pki.ErrTTL, http.StatusForbidden}, // the CA itself is about to end
}

func (l *login) refuse(w http.ResponseWriter, r *http.Request, err error) {
	code := loginCode(err)
	l.authority.Refused(r.Context(), pki.Denial{
		What: "client refused", Door: "ca", Reason: pki.ReasonNotGiven, Remote: r.RemoteAddr, Err: fmt.Errorf("%s: %w", r.URL.Path, err),
	})
	writeLogin(w, code, loginAnswer{Error: err.Error()})
}

func loginCode(err error) int {
	if errors.As(err, new(*http.MaxBytesError)) {
		return http.StatusRequestEntityTooLarge
	}
	if errors.As(err, new(*pki.Refusal)) {
		return http.StatusForbidden
	}
	for _, c := range loginCodes {
		if errors.Is(err, c.cause) {
			return c.code
		}
	}
	if errors.Is(err, context.Canceled) {
		return http.StatusRequestTimeout // nobody reads it
	}
	return http.StatusServiceUnavailable
}

func writeLogin(w http.ResponseWriter, code int, a loginAnswer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(a) // whoever asked is gone
}
