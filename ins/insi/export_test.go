package insi

// AtOnce is how many calls may be under way.
const AtOnce = atOnce
