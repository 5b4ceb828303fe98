//! What the `cost_*` targets share: small inputs are blown up to 1 MiB, and what is read of them must cost linear time.
//!
//! [`shape`] makes large texts of small inputs, [`cost`] measures and judges, [`kinds`] has what is measured, [`rules`] the
//! rule sets of the engine. `examples/costs.rs` prints what the seeds cost, built as the product is.

pub mod cost;
pub mod kinds;
pub mod rules;
pub mod shape;
