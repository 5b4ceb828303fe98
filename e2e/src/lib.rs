//! End-to-end tests on real parts, and the cluster they run on.
