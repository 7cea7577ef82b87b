package mss

import (
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
)

// body is the text of a letter: the one handed in, or the default one; then the
// notice that a machine wrote it (ECO.2.2.5).
func (c *Composer) body(l Letter, replyTo Address, hasPDF bool) string {
	text := strings.TrimSpace(plainText(l.Body))
	if text == "" {
		text = defaultBody(l, hasPDF)
	}
	notice := []string{"Ce message a été produit automatiquement par " + c.c.FromName + "."}
	if l.Kind == Patient && l.PatientMayNotReply {
		notice = append(notice, "Il n'appelle pas de réponse. Boîte du service : "+replyTo.String()+".")
	} else {
		notice = append(notice, "Pour répondre, écrivez à "+replyTo.String()+".")
	}
	return text + "\n\n-- \n" + strings.Join(notice, "\n") + "\n"
}

func defaultBody(l Letter, hasPDF bool) string {
	what, it := "un document de santé", "Ce document"
	if len(l.Documents) > 1 {
		what, it = "des documents de santé", "Ces documents"
	}
	lines := []string{"Bonjour,", ""}
	switch {
	case l.Action == dmp.Delete && l.Kind == Patient:
		lines = append(lines,
			it+", que nous vous avions transmis, ne doit plus être pris en compte :",
			"merci de supprimer le courriel précédent et ses pièces jointes.")
	case l.Action == dmp.Delete:
		lines = append(lines,
			"L'émetteur demande de supprimer "+what+" transmis précédemment.",
			"Merci de supprimer le document de votre dossier : il ne doit plus être utilisé.",
			"L'archive jointe (IHE_XDM.zip) permet à votre logiciel de le retrouver.")
	case l.Action == dmp.Replace && l.Kind == Patient:
		lines = append(lines,
			"Vous trouverez ci-joint "+what+".",
			"Cet envoi annule et remplace le précédent : merci de supprimer l'ancien.")
	case l.Action == dmp.Replace:
		lines = append(lines,
			"Vous trouverez ci-joint "+what+" concernant votre patient.",
			"Cet envoi annule et remplace la version transmise précédemment.")
	case l.Kind == Patient:
		lines = append(lines, "Vous trouverez ci-joint "+what+".")
	default:
		lines = append(lines, "Vous trouverez ci-joint "+what+" concernant votre patient.")
	}
	if l.Action != dmp.Delete {
		if l.Kind == Professional {
			lines = append(lines, "L'archive IHE_XDM.zip s'intègre dans votre logiciel.")
		}
		if hasPDF {
			lines = append(lines, "Le fichier PDF en est la copie à lire.")
		}
	}
	return strings.Join(lines, "\n")
}
