package conformance

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
)

// check judges one scenario from what was played and seen.
type check func(j *run, v *judgement)

var checks = map[string]check{}

// register keeps each family of checks in its own file.
func register(list map[string]check) bool {
	for name, c := range list {
		checks[name] = c
	}
	return true
}

var _ = register(map[string]check{
	"hl7-accept":       checkAccept,
	"hl7-refuse":       checkRefuse,
	"hl7-correlation":  checkCorrelation,
	"hl7-duplicate":    checkDuplicate,
	"hl7-pid":          checkPID,
	"hl7-zam-dmp":      checkZAMDMP,
	"hl7-zam-mail":     checkZAMMail,
	"hl7-zam-read":     checkZAMRead,
	"hl7-charset":      checkCharset,
	"dmp-feed":         checkFeed,
	"dmp-replace":      checkReplace,
	"dmp-delete":       checkDelete,
	"dmp-queue":        checkQueue,
	"dmp-masked":       checkMasked,
	"ins-gate-dmp":     checkGateDMP,
	"ins-gate-mail":    checkGateMail,
	"ins-no-matricule": checkNoMatricule,
})

// about names a scene and cites its exchanges.
func (j *run) about(v *judgement, keys ...string) []*scene {
	var list []*scene
	for _, k := range keys {
		c := j.script.scene[k]
		v.cite(c.n...)
		list = append(list, c)
	}
	return list
}

// answered says that a message was answered at all: silence proves nothing.
func (v *judgement) answered(c *scene) bool {
	return v.need(c.ackErr == nil && c.ack != nil, "Le message « %s » n'a reçu aucun acquittement.", c.key)
}

var accepted = []string{"biologie", "imagerie", "lettre", "remplacement", "suppression"}

func checkAccept(j *run, v *judgement) {
	for _, c := range j.about(v, accepted...) {
		v.that(c.code() == "AA", "Le message « %s » est acquitté AA en MSA-1 (reçu : %q).", c.key, c.code())
		v.that(c.ack.get("MSH", 9, 1) == "ACK", "La réponse à « %s » est un message ACK (MSH-9).", c.key)
	}
}

func checkRefuse(j *run, v *judgement) {
	for _, c := range j.about(v, "autre patient", "sans TXA", "illisible") {
		v.that(c.code() == "AE" || c.code() == "AR", "Le message fautif « %s » est refusé, AE ou AR en MSA-1 (reçu : %q).", c.key, c.code())
		v.that(c.ack.get("ERR", 3, 1) != "", "Le refus de « %s » porte un code d'erreur en ERR-3.", c.key)
		v.that(len(j.zams(c)) == 0, "Aucun compte rendu ZAM ne suit le refus de « %s ».", c.key)
		if d, known := j.taken[c.key]; known && d.err == nil {
			v.cite(d.n)
			v.that(d.found == 0, "Le document de « %s », refusé, n'est pas au DMP (trouvés : %d).", c.key, d.found)
		}
	}
	v.cite(j.view)
}

func checkCorrelation(j *run, v *judgement) {
	for _, key := range j.script.order {
		c := j.script.scene[key]
		if c.message == nil || !c.sent {
			continue
		}
		j.about(v, key)
		v.that(c.ack.get("MSA", 2, 0) == c.control, "MSA-2 de l'acquittement de « %s » reprend le MSH-10 du message.", c.key)
	}
}

func checkDuplicate(j *run, v *judgement) {
	c := j.about(v, "biologie")[0]
	if !v.need(c.code() == "AA", "Le premier envoi n'a pas été accepté.") {
		return
	}
	again := readER7(c.again)
	v.that(again.get("MSA", 1, 0) == "AA", "Le même message, octet pour octet, est acquitté AA une seconde fois (reçu : %q).", again.get("MSA", 1, 0))
	ids := map[string]bool{}
	for _, t := range j.zams(c) {
		v.cite(t.n)
		ids[t.control()] = true
	}
	v.need(len(ids) > 0, "Aucun compte rendu DMP n'est revenu : rien n'est prouvé.")
	v.that(len(ids) <= 1, "L'établissement ne reçoit qu'un compte rendu DMP distinct pour les deux envois (reçus : %d).", len(ids))
	if d, ok := j.taken["biologie"]; ok && d.err == nil {
		v.cite(d.n)
		v.need(d.found > 0, "Le document n'est pas au DMP : rien n'est prouvé.")
		v.that(d.found <= 1, "Le DMP ne tient qu'un exemplaire du document (trouvés : %d).", d.found)
	}
}

func checkPID(j *run, v *judgement) {
	c := j.about(v, "identite")[0]
	v.that(c.code() == "AA", "Un message dont PID-3 porte l'INS et PID-32 vaut VALI est accepté (reçu : %q).", c.code())
	if d, ok := j.stored(v, "identite"); ok {
		v.that(d.found == 1, "Son document se retrouve au DMP par l'INS du patient (trouvés : %d).", d.found)
	}
}

