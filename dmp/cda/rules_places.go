package cda

import (
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
)

// A rule of the schematron applies where its context matches, and nowhere else:
// a signatory whose signature is not S, a document that is not replaced, an
// organisation under a number that is not national are read by nobody. The rules
// say so in their paths: a step may carry conditions, name[S] or name[valued][family],
// and looked lists what the schematron reads as a data type.
type condition struct {
	xpath string
	holds func(*node) bool
}

var conditions = map[string]condition{
	"valued":    {"not(@nullFlavor)", func(n *node) bool { return !n.null() }},
	"FR":        {"@code='FR'", func(n *node) bool { return n.get("code") == "FR" }},
	"PRF":       {"@typeCode='PRF'", func(n *node) bool { return n.get("typeCode") == "PRF" }},
	"RPLC":      {"@typeCode='RPLC'", func(n *node) bool { return n.get("typeCode") == "RPLC" }},
	"S":         {"signatureCode/@code='S'", func(n *node) bool { return n.one("signatureCode").get("code") == "S" }},
	"completed": {"statusCode[@code='completed' or @nullFlavor]", func(n *node) bool { s := n.one("statusCode"); return s.get("code") == "completed" || s.null() }},
	"PS":        {"@root='" + dmp.OIDPerson + "'", func(n *node) bool { return n.get("root") == dmp.OIDPerson }},
	"ORG":       {"@root='" + dmp.OIDOrganisation + "'", func(n *node) bool { return n.get("root") == dmp.OIDOrganisation }},
	"byPS":      {"id/@root='" + dmp.OIDPerson + "'", func(n *node) bool { return n.identified(dmp.OIDPerson) }},
	"J04":       {"@code et @codeSystem de JDV_J04", func(n *node) bool { return dmp.SetJ04.HasIn(n.get("code"), n.get("codeSystem")) }},
	"patient":   having("patient"), "family": having("family"), "name": having("name"), "location": having("location"),
	"relatedPerson": having("relatedPerson"), "representedOrganization": having("representedOrganization"),
}

func having(child string) condition {
	return condition{child, func(n *node) bool { return n.one(child) != nil }}
}

// step is a step of a path with its conditions.
type step struct {
	name  string
	conds []condition
}

func parsePath(path string) []step {
	var steps []step
	for s := range strings.SplitSeq(path, "/") {
		parts := strings.Split(strings.ReplaceAll(s, "]", ""), "[")
		st := step{name: parts[0]}
		for _, c := range parts[1:] {
			st.conds = append(st.conds, conditions[c])
		}
		steps = append(steps, st)
	}
	return steps
}

// follow calls visit for every element at the end of the steps.
func (n *node) follow(steps []step, visit func(*node)) {
	if len(steps) == 0 {
		visit(n)
		return
	}
	for _, k := range n.kids {
		if k.is(steps[0].name) && !slices.ContainsFunc(steps[0].conds, func(c condition) bool { return !c.holds(k) }) {
			k.follow(steps[1:], visit)
		}
	}
}

// plain is a path without its conditions; an index stays.
func plain(path string) string {
	for name := range conditions {
		path = strings.ReplaceAll(path, "["+name+"]", "")
	}
	return path
}

// asXPath writes the conditions of a path as XPath has them.
func asXPath(path string) string {
	for name, c := range conditions {
		path = strings.ReplaceAll(path, "["+name+"]", "["+c.xpath+"]")
	}
	return path
}

// place is a place of the header, and what the schematron reads there: children
// with their type, and ANY for the place itself, at any depth.
type place struct {
	at    []step
	reads []read
}

type read struct {
	child    step
	typeName string
}

const (
	contact = " addr:AD telecom:TEL"
	unit    = contact + " id[ORG]:II name:ON"
)

