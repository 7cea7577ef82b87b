package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/xdm"
)

type xdmCmd struct {
	Check  xdmCheckCmd  `cmd:"" help:"Juge des archives comme la réception des courriels : format, empreintes, CDA, accord entre les deux."`
	List   xdmListCmd   `cmd:"" help:"Donne en JSON les lots et les métadonnées des documents, patient compris."`
	Unpack xdmUnpackCmd `cmd:"" help:"Écrit dans un dossier les documents d'une archive, une fois contrôlés."`
}

// openXDM reads an archive, or the mail that carries it. What is wrong with
// either is an error with a code.
func openXDM(name string, f io.Reader) (*xdm.Archive, error) {
	data, err := bounded(name, f, mss.DefaultLimits().Size)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(data, []byte("PK")) {
		in, err := mss.Read(data, mss.DefaultLimits())
		if err != nil {
			return nil, err
		}
		if in.Kind != mss.KindLetter {
			return nil, usageError{fmt.Errorf("%s : accusé de remise ou de lecture, et non une lettre : il ne porte pas d'archive", name)}
		}
		if data, err = in.Archive(); err != nil {
			return nil, err
		}
		if data == nil {
			return nil, fault.New(gateway.FaultNoArchive)
		}
	}
	return xdm.Unpack(data, xdm.DefaultLimits())
}

type xdmCheckCmd struct {
	Files []string `arg:"" name:"fichier" help:"Archives IHE_XDM.zip, ou courriels (.eml) qui en portent une."`
	Zone  string   `default:"Europe/Paris" help:"Fuseau des heures qui n'en ont pas."`
	judging
}

// xdmReport is the result of `xdm check`.
type xdmReport struct {
	RuleSet string       `json:"rule_set"`
	Wrong   int          `json:"wrong"` // files that would not be filed
	Files   []xdmVerdict `json:"files"`
}

// xdmVerdict is what was found in one archive.
type xdmVerdict struct {
	File      string        `json:"file"`
	OK        bool          `json:"ok"`
	Lots      int           `json:"lots"`
	Documents []xdmDocument `json:"documents"`
	Findings  []finding     `json:"findings"`
}

// xdmDocument is one document, without its patient.
type xdmDocument struct {
	Name     string     `json:"name"` // in the archive
	Action   dmp.Action `json:"action"`
	Type     dmp.Code   `json:"type"`
	UniqueID string     `json:"unique_id"`
	Replaces string     `json:"replaces,omitempty"`
	Size     int64      `json:"size"`
	SHA1     string     `json:"sha1"`
}

// Run judges every archive. Exit 1 when one would not be filed, whoever its
// patient is; whether the patient is known here, only the gateway can say.
func (c *xdmCheckCmd) Run(e *env) error {
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		return usageError{errors.New("--zone : fuseau horaire inconnu ; exemple : Europe/Paris")}
	}
	report := xdmReport{RuleSet: cda.RuleSet, Files: []xdmVerdict{}}
	unread := eachFile(c.Files, func(name string, f io.Reader) error {
		if e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		v, err := c.judge(name, f, zone)
		if err != nil {
			return err
		}
		if !v.OK {
			report.Wrong++
		}
		report.Files = append(report.Files, v)
		if !c.JSON {
			v.print(e.out, c.Lang)
		}
		return nil
	})
	return c.end(e, unread, report.Wrong, report, fmt.Sprintf(c.Lang.say("%s, %d à mettre en quarantaine. Jeu de règles : %s", "%s, %d for quarantine. Rule set: %s"),
		count(len(report.Files), "archive"), report.Wrong, cda.RuleSet))
}

func (c *xdmCheckCmd) judge(name string, f io.Reader, zone *time.Location) (xdmVerdict, error) {
	v := xdmVerdict{File: name, Documents: []xdmDocument{}, Findings: []finding{}}
	archive, err := openXDM(name, f)
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return v, err
	case err != nil:
		v.Findings = append(v.Findings, c.Lang.wrong(err))
		return v, nil
	}
	v.OK, v.Lots = true, len(archive.Lots)
	wrong := func(err error, where string) {
		v.OK = false
		found := c.Lang.wrong(err)
		found.Where = join(", ", where, found.Where)
		v.Findings = append(v.Findings, found)
	}
	var first *ins.Identity
	for _, d := range archive.Documents {
		v.Documents = append(v.Documents, described(d))
		md, err := gateway.ReadReceived(d, zone)
		if err != nil {
			wrong(err, d.Name)
			continue
		}
		// What is told of the rest refuses nothing: the CDA has the last word.
		for _, f := range cda.Compare(d.Metadata, md) {
			v.Findings = append(v.Findings, c.Lang.warned(gateway.Note{Code: f.Code, Where: join(", ", d.Name, f.FaultWhere())}))
		}
		patient := md.Patient.ByContract()
		if first == nil {
			first = &patient
		}
		if err := ins.Contradiction(ins.CompareOutbound(*first, patient)); err != nil {
			wrong(err, d.Name)
		}
	}
	for _, w := range archive.Warnings {
		v.Findings = append(v.Findings, c.Lang.warned(gateway.Note{Code: w.Code, Where: w.Where}))
	}
	return v, nil
}

