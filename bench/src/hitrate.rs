//! Replaying traces on policies of eviction, without a network.

pub mod policy;
pub mod trace;
