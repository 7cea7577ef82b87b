package store_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
)

// twoDocuments puts two documents of patientOpen that differ by everything that
// can be searched on, each in its lot. It gives their ids.
func (w *world) twoDocuments() (a, b string) {
	w.t.Helper()
	put := func(n int, change func(*dmp.Deposit), edit func(string) string) string {
		d := someDeposit(fmt.Sprintf("1.2.250.1.999.2.%d", n), someDocument(fmt.Sprintf("1.2.250.1.999.1.%d", n), fmt.Sprint(n)))
		change(&d)
		answer := w.post(w.structure(finess), []byte(edit(string(build(w.t, d))))).bundle(w.t)
		id, _, _ := strings.Cut(strings.TrimPrefix(answer.Entry[1].Response.Location, "DocumentReference/"), "/")
		return id
	}
	a = put(1, func(d *dmp.Deposit) {
		m := &d.Documents[0].Metadata
		m.ServiceStop = m.ServiceStart.Add(48 * time.Hour)
		d.Caller.Requester.Organisation = dmp.Organisation{ID: dmp.ID{Root: "1.2.250.1.71.4.2.2", Extension: "1" + finess}, Name: "CH de Test"}
	}, func(s string) string {
		s = strings.Replace(s, `"context":{`, `"context":{"related":[{"reference":"ServiceRequest/9","identifier":{"type":{"coding":[{"system":"urn:ietf:rfc:3986","code":"urn:ihe:iti:xds:2013:accession"}]},"system":"urn:oid:1.2.250.1.999.7","value":"ACC-1"}}],`, 1)
		return strings.Replace(s, `"mode":"working"`, `"title":"Séjour d'été","mode":"working"`, 1)
	})
	b = put(2, func(d *dmp.Deposit) {
		m := &d.Documents[0].Metadata
		m.Created = time.Date(2025, 3, 4, 9, 0, 0, 0, time.UTC)
		m.ServiceStart = time.Date(2025, 3, 4, 8, 0, 0, 0, time.UTC)
		m.Events = []dmp.Code{{Code: "DEQP003", System: "1.2.250.1.213.2.5"}}
		m.Facility.Code, m.PracticeSetting.Code = "SA05", "AMBULATOIRE"
		m.Format.Code = "urn:ihe:iti:xds-sd:text:2008"
		m.Confidentiality.Code = "R"
		m.Visibility = []dmp.Visibility{dmp.HiddenFromRepresentatives}
		m.Authors[0].Person.Family, m.Authors[0].Person.Given = "LÉGER-O'BRIEN", "Anaïs"
		m.Authors[0].Person.ID.Extension = otherPhys
		d.ContentType.Code = "07"
		d.Submitted = time.Date(2025, 3, 5, 0, 0, 0, 0, time.UTC)
		d.Caller.Establishment.SourceOID = "1.2.250.1.999.10"
		d.Caller.Requester.Person.Family, d.Caller.Requester.Person.Given = "DURAND", "Zoé"
	}, func(s string) string { return s })
	return a, b
}

func enc(name, value string) string { return url.QueryEscape(name) + "=" + url.QueryEscape(value) }

