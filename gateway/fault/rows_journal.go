package fault

// journalRows are the refusals of what keeps: bytes, databases, the journal.
// They are declared by dmp/blob, dmp/sqldb and gateway/journal. Prefix GW.
//
// All of them are AR 207/906 for a sender of HL7: the fault is ours, and the
// same message may be sent again unchanged. What needs a person is Permanent
// only where waiting cannot help.
var journalRows = []Row{
	{
		Code: "GW-DISK-FULL", Kind: Temporary, HTTP: 507, FHIR: "no-store",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{452, "4.3.1"},
		FR:    "La passerelle n'a plus assez d'espace disque pour conserver ce qu'elle reçoit.",
		EN:    "The gateway has not enough disk space left to keep what it receives.",
		FixFR: "Libérez de l'espace sur le disque de la passerelle ou agrandissez-le, puis renvoyez le même message : rien n'a été enregistré.",
		FixEN: "Free or add disk space on the gateway, then send the same message again: nothing was recorded.",
	},
	{
		Code: "GW-STORAGE", Kind: Temporary, HTTP: 503, FHIR: "exception",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "La passerelle n'a pas pu lire ou écrire sur son disque.",
		EN:    "The gateway could not read from or write to its disk.",
		FixFR: "Vérifiez les droits du dossier de données et l'état du disque dans les traces de la passerelle, puis renvoyez le même message.",
		FixEN: "Check the rights of the data folder and the state of the disk in the gateway's logs, then send the same message again.",
	},
	{
		Code: "GW-INTERRUPTED", Kind: Temporary, HTTP: 503, FHIR: "timeout",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "L'opération a été interrompue avant la fin : connexion rompue, délai dépassé ou arrêt de la passerelle.",
		EN:    "The operation was interrupted before its end: broken connection, timeout, or shutdown of the gateway.",
		FixFR: "Renvoyez le même message : rien n'a été enregistré.",
		FixEN: "Send the same message again: nothing was recorded.",
	},
	{
		Code: "GW-DATABASE-BUSY", Kind: Temporary, HTTP: 503, FHIR: "lock-error",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "La base de données est occupée par un autre programme.",
		EN:    "The database is held by another program.",
		FixFR: "Fermez l'outil qui a ouvert le fichier de la base (sauvegarde, éditeur SQL), puis renvoyez le même message.",
		FixEN: "Close the tool that opened the database file (backup, SQL editor), then send the same message again.",
	},
	{
		Code: "GW-DATABASE-DAMAGED", Kind: Permanent, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "Le fichier de la base de données est abîmé ou n'est pas une base de données.",
		EN:    "The database file is damaged or is not a database.",
		FixFR: "Arrêtez la passerelle, mettez le fichier de côté et restaurez la dernière sauvegarde ; gardez vos messages, ils pourront être renvoyés.",
		FixEN: "Stop the gateway, set the file aside and restore the last backup; keep your messages, they can be sent again.",
	},
	{
		Code: "GW-DATABASE-SCHEMA", Kind: Permanent, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "La base de données ne correspond pas à cette version du programme.",
		EN:    "The database does not match this version of the program.",
		FixFR: "Démarrez la version du programme qui a écrit cette base, ou une version plus récente.",
		FixEN: "Start the version of the program that wrote this database, or a later one.",
	},
	{
		Code: "GW-BLOB-MISSING", Kind: Permanent, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "Des octets que la passerelle devait conserver ont disparu de son dossier.",
		EN:    "Bytes that the gateway had to keep are gone from its folder.",
		FixFR: "Restaurez le dossier « blobs » depuis la dernière sauvegarde ; si c'est impossible, renvoyez le document.",
		FixEN: "Restore the folder “blobs” from the last backup; failing that, send the document again.",
	},
	{
		Code: "GW-BLOB-DAMAGED", Kind: Permanent, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "Des octets conservés par la passerelle ne correspondent plus à leur empreinte.",
		EN:    "Bytes kept by the gateway no longer match their digest.",
		FixFR: "Restaurez le dossier « blobs » depuis la dernière sauvegarde et faites vérifier le disque.",
		FixEN: "Restore the folder “blobs” from the last backup and have the disk checked.",
	},
	{
		Code: "GW-BLOB-DIGEST", Kind: Permanent, HTTP: 400, FHIR: "value",
		HL7: HL7{"AE", "207", "906"}, SMTP: SMTP{554, "5.6.0"},
		FR:    "L'empreinte demandée n'est pas un SHA-256 en hexadécimal minuscule.",
		EN:    "The requested digest is not a SHA-256 in lower-case hexadecimal.",
		FixFR: "Corrigez l'empreinte : 64 caractères de 0 à 9 et de a à f.",
		FixEN: "Correct the digest: 64 characters, 0 to 9 and a to f.",
	},
	{
		Code: "GW-JOURNAL-LOCKED", Kind: Permanent, HTTP: 500, FHIR: "lock-error",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "Le dossier du journal est déjà ouvert par une autre passerelle.",
		EN:    "The journal folder is already open in another gateway.",
		FixFR: "Arrêtez l'autre processus, ou donnez à chacun son dossier de données.",
		FixEN: "Stop the other process, or give each its own data folder.",
	},
	{
		Code: "GW-JOURNAL-ENTRY", Kind: Permanent, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "La passerelle a voulu inscrire à son journal une entrée incohérente.",
		EN:    "The gateway tried to record an inconsistent entry in its journal.",
		FixFR: "C'est un défaut du programme : transmettez l'identifiant de la soumission à l'exploitant.",
		FixEN: "This is a defect of the program: give the submission id to the operator.",
	},
	{
		Code: "GW-KEY-FILE", Kind: Permanent, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "Le fichier de clés des identités est absent, trop court, illisible, ou lisible par d'autres utilisateurs.",
		EN:    "The key file of the identities is absent, too short, unreadable, or readable by other users.",
		FixFR: "Une clé par ligne, 32 octets en hexadécimal (openssl rand -hex 32), puis chmod 600 ; gardez-en une copie hors de la machine.",
		FixEN: "One key a line, 32 bytes in hexadecimal (openssl rand -hex 32), then chmod 600; keep a copy off the machine.",
	},
	{
		Code: "GW-KEY-WRONG", Kind: Permanent, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "Le fichier de clés n'est pas celui qui a chiffré les identités de ce journal : elles sont là, mais illisibles.",
		EN:    "The key file is not the one that sealed the identities of this journal: they are there, and unreadable.",
		FixFR: "Remettez le fichier de clés d'origine, toutes ses lignes dans leur ordre ; une nouvelle clé s'ajoute à la fin, sans retirer les anciennes.",
		FixEN: "Put the original key file back, all its lines in their order; a new key is added at the end and no old one removed.",
	},
	{
		Code: "GW-SEALED-DAMAGED", Kind: Permanent, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "Une identité chiffrée du journal est abîmée ou a été déplacée.",
		EN:    "A sealed identity of the journal is damaged or was moved.",
		FixFR: "Restaurez la base du journal depuis la dernière sauvegarde et faites vérifier le disque.",
		FixEN: "Restore the database of the journal from the last backup and have the disk checked.",
	},
}
