// SPDX-License-Identifier: Apache-2.0

// Package export is the file in which the cluster key leaves a cluster: age's
// format (age-encryption.org/v1) under a passphrase, in armor, with the text of
// cluster.key in it. So anybody who has the passphrase and age can read it, also
// when there is no cleat left.
//
// The one invariant: what is in the file is written by [Encrypt] only, and
// nothing of it can be read, or changed unnoticed, without the passphrase.
//
// The neighbours: ctl writes such files, ctl and daemon read them; what the text
// says is for pki to know.
package export

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"filippo.io/age"
	"filippo.io/age/armor"
)

const (
	// LeastPassphrase is how many characters a passphrase has at least. The file
	// is tried offline, by whoever has found it, for as long as they like.
	LeastPassphrase = 12

	// logWork makes a guess cost a second or so and 256 MiB; maxLogWork bounds
	// what a stranger's file can make us spend.
	logWork    = 18
	maxLogWork = 20

	// maxBytes bounds a file and what is in it: a key is 0.1 KiB.
	maxBytes = 64 << 10
)

var (
	// ErrPassphrase: the passphrase is not the file's.
	ErrPassphrase = errors.New("export: the passphrase is wrong")
	// ErrWeak: the passphrase is too short to protect a file.
	ErrWeak = errors.New("export: the passphrase is too short")
	// ErrFile: the file is damaged, or not one under a passphrase.
	ErrFile = errors.New("export: not an exported cluster key")
)

// Is says whether a file looks like one that Encrypt has written.
func Is(file []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(file), []byte(armor.Header)) || bytes.HasPrefix(file, []byte("age-encryption.org/"))
}

// Encrypt returns a file with the text. The error is ErrWeak for a passphrase
// that is too short.
func Encrypt(text []byte, passphrase string) ([]byte, error) {
	return encrypt(text, passphrase, logWork)
}

func encrypt(text []byte, passphrase string, work int) ([]byte, error) {
	if n := utf8.RuneCountInString(passphrase); n < LeastPassphrase {
		return nil, fmt.Errorf("%w: it has %d characters, at least %d are wanted; five or six random words are good", ErrWeak, n, LeastPassphrase)
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(work)
	var file bytes.Buffer
	armored := armor.NewWriter(&file)
	w, err := age.Encrypt(armored, recipient)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return file.Bytes(), nil
}

// Decrypt returns the text in a file, armored or not. The error is
// ErrPassphrase or ErrFile.
func Decrypt(file []byte, passphrase string) ([]byte, error) {
	if len(file) > maxBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrFile, len(file), maxBytes)
	}
	if passphrase == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrPassphrase)
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(maxLogWork)
	var from io.Reader = bytes.NewReader(file)
	if trimmed := bytes.TrimSpace(file); bytes.HasPrefix(trimmed, []byte(armor.Header)) {
		from = armor.NewReader(bytes.NewReader(trimmed))
	}
	r, err := age.Decrypt(from, identity)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxBytes))
	if err != nil {
		clear(text)
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return text, nil
}