// TestEveryParameter asks for each parameter in ways that find one document,
// the other, both, none, or are refused.
func TestEveryParameter(t *testing.T) {
	w := newWorld(t)
	a, b := w.twoDocuments()
	tok := w.professional(physician)
	lotOf := func(id string) string {
		var n *fhir.Node
		for _, e := range w.search(tok, "List", of(patientOpen)+"&item=DocumentReference/"+id).bundle(t).Entry {
			var err error
			n, err = fhir.Parse(e.Resource)
			must(t, err)
		}
		return n.Get("id").Text()
	}
	const ccam, mos = "urn:oid:1.2.250.1.213.2.5", "https://mos.esante.gouv.fr/NOS/"
	asked := map[string]bool{}
	for kind, table := range map[string][]struct{ name, value, want string }{
		"DocumentReference": {
			{"author.family", "martin", "a"}, {"author.family", "MART", "a"}, {"author.family", "art", ""}, {"author.family:contains", "ART", "a"},
			{"author.family:exact", "martin", ""}, {"author.family:exact", "MARTIN", "a"}, {"author.family", "leger-o'b", "b"}, {"author.family", "MARTIN,LEGER", "ab"},
			{"author.given", "anais", "b"}, {"author:PractitionerRole.given", "anais", "b"}, {"author:Patient.given", "anais", ""},
			{"author:PractitionerRole.practitioner.family", "leger", "b"}, {"author:PractitionerRole.practitioner:Practitioner.family", "leger", "b"},
			{"author.identifier", fhir.SystemProfessional + "|" + otherPhys, "b"}, {"author:identifier", otherPhys, "b"}, {"author.family:missing", "true", ""},
			{"author", "#auteur-1", "ab"}, {"author.family", `leger\,x`, ""},
			{"category", "10", "ab"}, {"category:not", "10", ""}, {"type", "11502-2", "ab"}, {"type:not", "34112-3", "ab"},
			{"creation", "2025", "b"}, {"creation", "ge2026-11-20", "a"}, {"creation", "2025-03-04T09:00:00Z", "b"}, {"creation", "ne2025", "a"},
			{"date", "2025-03", "b"}, {"event", "DEQP003", "b"}, {"event", ccam + "|HGHB001", "a"}, {"event:missing", "false", "ab"},
			{"facility", "SA05", "b"}, {"setting", "ETABLISSEMENT", "a"}, {"setting", mos + "TRE_A01-CadreExercice/FHIR/TRE-A01-CadreExercice|", "ab"},
			{"format", "urn:ihe:iti:xds-sd:text:2008", "b"}, {"format", "http://ihe.net/fhir/ihe.formatcode.fhir/CodeSystem/formatcode|urn:ihe:iti:xds-sd:pdf:2008", "a"},
			{"identifier", "urn:oid:1.2.250.1.999.1.2", "b"}, {"identifier", "urn:oid:1.2.250.1.999.1.2,urn:oid:1.2.250.1.999.1.1", "ab"},
			{"identifier:not", "urn:oid:1.2.250.1.999.1.2", "a"},
			{"isArchived", "false", "ab"}, {"isArchived", "true", ""},
			{"period", "2025-03-04", "b"}, {"period", "ge2026", "ab"}, // b never ended
			{"period", "lt2026", "b"}, {"period", "2026-11-21", "ab"}, {"period", "gt2030", "b"}, {"period", "le2024", ""}, {"period", "sa2026-10", "a"}, {"period", "sa2026", ""}, {"period", "eb2027", "a"},
			{"period-start", "2025", "b"}, {"period-start", "ap2026-11-20", "a"}, {"period-end", "2026-11-22", "a"}, {"period-end:missing", "true", "b"},
			{"related", "ServiceRequest/9", "a"}, {"related", "9", "a"}, {"related:ServiceRequest", "9", "a"}, {"related:Task", "9", ""},
			{"related:identifier", "urn:oid:1.2.250.1.999.7|ACC-1", "a"}, {"related.identifier", "ACC-1", "a"}, {"related:missing", "true", "b"},
			{"relatesto", "DocumentReference/" + a, ""}, {"relatesto:missing", "true", "ab"},
			{"security-label", "R", "b"}, {"security-label", fhir.SystemVisibility + "|INVISIBLE_REPRESENTANTS_LEGAUX", "b"}, {"security-label", "N,R", "ab"},
			{"status", "current", "ab"}, {"status", "http://hl7.org/fhir/document-reference-status|current", "ab"}, {"status:not", "current", ""}, {"status", "entered-in-error", ""},
			{"_id", a, "a"}, {"_id", a + "," + b, "ab"}, {"_id:not", a, "b"}, {"_lastUpdated", "lt2000", ""},
			{"subject.identifier", "urn:oid:" + string(patientOpen.OID) + "|" + patientOpen.Matricule, "ab"},
			{"patient:identifier", "urn:oid:" + string(patientOpen.OID) + "|" + patientOpen.Matricule, "ab"},
			{"subject:Patient.identifier", "urn:oid:" + string(patientOpen.OID) + "|" + patientOpen.Matricule, "ab"},
			{"_count", "10", "ab"}, {"_total", "accurate", "ab"}, {"_summary", "false", "ab"}, {"_sort", "date,-_lastUpdated", "ab"},

			{"status:below", "current", "!"}, {"date:missing", "maybe", "!"}, {"date:missing", "true,false", "!"}, {"date:exact", "2025", "!"}, {"author.family:below", "x", "!"},
			{"status", "", "!"}, {"author.family", " ", "!"}, {"author.family:contains", "\u0301", "!"}, {"status", "current,", "!"}, {"creation", "ge", "!"}, {"period", "2025-13", "!"}, {"period-end", "2025-02-30", "!"},
			{"patient:Group", a, "!"}, {"patient.identifier", "1,2", "!"}, {"subject", "Patient/another", "!"}, {"_count", "x", "!"},
			{"type", strings.Repeat("x,", 100) + "x", "!"},
		},
		"List": {
			{"authorOrg.identifier", "1" + finess, "a"}, {"authorOrg:identifier", fhir.SystemStructure + "|1" + finess, "a"}, {"authorOrg.name", "ch de", "a"}, {"authorOrg", "#structure", "a"},
			{"authorOrg:missing", "true", "b"},
			{"code", "submissionset", "ab"}, {"code", strings.Replace(fhir.SystemListTypes, "https:", "http:", 1) + "|submissionset", "ab"}, {"code", "folder", ""},
			{"date", "2025-03-05", "b"}, {"designationType", "07", "b"}, {"designationType", mos + "TRE_R209-TypeActivite/FHIR/TRE-R209-TypeActivite|03", "a"},
			{"identifier", "urn:oid:1.2.250.1.999.2.2", "b"}, {"isArchived", "false", "ab"}, {"isArchived", "true", ""}, {"item", "DocumentReference/" + b, "b"}, {"item:DocumentReference", b, "b"}, {"item", b, "b"},
			{"source.family", "durand", "b"}, {"source.given", "ZOE", "b"}, {"source:PractitionerRole.practitioner.family", "durand", "b"}, {"source:Patient.family", "durand", ""},
			{"source.identifier", physician, "ab"}, {"source", "#source", "ab"}, {"sourceId", "urn:oid:1.2.250.1.999.10", "b"}, {"sourceId", "urn:ietf:rfc:3986|urn:oid:1.2.250.1.999.9", "a"},
			{"status", "current", "ab"}, {"title", "sejour d'ete", "a"}, {"title:exact", "Séjour d'été", "a"}, {"title:missing", "true", "b"},
			{"_id", lotOf(a), "a"}, {"_lastUpdated", "ge2000", "ab"},
			{"title:not", "x", "!"},
		},
	} {
		for _, c := range table {
			outcome := "ok/"
			if c.want == "!" {
				outcome = "fail/"
			}
			base, _, _ := strings.Cut(c.name, ":")
			asked[kind+" "+base] = true
			t.Run(outcome+kind+" "+c.name+"="+c.value[:min(len(c.value), 60)], func(t *testing.T) {
				query := of(patientOpen) + "&" + enc(c.name, c.value)
				got := w.call(w.doctor, tok, "POST", "/"+kind+"/_search", []byte(query), header{"Content-Type": "application/x-www-form-urlencoded", "Prefer": "handling=strict"})
				if c.want == "!" {
					got.refused(t, 400, "STORE-SEARCH")
					w.search(tok, kind, query).refused(t, 400, "STORE-SEARCH") // lenient too: ignored, it would widen the answer
					return
				}
				found := ""
				for _, e := range got.bundle(t).Entry {
					if bytes.Contains(e.Resource, []byte(a)) {
						found += "a"
					}
					if bytes.Contains(e.Resource, []byte(b)) {
						found += "b"
					}
				}
				if found == "ba" {
					found = "ab"
				}
				if found != c.want {
					t.Errorf("found %q, want %q", found, c.want)
				}
			})
		}
	}
	t.Run("ok/none is left out", func(t *testing.T) {
		for kind, list := range map[string][]fhir.SearchParam{"DocumentReference": fhir.DocumentSearch, "List": fhir.ListSearch} {
			for _, p := range list {
				if !asked[kind+" "+p.Name] && !strings.HasPrefix(p.Name, "patient") && !strings.HasPrefix(p.Name, "subject") {
					t.Errorf("%s of %s is not tried", p.Name, kind)
				}
			}
		}
	})
}

