// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// web returns an HTTP client of the server and the URL of its root.
func (s *side) web() (client *http.Client, root string) {
	transport := &http.Transport{TLSClientConfig: s.tls}
	s.Cleanup(transport.CloseIdleConnections)
	client = &http.Client{Transport: transport, Timeout: patience}
	switch {
	case s.socket != "":
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.socket)
		}
		return client, "http://localhost"
	case s.tls != nil:
		return client, "https://" + s.address
	}
	return client, "http://" + s.address
}

// fetch writes down what a path answers.
func (s *side) fetch(method, path, body string) {
	s.Helper()
	response := s.request(method, path, body)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.Fatalf("%s: %s %s: %v", s.name, method, path, err)
	}
	s.note(method+" "+path+" "+abridged(body), fmt.Sprintf("%s%s %s", heading(response), response.Trailer, canonical(string(text))))
}

// abridged keeps a transcript readable.
func abridged(text string) string {
	if len(text) > longest {
		return fmt.Sprintf("%s… of %d bytes", text[:longest], len(text))
	}
	return text
}

func (s *side) request(method, path, body string) *http.Response {
	s.Helper()
	response, err := s.attempt(method, path, body)
	if err != nil {
		s.Fatalf("%s: %s %s: %v", s.name, method, path, err)
	}
	return response
}

func (s *side) attempt(method, path, body string) (*http.Response, error) {
	client, root := s.web()
	r, err := http.NewRequestWithContext(s.Context(), method, root+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if s.bearer != "" {
		r.Header.Set("Authorization", s.bearer)
	}
	return client.Do(r)
}

// heading is what of a response's head matters.
func heading(r *http.Response) string {
	var shown strings.Builder
	fmt.Fprint(&shown, r.Status)
	for _, name := range []string{"Content-Type", "Allow", "X-Content-Type-Options", "Location"} {
		if value := r.Header.Get(name); value != "" {
			fmt.Fprintf(&shown, " %s=%s", name, value)
		}
	}
	return shown.String() + " "
}

var varying = regexp.MustCompile(`"(cluster_id|member_id|raft_term)":"[1-9]\d*"`)

// canonical writes JSON, a value a line, without what varies; other text stays
// as it is.
func canonical(text string) string {
	text = strings.ReplaceAll(text, "\u00a0", " ") // protobuf's errors have either, by the binary
	if strings.HasPrefix(text, "[+]") || strings.HasPrefix(text, "[-]") {
		checks := strings.SplitAfter(text, "\n") // which etcd makes in no order
		slices.Sort(checks)
		return strings.Join(checks, "")
	}
	var out strings.Builder
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	for {
		var v any
		err := decoder.Decode(&v)
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			return text
		}
		var line bytes.Buffer
		encoder := json.NewEncoder(&line)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			return text
		}
		out.Write(varying.ReplaceAll(line.Bytes(), []byte(`"$1":"1"`)))
	}
}
