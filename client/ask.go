// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const maxAnswerBytes = 1 << 20

// question and answer are what the ca door reads and writes; package pki/ca has
// the words on them.
type question struct {
	Token string    `json:"token,omitempty"`
	CSR   []byte    `json:"csr"`
	Time  time.Time `json:"time,omitzero"`
}

type answer struct {
	Chain     string   `json:"chain"`
	Roots     string   `json:"roots"`
	Endpoints []string `json:"endpoints"`
	Error     string   `json:"error"`
}

// Refused is a member's word that it does not do what it was asked.
type Refused struct {
	Address string // of the ca door
	Code    int    // of HTTP
	Reason  string
}

func (r *Refused) Error() string { return fmt.Sprintf("%s refuses: %s", r.Address, r.Reason) }

// lasting says whether it would be refused again.
func (r *Refused) lasting() bool {
	return r.Code < 500 && r.Code != http.StatusTooManyRequests && r.Code != http.StatusRequestTimeout
}

// ask asks one member's ca door. The error is a [*Refused] if it has answered.
func ask(ctx context.Context, address, path string, config *tls.Config, q *question) (answer, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if q != nil {
		text, err := json.Marshal(q)
		if err != nil {
			return answer{}, fmt.Errorf("write as JSON: %w", err)
		}
		method, body = http.MethodPost, bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "https://"+address+path, body)
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	// One connection for one question: the next one may be to be trusted otherwise.
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := (&http.Client{Transport: transport, CheckRedirect: stay}).Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("ask %s: %w", address, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer of %s: %w", address, err)
	}
	var a answer
	parsed := json.Unmarshal(text, &a)
	if response.StatusCode != http.StatusOK && a.Error == "" {
		a.Error = response.Status + ": is it the ca door of a cleat member?"
	}
	if response.StatusCode != http.StatusOK {
		return answer{}, &Refused{Address: address, Code: response.StatusCode, Reason: a.Error}
	}
	if parsed != nil {
		return answer{}, fmt.Errorf("read the answer of %s: %w", address, parsed)
	}
	return a, nil
}

// again asks until there is an answer that lasts, or the time is up. That is
// safe with one key: whoever comes again with it is known.
func again(ctx context.Context, ask func() (answer, error)) (answer, error) {
	for delay := 100 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		a, err := ask()
		var refused *Refused
		if err == nil || errors.As(err, &refused) && refused.lasting() || errors.Is(err, ErrCluster) {
			return a, err
		}
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return a, err
		case <-timer.C:
		}
	}
}