// TestSorted follows pages in each order.
func TestSorted(t *testing.T) {
	w := newWorld(t)
	w.fill()
	tok := w.professional(physician)
	w.patch(w.structure(finess), "/DocumentReference/"+w.held()["1.2.250.1.999.1.3"].ID, archive("true"), nil)
	for sort, want := range map[string]string{
		"": "7654321", "-date": "7654321", "date": "1234567", "_lastUpdated": "1245673", "-_lastUpdated": "3765421", "date,_id": "1234567",
	} {
		got := ""
		path := "/DocumentReference?_count=2&" + of(patientOpen)
		if sort != "" {
			path += "&_sort=" + sort
		}
		for pages := 0; path != "" && pages < 9; pages++ {
			b := w.get(tok, path, nil).bundle(t)
			path = ""
			for _, l := range b.Link {
				if l.Relation == "next" {
					path = strings.TrimPrefix(l.URL, w.server.URL+"/fhir")
				}
			}
			for _, e := range b.Entry {
				n, err := fhir.Parse(e.Resource)
				must(t, err)
				got += strings.TrimPrefix(n.Get("masterIdentifier", "value").Text(), "urn:oid:1.2.250.1.999.1.")
			}
			if pages == 1 { // the first page can be had again from any other
				for _, l := range b.Link {
					if l.Relation == "first" {
						if f := w.get(tok, strings.TrimPrefix(l.URL, w.server.URL+"/fhir"), nil).bundle(t); len(f.Entry) != 2 || !bytes.Contains(f.Entry[0].Resource, []byte("1.999.1."+want[:1]+`"`)) {
							t.Errorf("%s: the first page is another", sort)
						}
					}
				}
			}
		}
		if got != want {
			t.Errorf("_sort=%s: %s, want %s", sort, got, want)
		}
	}
	strict := header{"Prefer": "handling=strict"}
	for _, query := range []string{"_sort=size", "_summary=text", "_include=DocumentReference:author", "_include=x", "_revinclude=Provenance:target", "_elements=id", "colour=red", "_has:List:item:status=current"} {
		w.get(tok, "/DocumentReference?"+of(patientOpen)+"&"+query, strict).refused(t, 400, "STORE-SEARCH-PARAM")
		if b := w.get(tok, "/DocumentReference?"+of(patientOpen)+"&"+query, header{"Prefer": "handling=lenient"}).bundle(t); *b.Total != 7 {
			t.Errorf("%s, lenient: %d", query, *b.Total)
		}
	}
	if b := w.get(tok, "/DocumentReference?_summary=count&_count=5&"+of(patientOpen), nil).bundle(t); *b.Total != 7 || len(b.Entry) != 0 {
		t.Errorf("_summary=count: %+v", b)
	}
	many := strings.Repeat("&status=current", 40)
	w.get(tok, "/DocumentReference?"+of(patientOpen)+many, nil).refused(t, 400, "STORE-SEARCH")
}

