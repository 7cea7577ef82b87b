package gateway

import (
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
)

// gateBeside asks the gate for what names a person beside recordTarget: the
// mailbox of a patient, and a matricule that a document without INS says
// elsewhere, or the letter around it. Nothing of it is searched for beside a
// document whose own INS went through the gate: what its author writes of a
// qualified person is theirs to write.
func gateBeside(in Inbound, d judgedDocument, leaving ins.Identity) error {
	for _, r := range in.Recipients {
		asked := in.Flags.ToProfessionals
		if r.Kind == RecipientPatient {
			asked = in.Flags.ToPatient
		}
		if a, err := mss.ParseAddress(r.Address); err != nil || !asked || !a.IsPatient() {
			continue
		}
		if _, err := mss.CheckPatientAddress(leaving, r.Address); err != nil {
			return err
		}
	}
	if leaving.HasINS() || !in.Flags.ToProfessionals {
		return nil
	}
	said, ok := saidBeside(in, d.cda)
	if !ok {
		return nil
	}
	leaving.Matricule, leaving.OID = said.Matricule, said.OID
	if leaving.Matricule != in.Patient.Matricule || leaving.OID != in.Patient.OID {
		leaving.Status = "" // the envelope vouches for its own person only
	}
	return ins.Gate(leaving, ins.ToProfessional)
}

// saidBeside finds the INS that a letter would carry although recordTarget has
// none: that of the envelope wherever it is written, or any number under an OID
// of the INS.
func saidBeside(in Inbound, doc *cda.Document) (ins.Pair, bool) {
	own := ins.Pair{Matricule: in.Patient.Matricule, OID: in.Patient.OID}
	if own.Matricule != "" &&
		(cda.Says(in.BodyPro, own.Matricule) || cda.Says([]byte(in.Visit.FileNumber), own.Matricule) || doc.Mentions(own.Matricule)) {
		return own, true
	}
	return doc.Named()
}
