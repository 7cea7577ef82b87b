package gateway

// The refusals and warnings of the gateway itself. Each has its row in
// gateway/fault.
const (
	FaultSameDocument     = "GW-SAME-DOCUMENT"
	FaultTypeMismatch     = "GW-TYPE-MISMATCH"
	FaultIDMismatch       = "GW-ID-MISMATCH"
	FaultReplacesMissing  = "GW-REPLACES-MISSING"
	FaultReplacesMismatch = "GW-REPLACES-MISMATCH"
	FaultNotLatest        = "GW-NOT-LATEST"
	FaultUnknownTarget    = "GW-UNKNOWN-TARGET"
	FaultNoSender         = "GW-NO-SENDER"
	FaultControlIDReused  = "GW-CONTROL-ID-REUSED"
	FaultAlreadyFed       = "GW-ALREADY-FED"
	FaultNoDestination    = "GW-NO-DESTINATION"
	FaultNoMail           = "GW-NO-MAIL"
	FaultRestricted       = "GW-RESTRICTED"
	FaultFateUnknown      = "GW-FATE-UNKNOWN"
	FaultNoReport         = "GW-NO-REPORT"
	FaultReceiptUnknown   = "GW-RECEIPT-UNKNOWN"
	FaultMailLoop         = "GW-MAIL-LOOP"
	FaultNoArchive        = "GW-NO-ARCHIVE"
	FaultExpired          = "GW-EXPIRED"
	FaultNotFound         = "GW-NOT-FOUND"
	FaultUnauthenticated  = "GW-UNAUTHENTICATED"
	FaultForbidden        = "GW-FORBIDDEN"
	FaultMethod           = "GW-METHOD"
	FaultKeyReused        = "GW-KEY-REUSED"
	FaultOpposed          = "GW-OPPOSED"
	FaultConsentUnknown   = "GW-CONSENT-UNKNOWN"
	FaultConsentUnlinked  = "GW-CONSENT-UNLINKED"
	FaultNoINSi           = "GW-NO-INSI"
)
