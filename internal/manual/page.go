// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// page is one manual page, in the order of its sections.
type page struct {
	name    string
	section int
	what    string // behind the name, one line
	body    strings.Builder
	headed  bool // nothing stands below the last heading yet
}

// roff is the page as man reads it.
func (p *page) roff(b build) string {
	return fmt.Sprintf(".\\\" Made of the program's own words; SPDX-License-Identifier: Apache-2.0\n.TH %s %d %s \"cleat %s\" \"cleat\"\n.SH NAME\n%s \\- %s\n",
		quoted(strings.ToUpper(p.name)), p.section, b.date.Format("2006-01-02"), strings.Trim(quoted(b.version), `"`),
		literal(p.name), prose(p.what)) + p.body.String()
}

func (p *page) heading(text string) {
	fmt.Fprintf(&p.body, ".SH %s\n", strings.ToUpper(text))
	p.headed = true
}

// paragraph begins one; a heading has begun the first.
func (p *page) paragraph() {
	if !p.headed {
		p.body.WriteString(".PP\n")
	}
	p.headed = false
}

// words adds text as a person has written it in a terminal: paragraphs with
// blank lines between, and lines that begin with blanks as they stand.
func (p *page) words(text string) {
	begun, verbatim := false, false
	for _, line := range strings.Split(strings.Trim(text, "\n"), "\n") {
		indented := strings.HasPrefix(line, "  ")
		switch {
		case indented && !verbatim:
			p.paragraph()
			p.body.WriteString(".RS 4\n.nf\n")
		case !indented && verbatim:
			p.body.WriteString(".fi\n.RE\n")
			begun = false
		}
		verbatim = indented
		switch {
		case indented:
			p.body.WriteString(beginning(literal(strings.TrimPrefix(line, "  "))) + "\n")
		case strings.TrimSpace(line) == "":
			begun = false
		default:
			if !begun {
				p.paragraph()
			}
			begun = true
			p.body.WriteString(beginning(prose(line)) + "\n")
		}
	}
	if verbatim {
		p.body.WriteString(".fi\n.RE\n")
	}
}

// item adds a term, which is roff already, with what it means.
func (p *page) item(term, meaning string) {
	fmt.Fprintf(&p.body, ".TP\n%s\n%s\n", term, beginning(prose(meaning)))
	p.headed = false
}

// seeAlso ends a page with others, as NAME(SECTION).
func (p *page) seeAlso(pages ...string) {
	p.heading("see also")
	var refs []string
	for _, other := range pages {
		name, section, _ := strings.Cut(other, "(")
		refs = append(refs, fmt.Sprintf(".BR %s (%s", literal(name), section))
	}
	p.body.WriteString(strings.Join(refs, " ,\n") + "\n")
}

// prose is text as roff takes it: a hyphen stays one, a flag in it does not
// become a dash.
func prose(text string) string {
	text = strings.ReplaceAll(text, `\`, `\e`)
	text = strings.ReplaceAll(text, "--", `\-\-`)
	return strings.ReplaceAll(text, " -", ` \-`)
}

// literal is what a reader may copy: its hyphens are minus signs, its quotes
// straight.
func literal(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
}

// beginning keeps roff from taking the line for a request of its own.
func beginning(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

func bold(text string) string { return `\fB` + literal(text) + `\fR` }

func italic(text string) string { return `\fI` + literal(text) + `\fR` }

func quoted(text string) string { return `"` + literal(text) + `"` }
