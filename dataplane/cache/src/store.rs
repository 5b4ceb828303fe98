//! Where objects are kept: in memory, and on a disk beside it.

pub mod disk;
pub mod ram;

pub use ram::{Ram, RamConfig, RamStats};
