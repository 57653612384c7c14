// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	acmeapi "github.com/smallstep/certificates/acme/api"

	"github.com/cleatd/cleat/pki"
)

const (
	// maxBody is the most that a request may say: a request for a hundred names
	// with an RSA key, in PEM, in JSON, fits.
	maxBody = 64 << 10
	// maxHeader leaves room for nothing but what clients send.
	maxHeader = 16 << 10

	// A stranger has this long for a handshake and a request, an answer this long,
	// and a connection rests for so long.
	readLimit  = 10 * time.Second
	writeLimit = 45 * time.Second // a validation, and the agreement
	idleLimit  = 30 * time.Second
)

// Config is what a Door is given.
type Config struct {
	Authority *pki.Authority
	Version   string // of this program
	Policy    Policy
	// More are further handlers, by the path that theirs begin with.
	More       map[string]http.Handler
	Logger     *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: none
}

// Door serves the CA over HTTP. It is safe for concurrent use.
type Door struct {
	authority *pki.Authority
	embedded  *pki.Embedded
	version   string
	log       *slog.Logger
	handler   http.Handler
	guests    *guests
	fetcher   *fetcher
	metrics   metrics
	serving   sync.RWMutex // held for reading by each request

	// policy is what ACME may do now; never nil. Written by New and SetPolicy.
	policy atomic.Pointer[Policy]
}

// New makes a door. The error is smallstep's.
func New(c Config) (*Door, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Door{authority: c.Authority, version: c.Version, log: c.Logger, metrics: newMetrics(c.Registerer)}
	d.guests = newGuests(d.metrics.refused)
	d.fetcher = &fetcher{policy: d.current, turns: make(chan struct{}, maxFetches)}
	d.SetPolicy(c.Policy)
	var err error
	if d.embedded, err = c.Authority.Embed(func(leaf *x509.Certificate) error { return d.current().Names.check(leaf) }); err != nil {
		return nil, err
	}
	d.handler = d.routes(c.More)
	return d, nil
}

// SetPolicy has another policy count from now on.
func (d *Door) SetPolicy(p Policy) { d.policy.Store(&p) }

func (d *Door) current() *Policy { return d.policy.Load() }

// ServeHTTP answers one request. Serve does so for a listener.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.serving.RLock()
	defer d.serving.RUnlock()
	d.handler.ServeHTTP(w, r)
}

func (d *Door) routes(more map[string]http.Handler) http.Handler {
	r := chi.NewRouter()
	d.routeStep(r)
	r.Route("/1.0", d.routeStep)
	r.Route("/acme", func(r chi.Router) {
		r.Use(d.acmeAllowed, d.signed, d.acmeContext)
		acmeapi.Route(r)
	})
	for path, handler := range more {
		r.Mount(path, handler)
	}
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is no %s at the ca door; keys and values are served at the client door", r.URL.Path))
	})
	return http.MaxBytesHandler(d.counted(d.paced(r)), maxBody)
}

// Serve lets in whoever comes to the listener, until ctx ends. What is under way
// then is broken off, and Serve returns when none of it runs any more. When the
// listener is closed, what is under way is done first.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	server := d.server(ctx)
	over := make(chan error, 1)
	go func() { over <- server.Serve(&doorListener{Listener: l, guests: d.guests, config: d.config()}) }()
	var err error
	select {
	case <-ctx.Done():
		_ = server.Close() // who was not answered asks again
		err = <-over
	case err = <-over:
		leaving, cancel := context.WithTimeout(ctx, writeLimit)
		defer cancel()
		_ = server.Shutdown(leaving) // it ends with ctx, or by the server's own limits
		_ = server.Close()
	}
	d.serving.Lock()
	defer d.serving.Unlock() // nobody is inside
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (d *Door) server(ctx context.Context) *http.Server {
	return &http.Server{
		Handler:           d,
		ReadHeaderTimeout: readLimit, ReadTimeout: readLimit, WriteTimeout: writeLimit, IdleTimeout: idleLimit,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(d.log.Handler(), slog.LevelDebug), // each stranger's broken handshake
		BaseContext:    func(net.Listener) context.Context { return ctx },
	}
}

func (d *Door) config() *tls.Config {
	config := d.authority.CADoor()
	config.NextProtos = []string{"http/1.1"}
	config.GetConfigForClient = awaitTurn
	config.VerifyConnection = d.audited(config.VerifyConnection)
	return config
}

// audited tells of the certificates that the door refuses; net/http, which shakes
// hands here, would keep it to itself.
func (d *Door) audited(verify func(tls.ConnectionState) error) func(tls.ConnectionState) error {
	return func(c tls.ConnectionState) error {
		err := verify(c)
		if reason := pki.RefusalReason(err); reason != "" {
			d.authority.Refused(context.Background(), pki.Denial{Door: "ca", Reason: reason, Err: err})
		}
		return err
	}
}
