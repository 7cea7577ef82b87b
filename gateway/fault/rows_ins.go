package fault

// insRows: prefix INS.
var insRows = []Row{}