func described(d xdm.Document) xdmDocument {
	m := d.Metadata
	out := xdmDocument{Name: d.Name, Action: d.Action, Type: m.Type, UniqueID: m.UniqueID.String(), Size: m.Size, SHA1: fmt.Sprintf("%x", m.SHA1)}
	if m.Replaces != nil {
		out.Replaces = m.Replaces.String()
	}
	return out
}

func (v xdmVerdict) print(w io.Writer, t tongue) {
	verdict := t.say("conforme", "correct")
	if !v.OK {
		verdict = t.say("refusée", "refused")
	}
	fmt.Fprintf(w, "%s : %s\n", v.File, join(", ", verdict, t.tally(v.Findings)))
	for _, d := range v.Documents {
		fmt.Fprintf(w, "  %s : %s\n", plain(d.Name), join(", ", t.action(d.Action), plain(join(" ", d.Type.Code, d.Type.Display)), plain(d.UniqueID),
			fmt.Sprintf(t.say("%d octets, empreinte et taille exactes", "%d bytes, digest and size right"), d.Size)))
	}
	for _, f := range v.Findings {
		f.print(w)
	}
}

type xdmListCmd struct {
	File string `arg:"" name:"fichier" help:"Archive IHE_XDM.zip, ou courriel (.eml) qui en porte une."`
}

// openOne opens the archive of a command that takes one.
func openOne(e *env, name string) (*xdm.Archive, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError{err}
	}
	defer func() { _ = f.Close() }()
	archive, err := openXDM(name, f)
	if err != nil {
		return nil, refused(e, name, err)
	}
	return archive, nil
}

// Run writes what the archive claims.
func (c *xdmListCmd) Run(e *env) error {
	archive, err := openOne(e, c.File)
	if err != nil {
		return err
	}
	type document struct {
		Name      string       `json:"name"`
		EntryUUID string       `json:"entry_uuid"`
		Action    dmp.Action   `json:"action"`
		Metadata  dmp.Metadata `json:"metadata"`
	}
	type lot struct {
		UniqueID    dmp.ID    `json:"unique_id"`
		SourceID    string    `json:"source_id"`
		Submitted   time.Time `json:"submitted"`
		Title       string    `json:"title,omitempty"`
		ContentType dmp.Code  `json:"content_type"`
	}
	out := struct {
		Lots      []lot         `json:"lots"`
		Documents []document    `json:"documents"`
		Warnings  []xdm.Warning `json:"warnings"`
	}{[]lot{}, []document{}, slices.Concat([]xdm.Warning{}, archive.Warnings)}
	for _, l := range archive.Lots {
		out.Lots = append(out.Lots, lot{l.UniqueID, l.SourceID, l.Submitted, l.Title, l.ContentType})
	}
	for _, d := range archive.Documents {
		out.Documents = append(out.Documents, document{d.Name, d.EntryUUID, d.Action, d.Metadata})
	}
	return writeJSON(e.out, out)
}

type xdmUnpackCmd struct {
	File string `arg:"" name:"fichier" help:"Archive IHE_XDM.zip, ou courriel (.eml) qui en porte une."`
	Out  string `required:"" help:"Dossier où écrire ; un fichier présent n'est jamais remplacé." placeholder:"DOSSIER"`
}

// Run writes the documents that the metadata describe, and nothing else of the
// archive: only these were checked. Their names were too; the folder keeps them
// inside all the same.
func (c *xdmUnpackCmd) Run(e *env) error {
	archive, err := openOne(e, c.File)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o700); err != nil {
		return usageError{err}
	}
	root, err := os.OpenRoot(c.Out)
	if err != nil {
		return usageError{err}
	}
	defer func() { _ = root.Close() }()
	for _, d := range archive.Documents {
		if err := root.MkdirAll(path.Dir(d.Name), 0o700); err != nil {
			return usageError{err}
		}
		f, err := root.OpenFile(d.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return usageError{err}
		}
		_, err = f.Write(d.Content)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		fmt.Fprintln(e.out, filepath.Join(c.Out, filepath.FromSlash(plain(d.Name))))
	}
	return nil
}
