// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Fault is what is wrong with one setting.
type Fault struct {
	Place   string // FILE:LINE, a variable or a flag; "": the default, or several
	Setting string // "": the place says it
	What    string // is wrong, and is wanted
}

func (f Fault) String() string {
	parts := slices.DeleteFunc([]string{f.Place, f.Setting, f.What}, func(s string) bool { return s == "" })
	return strings.ReplaceAll(strings.Join(parts, ": "), "\n", " ")
}

// Faults are all that is wrong with a configuration. As an error they are the
// first of them.
type Faults []Fault

func (f Faults) Error() string {
	if len(f) == 1 {
		return f[0].String()
	}
	return fmt.Sprintf("%s (faults beside this one: %d; cleatd check lists them)", f[0], len(f)-1)
}

func (f Faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrConfig, f)
}

// Load builds the configuration: defaults, then the file (none if path is
// empty), then CLEATD_* variables, then flags, each stronger than the one
// before. Its errors wrap ErrConfig and are Faults.
func Load(path string, environ []string, flags map[string]string) (Config, error) {
	l := loader{config: Default(), places: map[string]string{}}
	if path != "" {
		l.file(path)
	}
	l.environ(environ)
	for _, s := range Settings() {
		if v, given := flags[s.Name]; given {
			l.take(s, v, "flag --"+s.Name, "")
		}
	}
	for _, f := range l.config.faults() {
		f.Place = l.places[f.Setting]
		if strings.HasPrefix(f.Place, "flag ") || strings.HasPrefix(f.Place, "variable ") {
			f.Setting = "" // its name is in the place
		}
		l.faults = append(l.faults, f)
	}
	return l.config, l.faults.err()
}

// loader reads settings from place after place.
type loader struct {
	config Config
	places map[string]string // of the settings that were given
	faults Faults
}

func (l *loader) fault(place, setting, format string, args ...any) {
	l.faults = append(l.faults, Fault{place, setting, fmt.Sprintf(format, args...)})
}

// take sets a setting; name is told in a fault unless the place tells it.
func (l *loader) take(s Setting, value, place, name string) {
	if err := s.set(&l.config, value); err != nil {
		l.fault(place, name, "%v", err)
		return
	}
	l.places[s.Name] = place
}

// takeList sets a setting that is a list of texts.
func (l *loader) takeList(s Setting, values []any, place, name string) {
	if _, is := s.field(&l.config).(*[]string); !is {
		l.fault(place, name, "want text or a number, not a list")
		return
	}
	var texts []string
	for _, v := range values {
		text, is := v.(string)
		if !is || strings.ContainsAny(text, ", ") {
			l.fault(place, name, "want a list of texts without commas and spaces, such as [\"a\", \"b\"]; %v is none", v)
			return
		}
		texts = append(texts, text)
	}
	l.take(s, strings.Join(texts, ","), place, name)
}

func (l *loader) file(path string) {
	raw, err := os.ReadFile(path)
	if err != nil {
		l.fault("", "", "%v", err)
		return
	}
	var keys map[string]any
	if err := toml.Unmarshal(raw, &keys); err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			l.fault(fmt.Sprintf("%s:%d", path, at.Position.Line), "", "%s", at.Message)
			return
		}
		l.fault(path, "", "%v", err)
		return
	}
	known := map[string]Setting{}
	for _, s := range Settings() {
		known[s.Name] = s
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		place := path + lineOf(raw, name)
		s, is := known[name]
		if !is {
			l.fault(place, "", "unknown key %q; see cleatd --help for the names", name)
			continue
		}
		switch v := keys[name].(type) {
		case string, int64:
			l.take(s, fmt.Sprint(v), place, name)
		case []any:
			l.takeList(s, v, place, name)
		default:
			l.fault(place, name, "want text or a number, not %s", tomlKind(v))
		}
	}
}

func tomlKind(v any) string {
	switch v.(type) {
	case bool:
		return "true or false"
	case float64:
		return "a number with a point"
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a time"
}

// lineOf is where a key or a table of the file's own is named, as ":LINE". The
// library keeps no places.
func lineOf(raw []byte, name string) string {
	named := regexp.MustCompile(`(?m)^[ \t]*(\[+[ \t]*)?["']?` + regexp.QuoteMeta(name) + `["']?[ \t]*[]=.]`)
	at := named.FindIndex(raw)
	if at == nil {
		return ""
	}
	return fmt.Sprintf(":%d", 1+bytes.Count(raw[:at[0]], []byte("\n")))
}

func (l *loader) environ(environ []string) {
	values := make(map[string]string)
	for _, pair := range environ {
		if name, v, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, "CLEATD_") {
			values[name] = v
		}
	}
	delete(values, "CLEATD_CONFIG")
	for _, s := range Settings() {
		if v, given := values[s.Env()]; given {
			delete(values, s.Env())
			l.take(s, v, "variable "+s.Env(), "")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		l.fault("", "", "unknown variable %s; see cleatd --help for the names", name)
	}
}