// TestIncludes brings along what is linked, each once, and not the same in every
// mode.
func TestIncludes(t *testing.T) {
	w := newWorld(t)
	x := w.depositOne(1)
	b := w.post(w.structure(finess), build(t, forPatient(someDeposit("1.2.250.1.999.2.2", replacing("1.2.250.1.999.1.2", x, "1.2.250.1.999.1.1")), patientTwo))).bundle(t)
	y, _, _ := strings.Cut(strings.TrimPrefix(b.Entry[1].Response.Location, "DocumentReference/"), "/")
	tok := w.professional(nurse)
	for _, c := range []struct {
		kind, query  string
		match, along string
	}{
		{"DocumentReference", "status=current&_include=DocumentReference:relatesto", "DocumentReference", "DocumentReference"},
		{"DocumentReference", "status=current&_include=DocumentReference:relatesto:DocumentReference", "DocumentReference", "DocumentReference"},
		{"DocumentReference", "status=current&_include=DocumentReference:patient&_include=DocumentReference:subject", "DocumentReference", "Patient"},
		{"DocumentReference", "_include=DocumentReference:relatesto", "DocumentReference DocumentReference", ""}, // it is a match already
		{"DocumentReference", "status=current&_revinclude=List:item", "DocumentReference", "List"},
		{"List", "item=" + y + "&_include=List:item", "List", "DocumentReference"},
		{"List", "item=" + y + "&_include=List:item&_include:iterate=DocumentReference:relatesto", "List", "DocumentReference DocumentReference"},
		{"List", "item=" + y + "&_include=List:subject&_count=0", "", ""},
	} {
		t.Run("ok/"+c.kind+"?"+c.query, func(t *testing.T) {
			got := map[string][]string{}
			for _, e := range w.search(tok, c.kind, of(patientTwo)+"&"+c.query).bundle(t).Entry {
				n, err := fhir.Parse(e.Resource)
				must(t, err)
				kind := n.Get("resourceType").Text()
				if e.FullURL != w.server.URL+"/fhir/"+kind+"/"+n.Get("id").Text() {
					t.Errorf("fullUrl %s", e.FullURL)
				}
				got[e.Search.Mode] = append(got[e.Search.Mode], kind)
			}
			if strings.Join(got["match"], " ") != c.match || strings.Join(got["include"], " ") != c.along {
				t.Errorf("%v", got)
			}
		})
	}
	t.Run("fail/a structure learns no more than an id", func(t *testing.T) {
		id := of(patientTwo) + "&identifier=urn%3Aoid%3A1.2.250.1.999.1.2"
		for _, more := range []string{"&_include=DocumentReference:patient", "&_revinclude=List:item", "&author.family=MARTIN", "&type=11502-2", "&identifier:not=x", "&security-label=N"} {
			w.call(w.gateway, w.structure(finess), "POST", "/DocumentReference/_search", []byte(id+more), header{"Content-Type": "application/x-www-form-urlencoded"}).refused(t, 403, "STORE-MODE")
		}
	})
}