func checkCharset(j *run, v *judgement) {
	c := j.about(v, "latin9")[0]
	v.that(c.code() == "AA", "Un message en 8859/15 (MSH-18) est accepté (reçu : %q).", c.code())
	if d, ok := j.stored(v, "latin9"); ok {
		v.that(bytes.Equal(d.content, c.cda), "Le document relu au DMP est identique, octet pour octet, à celui du message.")
	}
}

// zam finds those of one event for a scene.
func (j *run) zam(v *judgement, c *scene, event string) (list []told) {
	seen := map[string]bool{}
	for _, t := range j.zams(c) {
		if t.event() == event && !seen[t.control()] {
			seen[t.control()] = true
			list = append(list, t)
			v.cite(t.n)
		}
	}
	return list
}

// one verifies that exactly one ZAM says so.
func (j *run) one(v *judgement, c *scene, event, answer, what string) {
	list := j.zam(v, c, event)
	v.that(len(list) == 1, "« %s » : un compte rendu ZAM^%s, un seul, revient à l'émetteur (reçus : %d).", c.key, event, len(list))
	for _, t := range list {
		v.that(t.yes() == answer, "« %s » : ce compte rendu dit %s, puisque %s (reçu : %q).", c.key, answer, what, t.yes())
	}
}

func checkZAMDMP(j *run, v *judgement) {
	for _, c := range j.about(v, "biologie", "remplacement", "suppression") {
		if v.need(c.code() == "AA", "« %s » n'a pas été accepté.", c.key) {
			j.one(v, c, "Z01", "Y", "le DMP a accepté l'opération")
		}
	}
	c := j.about(v, "dmp ferme")[0]
	if !v.need(c.code() == "AA", "« %s » n'a pas été accepté.", c.key) {
		return
	}
	j.one(v, c, "Z01", "N", "le DMP de ce patient est fermé")
	for _, t := range j.zam(v, c, "Z01") {
		v.that(t.m.get("ERR", 5, 1) != "", "Le compte rendu négatif porte le code d'erreur en ERR-5.")
	}
}

func checkZAMMail(j *run, v *judgement) {
	c := j.about(v, "lettre")[0]
	if v.need(c.code() == "AA", "« %s » n'a pas été accepté.", c.key) {
		list := j.zam(v, c, "Z02")
		v.that(len(list) == len(c.boxes), "« %s » : un compte rendu ZAM^Z02 par destinataire (attendus : %d, reçus : %d).", c.key, len(c.boxes), len(list))
		var named []string
		for _, t := range list {
			named = append(named, t.about())
			v.that(t.yes() == "Y", "« %s » : le compte rendu dit Y, puisque l'opérateur a remis le courriel (reçu : %q).", c.key, t.yes())
		}
		for _, box := range c.boxes {
			v.that(slices.Contains(named, box), "« %s » : l'un des comptes rendus nomme le destinataire %s.", c.key, box)
		}
	}
	if c = j.about(v, "boite absente")[0]; v.need(c.code() == "AA", "« %s » n'a pas été accepté.", c.key) {
		j.one(v, c, "Z02", "N", "la boîte n'existe pas")
	}
}

func checkZAMRead(j *run, v *judgement) {
	c := j.about(v, "lettre")[0]
	if v.need(c.id != "" && c.ackErr == nil, "Le correspondant n'a pas pu rendre d'accusé de lecture.") {
		j.one(v, c, "Z03", "Y", "le correspondant a lu")
		for _, t := range j.zam(v, c, "Z03") {
			v.that(t.about() == c.boxes[0], "« %s » : ce compte rendu nomme le correspondant qui a lu, et non l'autre destinataire.", c.key)
		}
	}
}

// stored gives what the DMP holds of a scene.
func (j *run) stored(v *judgement, key string) (document, bool) {
	c := j.about(v, key)[0]
	if !v.need(j.noDMP == "", "%s", j.noDMP) || !v.answered(c) {
		return document{}, false
	}
	d, looked := j.taken[key]
	v.cite(d.n)
	return d, v.need(looked && d.err == nil, "La recherche au DMP a échoué pour « %s ».", key)
}

func checkFeed(j *run, v *judgement) {
	d, ok := j.stored(v, "lettre")
	if ok {
		v.that(d.found == 1 && (d.status == "current" || d.status == "superseded"), "La lettre de liaison est au DMP, une fois (trouvée : %d).", d.found)
	}
	if d, ok = j.stored(v, "remplacement"); ok {
		v.that(d.found == 1 && bytes.Equal(d.content, j.script.scene["remplacement"].cda), "Le compte rendu de biologie est au DMP, octets identiques à ceux du message.")
	}
}

func checkReplace(j *run, v *judgement) {
	if d, ok := j.stored(v, "biologie"); ok {
		v.that(d.status == "superseded", "L'ancienne version est remplacée au DMP (statut : %q).", d.status)
	}
	if d, ok := j.stored(v, "remplacement"); ok {
		v.that(d.status == "current", "La nouvelle version est en vigueur au DMP (statut : %q).", d.status)
	}
}

