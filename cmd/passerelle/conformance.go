package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/conformance"
)

// exitUntested is the status of a run where nothing is wrong and something could
// not be judged.
const exitUntested = 4

// errUntested says that nothing is wrong and that something was not judged; it
// was already told.
var errUntested = errors.New("non testé")

type conformanceCmd struct {
	List   conformanceListCmd   `cmd:"" help:"Liste les exigences, leurs scénarios et leur mode."`
	Run    conformanceRunCmd    `cmd:"" help:"Juge un système, par le réseau seulement, et écrit un rapport."`
	Report conformanceReportCmd `cmd:"" help:"Réécrit le rapport HTML et JUnit d'un jugement gardé."`
	Diff   conformanceDiffCmd   `cmd:"" help:"Compare deux jugements ; échoue si un verdict a reculé."`
}

type conformanceListCmd struct {
	JSON bool `help:"Sortie lisible par une machine." name:"json"`
}

func (c *conformanceListCmd) Run(e *env) error {
	cat, err := conformance.LoadCatalogue(conformance.DefaultCatalogue)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeIndented(e, cat)
	}
	fmt.Fprintf(e.out, "%s — %s, couloir %s\n%s\n\n", cat.DSR, cat.System, cat.Couloir, cat.Notice)
	automated := 0
	for _, r := range cat.Requirements {
		fmt.Fprintf(e.out, "%-16s %s  %s\n", r.ID, r.Nature, r.Text)
		one := false
		for _, s := range r.Scenarios {
			how := "automatisé"
			if s.Mode != conformance.Automated {
				how = "à apporter : " + strings.TrimSuffix(s.Proof, ".")
			} else {
				one = true
			}
			fmt.Fprintf(e.out, "    %-20s %s (%s)\n", s.ID, s.Title, how)
		}
		if one {
			automated++
		}
	}
	fmt.Fprintf(e.out, "\n%d exigences, dont %d automatisées.\n", len(cat.Requirements), automated)
	return nil
}

