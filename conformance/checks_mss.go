package conformance

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/testdata"
)

var _ = register(map[string]check{
	"mss-tls":           checkTLS,
	"mss-suites":        checkSuites,
	"mss-smtp":          checkSMTP,
	"mss-imap":          checkIMAP,
	"mss-bal-app":       checkBALApp,
	"mss-ins":           checkHeaderINS,
	"mss-codecda":       checkHeaderCode,
	"mss-nil":           checkHeaderNIL,
	"mss-fin":           checkHeaderFIN,
	"mss-content":       checkContent,
	"mss-one-patient":   checkOnePatient,
	"mss-subject":       checkSubject,
	"mss-mdn-asked":     checkMDNAsked,
	"mss-dsn-asked":     checkDSNAsked,
	"mss-message-id":    checkMessageID,
	"mss-text":          checkText,
	"mss-auto":          checkAutoNotice,
	"mss-sender":        checkSender,
	"mss-replace":       checkReplaceMark,
	"mss-patient":       checkPatientLetter,
	"mss-patient-no":    checkPatientRefused,
	"flag-invisible":    checkInvisible,
	"flag-masked":       checkMaskedMail,
	"inbound-mdm":       checkInboundMDM,
	"inbound-detect":    checkInboundDetect,
	"inbound-patient":   checkInboundPatient,
	"inbound-mdn":       checkInboundMDN,
	"inbound-mdn-error": checkInboundMDNError,
})

// letters that leave with a document: scene, index of the mailbox.
var leaving = []struct {
	key     string
	box     int
	patient bool
	code    string // CDA document code
	ins     string // X-MSS-INS
}{
	{"lettre", 0, false, "11490-0", "O"},
	{"lettre", 1, true, "11490-0", "O"},
	{"biologie courriel", 0, false, "11502-2", "O"},
	{"sans reponse", 0, true, "11490-0", "O"},
	{"sans INS", 0, false, "18748-4", "N"},
	{"lettre corrigee", 0, false, "11490-0", "O"},
}

// posted are the letters that MSS/CONF.05 waits for: those above, and one that
// no other scenario reads.
var posted = []string{"lettre", "biologie courriel", "sans reponse", "sans INS", "lettre corrigee", "courriel simple"}

// suites are those that MSS/CONF.03 lists; TLS 1.3 has its own, and RFC 5746 a
// signal that is none.
var suites = []string{"C030", "C02F", "C028", "C027", "009F", "009E", "1301", "1302", "1303", "00FF"}

func checkSuites(j *run, v *judgement) {
	j.submitted(v, func(s submission, what string) {
		if !v.need(len(s.Offered) > 0, "Le bac à sable ne montre pas les suites offertes.") {
			return
		}
		var others []string
		for _, one := range s.Offered {
			if !slices.Contains(suites, strings.ToUpper(one)) {
				others = append(others, one)
			}
		}
		v.that(len(others) == 0, "%s : aucune autre suite que celles de la liste n'est offerte (offertes : %s ; hors liste : %s).", what, strings.Join(s.Offered, " "), strings.Join(others, " "))
	})
}

// each gives every letter that left; what did not come cannot be read.
func (j *run) each(v *judgement, see func(l *letter, i int, what string)) {
	for i, want := range leaving {
		c := j.about(v, want.key)[0]
		l := j.letter(c, c.boxes[want.box])
		to := "au professionnel"
		if want.patient {
			to = "au patient"
		}
		if !v.need(l != nil, "Le courriel « %s » %s n'est pas arrivé.", want.key, to) {
			continue
		}
		v.cite(l.n)
		see(l, i, "« "+want.key+" » "+to)
	}
}

// posts says that the ordinary letter came: that another did not proves nothing
// of a gateway that sends none.
func (j *run) posts(v *judgement, box int) bool {
	c := j.script.scene["lettre"]
	return v.need(j.letter(c, c.boxes[box]) != nil, "Le courriel ordinaire n'est pas arrivé non plus : rien n'est prouvé.")
}

// nothing verifies that a letter that must not leave is not in a mailbox: the
// letter of the scene, or one of which nobody can say what it is about.
func (j *run) nothing(v *judgement, c *scene, box, claim string) {
	v.cite(j.views[box])
	if !v.need(j.unread[box] == "", "%s", j.unread[box]) {
		return
	}
	found := 0
	for _, l := range j.boxes[box] {
		if l.carries(c.doc) || !l.isReport() && !slices.ContainsFunc(j.script.order, func(key string) bool { return l.carries(j.script.scene[key].doc) }) {
			v.cite(l.n)
			found++
		}
	}
	v.that(found == 0, "%s (courriels trouvés dans la boîte : %d)", claim, found)
}