// statement is what a CapabilityStatement declares of one resource type.
type statement struct {
	Rest []struct {
		Resource []struct {
			Type                            string
			Interaction                     []struct{ Code string }
			SearchParam                     []struct{ Name, Type string }
			SearchInclude, SearchRevInclude []string
		}
	}
}

// TestStatementIsTrue asks the running server for everything that its
// CapabilityStatement declares, and for what it does not.
func TestStatementIsTrue(t *testing.T) {
	w := newWorld(t)
	id := w.depositOne(1)
	tok := w.professional(nurse)
	var s statement
	must(t, json.Unmarshal(w.get(tok, "/metadata", nil).body, &s))
	requests := map[string][2]string{"read": {"GET", "/%s/%s"}, "vread": {"GET", "/%s/%s/_history/1"}, "history-instance": {"GET", "/%s/%s/_history"},
		"search-type": {"GET", "/%s"}, "patch": {"PATCH", "/%s/%s"}, "update": {"PUT", "/%s/%s"}, "delete": {"DELETE", "/%s/%s"}, "create": {"POST", "/%s"}, "history-type": {"GET", "/%s/_history"}}
	strict := header{"Prefer": "handling=strict", "Content-Type": "application/x-www-form-urlencoded"}
	names := 0
	for _, r := range s.Rest[0].Resource {
		declared := map[string]bool{}
		for _, i := range r.Interaction {
			declared[i.Code] = true
		}
		for code, q := range requests {
			path := strings.Replace(strings.Replace(q[1], "%s", r.Type, 1), "%s", id, 1)
			a := w.call(w.doctor, tok, q[0], path, nil, header{"Content-Type": "application/json-patch+json"})
			routed := a.status != 405 && !bytes.Contains(a.body, []byte("STORE-NO-ROUTE"))
			if code == "history-type" && r.Type != "Binary" {
				continue // the path is that of a read, of an id that cannot be
			}
			if routed != declared[code] {
				t.Errorf("%s %s: HTTP %d, declared %v", q[0], path, a.status, declared[code])
			}
		}
		who := of(patientTwo)
		if r.Type == "Patient" {
			who = strings.TrimPrefix(who, "patient.")
		}
		served := map[string]bool{}
		for _, p := range r.SearchParam {
			names++
			served[p.Name] = true
			value := map[string]string{"date": "ge2020", "token": "x", "string": "x", "reference": "x/y"}[p.Type]
			query := who + "&" + enc(p.Name, value)
			if strings.HasPrefix(p.Name, "patient") || strings.HasPrefix(p.Name, "subject") || r.Type == "Patient" {
				query = who
			}
			if a := w.call(w.doctor, tok, "POST", "/"+r.Type+"/_search", []byte(query), strict); a.status != 200 {
				t.Errorf("%s?%s is declared: HTTP %d %s", r.Type, p.Name, a.status, a.body)
			}
		}
		if !declared["search-type"] {
			continue
		}
		for _, include := range r.SearchInclude {
			if a := w.call(w.doctor, tok, "POST", "/"+r.Type+"/_search", []byte(who+"&_include="+include), strict); a.status != 200 {
				t.Errorf("_include=%s: HTTP %d %s", include, a.status, a.body)
			}
		}
		for _, include := range r.SearchRevInclude {
			if a := w.call(w.doctor, tok, "POST", "/"+r.Type+"/_search", []byte(who+"&_revinclude="+include), strict); a.status != 200 {
				t.Errorf("_revinclude=%s: HTTP %d %s", include, a.status, a.body)
			}
		}
		// The other search parameters of R4.
		for _, name := range []string{"authenticator", "contenttype", "custodian", "description", "encounter", "language", "location", "relation", "relationship",
			"empty-first", "notes", "birthdate", "family", "name", "gender", "code", "title", "_content", "_text", "_profile", "_tag", "_security", "_query", "_filter"} {
			if !served[name] {
				w.call(w.doctor, tok, "POST", "/"+r.Type+"/_search", []byte(who+"&"+name+"=x"), strict).refused(t, 400, "STORE-SEARCH-PARAM")
			}
		}
	}
	if names < 45 {
		t.Errorf("only %d parameters are declared", names)
	}
}

