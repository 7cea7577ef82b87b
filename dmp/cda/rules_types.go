package cda

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// typeRules are what the national schematron asks of the data types that it
// reads (ART-DECOR DTr1), beyond their schema.
var typeRules = []Rule{
	with("D01", FaultStructure, "Un nullFlavor accompagne une valeur : un autre attribut, un texte ou un élément.",
		"Retirez nullFlavor, ou ne laissez que lui.",
		"set recordTarget/patientRole/@nullFlavor UNK", "set recordTarget/patientRole/patient/name/given/@nullFlavor NA", "set realmCode/@nullFlavor UNK",
		"set recordTarget/patientRole/addr/city/@nullFlavor UNK").atAnyDepth(contradicted),
	typeRule("D02", FaultStructure, "Un identifiant n'a ni root ni nullFlavor, ou son root n'est ni un OID ni un UUID.",
		"Renseignez root avec un OID (1.2.250…) ou un UUID.", func(n *node, typeName string) bool {
			root, ok := n.attr("root")
			return typeName == "II" && (ok == n.null() || ok && !oidForm.MatchString(root) && !hexForm.MatchString(root))
		},
		"unset templateId[3]/@root", "set setId/@root abc-DEF", "set recordTarget/patientRole/id[2]/@root abc"),
	typeRule("D03", FaultStructure, "Un identifiant ou un code figure deux fois au même endroit.", "Gardez-le une fois.", func(n *node, typeName string) bool {
		switch typeName {
		case "II":
			return repeated(n, "root", "extension")
		case "CE", "CD":
			_, system := n.attr("codeSystem")
			return system && repeated(n, "code", "codeSystem")
		}
		return false
	}, "twice recordTarget/patientRole/id[1]", "twice templateId[3]", "twice author/assignedAuthor/id"),
	typeRule("D04", FaultStructure, "Un code et ses attributs se contredisent : un code sans codeSystem, un libellé sans code, ou rien de tout cela.",
		"Renseignez code et codeSystem ensemble, et displayName avec eux ; ou nullFlavor seul.", func(n *node, typeName string) bool {
			switch typeName {
			case "CE", "CD":
				return !sayable(n) || !coherent(n) || !translated(n)
			case "CS":
				_, code := n.attr("code")
				return code == n.null()
			case "SC":
				return !coherent(n)
			}
			return false
		},
		"unset recordTarget/patientRole/patient/administrativeGenderCode/@codeSystem", "unset code/@codeSystem",
		`into code <translation nullFlavor="UNK"/>`, `into code <translation codeSystem="1.2.3"/>`,
		`into code <translation code="X" codeSystem="1.2.3"/><translation code="X" codeSystem="1.2.3"/>`,
		`set author[2]/assignedAuthor/assignedAuthoringDevice/softwareName/@displayName x`),
	typeRule("D05", FaultTime, "Une date n'existe pas, ou n'est pas écrite en entier.", "Écrivez AAAA, AAAAMM, AAAAMMJJ ou AAAAMMJJHHMMSS+HHMM, avec un jour qui existe.",
		func(n *node, typeName string) bool {
			v, ok := n.attr("value")
			switch typeName {
			case "TS", "IVL", "IVXB":
				_, exists := instant(v, true)
				return ok && (!exists || typeName == "IVXB" && !yearForm.MatchString(v))
			}
			return false
		},
		"set effectiveTime/@value 2026112", "set effectiveTime/@value 20260230", "set recordTarget/patientRole/patient/birthTime/@value 20261322",
		"set effectiveTime/@value 20260105093000+9900"),
}

// typeRule checks each element that the schematron reads.
func typeRule(id, code, fr, fix string, wrong func(n *node, typeName string) bool, mutants ...string) Rule {
	r := with(id, code, fr, fix, mutants...)
	r.XPath, r.Source = "//*", SourceStructure+", types de données"
	r.check = func(d *checkup, hit func(*node)) {
		var last *node // one that is read as two types stands twice in a row
		for _, t := range d.looked {
			if t.n != last && wrong(t.n, t.typeName) {
				hit(t.n)
				last = t.n
			}
		}
	}
	return r
}

// atAnyDepth: hit every element for which wrong is true, in what the schematron
// reads or under it.
func (r Rule) atAnyDepth(wrong func(*node) bool) Rule {
	r.XPath = "//*"
	r.check = func(d *checkup, hit func(*node)) {
		said := map[*node]bool{}
		for _, t := range d.looked {
			t.n.walk(func(n *node) bool {
				if !said[n] && wrong(n) {
					said[n] = true
					hit(n)
				}
				return true
			})
		}
	}
	return r
}

