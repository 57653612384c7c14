// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"time"
)

const (
	// lookEvery bounds one wait: timers stand still while a machine sleeps, and
	// know nothing of a clock that is set or of a bundle that was replaced.
	lookEvery = time.Minute

	leastRetry = 10 * time.Millisecond // with a life of a second
	firstRetry = 5 * time.Second
	lastRetry  = 10 * time.Minute

	// attemptTime is how long one attempt may take at one member.
	attemptTime = 15 * time.Second
)

// ErrExpired means that a certificate can no more be renewed, since nobody is
// let in with it: only a new login helps.
var ErrExpired = errors.New("client: the certificate has expired")

// Renew has a member give the certificate's successor, for a new key, and
// replaces the bundle, whether it is due or not. It asks the member that was
// logged in at, then the others. The error is ErrExpired, ErrCluster, a
// [*Refused], or of the network or the disk; the bundle is then as it was.
func (b *Bundle) Renew(ctx context.Context) error {
	leaf := b.Certificate()
	if now := time.Now(); now.After(leaf.NotAfter) {
		return fmt.Errorf("%w: that of %q was good until %s", ErrExpired, leaf.Subject.CommonName, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	about, err := b.about()
	if err != nil {
		return err
	}
	key, csr, err := newKey()
	if err != nil {
		return err
	}
	got, door, err := b.askDoors(ctx, about, "/cleat/v1/renew", &question{CSR: csr})
	if err != nil {
		return err
	}
	if !about.Fixed {
		about.Endpoints = reachable(got.Endpoints, door)
	}
	// Somebody else may have logged in meanwhile: that counts more.
	if now := b.Certificate(); !now.Equal(leaf) {
		return nil
	}
	roots, err := certificates([]byte(got.Roots)) // by word of a member that the roots of before vouched for
	if err != nil {
		return fmt.Errorf("%w: the roots in the answer: %w", ErrCluster, err)
	}
	return b.keep(about, got, key, pool(roots...))
}

// askDoors asks one member after the other until one answers.
func (b *Bundle) askDoors(ctx context.Context, a about, path string, q *question) (answer, string, error) {
	var failed []error
	for _, door := range a.doors() {
		got, err := b.askDoor(ctx, door, path, q)
		var refused *Refused
		if err == nil || errors.As(err, &refused) && refused.lasting() {
			return got, door, err
		}
		failed = append(failed, err)
	}
	if len(failed) == 0 {
		return answer{}, "", fmt.Errorf("%w: it names no ca door", ErrBundle)
	}
	return answer{}, "", errors.Join(failed...)
}

func (b *Bundle) askDoor(ctx context.Context, door, path string, q *question) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	pair, roots := b.files.refresh()
	config := trusting(roots)
	config.Certificates = append(config.Certificates, *pair)
	return ask(ctx, door, path, config, q)
}

// doors are the ca door that was logged in at, then those of the other members,
// which most likely have the same port.
func (a about) doors() []string {
	_, port, err := net.SplitHostPort(a.Door)
	if err != nil {
		return nil
	}
	doors := []string{a.Door}
	for _, endpoint := range a.Endpoints {
		parsed, err := url.Parse(endpoint)
		if err != nil || parsed.Hostname() == "" {
			continue
		}
		if door := net.JoinHostPort(parsed.Hostname(), port); !slices.Contains(doors, door) {
			doors = append(doors, door)
		}
	}
	return doors
}

// Keep renews the bundle whenever it is due, for as long as ctx lives. A renewal
// that fails is tried again, ever more slowly. Each attempt is told of, with nil
// when it succeeded. It returns nil.
func (b *Bundle) Keep(ctx context.Context, told func(*Bundle, error)) error {
	var r Renewer
	for {
		next := r.Round(ctx, []*Bundle{b}, told)
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Renewer renews bundles when they are due, and remembers when those are to be
// tried again where that failed. The zero value is ready; one goroutine uses it.
type Renewer struct {
	failed    map[string]failure   // by directory
	refreshed map[string]time.Time // when roots are looked at again, by directory
}

// failure is a certificate that could not be renewed.
type failure struct {
	serial string // of the certificate: with another one all begins anew
	delay  time.Duration
	again  time.Time
}

// Round renews what is due among the bundles and tells of each attempt; of the
// others it looks at the roots now and then, and tells if those are no good any
// more. It returns when the next round should be, in a minute at the latest.
func (r *Renewer) Round(ctx context.Context, bundles []*Bundle, told func(*Bundle, error)) time.Time {
	next := time.Now().Add(lookEvery)
	for _, b := range bundles {
		moment := r.due(b)
		if !time.Now().Before(moment) {
			err := b.Renew(ctx)
			if ctx.Err() != nil {
				return time.Now()
			}
			r.note(b, err)
			told(b, err)
			moment = r.due(b)
		} else {
			r.refresh(ctx, b, told)
		}
		if moment.Before(next) {
			next = moment
		}
	}
	return next
}

func (r *Renewer) due(b *Bundle) time.Time {
	if f, failed := r.failed[b.dir]; failed && f.serial == b.Certificate().SerialNumber.String() {
		return f.again
	}
	return b.RenewAt()
}

func (r *Renewer) note(b *Bundle, err error) {
	if err == nil {
		delete(r.failed, b.dir)
		return
	}
	leaf := b.Certificate()
	_, life := b.life(leaf)
	f := r.failed[b.dir]
	if serial := leaf.SerialNumber.String(); f.serial != serial {
		f = failure{serial: serial, delay: max(min(firstRetry, life/100), leastRetry)}
	} else {
		f.delay = min(2*f.delay, lastRetry, max(life/10, f.delay))
	}
	f.again = time.Now().Add(f.delay/2 + rand.N(f.delay))
	if errors.Is(err, ErrExpired) {
		f.again = time.Now().Add(lastRetry)
	}
	if r.failed == nil {
		r.failed = map[string]failure{}
	}
	r.failed[b.dir] = f
}
