package fault

// scanRows: prefix SCAN. What a scanned INS datamatrix, or an image of one, has
// wrong.
var scanRows = []Row{
	scan("SCAN-TOO-LONG", 413, "too-long",
		[2]string{"Le texte scanné est plus long qu'un datamatrix INS.", "The scanned text is longer than an INS datamatrix."},
		[2]string{"Scannez le seul datamatrix INS, ou saisissez l'identité.", "Scan the INS datamatrix only, or type the identity."}),
	scan("SCAN-HEADER", 422, "structure",
		[2]string{"Ce n'est pas un datamatrix INS : l'en-tête IS01 suivi de zéros est absent.", "This is no INS datamatrix: the header IS01 followed by zeros is missing."},
		[2]string{"Scannez le code accompagné de la mention « INS à scanner » ; vérifiez que la douchette transmet tous les caractères, majuscules comprises.", "Scan the code captioned \"INS à scanner\"; check that the scanner sends every character, upper case included."}),
	scan("SCAN-FIELD", 422, "structure",
		[2]string{"Le datamatrix contient un champ que le format INS ne connaît pas.", "The datamatrix holds a field that the INS format does not have."},
		[2]string{"Vérifiez le réglage de la douchette ; si le code vient d'un autre établissement, signalez-le-lui et saisissez l'identité.", "Check the settings of the scanner; if the code comes from another house, tell it and type the identity."}),
	scan("SCAN-REPEATED", 422, "structure",
		[2]string{"Un champ figure deux fois dans le datamatrix.", "A field comes twice in the datamatrix."},
		[2]string{"N'utilisez pas ce code ; saisissez l'identité et interrogez l'INSi.", "Do not use this code; type the identity and ask INSi."}),
	scan("SCAN-MISSING", 422, "required",
		[2]string{"Un champ obligatoire (S1 à S6) manque dans le datamatrix.", "A required field (S1 to S6) is missing in the datamatrix."},
		[2]string{"Scannez de nouveau ; si le champ manque toujours, saisissez l'identité et interrogez l'INSi.", "Scan again; if the field is still missing, type the identity and ask INSi."}),
	scan("SCAN-LENGTH", 422, "value",
		[2]string{"Un champ du datamatrix n'a pas la longueur prévue.", "A field of the datamatrix has not the length of the format."},
		[2]string{"Scannez de nouveau en entier ; réglez la douchette pour qu'elle transmette le séparateur GS.", "Scan again, entirely; set the scanner to send the separator GS."}),
	scan("SCAN-VALUE", 422, "value",
		[2]string{"Un champ du datamatrix contient une valeur interdite.", "A field of the datamatrix holds a value that is not allowed."},
		[2]string{"Vérifiez la disposition du clavier de la douchette ; sinon saisissez l'identité et interrogez l'INSi.", "Check the keyboard layout of the scanner; otherwise type the identity and ask INSi."}),
	scan("SCAN-IMAGE", 422, "structure",
		[2]string{"Le fichier n'est pas une image lisible.", "The file is no image that can be read."},
		[2]string{"Envoyez une image PNG, JPEG ou GIF complète.", "Send a whole PNG, JPEG or GIF image."}),
	scan("SCAN-IMAGE-SIZE", 413, "too-long",
		[2]string{"L'image est trop grande : 16 Mo et 12 millions de points au plus.", "The image is too large: 16 MB and 12 million points at most."},
		[2]string{"Recadrez l'image sur le datamatrix, ou réduisez sa définition.", "Crop the image to the datamatrix, or lower its resolution."}),
	scan("SCAN-NO-SYMBOL", 422, "not-found",
		[2]string{"Aucun datamatrix lisible dans cette image.", "No readable datamatrix in this image."},
		[2]string{"Reprenez l'image de face, nette, avec la marge blanche autour du code.", "Take the image again: from the front, sharp, with the white border around the code."}),
	scan("SCAN-DRAWING", 422, "value",
		[2]string{"La taille demandée pour le dessin du datamatrix n'est pas admise.", "The size asked for the drawing of the datamatrix is not allowed."},
		[2]string{"Demandez de 1 à 40 points par module (PNG), ou de 0,1 à 10 mm (SVG).", "Ask for 1 to 40 points a module (PNG), or 0.1 to 10 mm (SVG)."}),
}

func scan(code string, http int, fhir string, what, fix [2]string) Row {
	return Row{Code: code, Kind: Permanent, HTTP: http, FHIR: fhir,
		HL7: HL7{"AE", "207", "905"}, SMTP: SMTP{554, "5.6.0"},
		FR: what[0], EN: what[1], FixFR: fix[0], FixEN: fix[1], Requirements: []string{"INS/va1.03"}}
}
