//! The operator: watches, compiles, publishes, reports status.
