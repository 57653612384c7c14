// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// described is a flag that tells about itself, as all of the library's do.
type described interface {
	cli.DocGenerationFlag
	cli.VisibleFlag
}

// toolPages are cleatctl(1) and a page for each of its commands.
func toolPages(app *cli.App) []page {
	first := page{name: app.Name, section: 1, what: app.Usage}
	first.heading("synopsis")
	fmt.Fprintf(&first.body, "%s %s [%s]... [%s]...\n", bold(app.Name), italic("COMMAND"), italic("FLAG"), italic("ARGUMENT"))
	first.heading("description")
	first.words(toolWords)
	first.heading("commands")
	pages := []page{}
	for _, c := range app.VisibleCommands() {
		first.item(commandReference(app.Name, c), c.Usage)
		pages = append(pages, commandPages(app.Name, c)...)
	}
	first.heading("flags of every command")
	first.flags(app.VisibleFlags())
	first.heading("environment")
	first.words(toolEnvironment)
	first.heading("exit status")
	first.words(toolExit)
	first.heading("files")
	first.item(italic("/run/cleat/cleat.sock"), "The socket of this machine's member: for root, the user cleat, and whoever is in group cleat.")
	first.heading("examples")
	first.words(toolExamples)
	first.seeAlso("cleatd(8)", "cleatd.toml(5)")
	return append([]page{first}, pages...)
}

func commandReference(above string, c *cli.Command) string {
	return fmt.Sprintf(`.BR %s (1)`, literal(pageName(above, c)))
}

func pageName(above string, c *cli.Command) string { return above + "-" + c.Name }

// commandPages are a command's page and those of the commands below it.
func commandPages(above string, c *cli.Command) []page {
	p := page{name: pageName(above, c), section: 1, what: c.Usage}
	typed := strings.ReplaceAll(above, "-", " ") + " " + c.Name
	below := []page{}
	p.heading("synopsis")
	if subs := c.VisibleCommands(); len(c.Subcommands) > 0 {
		fmt.Fprintf(&p.body, "%s %s [%s]... [%s]...\n", bold(typed), italic("COMMAND"), italic("FLAG"), italic("ARGUMENT"))
		p.descriptionOf(c)
		p.heading("commands")
		for _, sub := range subs {
			p.item(commandReference(p.name, sub), sub.Usage)
			below = append(below, commandPages(p.name, sub)...)
		}
	} else {
		p.synopsis(typed, c)
		p.descriptionOf(c)
	}
	p.ownFlags(c)
	p.words("Flags that all commands have are told about in cleatctl(1).")
	p.examplesOf(c)
	first, _, _ := strings.Cut(above, "-")
	see := []string{first + "(1)"}
	if above != first {
		see = append(see, above+"(1)")
	}
	p.seeAlso(see...)
	return append([]page{p}, below...)
}

// synopsis is the line that a command is typed as.
func (p *page) synopsis(typed string, c *cli.Command) {
	p.body.WriteString(bold(typed))
	if len(c.VisibleFlags()) > 0 {
		p.body.WriteString(" [" + italic("FLAG") + "]...")
	}
	if words := strings.TrimSpace(c.ArgsUsage); words != "" {
		p.body.WriteString(" " + italic(words))
	}
	p.body.WriteString("\n")
}

// A command's description ends with its examples.
func partsOf(description string) (words, examples string) {
	for _, mark := range []string{"Example:\n", "Examples:\n"} {
		if before, after, ok := strings.Cut("\n"+description, "\n"+mark); ok {
			return before, after
		}
	}
	return description, ""
}

func (p *page) descriptionOf(c *cli.Command) {
	p.heading("description")
	words, _ := partsOf(c.Description)
	if strings.TrimSpace(words) == "" {
		words = strings.ToUpper(c.Usage[:1]) + c.Usage[1:] + "."
	}
	p.words(words)
}

func (p *page) examplesOf(c *cli.Command) {
	if _, examples := partsOf(c.Description); examples != "" {
		p.heading("examples")
		p.words(examples)
	}
}

func (p *page) ownFlags(c *cli.Command) {
	if flags := c.VisibleFlags(); len(flags) > 0 {
		p.heading("flags")
		p.flags(flags)
	}
}

func (p *page) flags(flags []cli.Flag) {
	for _, f := range flags {
		d, ok := f.(described)
		if !ok || !d.IsVisible() {
			continue
		}
		p.item(flagTerm(d), flagMeaning(d))
	}
}

// flagTerm is how a flag is typed: the name in back quotes in its usage stands
// for its value.
func flagTerm(f described) string {
	var names []string
	for _, name := range f.Names() {
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		names = append(names, bold(dashes+name))
	}
	term := strings.Join(names, ", ")
	if !f.TakesValue() {
		return term
	}
	value := "VALUE"
	if _, rest, ok := strings.Cut(f.GetUsage(), "`"); ok {
		value, _, _ = strings.Cut(rest, "`")
	}
	return term + " " + italic(value)
}

func flagMeaning(f described) string {
	text := strings.ReplaceAll(f.GetUsage(), "`", "")
	if preset := f.GetDefaultText(); preset != "" && f.TakesValue() && !strings.Contains(text, "(default: ") {
		text += " (default: " + strings.Trim(preset, `"`) + ")"
	}
	return sentence(text)
}
