//! The same load against Breakwater and its peers, in one run.
