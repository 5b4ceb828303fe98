//! The pure compile step: World in, Snapshot and Verdicts out.
