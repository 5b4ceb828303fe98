//! How much of made-up but faithful traces each policy of eviction answers: our memory tier beside plain LRU and an ideal
//! S3-FIFO. Deterministic, offline, a minute or two: `cargo run --release -p breakwater-bench --bin hitrate`.

use breakwater_bench::hitrate::policy::{Lru, Ours, Policy, S3Fifo};
use breakwater_bench::hitrate::trace::{Trace, all};

/// The store's size, as a share of the catalogue's bytes.
const SHARES: [f64; 3] = [0.01, 0.05, 0.10];

fn main() {
    println!("Hit ratio by requests / by bytes, in %, at a store of 1 %, 5 % and 10 % of the catalogue's bytes.\n");
    println!("| trace | store | LRU | S3-FIFO | ours |\n|---|---|---|---|---|");
    for trace in all() {
        for share in SHARES {
            let bytes = (trace.bytes() as f64 * share) as u64;
            let policies: [Box<dyn Policy>; 3] = [
                Box::new(Lru::new(bytes)),
                Box::new(S3Fifo::new(bytes)),
                Box::new(Ours::new(bytes)),
            ];
            let cells = policies.map(|policy| replay(&trace, policy));
            println!("| {} | {:.0} % | {} |", trace.name, share * 100.0, cells.join(" | "));
        }
    }
}

fn replay(trace: &Trace, mut policy: Box<dyn Policy>) -> String {
    let (mut asked, mut hits, mut bytes, mut hit_bytes) = (0_u64, 0_u64, 0_u64, 0_u64);
    let warm = trace.requests / 4;
    for (at, (key, size)) in trace.replay().enumerate() {
        let hit = policy.access(key, size);
        // The first quarter fills the store.
        if at >= warm {
            asked += 1;
            bytes += size;
            if hit {
                hits += 1;
                hit_bytes += size;
            }
        }
    }
    let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole as f64;
    format!("{:.1} / {:.1}", percent(hits, asked), percent(hit_bytes, bytes))
}
