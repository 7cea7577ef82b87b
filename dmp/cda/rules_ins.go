package cda

import (
	"regexp"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/ins"
)

// nearINS tells whether an OID is in the arc of the INS authorities.
func nearINS(oid string) bool { return strings.HasPrefix(oid, "1.2.250.1.213.1.4.") }

// insRules are the coherence of the INS, which the national checker lacks.
var insRules = []Rule{
	{
		ID: "I01", Code: ins.FaultAbsent, Severity: Warning, XPath: "/ClinicalDocument/recordTarget/patientRole/id",
		FR:      "Le document ne porte pas d'INS : il ne peut partir ni vers le DMP ni vers la messagerie du patient.",
		Fix:     "Qualifiez l'identité du patient, puis ajoutez son matricule et l'OID à patientRole/id.",
		Source:  SourcePasserelle,
		Mutants: []string{"remove recordTarget/patientRole/id[1]", "set recordTarget/patientRole/id[1]/@root 1.2.250.1.213.1.4.999"},
		check: func(d *checkup, hit func(*node)) {
			if len(d.Header.Patients) > 0 && !d.Patient().HasINS() {
				hit(d.Header.Patients[0].n)
			}
		},
	},
	{
		ID: "I02", Code: ins.FaultOID, Severity: Error, XPath: "/ClinicalDocument/recordTarget/patientRole/id/@root",
		FR:     "L'OID de l'identifiant du patient est dans l'arc de l'INS sans désigner une autorité d'affectation de l'INS.",
		Fix:    "Utilisez 1.2.250.1.213.1.4.8 (NIR), .9 (NIA) ou .10 (test).",
		Source: SourcePasserelle,
		Mutants: []string{
			"set recordTarget/patientRole/id[1]/@root 1.2.250.1.213.1.4.999",
			"set recordTarget/patientRole/id[1]/@root 1.2.250.1.213.1.4.2",
		},
		check: eachINS(func(i II) bool { return nearINS(i.Root) && !ins.OID(i.Root).Known() }),
	},
	{
		ID: "I03", Code: ins.FaultForm, Severity: Error, XPath: "/ClinicalDocument/recordTarget/patientRole/id/@extension",
		FR:     "Le matricule INS n'a pas la forme attendue : 15 caractères, clé comprise.",
		Fix:    "Transmettez le matricule complet tel que le téléservice INSi l'a rendu.",
		Source: SourcePasserelle,
		Mutants: []string{
			"set recordTarget/patientRole/id[1]/@extension 2840575112345",
			"set recordTarget/patientRole/id[1]/@extension 2840575112345AB",
			"set recordTarget/patientRole/id[1]/@extension ",
			"unset recordTarget/patientRole/id[1]/@extension",
		},
		check: eachINS(func(i II) bool {
			return ins.OID(i.Root).Known() && (i.Extension == "" || hasINSCode(i, ins.FaultForm))
		}),
	},
	{
		ID: "I04", Code: ins.FaultKey, Severity: Error, XPath: "/ClinicalDocument/recordTarget/patientRole/id/@extension",
		FR:      "La clé du matricule INS est fausse.",
		Fix:     "Vérifiez la saisie : les deux derniers chiffres sont la clé des treize premiers.",
		Source:  SourcePasserelle,
		Mutants: []string{"set recordTarget/patientRole/id[1]/@root 1.2.250.1.213.1.4.8 ; set recordTarget/patientRole/id[1]/@extension 284057511234529"},
		check: eachINS(func(i II) bool {
			return ins.OID(i.Root).Known() && !ins.OID(i.Root).Fictive() && hasINSCode(i, ins.FaultKey)
		}),
	},
	{
		ID: "I05", Code: ins.FaultKey, Severity: Warning, XPath: "/ClinicalDocument/recordTarget/patientRole/id/@extension",
		FR:      "La clé du matricule INS de test est fausse.",
		Fix:     "Toléré sur les OID de test et de démonstration ; serait refusé en production.",
		Source:  SourcePasserelle,
		Mutants: []string{"set recordTarget/patientRole/id[1]/@extension 284057511234529"},
		check:   eachINS(func(i II) bool { return ins.OID(i.Root).Fictive() && hasINSCode(i, ins.FaultKey) }),
	},
	{
		ID: "I06", Code: ins.FaultTestOID, Severity: Warning, XPath: "/ClinicalDocument/recordTarget/patientRole/id/@root",
		FR:      "L'INS du patient est un INS de test ou de démonstration.",
		Fix:     "En production, utilisez l'INS réel, sur l'OID 1.2.250.1.213.1.4.8 ou .9.",
		Source:  SourcePasserelle,
		Mutants: []string{"real: set recordTarget/patientRole/id[1]/@root 1.2.250.1.213.1.4.10"},
		check:   eachINS(func(i II) bool { return ins.OID(i.Root).Fictive() }),
	},
	{
		ID: "I07", Code: ins.FaultIncomplete, Severity: Error, XPath: "/ClinicalDocument/recordTarget/patientRole/patient",
		FR:     "Un INS est présent sans tous les traits : nom de naissance, premier prénom et liste des prénoms de naissance, date et lieu de naissance, sexe.",
		Fix:    "Renseignez family[@qualifier='BR'], given[@qualifier='BR'], given sans qualifier, birthTime, birthplace/place/addr/county et administrativeGenderCode.",
		Source: SourceStructure,
		Mutants: []string{
			"remove recordTarget/patientRole/patient/name/family[1]",
			"remove recordTarget/patientRole/patient/name/given[1]",
			"remove recordTarget/patientRole/patient/name/given[2]",
			"remove recordTarget/patientRole/patient/birthTime",
			"remove recordTarget/patientRole/patient/birthplace",
			"remove recordTarget/patientRole/patient/administrativeGenderCode",
		},
		check: func(d *checkup, hit func(*node)) {
			p := d.root.one("recordTarget/patientRole/patient")
			birth := func(name, qualifier string) bool {
				return slices.ContainsFunc(p.all("name/"+name), func(n *node) bool { v, _ := n.attr("qualifier"); return v == qualifier })
			}
			if d.Patient().HasINS() && !(birth("family", "BR") && birth("given", "BR") && birth("given", "") && p.one("birthTime") != nil &&
				p.one("birthplace/place/addr/county") != nil && p.one("administrativeGenderCode").get("code") != "") {
				hit(first(p, d.root))
			}
		},
	},
	{
		ID: "I09", Code: ins.FaultIncomplete, Severity: Error, XPath: "/ClinicalDocument/recordTarget/patientRole/patient",
		FR:     "Un trait de l'INS est vide, ou la date de naissance n'a pas le jour, le mois et l'année.",
		Fix:    "Recopiez les traits que le téléservice INSi a rendus.",
		Source: SourcePasserelle,
		Mutants: []string{
			"text recordTarget/patientRole/patient/name/family[1] ", "text recordTarget/patientRole/patient/name/given[1]  ",
			"set recordTarget/patientRole/patient/birthTime/@value 198405", "text recordTarget/patientRole/patient/birthplace/place/addr/county ",
		},
		check: func(d *checkup, hit func(*node)) {
			p := d.Patient()
			t := p.Traits
			if p.HasINS() && !d.broken("I07") && (t.BirthName == "" || t.FirstGiven == "" || t.GivenNames == "" || t.BirthDate == "" || t.Sex == "" || t.BirthPlace == "") {
				hit(first(d.root.one("recordTarget/patientRole/patient"), d.root))
			}
		},
	},
	{
		ID: "I08", Code: ins.FaultIncomplete, Severity: Warning, XPath: "/ClinicalDocument/recordTarget/patientRole/patient/birthplace/place/addr/county",
		FR:      "Le lieu de naissance n'est pas un code officiel géographique de cinq caractères.",
		Fix:     "Renseignez county avec le code INSEE de la commune, ou 99 et le pays.",
		Source:  SourcePasserelle,
		Mutants: []string{"text recordTarget/patientRole/patient/birthplace/place/addr/county DOMPREMY", "text recordTarget/patientRole/patient/birthplace/place/addr/county 5121"},
		check: func(d *checkup, hit func(*node)) {
			for _, p := range d.Header.Patients {
				if v := p.BirthPlace.Value; v != "" && !cog.MatchString(v) && d.Patient().HasINS() {
					hit(p.BirthPlace.n)
				}
			}
		},
	},
}

var cog = regexp.MustCompile(`^(\d{5}|2[AB]\d{3})$`)

// eachINS makes a check of every id of every patient.
func eachINS(wrong func(II) bool) func(*checkup, func(*node)) {
	return func(d *checkup, hit func(*node)) {
		for _, p := range d.Header.Patients {
			for _, i := range p.IDs {
				if i.Root != "" && wrong(i) {
					hit(i.n)
				}
			}
		}
	}
}

func hasINSCode(i II, code string) bool {
	for _, f := range ins.Inspect(i.Extension, ins.OID(i.Root)) {
		if f.Code == code {
			return true
		}
	}
	return false
}
