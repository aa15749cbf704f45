//! Nothing but tests: `tests/interleavings` looks at every interleaving of small broadcast calls, `tests/threads` makes
//! many random ones.
