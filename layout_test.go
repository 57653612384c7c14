// SPDX-License-Identifier: Apache-2.0

// Package cleat is the root of the module. Nothing is in it but the test of the
// import table; DESIGN.md tells where things live.
package cleat

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cleatd/cleat/"

// mayImport is the architecture. A package may import, of this module's own
// packages, only those on its line; a package with no line fails the test.
var mayImport = map[string]string{
	".":     "",
	"kv":    "",
	"lease": "",
	"auth":  "",
	"raft":  "",
	"pki":   "",

	"pki/ca":     "pki",
	"pki/export": "",

	"watch": "kv",
	"state": "kv lease auth",

	"backup":      "backup/file kv lease auth state",
	"backup/file": "",
	"client":      "",

	"api":          "raft state watch kv lease auth api/recipe",
	"api/recipe":   "",
	"admin":        "",
	"admin/server": "admin raft pki state backup",

	"peer": "raft pki",

	"daemon": "peer api admin admin/server backup backup/file raft state watch kv lease auth pki pki/ca",
	"ctl":    "admin client backup/file pki/export",

	"daemon/command": "daemon pki/export",

	"cmd/cleatd":           "daemon/command",
	"cmd/cleatctl":         "ctl",
	"internal/testcluster": "daemon pki",
	"internal/bench":       "",
	"internal/manual":      "ctl daemon daemon/command",
	"internal/verdict":     "",
}

// onlyIn names the outside libraries that few packages of ours may see.
var onlyIn = map[string]string{
	"github.com/hashicorp/raft":         "raft",
	"github.com/smallstep/certificates": "pki pki/ca",
	"github.com/urfave/cli":             "ctl daemon/command internal/manual",
}

// The test reads the source itself instead of asking "go list": the test cache
// sees files a test opens, but not files its child processes open.
func TestImportsPointInward(t *testing.T) {
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir // .build has the source of other programs
		}
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			checkImport(t, filepath.Dir(path), strings.Trim(spec.Path.Value, `"`))
		}
		if _, listed := mayImport[filepath.Dir(path)]; !listed {
			t.Errorf("%s: package has no line in mayImport", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImport(t *testing.T, from, path string) {
	t.Helper()
	if to, ours := strings.CutPrefix(path, module); ours && !slices.Contains(strings.Fields(mayImport[from]), to) {
		t.Errorf("%s must not import %s", from, to)
	}
	for lib, home := range onlyIn {
		if strings.HasPrefix(path, lib) && !slices.Contains(strings.Fields(home), from) {
			t.Errorf("%s must not import %s: only %s may", from, path, home)
		}
	}
}
