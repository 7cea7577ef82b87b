package store

import (
	"context"
	"net/http"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

// What is said to a professional: where their authorisation stands, and whether
// they are the patient's médecin traitant.
const (
	extAuthorisation = "https://interop.esante.gouv.fr/ig/fhir/dmp/StructureDefinition/dmp-autorisation"
	extAttending     = "https://interop.esante.gouv.fr/ig/fhir/dmp/StructureDefinition/dmp-medecin-traitant"
)

// searchPatients answers whether a DMP exists for an INS, whether it is open,
// and to a professional where their authorisation stands (TD0.2).
func (x *exchange) searchPatients(ctx context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	q, err := x.existenceQuery()
	if err != nil {
		return nil, err
	}
	x.trace.patient = q.Patient
	if c := x.trace.caller; c.mode == modePatient && c.patient != q.Patient {
		return nil, refuse(FaultMode)
	}
	var found []hit
	err = x.s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found = nil
		resource, err := x.patientResource(ctx, tx, q.Patient)
		if err == nil && resource != nil {
			found = append(found, hit{kind: "Patient", id: q.Patient, resource: resource})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return x.searchset(q, len(found), found, nil)
}

// existenceQuery reads identifier as the patient of the search.
func (x *exchange) existenceQuery() (cursor, error) {
	c, err := x.query(patientSearch)
	if err != nil || c.Patient != "" {
		return c, err
	}
	list := c.values("identifier")
	if len(list) != 1 {
		return c, refuseAt(FaultNoPatient, "identifier")
	}
	oid, matricule, ok := parsePatientToken(list[0])
	if !ok {
		return c, refuseAt(FaultSearch, "identifier")
	}
	c.Patient = x.s.patientKey(oid, matricule)
	c.Criteria = nil
	return c, nil
}

// readPatient reads one patient by its opaque id.
func (x *exchange) readPatient(ctx context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	x.trace.patient = x.id()
	out := &reply{status: http.StatusOK}
	err := x.s.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		if c := x.trace.caller; c.mode == modePatient && c.patient != x.id() {
			return nil
		}
		out.body, err = x.patientResource(ctx, tx, x.id())
		return err
	})
	if err == nil && out.body == nil {
		x.trace.patient = ""
		err = refuse(FaultNotFound)
	}
	return out, err
}

// patientResource writes what a caller may know of a patient; nil when there is
// no DMP.
func (x *exchange) patientResource(ctx context.Context, tx *sqldb.Tx, key string) ([]byte, error) {
	p, err := x.s.patient(ctx, tx, key)
	if err != nil || p == nil {
		return nil, err
	}
	view := fhir.PatientView(p.key, p.identity, dmp.ID{})
	view.Meta = &fhir.Meta{Profile: []string{fhir.ProfilePatient}}
	active := p.state == StateOpen
	view.Active = &active
	if x.trace.caller.mode == modeDirect {
		status, attending, err := x.s.authorisation(ctx, tx, key, x.trace.caller.sender)
		if err != nil {
			return nil, err
		}
		view.Extension = append(view.Extension, fhir.Extension{URL: extAuthorisation, ValueCode: status},
			fhir.Extension{URL: extAttending, ValueBoolean: &attending})
	}
	return fhir.Marshal(view)
}