func checkHeaderINS(j *run, v *judgement) {
	j.each(v, func(l *letter, i int, what string) {
		v.that(l.head("X-MSS-INS") == leaving[i].ins, "%s : X-MSS-INS vaut %s (reçu : %q).", what, leaving[i].ins, l.head("X-MSS-INS"))
	})
}

func checkHeaderCode(j *run, v *judgement) {
	j.each(v, func(l *letter, i int, what string) {
		v.that(l.head("X-MSS-CODECDA") == leaving[i].code, "%s : X-MSS-CODECDA vaut %s (reçu : %q).", what, leaving[i].code, l.head("X-MSS-CODECDA"))
	})
}

func checkHeaderNIL(j *run, v *judgement) {
	see := func(l *letter, what string) {
		got := l.head("X-MSS-NIL")
		if want := j.target.Product.Reference; want != "" {
			v.that(got == want, "%s : X-MSS-NIL vaut la référence déclarée %q (reçu : %q).", what, want, got)
			return
		}
		v.that(got != "", "%s : X-MSS-NIL est présent.", what)
	}
	j.each(v, func(l *letter, _ int, what string) { see(l, what) })
	if l := j.receipt(j.script.scene["recu"]); l != nil {
		v.cite(l.n)
		see(l, "L'accusé rendu au correspondant")
	}
}

func checkHeaderFIN(j *run, v *judgement) {
	j.each(v, func(l *letter, i int, what string) {
		got := l.head("X-MSS-MES")
		if leaving[i].key == "sans reponse" {
			v.that(got == "FIN", "%s, réponse non souhaitée (NTE FIN) : X-MSS-MES vaut FIN (reçu : %q).", what, got)
		} else {
			v.that(got == "", "%s, réponse possible : pas d'en-tête X-MSS-MES (reçu : %q).", what, got)
		}
	})
}

func checkContent(j *run, v *judgement) {
	j.each(v, func(l *letter, i int, what string) {
		c := j.script.scene[leaving[i].key]
		zips := 0
		for _, p := range l.attachments(".zip") {
			if strings.EqualFold(p.name, "IHE_XDM.zip") {
				zips++
			}
		}
		v.that(zips == 1, "%s : une archive IHE_XDM.zip est jointe (trouvées : %d).", what, zips)
		for _, name := range []string{"INDEX.HTM", "README.TXT"} {
			v.that(l.entries[name] != nil, "%s : l'archive contient %s.", what, name)
		}
		v.that(l.metadata != nil, "%s : l'archive contient IHE_XDM/…/METADATA.XML.", what)
		v.that(slices.ContainsFunc(l.cdas(), func(d []byte) bool { return bytes.Equal(d, c.cda) }),
			"%s : le CDA de l'archive est identique, octet pour octet, à celui du message.", what)
		pdfs := l.attachments(".pdf")
		v.that(len(pdfs) == 1, "%s : une copie PDF est jointe (trouvées : %d).", what, len(pdfs))
		for _, p := range pdfs {
			v.that(bytes.HasPrefix(p.content, []byte("%PDF-1.")) && bytes.Contains(p.content, []byte("pdfaid")),
				"%s : la copie est un PDF qui se déclare PDF/A.", what)
		}
		j.described(v, l, what)
	})
}

// described verifies that METADATA.XML tells of the files that are there.
func (j *run) described(v *judgement, l *letter, what string) {
	uris, hashes := l.xpath(pathURI), l.xpath(pathHash)
	v.that(len(uris) > 0 && len(uris) == len(hashes), "%s : METADATA.XML donne l'URI et l'empreinte de chaque document.", what)
	dir := ""
	for name := range l.entries {
		if path.Base(name) == "METADATA.XML" {
			dir = path.Dir(name)
		}
	}
	for i := range min(len(uris), len(hashes)) {
		data := l.entries[strings.ToUpper(path.Join(dir, uris[i]))]
		sum := sha1.Sum(data) // the digest that XDS metadata carries
		v.that(data != nil && strings.EqualFold(hashes[i], hex.EncodeToString(sum[:])), "%s : l'empreinte de METADATA.XML est celle du fichier %s.", what, uris[i])
	}
}

