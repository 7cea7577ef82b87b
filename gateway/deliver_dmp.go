package gateway

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the hash that XDS and MHD prescribe, not a protection
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// toDMP does what one submission asks of the DMP. Rules are applied again
// before sending, on the bytes as kept.
//
// A delivery whose Sent mark is set may already have been done: the DMP is
// asked for the document first (TD3.1b), and only what it does not hold is sent
// again, under the same lot id.
func (d *Deliverer) toDMP(ctx context.Context, del lease) result {
	w, err := d.load(ctx, del)
	r := result{documents: w.marks}
	if w.in.Flags.WantReception {
		r.notice = w.notice("Z01", "zam", del.Delivery)
	}
	for _, doc := range w.docs {
		if err == nil && doc.metadata.UniqueID.Extension != "" {
			err = fault.New(cda.FaultIDExtension).At(doc.row.Where)
		}
	}
	if err != nil {
		r.err = err
		return r
	}
	switch w.in.Action {
	case dmp.Delete:
		d.remove(ctx, del, w, &r)
	default:
		d.deposit(ctx, del, w, &r)
	}
	if r.sent {
		d.Gateway.step(StepAnswered, del.Submission)
	}
	return r
}

func visibilityFlags(f Flags) string {
	var set []string
	for _, v := range visibility(f) {
		set = append(set, string(v))
	}
	return strings.Join(set, " ")
}

func visibility(f Flags) []dmp.Visibility {
	var set []dmp.Visibility
	if f.HiddenFromProfessionals {
		set = append(set, dmp.HiddenFromProfessionals)
	}
	if f.HiddenFromPatient {
		set = append(set, dmp.HiddenFromPatient)
	}
	if f.HiddenFromRepresentatives {
		set = append(set, dmp.HiddenFromRepresentatives)
	}
	return set
}

func derive(kind, delivery string) [32]byte { return sha256.Sum256([]byte(kind + "\x00" + delivery)) }

// noticeID is an MSH-10 short enough for HL7 2.5.
func noticeID(about, delivery string) string {
	sum := derive(about, delivery)
	return "Z" + base32.HexEncoding.EncodeToString(sum[:10])
}

// lotID makes the OID of a lot from the delivery id: the same on every resend.
func lotID(delivery string) dmp.ID {
	sum := derive("lot", delivery)
	n := new(big.Int).SetBytes(sum[:16])
	return dmp.ID{Root: "2.25." + n.String()}
}

