package fault

// gatewayRows are the refusals of the gateway itself: acceptance, journal,
// delivery. Prefix GW.
var gatewayRows = []Row{
	{
		Code: Internal, Kind: Temporary, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR: "Erreur interne de la passerelle.", EN: "Internal error of the gateway.",
		FixFR: "Réessayez ; si l'erreur persiste, transmettez l'identifiant de la soumission à l'exploitant.",
		FixEN: "Try again; if it persists, give the submission id to the operator.",
	},
}