func checkOnePatient(j *run, v *judgement) {
	j.each(v, func(l *letter, _ int, what string) {
		ids := l.xpath(pathPatientID)
		distinct := slices.Compact(slices.Sorted(slices.Values(ids)))
		v.that(len(distinct) == 1, "%s : les métadonnées nomment un patient, un seul (trouvés : %d).", what, len(distinct))
		for _, cda := range l.cdas() {
			root, err := parseXML(cda)
			v.that(err == nil && len(xpath(root, pathCDAPerson)) > 0, "%s : le CDA nomme son patient.", what)
		}
	})
}

var subjectForm = regexp.MustCompile(`^XDM/1\.0/DDM\+(\[Annule et remplace\] )?\S.* \d{2}/\d{2}/\d{4}$`)

func checkSubject(j *run, v *judgement) {
	j.each(v, func(l *letter, i int, what string) {
		who := j.script.me
		if leaving[i].key == "sans INS" {
			who = testdata.PatientByID(testdata.PatientNoINS)
		}
		born := strings.Split(who.BirthDate, "-")
		end := " " + who.BirthName + " " + who.FirstGiven + " " + born[2] + "/" + born[1] + "/" + born[0]
		subject := l.head("Subject")
		v.that(subjectForm.MatchString(subject), "%s : l'objet suit XDM/1.0/DDM+libellé NOM prénom JJ/MM/AAAA.", what)
		v.that(strings.HasSuffix(subject, end), "%s : l'objet finit par le nom, le prénom et la date de naissance du patient.", what)
	})
}

func checkMDNAsked(j *run, v *judgement) {
	j.each(v, func(l *letter, i int, what string) {
		if leaving[i].key == "lettre" {
			v.that(l.head("Disposition-Notification-To") != "", "%s, lecture à suivre (ACK_LECTURE_MSS) : un accusé de lecture est demandé (Disposition-Notification-To).", what)
		}
	})
}

// submitted are what the operator says of the letters that left.
func (j *run) submitted(v *judgement, see func(s submission, what string)) {
	if !v.need(len(j.subs) > 0, "Le bac à sable ne montre pas les soumissions à l'opérateur.") {
		return
	}
	j.each(v, func(l *letter, _ int, what string) {
		for _, s := range j.subs {
			if strings.Trim(s.MessageID, "<> ") == l.messageID() {
				v.cite(s.n)
				see(s, what)
				return
			}
		}
		v.need(false, "L'opérateur ne montre pas la soumission du courriel %s.", what)
	})
}

func checkDSNAsked(j *run, v *judgement) {
	j.submitted(v, func(s submission, what string) {
		for _, r := range s.Recipients {
			v.that(strings.Contains(r.Notify, "SUCCESS") && strings.Contains(r.Notify, "FAILURE"),
				"%s : un accusé de réception est demandé à l'opérateur (NOTIFY=SUCCESS,FAILURE ; reçu : %q).", what, r.Notify)
		}
	})
}

func checkTLS(j *run, v *judgement) {
	j.submitted(v, func(s submission, what string) {
		v.that(s.TLS == "TLS 1.2" || s.TLS == "TLS 1.3", "%s : soumis à l'opérateur en TLS 1.2 ou plus (vu : %q).", what, s.TLS)
	})
}

func checkSMTP(j *run, v *judgement) {
	for _, key := range posted {
		c := j.about(v, key)[0]
		if !v.need(c.code() == "AA", "Le message « %s » n'a pas été accepté.", c.key) {
			continue
		}
		for _, box := range c.boxes {
			l := j.letter(c, box)
			if l != nil {
				v.cite(l.n)
			}
			v.that(l != nil, "Le courriel « %s » est dans la boîte %s.", c.key, box)
		}
	}
	j.submitted(v, func(s submission, what string) {
		v.that(strings.HasPrefix(s.TLS, "TLS "), "%s : soumis après STARTTLS.", what)
	})
}

func checkIMAP(j *run, v *judgement) {
	c := j.about(v, "recu")[0]
	flags, known := j.state[c.id]
	v.cite(j.views[j.target.Operator.GatewayMailbox])
	if v.need(known, "La boîte de la passerelle ne se laisse pas relire : le courriel reçu n'y est pas listé.") {
		v.that(slices.Contains(flags, `\Seen`), `Le courriel reçu porte l'indicateur \Seen, que seul IMAP (après STARTTLS) peut poser.`)
	}
}