func entryUUID(kind, delivery string) string {
	b := derive(kind, delivery)
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80 // version 8 (RFC 9562): our own derivation
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// deposit feeds or replaces.
func (d *Deliverer) deposit(ctx context.Context, del lease, w request, r *result) {
	if del.Sent {
		switch done, err := d.alreadyThere(ctx, w); {
		case err != nil:
			r.err = err
			return
		case done:
			r.sent, r.fates = true, fates(w)
			return
		}
	}
	// After the question above: what is there already is told as it is.
	if err := d.Gateway.mayFeed(ctx, w); err != nil {
		r.err = err
		return
	}
	lot := dmp.Deposit{
		Caller: w.caller, LotID: lotID(del.ID), EntryUUID: entryUUID("lot", del.ID), Submitted: del.Created,
		Patient: w.in.Patient, ContentType: contentType(w.in.Visit.Class),
	}
	for i, doc := range w.docs {
		md := doc.metadata
		md.Visibility = visibility(w.in.Flags)
		item := dmp.DepositDocument{Metadata: md, Content: w.bytes[i]}
		if w.in.Action == dmp.Replace {
			held, err := d.Archive.Find(ctx, w.caller, w.in.Patient, *md.Replaces)
			if err != nil {
				r.err = err
				return
			}
			switch {
			case held == nil:
				r.err = fault.New(FaultUnknownTarget)
				return
			case held.Status != FateCurrent:
				r.err = fault.New(FaultNotLatest)
				return
			}
			item.ReplacesID = held.ID
		}
		lot.Documents = append(lot.Documents, item)
	}
	if err := d.Gateway.Journal.MarkSent(ctx, del.ID, del.holder, ""); err != nil {
		r.err = err
		return
	}
	r.sent = true
	d.Gateway.step(StepRequested, del.Submission)
	done, err := d.Archive.Deposit(ctx, lot)
	if err == nil {
		r.ack = done.Status
		// Where the lot went stands with the delivery before its outcome does: who
		// waits for the outcome finds both.
		err = d.Gateway.Journal.MarkSent(ctx, del.ID, del.holder, locations(done))
	}
	if err != nil && fault.From(err).FHIR == "duplicate" {
		// These very documents may be there already, fed by an earlier message
		// or by a request whose answer was lost.
		if done, findErr := d.alreadyThere(ctx, w); findErr == nil && done {
			r.warning, err = FaultAlreadyFed, nil
		}
	}
	r.err = err
	r.fates = fates(w)
}

// locations writes an answer of the DMP as Delivery.Remote keeps it.
func locations(done dmp.Deposited) string {
	return strings.Join(slices.Concat([]string{done.Lot}, done.Locations, done.Binaries), " ")
}

// alreadyThere asks the DMP whether it holds every document of the lot, with
// the same bytes.
func (d *Deliverer) alreadyThere(ctx context.Context, w request) (bool, error) {
	for i, doc := range w.docs {
		held, err := d.Archive.Find(ctx, w.caller, w.in.Patient, doc.metadata.UniqueID)
		if err != nil {
			return false, err
		}
		sum := sha1.Sum(w.bytes[i]) //nolint:gosec // see above
		if held == nil || !bytes.Equal(held.SHA1, sum[:]) {
			return false, nil
		}
	}
	return true, nil
}

// remove marks every document of the message as deleted. The technical id is
// noted before the request leaves, so that after a crash the deletion can be
// asked for again although the document is no longer found.
func (d *Deliverer) remove(ctx context.Context, del lease, w request, r *result) {
	ids := strings.Fields(del.Remote)
	if len(ids) == 0 {
		for _, doc := range w.docs {
			held, err := d.Archive.Find(ctx, w.caller, w.in.Patient, doc.metadata.UniqueID)
			if err == nil && held == nil {
				err = fault.New(FaultUnknownTarget)
			}
			if err != nil {
				r.err = err
				return
			}
			ids = append(ids, held.ID)
		}
		if err := d.Gateway.Journal.MarkSent(ctx, del.ID, del.holder, strings.Join(ids, " ")); err != nil {
			r.err = err
			return
		}
	}
	if len(ids) != len(w.docs) {
		r.err = fault.New(fault.Internal).Because(errors.New("noted ids do not match the documents"))
		return
	}
	r.sent = true
	d.Gateway.step(StepRequested, del.Submission)
	for _, id := range ids {
		if err := d.Archive.Delete(ctx, w.caller, w.in.Patient, id); err != nil {
			r.err = err
			return
		}
	}
	r.fates = fates(w)
}

// fates is what becomes of the documents once the DMP said yes.
func fates(w request) []DocumentFate {
	var all []DocumentFate
	for _, doc := range w.docs {
		id := doc.metadata.UniqueID.String()
		if w.in.Action == dmp.Delete {
			all = append(all, DocumentFate{UniqueID: id, Fate: FateDeleted})
			continue
		}
		all = append(all, DocumentFate{UniqueID: id, Fate: FateCurrent})
		if w.in.Action == dmp.Replace {
			all = append(all, DocumentFate{UniqueID: doc.metadata.Replaces.String(), Fate: FateSuperseded, ReplacedBy: id})
		}
	}
	return all
}

// contentType is the proposal of the volet for contentTypeCode, from PV1-2
// (VOL-A annex; TRE_R209).
func contentType(class string) dmp.Code {
	c, ok := contentTypes[class]
	if !ok {
		c = contentTypes["N"]
	}
	return c
}

var contentTypes = map[string]dmp.Code{
	"I": {Code: "03", System: typeActivite, Display: "Hospitalisation complète (non compris hospitalisation de semaine)"},
	"O": {Code: "07", System: typeActivite, Display: "Consultations soins externes"},
	"E": {Code: "07", System: typeActivite, Display: "Consultations soins externes"},
	"R": {Code: "19", System: typeActivite, Display: "Traitement et cure ambulatoire"},
	"N": {Code: "97", System: typeActivite, Display: "Type d'activité indifferencié"},
}

const typeActivite = "1.2.250.1.213.2.2" // TRE_R209
