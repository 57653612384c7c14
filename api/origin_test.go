// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"
	"strings"
	"testing"
)

// A page may send text to another site without asking it first, and a browser
// shows the user's certificate there.
func TestAPageOfAnotherSiteChangesNothing(t *testing.T) {
	s := startServer(t, nil)
	for name, c := range map[string]struct {
		origin, fetch string
		code          int
	}{
		"another site":            {"https://elsewhere.example", "cross-site", http.StatusForbidden},
		"an old browser there":    {"https://elsewhere.example", "", http.StatusForbidden},
		"a page of this site":     {"", "same-origin", http.StatusOK},
		"who is no browser":       {"", "", http.StatusOK},
		"a page without a site":   {"null", "cross-site", http.StatusForbidden},
		"the same under its name": {"http://localhost", "", http.StatusOK},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/v3/kv/put", strings.NewReader(`{"key":"YQ=="}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "text/plain")
		for header, value := range map[string]string{"Origin": c.origin, "Sec-Fetch-Site": c.fetch} {
			if value != "" {
				r.Header.Set(header, value)
			}
		}
		answer, err := s.web(t).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close() // nothing of it is read
		if answer.StatusCode != c.code {
			t.Errorf("%s: got %d, want %d", name, answer.StatusCode, c.code)
		}
	}
}