func checkBALApp(j *run, v *judgement) {
	j.submitted(v, func(s submission, what string) {
		v.that(s.Certificate != "", "%s : l'opérateur a reconnu un certificat client.", what)
		v.that(strings.EqualFold(s.From, j.target.Operator.GatewayMailbox), "%s : soumis pour la boîte applicative elle-même.", what)
		v.that(s.Login == "" || strings.EqualFold(s.Login, j.target.Operator.GatewayMailbox), "%s : l'identifiant présenté, s'il y en a un, est l'adresse de la boîte.", what)
	})
}

func checkMessageID(j *run, v *judgement) {
	ids := map[string]string{}
	j.each(v, func(l *letter, _ int, what string) {
		id := l.messageID()
		v.that(strings.Contains(id, "@"), "%s : un Message-ID est présent et bien formé.", what)
		v.that(ids[id] == "", "%s : son Message-ID n'est celui d'aucun autre courriel.", what)
		ids[id] = what
	})
}

func checkText(j *run, v *judgement) {
	j.each(v, func(l *letter, _ int, what string) {
		ok := slices.ContainsFunc(l.parts, func(p part) bool {
			return p.kind == "multipart/alternative" || p.kind == "text/plain" && p.name == "" && len(bytes.TrimSpace(p.content)) > 0
		})
		v.that(ok, "%s : le corps est en text/plain ou multipart/alternative.", what)
	})
}

func checkAutoNotice(j *run, v *judgement) {
	j.each(v, func(l *letter, _ int, what string) {
		v.that(strings.Contains(strings.ToLower(l.text()), "automatiquement"), "%s : le texte dit que le message a été produit automatiquement.", what)
		v.that(strings.Contains(l.head("Reply-To"), "@"), "%s : une adresse de réponse est donnée (Reply-To).", what)
	})
}

var displayName = regexp.MustCompile(`^"?[^"<@]{3,}"? *<[^<>@]+@[^<>@]+>$`)

func checkSender(j *run, v *judgement) {
	j.each(v, func(l *letter, _ int, what string) {
		v.that(displayName.MatchString(l.head("From")), "%s : l'émetteur porte un nom affiché, et non sa seule adresse.", what)
	})
}

func checkReplaceMark(j *run, v *judgement) {
	c := j.about(v, "lettre corrigee")[0]
	l := j.letter(c, c.boxes[0])
	if !v.need(l != nil, "La lettre corrigée n'est pas arrivée.") {
		return
	}
	v.cite(l.n)
	v.that(strings.Contains(strings.ToLower(l.head("Subject")+" "+l.text()), "annule et remplace"), "La lettre corrigée porte la mention « annule et remplace ».")
	v.that(len(l.xpath(pathRPLC)) > 0, "METADATA.XML lie la nouvelle version à l'ancienne (association RPLC).")
}

func checkPatientLetter(j *run, v *judgement) {
	c := j.about(v, "lettre")[0]
	if !v.need(c.code() == "AA", "« %s » n'a pas été accepté.", c.key) {
		return
	}
	l := j.letter(c, j.script.patientBox())
	if !v.that(l != nil, "Le courriel est dans la boîte du patient, adresse formée de son matricule INS qualifié.") {
		return
	}
	v.cite(l.n)
	v.that(slices.ContainsFunc(l.xpath(pathPatientID), func(id string) bool { return strings.HasPrefix(id, j.script.me.Matricule+"^") }),
		"Les métadonnées du courriel au patient nomment ce patient.")
}

func checkPatientRefused(j *run, v *judgement) {
	c := j.about(v, "patient sans INS")[0]
	if v.answered(c) && j.posts(v, 1) {
		j.nothing(v, c, j.script.patientBox(), "Sans INS qualifiée, aucun courriel ne part vers la boîte citoyenne.")
	}
}

func checkInvisible(j *run, v *judgement) {
	c := j.about(v, "invisible")[0]
	if v.answered(c) && j.posts(v, 1) {
		j.nothing(v, c, j.script.patientBox(), "INVISIBLE_PATIENT : le document n'arrive pas dans la boîte du patient, même demandé.")
	}
	if c = j.about(v, "invisible courriel")[0]; v.need(c.code() == "AA", "« %s » n'a pas été accepté.", c.key) {
		l := j.letter(c, c.boxes[0])
		if v.that(l != nil, "INVISIBLE_PATIENT : le professionnel reçoit le document.") {
			v.cite(l.n)
			v.that(slices.Contains(l.xpath(pathLabels), "INVISIBLE_PATIENT"), "INVISIBLE_PATIENT : METADATA.XML porte ce code de confidentialité.")
		}
	}
}

