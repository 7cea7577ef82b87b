package httpapi

import (
	"io"
	"mime"
	"net/http"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// IdentityVerdict is what is wrong or odd about an identity. It repeats nothing
// of it.
type IdentityVerdict struct {
	Valid     bool              `json:"valid"`     // nothing wrong
	Qualified bool              `json:"qualified"` // INS, status QUAL, no attribute against it
	Findings  []IdentityFinding `json:"findings"`
}

// IdentityFinding is one of them.
type IdentityFinding struct {
	Finding
	Severity string `json:"severity"` // error or warning
}

// checkIdentity is POST /v1/identities/check: the judgement of package ins, and
// no call to INSi. Nothing is kept.
func (a *API) checkIdentity(w http.ResponseWriter, r *http.Request, _ *caller) error {
	body, err := readBody(r, maxSmall, "application/json")
	if err != nil {
		return err
	}
	var id ins.Identity
	if err := strict(body, &id); err != nil {
		return err
	}
	out := IdentityVerdict{Valid: true, Qualified: id.Qualified(), Findings: []IdentityFinding{}}
	for _, f := range ins.Judge(id) {
		row, ok := fault.Lookup(f.Code)
		if !ok {
			return fault.New(fault.Internal)
		}
		severity := "warning"
		if f.Severity == ins.Error {
			severity, out.Valid = "error", false
		}
		out.Findings = append(out.Findings, IdentityFinding{finding(row, "/"+pointer(f.Where), language(r)), severity})
	}
	reply(w, out)
	return nil
}

// pointer is where a field of an identity stands in its JSON.
func pointer(where string) string {
	switch where {
	case ins.TraitMatricule, ins.TraitOID, ins.TraitStatus, ins.TraitAttributes, "":
		return where
	}
	return "traits/" + where
}

// readBody reads a body of one of the media types, within a limit.
func readBody(r *http.Request, limit int64, kinds ...string) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	known := false
	for _, k := range kinds {
		known = known || err == nil && kind == k
	}
	if !known {
		return nil, fault.New(FaultMediaType)
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, cutOr(err, FaultCut)
	}
	if int64(len(data)) > limit {
		return nil, fault.New(FaultTooLarge)
	}
	return data, nil
}