func checkDelete(j *run, v *judgement) {
	if !v.need(j.noDMP == "", "%s", j.noDMP) || !v.need(j.before.found == 1, "Le document à supprimer n'était pas au DMP.") {
		return
	}
	v.cite(j.before.n)
	if d, ok := j.stored(v, "suppression"); ok {
		v.that(d.found == 0, "Le document supprimé ne se trouve plus au DMP (trouvés : %d).", d.found)
	}
}

func checkQueue(j *run, v *judgement) {
	if !v.need(j.noLink == "", "%s", j.noLink) {
		return
	}
	c := j.about(v, "file d'attente")[0]
	v.that(c.code() == "AA", "Le message est pris en charge (AA) alors que le DMP ne répond pas (reçu : %q).", c.code())
	v.that(j.queued, "Rien n'est annoncé à l'émetteur tant que le DMP ne répond pas.")
	if d, ok := j.stored(v, "file d'attente"); ok {
		v.that(d.found == 1, "Le document arrive au DMP de lui-même une fois le lien rétabli (trouvés : %d).", d.found)
	}
}

func checkMasked(j *run, v *judgement) {
	c := j.about(v, "masque dmp")[0]
	if !v.need(c.code() == "AA", "« %s » n'a pas été accepté.", c.key) {
		return
	}
	if d, ok := j.stored(v, "masque dmp"); ok {
		// Its author finds it; another professional would not.
		v.that(d.found == 1 && slices.Contains(d.labels, "MASQUE_PS"), "Le document est au DMP, où son auteur le retrouve, masqué aux autres professionnels (MASQUE_PS ; trouvés : %d).", d.found)
	}
}

func checkGateDMP(j *run, v *judgement) {
	if d, ok := j.stored(v, "non qualifiee dmp"); ok && v.need(j.taken["lettre"].found > 0, "Le document ordinaire n'est pas au DMP non plus : rien n'est prouvé.") {
		v.that(d.found == 0, "Un document dont l'identité n'est pas qualifiée (PID-32 = PROV) n'arrive pas au DMP (trouvés : %d).", d.found)
	}
}

func checkGateMail(j *run, v *judgement) {
	c := j.about(v, "non qualifiee courriel")[0]
	if v.answered(c) && j.posts(v, 0) {
		j.nothing(v, c, c.boxes[0], "Un document qui porte un matricule non qualifié ne part pas par messagerie.")
	}
}

func checkNoMatricule(j *run, v *judgement) {
	if c := j.about(v, "sans INS")[0]; v.need(j.letter(c, c.boxes[0]) != nil, "Le courriel au professionnel sans INS qualifiée n'est pas arrivé : rien à relire.") {
		j.nameless(v, c)
	}
	// A matricule that the gateway knows and may not tell.
	c := j.about(v, "INS provisoire")[0]
	if !v.answered(c) || !j.posts(v, 0) || !v.need(j.unread[c.boxes[0]] == "", "%s", j.unread[c.boxes[0]]) {
		return
	}
	if l := j.letter(c, c.boxes[0]); l != nil {
		j.nameless(v, c)
		return
	}
	j.nothing(v, c, c.boxes[0], "« "+c.key+" » : rien ne part, donc aucun matricule.")
}

// nameless verifies that the letter of a scene names nobody by a matricule.
func (j *run) nameless(v *judgement, c *scene) {
	l := j.letter(c, c.boxes[0])
	v.cite(l.n)
	found := false
	for _, data := range l.everything() {
		for _, p := range j.target.Patients {
			// The thirteen digits without the key are a matricule too.
			found = found || len(p.Matricule) >= 13 && bytes.Contains(data, []byte(p.Matricule[:13]))
		}
	}
	v.that(!found, "« %s », INS non qualifiée : ni l'enveloppe, ni le texte, ni l'archive du courriel ne portent de matricule.", c.key)
	ids := strings.Join(l.xpath(pathPatientID), " ")
	v.that(!strings.Contains(ids, "1.2.250.1.213.1.4."), "« %s » : METADATA.XML ne nomme pas le patient par une autorité de l'INS.", c.key)
	for _, cda := range l.cdas() {
		root, err := parseXML(cda)
		v.that(err == nil && !strings.Contains(strings.Join(xpath(root, pathCDAPerson+"/@root"), " "), "1.2.250.1.213.1.4."), "« %s » : le CDA joint ne porte pas d'INS.", c.key)
	}
}

// embedded is the document of an MDM.
func embedded(t told) []byte {
	for _, s := range t.m {
		if s[0] == "OBX" && pick(s, 2, 0) == "ED" && pick(s, 5, 3) == "XML" {
			data, err := base64.StdEncoding.DecodeString(pick(s, 5, 5))
			if err == nil {
				return data
			}
		}
	}
	return nil
}