func checkMaskedMail(j *run, v *judgement) {
	c := j.about(v, "masque")[0]
	if v.answered(c) && j.posts(v, 0) {
		j.nothing(v, c, c.boxes[0], "MASQUE_PS : aucun courriel ne part vers un professionnel.")
	}
}

func checkInboundMDM(j *run, v *judgement) {
	c := j.about(v, "recu")[0]
	if !v.need(c.ackErr == nil, "Le courriel n'a pas pu être déposé dans la boîte de la passerelle.") {
		return
	}
	list := j.filed(c)
	if !v.that(len(list) > 0, "Le document reçu par messagerie arrive à l'établissement en MDM.") {
		return
	}
	t := list[0]
	v.cite(t.n)
	v.that(bytes.Equal(embedded(t), c.cda), "Le CDA du MDM est identique, octet pour octet, à celui de l'archive.")
	v.that(strings.Contains(t.m.get("PID", 3, 0), j.script.me.Matricule), "PID-3 du MDM nomme le patient des métadonnées.")
}

func checkInboundDetect(j *run, v *judgement) {
	with, without := j.about(v, "recu")[0], j.about(v, "recu sans archive")[0]
	if v.need(with.ackErr == nil && without.ackErr == nil, "Les courriels n'ont pas pu être déposés.") {
		v.that(len(j.filed(with)) > 0, "Le courriel qui porte une archive IHE XDM est reconnu : un MDM part vers l'établissement.")
		v.cite(j.view)
		// A gateway that makes a document of it gives it an id of its own.
		others := len(j.filed(without))
		for _, t := range j.told {
			if t.m.get("MSH", 9, 1) == "MDM" && !j.explained(t) {
				v.cite(t.n)
				others++
			}
		}
		v.that(others == 0, "Le courriel sans archive ne produit pas de MDM (MDM sans courriel à archive : %d).", others)
	}
}

func checkInboundPatient(j *run, v *judgement) {
	c := j.about(v, "recu autre patient")[0]
	if v.need(c.ackErr == nil, "Le courriel n'a pas pu être déposé.") {
		v.cite(j.view)
		v.that(len(j.filed(c)) == 0, "Un courriel dont METADATA.XML nomme un autre patient que le CDA n'est rangé dans aucun dossier.")
	}
	right := j.about(v, "recu")[0]
	v.need(len(j.filed(right)) > 0, "Aucun courriel n'est rangé : que l'autre ne le soit pas ne prouve rien.")
	for _, t := range j.filed(right) {
		v.cite(t.n)
		v.that(strings.Contains(t.m.get("PID", 3, 0), j.script.me.Matricule), "Le document est rangé au patient que nomme le patientId de METADATA.XML.")
	}
}

func checkInboundMDN(j *run, v *judgement) {
	c := j.about(v, "recu")[0]
	filed := j.filed(c)
	if !v.need(slices.ContainsFunc(filed, func(t told) bool { return t.ack == "AA" }), "L'établissement n'a pas acquitté le document reçu.") {
		return
	}
	l := j.receipt(c)
	if !v.that(l != nil, "L'acquittement AA de l'établissement devient un accusé MSSanté (MDN) rendu au correspondant.") {
		return
	}
	v.cite(l.n)
	said := l.disposition("Disposition")
	v.that(strings.Contains(strings.ToLower(said), "processed") && !l.refuses(), "L'accusé dit que le document est intégré (Disposition : %q).", said)
	v.that(strings.Contains(l.disposition("Original-Message-ID"), c.id), "L'accusé nomme le Message-ID du courriel d'origine.")
	other := j.about(v, "recu autre patient")[0]
	if l := j.receipt(other); l != nil {
		v.cite(l.n)
		v.that(l.refuses(), "Aucun accusé ne dit intégré un document que l'établissement n'a pas acquitté (« %s »).", other.key)
	}
}

func checkInboundMDNError(j *run, v *judgement) {
	c := j.script.scene["recu refuse"]
	if !v.need(c != nil, "Le bac à sable n'a pas de réglage qui fasse refuser un document à l'établissement.") {
		return
	}
	v.cite(c.n...)
	filed := j.filed(c)
	if !v.need(slices.ContainsFunc(filed, func(t told) bool { return t.ack == "AE" }), "L'établissement n'a pas eu de document à refuser.") {
		return
	}
	l := j.receipt(c)
	if !v.that(l != nil, "Le refus AE de l'établissement est dit au correspondant par un accusé MSSanté (MDN).") {
		return
	}
	v.cite(l.n)
	v.that(l.refuses(), "L'accusé porte l'erreur, et non un succès.")
}
