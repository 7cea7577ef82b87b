package journal

// HotQueries are asked for every message or many times a second.
var HotQueries = map[string]string{
	"claim":           claimable,
	"recorded":        recordedQuery,
	"submission":      submissionQuery,
	"documents":       documentsQuery,
	"deliveries":      deliveriesQuery,
	"events":          eventsQuery,
	"named":           namedQuery,
	"next due":        nextFreeQuery,
	"next lease":      nextLeaseQuery,
	"state":           stateQuery,
	"held":            heldQuery,
	"letter":          letterQuery,
	"message":         messageQuery,
	"list by state":   `SELECT id FROM submission WHERE finess_geo = ? AND state = ? ORDER BY seq DESC LIMIT 5`,
	"list":            `SELECT id FROM submission WHERE finess_geo = ? ORDER BY seq DESC LIMIT 5`,
	"list by control": `SELECT id FROM submission WHERE finess_geo = ? AND control_id = ? ORDER BY seq DESC LIMIT 5`,
}