func writeIndented(e *env, v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

type conformanceRunCmd struct {
	Info    string        `help:"Fichier écrit par « sandbox --info »." placeholder:"FICHIER" xor:"target" required:""`
	Product string        `help:"Fiche d'un produit (YAML) branché sur un bac à sable." placeholder:"FICHIER" xor:"target" required:""`
	Out     string        `required:"" help:"Dossier du rapport et des preuves ; créé s'il est absent." placeholder:"DOSSIER"`
	All     bool          `help:"Le code de sortie tient compte aussi des exigences non automatisées."`
	Quiet   time.Duration `help:"Sans rien de nouveau pendant ce temps, rien d'autre n'est attendu." default:"15s"`
	Wait    time.Duration `help:"Attente maximale de chaque tour." default:"3m"`
	JSON    bool          `help:"Sortie lisible par une machine." name:"json"`
}

func (c *conformanceRunCmd) Run(e *env) error {
	if c.Quiet <= 0 || c.Wait <= 0 {
		return usageError{errors.New("--quiet et --wait sont des durées positives")}
	}
	var target conformance.Target
	var err error
	if c.Product != "" {
		target, err = conformance.ReadProduct(c.Product)
	} else {
		target, err = conformance.ReadInfo(c.Info)
	}
	if err != nil {
		return usageError{errors.New(explain(err))}
	}
	cat, err := conformance.LoadCatalogue(conformance.DefaultCatalogue)
	if err != nil {
		return err
	}
	progress := func(text string) { fmt.Fprintln(e.out, "  "+text) }
	if c.JSON {
		progress = nil
	}
	res, err := conformance.Run(e.ctx, conformance.Config{
		Target: target, Catalogue: cat, Out: c.Out, Clock: e.clock, Sleep: sleep,
		Version: programName(), Quiet: c.Quiet, Wait: c.Wait, Progress: progress,
	})
	switch {
	case errors.Is(err, conformance.ErrFolder):
		return usageError{errors.New(explain(err))}
	case err != nil:
		return err
	}
	if c.JSON {
		if err := writeIndented(e, map[string]any{"counts": res.Counts(), "verdicts": res.Verdicts(), "out": c.Out}); err != nil {
			return err
		}
	} else {
		tellResult(e, res, c.Out)
	}
	return statusOf(res, c.All)
}

// programName says which build judged, as the Go tool wrote it down.
func programName() string {
	name := "passerelle"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return name
	}
	if v := info.Main.Version; v != "" {
		name += " " + v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && !strings.Contains(name, s.Value[:min(12, len(s.Value))]) {
			name += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return name
}

// statusOf is the exit status of a judgement.
func statusOf(res *conformance.Result, all bool) error {
	switch res.Outcome(all) {
	case conformance.NotConform:
		return errWrong
	case conformance.NotTested:
		return errUntested
	}
	return nil
}

func tellResult(e *env, res *conformance.Result, out string) {
	fmt.Fprintln(e.out)
	for _, r := range res.Requirements {
		for _, s := range r.Scenarios {
			if s.Mode == conformance.Automated {
				fmt.Fprintf(e.out, "%-13s %-20s %s\n", s.Verdict, s.ID, s.Title)
				if s.Verdict != conformance.Conform {
					fmt.Fprintf(e.out, "%14s%s\n", "", res.Mask(s.Reason))
				}
			}
		}
	}
	n := res.Counts()
	fmt.Fprintf(e.out, "\n%d exigences : %d conformes, %d non conformes, %d non testées, %d sans objet.\n", len(res.Requirements),
		n[conformance.Conform], n[conformance.NotConform], n[conformance.NotTested], n[conformance.NotConcern])
	fmt.Fprintf(e.out, "Les exigences non automatisées restent non testées ; le code de sortie n'en tient compte qu'avec --all.\nRapport : %s\n",
		filepath.Join(out, "rapport.html"))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

type conformanceReportCmd struct {
	Dir string `arg:"" help:"Dossier d'un jugement." placeholder:"DOSSIER"`
}

func (c *conformanceReportCmd) Run(e *env) error {
	if st, err := os.Stat(c.Dir); err != nil || !st.IsDir() {
		return usageError{fmt.Errorf("%s n'est pas le dossier d'un jugement", c.Dir)}
	}
	res, err := conformance.Read(c.Dir)
	if err != nil {
		return err
	}
	if err := res.Render(c.Dir); err != nil {
		return err
	}
	fmt.Fprintln(e.out, "Rapport :", filepath.Join(c.Dir, "rapport.html"))
	return nil
}

type conformanceDiffCmd struct {
	Before string `arg:"" help:"Dossier du premier jugement." placeholder:"AVANT"`
	After  string `arg:"" help:"Dossier du second." placeholder:"APRES"`
	JSON   bool   `help:"Sortie lisible par une machine." name:"json"`
}

func (c *conformanceDiffCmd) Run(e *env) error {
	before, err := conformance.Read(c.Before)
	if err != nil {
		return err
	}
	after, err := conformance.Read(c.After)
	if err != nil {
		return err
	}
	changes := conformance.Diff(before, after)
	if c.JSON {
		if err := writeIndented(e, map[string]any{"before": before.DSR, "after": after.DSR, "changes": slices.Concat([]conformance.Change{}, changes)}); err != nil {
			return err
		}
	} else {
		c.tell(e, before, after, changes)
	}
	if slices.ContainsFunc(changes, func(x conformance.Change) bool { return x.Worse }) {
		return errWrong
	}
	return nil
}

func (c *conformanceDiffCmd) tell(e *env, before, after *conformance.Result, changes []conformance.Change) {
	if before.Catalogue != after.Catalogue {
		fmt.Fprintln(e.out, "Les deux jugements n'ont pas le même catalogue.")
	}
	for _, x := range changes {
		was, is := x.Before, x.After
		if was == "" {
			was = "absent"
		}
		if is == "" {
			is = "absent"
		}
		mark := " "
		if x.Worse {
			mark = "✗"
		}
		fmt.Fprintf(e.out, "%s %-20s %s → %s\n", mark, x.ID, was, is)
	}
	fmt.Fprintf(e.out, "%d verdict(s) changé(s).\n", len(changes))
	a, b := before.Counts(), after.Counts()
	for _, v := range slices.Sorted(maps.Keys(b)) {
		fmt.Fprintf(e.out, "  %-13s %d → %d\n", v, a[v], b[v])
	}
}
