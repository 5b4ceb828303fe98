//! Traces as CDNs see them, from a seed: skewed popularity, sizes of a heavy tail, objects that are asked for once, scans,
//! and popularity that moves.
//!
//! The shapes are those that published traces agree on: popularity like Zipf with an exponent of 0.8 to 1.1, sizes
//! lognormal and independent of popularity, and, on many sites, more than half of all objects never asked for again.

/// A trace.
#[derive(Debug, Clone)]
pub struct Trace {
    /// What it is, for people.
    pub name: &'static str,
    /// How many requests.
    pub requests: usize,
    sizes: Vec<u64>,
    popularity: Vec<f64>,
    /// Share of requests for objects that are never asked for again.
    once: f64,
    /// After so many requests a tenth as many objects are read in a row.
    scan_every: Option<usize>,
    /// After so many requests what was most popular becomes least popular by this many ranks.
    shift: Option<(usize, usize)>,
    seed: u64,
}

/// Objects of a catalogue.
const OBJECTS: usize = 20_000;

const REQUESTS: usize = 400_000;

/// All of them.
pub fn all() -> Vec<Trace> {
    let plain = |name, exponent, sigma| Trace {
        name,
        requests: REQUESTS,
        sizes: sizes(OBJECTS, SMALL, sigma),
        popularity: zipf(OBJECTS, exponent),
        once: 0.0,
        scan_every: None,
        shift: None,
        seed: 1,
    };
    vec![
        plain("zipf 0.8", 0.8, 1.3),
        plain("zipf 0.9", 0.9, 1.3),
        plain("zipf 1.0", 1.0, 1.3),
        plain("zipf 1.1", 1.1, 1.3),
        plain("zipf 0.9, sizes of a heavier tail", 0.9, 2.2),
        Trace {
            once: 0.3,
            ..plain("zipf 0.9, 30 % asked for once", 0.9, 1.3)
        },
        Trace {
            once: 0.6,
            ..plain("zipf 0.9, 60 % asked for once, heavier tail", 0.9, 2.2)
        },
        Trace {
            scan_every: Some(40_000),
            ..plain("zipf 0.9 and scans", 0.9, 1.3)
        },
        Trace {
            shift: Some((4_000, 20)),
            ..plain("zipf 1.0, popularity that moves", 1.0, 1.3)
        },
    ]
}

/// What `bench/run zipf` asks for: one catalogue, Zipf with [`EXPONENT`], lognormal sizes of 1 KiB to 1 MiB.
pub fn larger_than_memory(objects: usize, requests: usize) -> Trace {
    Trace {
        name: "zipf 0.9, larger than memory",
        requests,
        sizes: sizes(objects, MEDIUM, 1.4),
        popularity: zipf(objects, EXPONENT),
        once: 0.0,
        scan_every: None,
        shift: None,
        seed: 1,
    }
}

/// How popularity falls with the rank in [`larger_than_memory`].
pub const EXPONENT: f64 = 0.9;

impl Trace {
    /// Bytes of the catalogue.
    pub fn bytes(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// The requests: keys and sizes.
    pub fn replay(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut random = Random(self.seed);
        let (mut new, mut scan) = (0_u64, 0..0_usize);
        (0..self.requests).map(move |at| {
            if let Some(next) = scan.next() {
                return (next as u64, self.size(next));
            }
            if let Some(every) = self.scan_every
                && at % every == every - 1
            {
                let from = random.below(self.sizes.len());
                scan = from..(from + every / 10).min(self.sizes.len());
            }
            if random.unit() < self.once {
                new += 1;
                return (u64::MAX - new, self.size(random.below(self.sizes.len())));
            }
            let drawn = random.unit();
            let rank = self.popularity.partition_point(|below| *below < drawn);
            let moved = self.shift.map_or(0, |(every, by)| at / every * by);
            let object = (rank + moved) % self.sizes.len();
            (object as u64, self.size(object))
        })
    }

    fn size(&self, object: usize) -> u64 {
        self.sizes.get(object).copied().unwrap_or(1)
    }
}

/// The cumulative popularity of ranks.
fn zipf(objects: usize, exponent: f64) -> Vec<f64> {
    let weights = (1..=objects).map(|rank| (rank as f64).powf(-exponent));
    let total: f64 = weights.clone().sum();
    let mut sum = 0.0;
    weights
        .map(|weight| {
            sum += weight / total;
            sum
        })
        .collect()
}

/// Median, least and largest size of an object, bytes.
type Sizes = (f64, f64, f64);
const SMALL: Sizes = (4096.0, 64.0, 4_194_304.0);
const MEDIUM: Sizes = (8192.0, 1024.0, 1_048_576.0);

/// Lognormal sizes.
fn sizes(objects: usize, (median, least, most): Sizes, sigma: f64) -> Vec<u64> {
    let mut random = Random(99);
    (0..objects)
        .map(|_| {
            // Box and Muller.
            let (u, v) = (random.unit().max(1e-12), random.unit());
            let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
            (median * (sigma * normal).exp()).clamp(least, most) as u64
        })
        .collect()
}

/// Splitmix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, most: usize) -> usize {
        ((self.unit() * most as f64) as usize).min(most.saturating_sub(1))
    }
}
