package cda

import (
	"strings"
	"testing"
)

// TestWhereNobodyReads: the same edit is refused where the schematron reads, and
// nowhere else. From the exhaustive edits of a synthetic header that followed draw
// 5 of testdata/heldout, where 3,973 edits had been refused at such places.
func TestWhereNobodyReads(t *testing.T) {
	const partOf = ` <asOrganizationPartOf><code code="X"/></asOrganizationPartOf>`
	for name, mutant := range map[string]string{
		"fail/performer without structure":     "remove documentationOf/serviceEvent/performer/assignedEntity/representedOrganization",
		"ok/secondary one":                     "set documentationOf/serviceEvent/performer/@typeCode SPRF ; remove documentationOf/serviceEvent/performer/assignedEntity/representedOrganization",
		"fail/replaced document without id":    "unset relatedDocument/parentDocument/id/@root",
		"ok/appended one":                      "set relatedDocument/@typeCode APND ; unset relatedDocument/parentDocument/id/@root",
		"fail/signatory without RPPS":          "unset authenticator/assignedEntity/id/@extension",
		"ok/who did not sign":                  "set authenticator/signatureCode/@code I ; unset authenticator/assignedEntity/id/@extension",
		"fail/code of a parent of performer's": "into documentationOf/serviceEvent/performer/assignedEntity/representedOrganization" + partOf,
		"ok/of a parent of author's":           "into author/assignedAuthor/representedOrganization" + partOf,
		"fail/null in a dataEnterer":           "set dataEnterer/assignedEntity/@nullFlavor UNK",
		"ok/bad coordinate of a dataEnterer":   "set dataEnterer/assignedEntity/telecom/@value 0100000000",
		"fail/bad coordinate of a guardian":    `before recordTarget/patientRole/patient/guardian/guardianPerson <telecom value="0100000000"/>`,
		"ok/system out of the set":             "set documentationOf/serviceEvent/performer/assignedEntity/representedOrganization/standardIndustryClassCode/@codeSystem 1.2.3",
		"fail/zone":                            "set documentationOf/serviceEvent/effectiveTime/low/@value 20260105090000.25+9900",
		"ok/fraction and zone":                 "set documentationOf/serviceEvent/effectiveTime/low/@value 20260105090000.25+0100",
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := mutate(load(t, "level1.xml"), mutant)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"ok": "PASS", "fail": "FAIL"}[strings.Split(name, "/")[0]]
			if got, found := verdictOf(doc); got != want {
				t.Errorf("%s, not %s: %v", got, want, found)
			}
		})
	}
}

// TestXPathOfRules: no rule shows an integrator a condition by our own name.
func TestXPathOfRules(t *testing.T) {
	for name, class := range map[string]bool{"ok/rules": true, "fail/a path of ours": false} {
		t.Run(name, func(t *testing.T) {
			paths := []string{signer}
			if class {
				paths = nil
				for _, r := range Rules() {
					paths = append(paths, r.XPath)
				}
			}
			bare := ""
			for _, p := range paths {
				if asXPath(p) != p {
					bare = p
				}
			}
			if (bare == "") != class {
				t.Errorf("%q", bare)
			}
		})
	}
}