// lookedLines are what the schematron reads: a place, then its line. Every type
// is ANY too; a type in the
// sense of DTr1, which may be narrower than that of the schema.
var lookedLines = []string{
	"", "realmCode[FR]:CS templateId:II id[valued]:II setId[valued]:II code[valued]:CE effectiveTime[valued]:TS confidentialityCode[valued]:CE " +
		"languageCode[valued]:CS versionNumber[valued]:INT title[valued]:ST",
	patientRole, "ANY id[valued]:II" + contact,
	patient, "administrativeGenderCode:CE birthTime:TS name[valued]:PN",
	guardian, "ANY id:II" + contact,
	guardian + "/guardianPerson", "name[family]:PN",
	guardian + "/guardianOrganization", "id[ORG]:II name:ON",
	patient + "/birthplace/place", contact + " name:EN",
	"author", "functionCode:CE time:TS",
	"author/functionCode", "originalText:ED",
	assignedAuthor, contact + " id:II code:CE",
	assignedAuthor + "/assignedPerson", "name[family]:PN",
	assignedAuthor + "/assignedAuthoringDevice", "manufacturerModelName:SC softwareName:SC",
	assignedAuthor + "/representedOrganization", contact + " id[ORG]:II standardIndustryClassCode[J04]:CE",
	"dataEnterer", "ANY time:TS",
	informant, "ANY id:II code:CD" + contact,
	informant + "/assignedPerson", "name[family]:PN",
	informant + "/representedOrganization", unit + " standardIndustryClassCode:CE",
	relative, "ANY code:CE" + contact,
	relative + "/code", "originalText:ED",
	relative + "/relatedPerson", "name[family]:PN",
	custodianOrg, contact + " id[valued]:II",
	recipient, contact + " id[PS]:II templateId:II",
	recipient + "/informationRecipient", "name[family]:PN",
	recipient + "/receivedOrganization", unit,
	"legalAuthenticator[S]", "time:TS signatureCode:CS",
	signer, contact + " id[valued]:II code:CD",
	signer + "/assignedPerson", "name[valued][family]:PN",
	signer + "/representedOrganization", contact + " id[ORG]:II standardIndustryClassCode:CE",
	"authenticator[S]", "templateId:II time:TS signatureCode:CS",
	cosigner, contact + " id[PS]:II code:CD",
	cosigner + "/assignedPerson", "name[family]:PN",
	cosigner + "/representedOrganization", unit + " standardIndustryClassCode[J04]:CE",
	"participant", "templateId:II functionCode:CE time:IVL",
	"participant/functionCode", "originalText:ED translation:CD",
	"participant/time", "low:IVXB high:IVXB",
	participantAt, contact + " id:II code:CE",
	participantAt + "/scopingOrganization", "ANY id:II standardIndustryClassCode:CD" + contact,
	"inFulfillmentOf/order", "id:II code:CE",
	"inFulfillmentOf/order/code", "originalText:ED",
	act, "id:II code:CE",
	act + "/code", "originalText:ED translation:CD",
	act + "/effectiveTime", "low:IVXB high:IVXB",
	performance, "templateId:II functionCode:CE time:IVL",
	performer, contact + " id:II code:CD",
	performer + "/assignedPerson", "name[family]:PN",
	performer + "/representedOrganization", contact + " id:II name:ON standardIndustryClassCode[valued]:CE",
	performer + "/representedOrganization/asOrganizationPartOf", "ANY templateId:II id:II code:CD statusCode:CS",
	replacedAt, "id[valued]:II versionNumber:INT",
	consentAt, "id:II code:CE statusCode:CS",
	encounter, "id:II code:CE effectiveTime:IVL dischargeDispositionCode:CE",
	encounter + "/effectiveTime", "low:IVXB high:IVXB",
	responsible, contact + " id[PS]:II code:CD",
	responsible + "/assignedPerson", "name[family]:PN",
	responsible + "/representedOrganization", contact + " id:II name:ON standardIndustryClassCode[J04]:CE",
	responsible + "/representedOrganization/asOrganizationPartOf", "ANY templateId:II id:II code:CD statusCode:CS",
	encounter + "/encounterParticipant", "time:IVL",
	encounter + "/encounterParticipant/time", "low:IVXB high:IVXB",
	attendant, contact + " id[PS]:II code:CD",
	attendant + "/assignedPerson", "name[family]:PN",
	attendant + "/representedOrganization", unit + " standardIndustryClassCode[J04]:CE",
	facility, "id:II code[valued]:CE",
	facility + "/code[valued]", "translation:CD",
	facility + "/location", contact + " name:EN",
}

var looked = places(lookedLines)

func places(lines []string) []place {
	var out []place
	for i := 0; i < len(lines); i += 2 {
		var p place
		if lines[i] != "" {
			p.at = parsePath(lines[i])
		}
		for word := range strings.FieldsSeq(lines[i+1]) {
			child, typeName, ok := strings.Cut(word, ":")
			if !ok {
				p.reads = append(p.reads, read{typeName: word})
				continue
			}
			p.reads = append(p.reads, read{parsePath(child)[0], typeName})
		}
		out = append(out, p)
	}
	return out
}

// lookedAt gives what the schematron reads in a document, each with its type.
func (d *Document) lookedAt() []typed {
	var out []typed
	for _, p := range looked {
		d.root.follow(p.at, func(n *node) {
			for _, r := range p.reads {
				if r.child.name == "" {
					out = append(out, typed{n, r.typeName})
					continue
				}
				n.follow([]step{r.child}, func(k *node) { out = append(out, typed{k, r.typeName}) })
			}
		})
	}
	return out
}
