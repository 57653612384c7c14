// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"io"
	"net"
	"testing"
	"testing/iotest"
)

// client returns the far end of a connection whose client sends text, in
// pieces of at most the given size, and closes.
func client(t *testing.T, text string, piece int) net.Conn {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = far.Close() })
	go func() {
		defer near.Close()
		for len(text) > 0 {
			n, err := near.Write([]byte(text[:min(piece, len(text))]))
			if err != nil {
				return
			}
			text = text[n:]
		}
	}()
	return far
}

func TestPrefaceTellsProtocolsApart(t *testing.T) {
	cases := []struct {
		name, text string
		http2      bool
	}{
		{"gRPC", preface + "\x00\x00\x00\x04\x00", true},
		{"only the preface", preface, true},
		{"curl", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", false},
		{"put request", "PUT / HTTP/1.1\r\n\r\n", false},
		{"one letter", "G", false},
		{"nearly the preface", "PRI * HTTP/2.0\r\n\r\nSMX", false},
		{"TLS", "\x16\x03\x01\x02\x00", false},
	}
	for _, c := range cases {
		for _, piece := range []int{1, 7, 1000} {
			t.Run(c.name, func(t *testing.T) {
				http2, conn, err := sniff(client(t, c.text, piece))
				if err != nil || http2 != c.http2 {
					t.Fatalf("got http2 %v, %v", http2, err)
				}
				if got, err := io.ReadAll(iotest.OneByteReader(conn)); err != nil || string(got) != c.text {
					t.Fatalf("read %q, %v; want %q", got, err, c.text)
				}
			})
		}
	}
}

func TestPrefaceCutShort(t *testing.T) {
	if _, _, err := sniff(client(t, preface[:10], 3)); err == nil {
		t.Fatal("a client that left within the preface was taken for one that speaks")
	}
}

func TestReplayGivesLargeReadsThrough(t *testing.T) {
	text := preface + "more"
	_, conn, err := sniff(client(t, text, 1000))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(bufio.NewReaderSize(conn, 1<<16))
	if err != nil || string(got) != text {
		t.Fatalf("read %q, %v", got, err)
	}
}