// TestReferenceStatement compares the CapabilityStatement with what PDSm declares
// for a document manager, under the codes of its SearchParameters.
func TestReferenceStatement(t *testing.T) {
	w := newWorld(t)
	var s statement
	must(t, json.Unmarshal(w.get("", "/metadata", nil).body, &s))
	dir := os.Getenv("PASSERELLE_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "fhir", "definitions", "CapabilityStatement-PDSm-GestionnaireDePartageDeDocuments.json"))
	if err != nil {
		t.Skip("the reference data are not there")
	}
	var theirs statement
	must(t, json.Unmarshal(raw, &theirs))
	code := strings.NewReplacer("PDSm_DocumentReference_", "", "PDSm_List_PatientAsSource", "source", "PDSm_List_PractitionerRoleAsSource", "source", "PDSm_", "",
		"DocumentReference Patient", "subject", "DocumentRefence Author", "author", "DesignationType", "designationType", "SourceId", "sourceId")
	judged := 0
	for _, r := range theirs.Rest[0].Resource {
		for _, ours := range s.Rest[0].Resource {
			if ours.Type != r.Type {
				continue
			}
			for _, p := range r.SearchParam {
				judged++
				if !slices.ContainsFunc(ours.SearchParam, func(o struct{ Name, Type string }) bool { return o.Name == code.Replace(p.Name) && o.Type == p.Type }) {
					t.Errorf("PDSm asks for %s %s (%s)", r.Type, p.Name, p.Type)
				}
			}
			for _, i := range r.Interaction {
				judged++
				if !slices.Contains(ours.Interaction, struct{ Code string }(i)) {
					t.Errorf("PDSm asks for %s %s", r.Type, i.Code)
				}
			}
		}
	}
	t.Logf("reference: pdsm-statement: %d judged / 35 expected", judged)
	if judged != 35 {
		t.Errorf("%d judged", judged)
	}
}
