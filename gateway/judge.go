package gateway

import (
	"context"
	"errors"
	"regexp"
	"slices"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// verdict is what judge found of one message.
type verdict struct {
	faults    []*fault.Fault
	warnings  []Note
	aside     []Note // for the timeline, too common for the answer
	documents []judgedDocument

	asked      bool // INSi was
	unanswered bool // and the faults are those of that exchange
}

type judgedDocument struct {
	cda      *cda.Document
	metadata dmp.Metadata
	row      *DocumentRow
}

func (v *verdict) refuse(err error)         { v.faults = append(v.faults, fault.From(err)) }
func (v *verdict) refuseAt(code, at string) { v.refuse(fault.New(code).At(at)) }

// warn notes a code once, at its first place: a timeline is read by people.
func (v *verdict) warn(code, where string) {
	if !slices.ContainsFunc(v.warnings, func(n Note) bool { return n.Code == code }) {
		v.warnings = append(v.warnings, Note{code, where})
	}
}

// judge decides of a message, in the order of the design: structure (the door's
// findings, then the documents), flags, identity, target. A later stage is not
// reached when an earlier one refuses, because its findings would be noise.
// Delivery calls the same functions again before it sends.
func (g *Gateway) judge(ctx context.Context, in Inbound) verdict {
	v := verdict{warnings: slices.Clone(in.Warnings)}
	for _, stage := range []func(context.Context, Inbound, *verdict){
		g.judgeStructure, g.judgeFlags, g.judgeIdentity, g.judgeConsent, g.judgeTarget,
	} {
		stage(ctx, in, &v)
		if len(v.faults) > 0 {
			return v
		}
	}
	return v
}

// judgeStructure reads every document and compares it with what the envelope
// claims of it.
func (g *Gateway) judgeStructure(_ context.Context, in Inbound, v *verdict) {
	for _, err := range in.Refusals[:len(in.Refusals)-in.FlagRefusals] {
		v.refuse(err)
	}
	if len(v.faults) > 0 {
		return
	}
	for i, claimed := range in.Documents {
		doc, ok := g.readDocument(claimed, v)
		if !ok {
			continue
		}
		md := doc.metadata
		if claimed.Type.Code != "" && claimed.Type.Code != md.Type.Code {
			v.refuseAt(FaultTypeMismatch, typeWhere(in))
		}
		if claimed.ID != nil && claimed.ID.String() != md.UniqueID.String() {
			v.refuseAt(FaultIDMismatch, in.at("TXA^1^12"))
		}
		judgeClaims(claimed, md, v)
		if slices.ContainsFunc(v.documents, func(d judgedDocument) bool { return d.row.UniqueID == doc.row.UniqueID }) {
			v.refuseAt(FaultSameDocument, claimed.Where)
		}
		doc.row.Index = i
		v.documents = append(v.documents, doc)
	}
}

func typeWhere(in Inbound) string { return in.at("OBR^1^4") }

// at is a place in an HL7 message, for a message that came as one.
func (in Inbound) at(place string) string {
	if in.Door == "hl7" {
		return place
	}
	return ""
}

// readDocument reads one document and keeps its findings: blocking ones refuse,
// others are warnings unless the site is strict.
func (g *Gateway) readDocument(claimed InboundDocument, v *verdict) (judgedDocument, bool) {
	doc, err := cda.Options{Location: g.Settings.Zone}.Read(claimed.Content)
	if err != nil {
		v.refuse(placed(err, claimed.Where))
		return judgedDocument{}, false
	}
	md, findings := doc.Metadata(claimed.Content)
	refused := false
	for _, f := range append(doc.Verdict().Findings, findings...) {
		if f.Code == ins.FaultTestOID {
			continue // the environment judges it, with the identity
		}
		if f.Severity == cda.Blocking || f.Severity == cda.Error && g.Settings.CDA == "strict" ||
			f.Code == cda.FaultPDFA && g.Settings.PDFA == "require" {
			v.refuse(placed(f, claimed.Where))
			refused = true
		} else {
			v.warn(f.Code, f.FaultWhere())
		}
	}
	if refused {
		return judgedDocument{}, false
	}
	row := &DocumentRow{
		Where: claimed.Where, UniqueID: md.UniqueID.String(), SetID: md.SetID.String(), Version: md.Version,
		TypeCode: md.Type.Code, Size: int64(len(claimed.Content)),
	}
	if md.Replaces != nil {
		row.Replaces = md.Replaces.String()
	}
	return judgedDocument{cda: doc, metadata: md, row: row}, true
}

// placed gives an error of the CDA reader its place in the message, unless the
// message has none (then the XPath stays).
func placed(err error, where string) error {
	if where == "" {
		return err
	}
	return fault.From(err).At(where)
}

// senderForm is an identifier that a token can be asked with: the DMP refuses
// others, at every attempt.
var senderForm = regexp.MustCompile(`^[^\x00-\x20]{1,64}$`)

// judgeFlags judges what is asked to be done with the documents.
func (g *Gateway) judgeFlags(_ context.Context, in Inbound, v *verdict) {
	for _, err := range in.Refusals[len(in.Refusals)-in.FlagRefusals:] {
		v.refuse(err)
	}
	if len(in.Documents) == 0 {
		return
	}
	f := in.Flags
	switch {
	case !f.ToDMP && !f.ToProfessionals && !f.ToPatient:
		v.warn(FaultNoDestination, in.at("OBX"))
	case (f.ToProfessionals || f.ToPatient) && !g.Settings.Mail:
		v.warn(FaultNoMail, "")
	}
	if !f.ToDMP {
		return
	}
	// The door may have said it already, with a better place.
	told := slices.ContainsFunc(v.faults, func(f *fault.Fault) bool { return f.Code == FaultNoSender })
	if !told && (in.Requester == nil || !senderForm.MatchString(in.Requester.Sender())) {
		v.refuseAt(FaultNoSender, in.at("PRT"))
	}
	for _, d := range v.documents {
		if !dmp.TypeAllowedOnDMP(d.metadata.Type.Code) {
			v.refuseAt(cda.FaultTypeNotDMP, typeWhere(in))
		}
		if d.metadata.UniqueID.Extension != "" {
			v.warn(cda.FaultIDExtension, d.row.Where)
		}
		if c := d.metadata.Confidentiality.Code; c == "R" || c == "V" {
			v.warn(FaultRestricted, d.row.Where)
		}
	}
}

// judgeIdentity compares the patient of the message with that of each document,
// inside this one message, then asks the INS gate for every destination. The
// identity that the gate judges is the one that would leave, hence the
// document's, vouched for by the envelope. Nothing learned from other messages
// is used.
func (g *Gateway) judgeIdentity(_ context.Context, in Inbound, v *verdict) {
	for _, d := range v.documents {
		document := d.metadata.Patient
		diffs := ins.CompareOutbound(in.Patient, document)
		if err := ins.Contradiction(diffs); err != nil {
			v.refuse(placed(err, patientWhere(in)))
			return
		}
		for _, diff := range diffs {
			v.warn(diff.Finding().Code, patientWhere(in))
		}
		leaving := document.VouchedBy(in.Patient)
		err := g.gate(leaving, in.Flags)
		if err == nil {
			err = gateBeside(in, d, leaving)
		}
		if err != nil {
			v.refuse(placed(err, patientWhere(in)))
			return
		}
		if leaving.Matricule == "" {
			continue
		}
		for _, f := range ins.Inspect(leaving.Matricule, leaving.OID) {
			v.warn(f.Code, d.row.Where) // errors were refused by the gate
		}
	}
}

func patientWhere(in Inbound) string { return in.at("PID^1^3") }

// gate asks the one INS gate for every destination that the flags name.
func (g *Gateway) gate(patient ins.Identity, f Flags) error {
	for _, d := range []struct {
		asked bool
		to    ins.Destination
	}{{f.ToDMP, ins.ToDMP}, {f.ToPatient, ins.ToPatient}, {f.ToProfessionals, ins.ToProfessional}} {
		if !d.asked {
			continue
		}
		if err := ins.Gate(patient, d.to); err != nil {
			return err
		}
	}
	if patient.Matricule == "" {
		return nil
	}
	return g.Settings.Environment.Check(patient.OID)
}

// judgeTarget looks up what this establishment already fed under the ids that
// the documents name. The DMP has the last word; its answer comes by Z01.
func (g *Gateway) judgeTarget(ctx context.Context, in Inbound, v *verdict) {
	if len(in.Documents) == 0 {
		return
	}
	g.judgeReplaced(in, v)
	if len(v.faults) > 0 {
		return
	}
	if reused, err := g.controlIDReused(ctx, in); err != nil {
		v.refuse(err)
		return
	} else if reused && g.Settings.Duplicates == "refuse" {
		v.refuseAt(FaultControlIDReused, in.at("MSH^1^10"))
	} else if reused {
		v.warn(FaultControlIDReused, in.at("MSH^1^10"))
	}
	if !in.Flags.ToDMP {
		return
	}
	for _, d := range v.documents {
		target := d.row.UniqueID
		if in.Action == dmp.Replace {
			target = d.row.Replaces
		}
		fate, err := g.Journal.Fate(ctx, in.Establishment.FINESSEJ, target)
		known := err == nil
		if err != nil && !errors.Is(err, ErrNotFound) {
			v.refuse(err)
			return
		}
		switch {
		case in.Action == dmp.New && known:
			v.warn(FaultAlreadyFed, d.row.Where)
		case in.Action == dmp.New:
		case known && fate.Fate != FateCurrent:
			v.refuseAt(FaultNotLatest, d.row.Where)
		case !known && g.Settings.StrictTargets:
			v.refuseAt(FaultUnknownTarget, d.row.Where)
		case !known:
			v.warn(FaultUnknownTarget, d.row.Where)
		}
	}
}

// judgeReplaced finds the replaced document in the CDA, which has the last word;
// TXA-13 only repeats it.
func (g *Gateway) judgeReplaced(in Inbound, v *verdict) {
	if in.Action != dmp.Replace {
		return
	}
	for i, d := range v.documents {
		claimed, named := in.Documents[i].Replaces, d.metadata.Replaces
		switch {
		case named == nil:
			v.refuseAt(FaultReplacesMissing, d.row.Where)
		case claimed != nil && *claimed != *named:
			v.refuseAt(FaultReplacesMismatch, in.at("TXA^1^13"))
		}
	}
}

// controlIDReused tells whether this sender already used this MSH-10 with other
// bytes; the same bytes were replayed before judging.
func (g *Gateway) controlIDReused(ctx context.Context, in Inbound) (bool, error) {
	if in.Message.ControlID == "" || in.IdempotencyKey != "" {
		return false, nil
	}
	known, err := g.Journal.Submissions(ctx, Query{
		FINESSGeo: []string{in.Establishment.FINESSGeo}, ControlID: in.Message.ControlID, Limit: 50,
	})
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(known, func(s Submission) bool {
		return s.From == in.From && s.State != RefusedState
	}), nil
}
