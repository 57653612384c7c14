// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const told = `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"    a_test.go:5: all is well\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestRoot/one","Output":"    a_test.go:9: only root may: run as root\n"}
{"Action":"output","Package":"m/a","Test":"TestRoot/one","Output":"    --- SKIP: TestRoot/one (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestRoot/one"}
{"Action":"output","Package":"m/a","Output":"PASS\n"}
{"Action":"output","Package":"m/a","Output":"ok  \tm/a\t0.1s\n"}
{"Action":"pass","Package":"m/a"}
{"Action":"output","Package":"m/none","Output":"?   \tm/none\t[no test files]\n"}
{"Action":"skip","Package":"m/none"}
`

const failure = `go: a warning
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"    b_test.go:5: got 1, want 2\n"}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"m/b","Test":"TestBad"}
{"Action":"output","Package":"m/b","Test":"TestCut","Output":"panic: oh\n"}
{"Action":"output","Package":"m/b","Output":"FAIL\tm/b\t0.1s\n"}
{"Action":"fail","Package":"m/b"}
`

// verdict returns what is shown and what is noted as skipped.
func verdict(t *testing.T, text string) (shown, skipped string, err error) {
	t.Helper()
	file, out := filepath.Join(t.TempDir(), "skipped"), new(strings.Builder)
	err = run([]string{file}, strings.NewReader(text), out)
	noted, missing := os.ReadFile(file)
	if missing != nil {
		t.Fatal(missing)
	}
	return out.String(), string(noted), err
}

func TestWhatPassesIsALineAndWhatIsSkippedIsNoted(t *testing.T) {
	shown, skipped, err := verdict(t, told)
	if err != nil || shown != "ok  \tm/a\t0.1s\n?   \tm/none\t[no test files]\n" {
		t.Errorf("shown %q, %v", shown, err)
	}
	if skipped != "m/a TestRoot/one: only root may: run as root\n" {
		t.Errorf("skipped %q", skipped)
	}
}

func TestWhatFailsIsShownWhole(t *testing.T) {
	shown, _, err := verdict(t, told+failure)
	if !errors.Is(err, errFailed) {
		t.Errorf("got %v, want a failure", err)
	}
	for _, want := range []string{"go: a warning", "got 1, want 2", "--- FAIL: TestBad", "panic: oh", "FAIL\tm/b"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in\n%s", want, shown)
		}
	}
	if strings.Contains(shown, "all is well") {
		t.Errorf("a test that passed is quoted:\n%s", shown)
	}
}

func TestTheSlowestAreToldAtTheEnd(t *testing.T) {
	shown, _, _ := verdict(t, `{"Action":"pass","Package":"m/a","Test":"TestQuick","Elapsed":9.9}
{"Action":"pass","Package":"m/a","Test":"TestLong","Elapsed":12}
{"Action":"pass","Package":"m/a","Test":"TestLonger/part","Elapsed":40}
{"Action":"pass","Package":"m/a","Test":"TestLonger","Elapsed":61.2}
{"Action":"pass","Package":"m/a","Elapsed":99}
{"Action":"output","Package":"m/a","Output":"ok  \tm/a\t99s\n"}
`)
	if want := "ok  \tm/a\t99s\nslow\tm/a\tTestLonger\t61s\nslow\tm/a\tTestLong\t12s\n"; shown != want {
		t.Errorf("got %q, want %q", shown, want)
	}
}

func TestAPackageThatDoesNotBuildFails(t *testing.T) {
	shown, _, err := verdict(t, `{"ImportPath":"m/c","Action":"build-output","Output":"c.go:3: undefined: x\n"}
{"ImportPath":"m/c","Action":"build-fail"}
{"Action":"output","Package":"m/c","Output":"FAIL\tm/c [build failed]\n"}
{"Action":"fail","Package":"m/c","FailedBuild":"m/c"}
`)
	if !errors.Is(err, errFailed) || !strings.Contains(shown, "undefined: x") || !strings.Contains(shown, "[build failed]") {
		t.Errorf("%v, shown %q", err, shown)
	}
}
