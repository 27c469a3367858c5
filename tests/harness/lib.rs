//! A whole gateway in a temporary directory, and the peers that the suites run it against.