// typed is an element of the header and its type.
type typed struct {
	n        *node
	typeName string
}

// Attributes that may stand beside a nullFlavor: what the schema fixes, and for
// some flavors what says more.
var (
	besideNull  = strings.Fields("nullFlavor classCode typeCode determinerCode moodCode partType")
	besideOther = strings.Fields("nullFlavor codeSystem codeSystemName codeSystemVersion extension partType")
	// defaults may stand beside too: they say nothing.
	defaults = map[string]string{"mediaType": "text/plain", "representation": "TXT", "inclusive": "true", "unit": "1", "operator": "I", "inverted": "false"}
)

// contradicted tells whether something stands beside a nullFlavor.
func contradicted(n *node) bool {
	flavor, null := n.attr("nullFlavor")
	if !null {
		return false
	}
	only := func(allowed []string) bool {
		for i := range n.attrs {
			a := &n.attrs[i]
			if a.Name.Space == "" && !slices.Contains(allowed, a.Name.Local) && defaults[a.Name.Local] != a.Value {
				return false
			}
		}
		return true
	}
	if only(besideNull) && len(n.kids) == 0 && n.value() == "" {
		return false
	}
	switch flavor {
	case "OTH", "NA", "UNC":
		says := n.get("extension") != "" || n.get("codeSystem") != "" || n.one("originalText") != nil || n.one("translation") != nil
		return !only(besideOther) || !says
	}
	return true
}

// repeated tells whether a sibling says the same: by the first attribute, and
// by the second where n has it.
func repeated(n *node, first, second string) bool {
	v, ok := n.attr(first)
	if !ok {
		return false
	}
	w, more := n.attr(second)
	for _, s := range n.parent.kids {
		if s == n || !s.is(n.name.Local) || s.get(first) != v {
			continue
		}
		if other, ok := s.attr(second); !more || ok && other == w {
			return true
		}
	}
	return false
}

// sayable tells whether a code says anything: a code, a text or why not.
func sayable(n *node) bool {
	_, code := n.attr("code")
	texts := n.all("originalText")
	return n.null() || code || len(texts) > 0 && !slices.ContainsFunc(texts, (*node).null)
}

// coherent tells whether the attributes of a code go together.
func coherent(n *node) bool {
	has := func(name string) bool { _, ok := n.attr(name); return ok }
	return (has("codeSystem") || !has("code") && !has("codeSystemName") && !has("codeSystemVersion")) && (has("code") || !has("displayName"))
}

// translated tells whether the translations of a code say something each, and
// not the same. Their system is asked for where they are read as codes only.
func translated(n *node) bool {
	seen := map[string]bool{}
	return n.walk(func(t *node) bool {
		if t == n || !t.is("translation") {
			return true
		}
		has := func(name string) bool { _, ok := t.attr(name); return ok }
		key := t.get("code") + t.get("codeSystem")
		ok := !t.null() && (has("code") || !has("codeSystem") && !has("displayName")) &&
			(has("codeSystem") || !has("codeSystemName") && !has("codeSystemVersion")) && !seen[key]
		seen[key] = true
		return ok
	})
}

// hexForm is a UUID as the schematron has it, narrower than the schema.
var hexForm = regexp.MustCompile(`^[A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{12}$`)

// wholeForm is a time whose fields are whole.
var wholeForm = regexp.MustCompile(`^([0-9]{2}(?:[0-9]{2}){0,6})(\.[0-9]+)?([+-][0-9]{1,4})?$`)

// instant gives the time that a value stands for, if it stands for one: each
// field whole, on a day of the calendar, in a zone of the earth. A short zone
// (+01) counts where padded.
func instant(v string, padded bool) (time.Time, bool) {
	m := wholeForm.FindStringSubmatch(v)
	if m == nil || m[2] != "" && len(m[1]) != 14 {
		return time.Time{}, false
	}
	digits, zone := m[1], m[3]
	if len(digits) == 2 {
		digits += "00" // a century
	}
	t, err := time.Parse("20060102150405", digits+"00000101000000"[len(digits):])
	if err != nil || zone == "" {
		return t, err == nil
	}
	if padded {
		zone = (zone + "0000")[:5]
	}
	if len(zone) != 5 || zone[1:] > "1400" || zone[3:] > "59" {
		return t, false
	}
	offset, err := time.Parse("-0700", zone)
	if err != nil {
		return t, false
	}
	_, seconds := offset.Zone()
	return t.Add(-time.Duration(seconds) * time.Second), true
}
