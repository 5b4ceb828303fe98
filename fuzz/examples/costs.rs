//! What the seeds of the `cost_*` targets cost, built as the product is: nanoseconds of CPU for each byte at 256 KiB and at
//! 1 MiB, dearest last.
//!
//! `cargo run --release --manifest-path fuzz/Cargo.toml --example costs [TARGET [FILE…]]`

use std::path::{Path, PathBuf};

use breakwater_fuzz::cost::{self, Cost};
use breakwater_fuzz::kinds::Kind;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let only = arguments.next();
    let given: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    for kind in Kind::ALL {
        if only.as_ref().is_some_and(|only| only != kind.name()) {
            continue;
        }
        let files = if given.is_empty() { seeds(kind) } else { given.clone() };
        let mut costs: Vec<(String, Cost)> = files.iter().filter_map(|path| measured(kind, path)).collect();
        costs.sort_by(|(_, one), (_, other)| one.large.total_cmp(&other.large));
        for (name, Cost { small, large, ratio }) in costs {
            println!(
                "{:<15} {name:<32} {small:>10.1} {large:>10.1} ns/B  x{ratio:.2}",
                kind.name()
            );
        }
    }
}

fn measured(kind: Kind, path: &Path) -> Option<(String, Cost)> {
    let input = std::fs::read(path).ok()?;
    let name = path.file_name()?.to_string_lossy().into_owned();
    Some((name, cost::of(kind, &input)?))
}

fn seeds(kind: Kind) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(kind.name());
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.map(|entry| entry.path()).collect()
}
