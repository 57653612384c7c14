// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// saveFrom saves what a member sends.
func saveFrom(t *testing.T, from io.Reader, path string) error {
	_, err := saveTo(t.Context(), func(_ context.Context, to io.Writer) (string, error) {
		_, err := io.Copy(to, from)
		return "", err
	}, path)
	return err
}

func snapshotOf(b byte) []byte {
	pages := bytes.Repeat([]byte{b}, 8192)
	sum := sha256.Sum256(pages)
	return append(pages, sum[:]...)
}

// Of two saves to one file each is whole when it is there, and nothing else is.
func TestTwoSavesToOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup.db")
	has := func(want []byte, files int) {
		t.Helper()
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, not those that were sent: %v", len(got), err)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != files {
			t.Errorf("there is %v: %v", left, err)
		}
	}
	first, second := snapshotOf('1'), snapshotOf('2')
	from, to := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- saveFrom(t, from, path) }()
	if _, err := to.Write(first[:5000]); err != nil {
		t.Fatal(err)
	}
	if err := saveFrom(t, bytes.NewReader(second), path); err != nil {
		t.Fatal(err)
	}
	has(second, 2) // and what the first has of its own
	if _, err := to.Write(first[5000:]); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(to.Close(), <-done); err != nil {
		t.Fatal(err)
	}
	has(first, 1)
}

func TestASaveThatFailsLeavesWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "backup.db")
	good := snapshotOf('1')
	if err := saveFrom(t, bytes.NewReader(good), path); err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(good)
	changed[100] ^= 1
	for name, from := range map[string]io.Reader{
		"cut":     bytes.NewReader(good[:4096+32]),
		"changed": bytes.NewReader(changed),
		"broken":  io.MultiReader(bytes.NewReader(good[:100]), broken{}),
	} {
		if err := saveFrom(t, from, path); err == nil {
			t.Errorf("%s: saved", name)
		}
	}
	got, err := os.ReadFile(path)
	left, also := os.ReadDir(dir)
	if err != nil || also != nil || !bytes.Equal(got, good) || len(left) != 1 {
		t.Errorf("%d bytes and %v: %v, %v", len(got), left, err, also)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the connection is gone") }
