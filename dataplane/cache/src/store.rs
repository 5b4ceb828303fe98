//! Where objects are kept. Today one tier, in memory; a disk tier goes beside it.

pub mod ram;

pub use ram::{Ram, RamConfig, RamStats};
