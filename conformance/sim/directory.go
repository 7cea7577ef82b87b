package sim

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/testdata"
)

// directoryKey is the header that opens the Annuaire Santé.
const directoryKey = "ESANTE-API-KEY"

// directoryAPIKey opens the directory of the sandbox, which listens on the
// loopback only and holds nobody real.
const directoryAPIKey = "cle-d-essai-bac-a-sable"

// directoryPage is how many resources a page holds.
const directoryPage = 50

// Systems of the Annuaire Santé.
const (
	systemRPPS     = "urn:oid:1.2.250.1.71.4.2.1"
	systemStruct   = "urn:oid:1.2.250.1.71.4.2.2"
	systemBALType  = "https://mos.esante.gouv.fr/NOS/TRE_R257-TypeBAL/FHIR/TRE-R257-TypeBAL"
	systemMessage  = "https://mos.esante.gouv.fr/NOS/TRE_R256-TypeMessagerie/FHIR/TRE-R256-TypeMessagerie"
	extEmailType   = "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-contact-point-email-type"
	extMailboxMeta = "https://interop.esante.gouv.fr/ig/fhir/annuaire/StructureDefinition/as-ext-mailbox-mss-metadata"
)

type object = map[string]any

// listing is one resource of the directory and what finds it.
type listing struct {
	kind, id string
	mailbox  string
	hidden   bool // liste rouge
	keys     map[string][]string
	resource object
}

// directory is a small Annuaire Santé, reading only.
type directory struct {
	base, key string
	listings  []listing
}

func newDirectory(base, key string) *directory {
	d := &directory{base: base, key: key}
	house := testdata.Establishments()[0]
	for _, p := range testdata.Personas() {
		id := p.NationalID
		role := "role-" + id
		names := []string{p.Family}
		d.add(listing{kind: "Practitioner", id: id, mailbox: p.Mailbox, keys: map[string][]string{"identifier": {systemRPPS + "|" + id, id}, "name": names, "family": names, "given": {p.Given}, "_id": {id}}},
			object{"identifier": []any{object{"system": systemRPPS, "value": id}}, "active": true,
				"name": []any{object{"family": p.Family, "given": []any{p.Given}}}}, "PER", p.Name)
		d.add(listing{kind: "PractitionerRole", id: role, mailbox: p.Mailbox, keys: map[string][]string{"practitioner": {"Practitioner/" + id, id}, "_id": {role}}},
			object{"active": true, "practitioner": object{"reference": "Practitioner/" + id},
				"organization": object{"reference": "Organization/" + house.FINESSGeo},
				"code":         []any{object{"coding": []any{object{"system": "https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante", "code": p.Profession}}}}}, "PER", p.Name)
	}
	organisation := func(id, finess, name, mailbox, kind string, hidden bool) {
		d.add(listing{kind: "Organization", id: id, mailbox: mailbox, hidden: hidden, keys: map[string][]string{"identifier": {systemStruct + "|" + finess, finess}, "name": {name},
			"type": {"SA01", "https://mos.esante.gouv.fr/NOS/TRE_R02-SecteurActivite/FHIR/TRE-R02-SecteurActivite|SA01"}, "_id": {id}}},
			object{"identifier": []any{object{"system": systemStruct, "value": finess}}, "active": true, "name": name,
				"type": []any{object{"coding": []any{object{"system": "https://mos.esante.gouv.fr/NOS/TRE_R02-SecteurActivite/FHIR/TRE-R02-SecteurActivite", "code": "SA01"}}}}}, kind, name)
	}
	organisation(house.FINESSGeo, house.FINESSGeo, house.Name, testdata.GatewayMailbox, "APP", false)
	other := testdata.Establishments()[1]
	organisation(other.FINESSGeo, other.FINESSGeo, other.Name, "secretariat@partenaire.mssante.fr", "ORG", false)
	organisation("liste-rouge", other.FINESSEJ, "SERVICE SUR LISTE ROUGE", "confidentiel@partenaire.mssante.fr", "ORG", true)
	return d
}

// add completes a resource with its mailbox, beside an ordinary mail address
// that is none.
func (d *directory) add(l listing, resource object, kind, responsible string) {
	resource["resourceType"], resource["id"] = l.kind, l.id
	meta := []any{
		object{"url": "type", "valueCodeableConcept": object{"coding": []any{object{"system": systemBALType, "code": kind}}}},
		object{"url": "digitization", "valueBoolean": true},
		object{"url": "listeRouge", "valueBoolean": l.hidden},
	}
	if kind != "PER" {
		meta = append(meta, object{"url": "responsible", "valueString": responsible})
	}
	telecom := []any{}
	if l.kind == "Organization" {
		telecom = append(telecom, object{"system": "email", "value": "accueil@" + l.id + ".example"})
	}
	if !l.hidden {
		telecom = append(telecom, object{"system": "email", "value": l.mailbox, "rank": 1, "extension": []any{
			object{"url": extEmailType, "valueCoding": object{"system": systemMessage, "code": "MSSANTE"}},
			object{"url": extMailboxMeta, "extension": meta}}})
	}
	resource["telecom"] = telecom
	l.resource = resource
	d.listings = append(d.listings, l)
}

