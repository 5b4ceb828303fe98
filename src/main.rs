//! Breakwater: one binary, one page of subcommands.
fn main() {}
