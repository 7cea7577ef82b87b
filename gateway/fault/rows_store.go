package fault

// storeRows: prefix STORE.
var storeRows = []Row{}