func (d *directory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(directoryKey)), []byte(d.key)) != 1 {
		outcome(w, http.StatusUnauthorized, "login", "clé "+directoryKey+" absente ou inconnue")
		return
	}
	path := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, "/fhir/v2"), "/"), "/")
	query := r.URL.Query()
	search := r.Method == http.MethodGet && len(path) == 1
	if r.Method == http.MethodPost && len(path) == 2 && path[1] == "_search" {
		if r.ParseForm() != nil {
			outcome(w, http.StatusBadRequest, "invalid", "formulaire illisible")
			return
		}
		query, search = r.Form, true
	}
	known := slices.Contains([]string{"Practitioner", "PractitionerRole", "Organization"}, path[0])
	switch {
	case r.Method == http.MethodGet && path[0] == "metadata":
		answerFHIR(w, object{"resourceType": "CapabilityStatement", "status": "active", "kind": "instance", "fhirVersion": "4.0.1", "format": []string{"application/fhir+json"},
			"date": "2026-01-01", "description": notice})
	case known && search:
		d.search(w, path[0], query)
	case known && r.Method == http.MethodGet && len(path) == 2:
		at := slices.IndexFunc(d.listings, func(l listing) bool { return l.kind == path[0] && l.id == path[1] })
		if at < 0 {
			outcome(w, http.StatusNotFound, "not-found", "ressource inconnue")
			return
		}
		answerFHIR(w, d.listings[at].resource)
	case known || path[0] == "metadata":
		outcome(w, http.StatusMethodNotAllowed, "not-supported", "lecture seule : GET ou POST _search")
	default:
		outcome(w, http.StatusNotFound, "not-found", "Practitioner, PractitionerRole et Organization sont connus ici")
	}
}

// search answers a page of a search. A parameter that the directory does not
// know is an error, as in the real one (mailbox-mss-type is such a one).
func (d *directory) search(w http.ResponseWriter, kind string, query url.Values) {
	count, from := directoryPage, 0
	found := slices.DeleteFunc(slices.Clone(d.listings), func(l listing) bool { return l.kind != kind })
	known := found[0].keys // resources of one kind are found by the same parameters
	for name, values := range query {
		for _, v := range values {
			base, modifier, _ := strings.Cut(name, ":")
			var keep func(listing) bool
			switch {
			case base == "mailbox-mss":
				keep = func(l listing) bool { return !l.hidden && matchText(l.mailbox, v, modifier) }
			case name == "_count":
				n, err := strconv.Atoi(v)
				if err != nil || n < 1 {
					outcome(w, http.StatusBadRequest, "invalid", "_count est un nombre")
					return
				}
				count = min(n, directoryPage)
			case name == "_page_token":
				n, err := strconv.Atoi(v)
				if err != nil || n < 0 {
					outcome(w, http.StatusBadRequest, "invalid", "_page_token inconnu")
					return
				}
				from = n
			case name == "_elements" || name == "_format" || base == "_include" || base == "_revinclude" || name == "active":
			case known[base] != nil:
				if modifier == "" && (base == "identifier" || base == "_id" || base == "practitioner" || base == "type") {
					modifier = "exact"
				}
				keep = func(l listing) bool {
					return slices.ContainsFunc(strings.Split(v, ","), func(one string) bool {
						return slices.ContainsFunc(l.keys[base], func(k string) bool { return matchText(k, one, modifier) })
					})
				}
			default:
				outcome(w, http.StatusBadRequest, "not-supported", "paramètre inconnu : "+base)
				return
			}
			if keep != nil {
				found = slices.DeleteFunc(found, func(l listing) bool { return !keep(l) })
			}
		}
	}
	total := len(found)
	found = found[min(from, total):min(from+count, total)]
	entries := []any{}
	for _, l := range found {
		entries = append(entries, object{"fullUrl": d.base + "/" + l.kind + "/" + l.id, "resource": l.resource, "search": object{"mode": "match"}})
	}
	bundle := object{"resourceType": "Bundle", "type": "searchset", "total": total, "entry": entries,
		"link": []any{object{"relation": "self", "url": d.base + "/" + kind + "?" + query.Encode()}}}
	if from+count < total {
		next := url.Values{}
		for k, v := range query {
			next[k] = v
		}
		next.Set("_page_token", fmt.Sprint(from+count))
		bundle["link"] = append(bundle["link"].([]any), object{"relation": "next", "url": d.base + "/" + kind + "?" + next.Encode()})
	}
	answerFHIR(w, bundle)
}

// matchText compares as FHIR strings do: the beginning, in any case, unless a
// modifier says otherwise.
func matchText(have, want, modifier string) bool {
	have, lower := strings.ToLower(have), strings.ToLower(want)
	switch modifier {
	case "contains":
		return strings.Contains(have, lower)
	case "exact":
		return have == lower
	}
	return strings.HasPrefix(have, lower)
}

func answerFHIR(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/fhir+json")
	_ = json.NewEncoder(w).Encode(v) // a client that left is not our trouble
}
