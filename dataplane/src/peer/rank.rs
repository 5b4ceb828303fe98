//! Whose a URL is: rendezvous hashing over the names of nodes, and how much one of them is asked for at once.
//!
//! Pure. Invariant: nodes that know the same names agree, whatever the order they learned them in; when a node comes or
//! goes, only what is its own changes hands.

/// Requests of ours that a node may have under way whatever the others have.
const LEAST_BOUND: u32 = 64;

/// A number for a name, the same in every version (FNV-1a, mixed).
pub(crate) fn of_name(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}

/// The final mix of splitmix64: a bijection that spreads every bit.
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The places, in the list of `nodes`, of the owner of `place` and of who comes after it.
pub(crate) fn first_two(place: u64, nodes: impl Iterator<Item = u64>) -> [Option<usize>; 2] {
    let mut best: [Option<(u64, u64, usize)>; 2] = [None; 2];
    for (index, node) in nodes.enumerate() {
        // The name's own number decides where two scores are equal, not the order of the list.
        let score = Some((mix(place ^ node), node, index));
        if score > best[0] {
            best = [score, best[0]];
        } else if score > best[1] {
            best[1] = score;
        }
    }
    best.map(|best| best.map(|(_, _, index)| index))
}

/// How a node stands to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is the one that asks.
    Own,
    /// It can be asked.
    Free,
    /// It has enough of ours to do.
    Busy,
    /// It does not answer, or was asked already.
    Away,
}

/// Who is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick<T> {
    /// The one that asks.
    Own,
    /// Another.
    Other(T),
    /// None of them can be asked.
    Nobody,
}

/// The first of `owners` that can be asked.
pub(crate) fn pick<T>(owners: impl Iterator<Item = T>, standing: impl Fn(&T) -> Standing) -> Pick<T> {
    for owner in owners {
        match standing(&owner) {
            Standing::Own => return Pick::Own,
            Standing::Free => return Pick::Other(owner),
            Standing::Busy | Standing::Away => {}
        }
    }
    Pick::Nobody
}

/// How many requests of ours a node may have under way when `all` are, to `nodes` nodes: a quarter more than its part
/// (consistent hashing with bounded loads).
pub(crate) fn bound(all: u32, nodes: usize) -> u32 {
    let nodes = u64::try_from(nodes).unwrap_or(u64::MAX).max(1);
    let part = (u64::from(all) + 1).saturating_mul(5).div_ceil(nodes.saturating_mul(4));
    u32::try_from(part).unwrap_or(u32::MAX).max(LEAST_BOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: u64 = 20_000;

    fn owner(place: u64, names: &[String]) -> String {
        let [first, _] = first_two(mix(place), names.iter().map(|name| of_name(name)));
        names[first.unwrap()].clone()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("node-{n}")).collect()
    }

    #[test]
    fn the_order_of_the_list_does_not_count() {
        let names = names(7);
        let mut other = names.clone();
        other.reverse();
        assert!((0..PLACES).all(|place| owner(place, &names) == owner(place, &other)));
    }

    #[test]
    fn when_a_node_goes_only_what_it_owned_changes_hands_and_goes_to_who_came_second() {
        let all = names(10);
        let left: Vec<_> = all.iter().filter(|name| *name != "node-3").cloned().collect();
        for place in 0..PLACES {
            let [first, second] = first_two(mix(place), all.iter().map(|name| of_name(name)));
            let before = &all[first.unwrap()];
            let heir = if before == "node-3" {
                &all[second.unwrap()]
            } else {
                before
            };
            assert_eq!(&owner(place, &left), heir);
        }
    }

    #[test]
    fn nodes_own_about_as_much_as_each_other() {
        let names = names(100);
        let mut owned = std::collections::HashMap::new();
        for place in 0..PLACES {
            *owned.entry(owner(place, &names)).or_insert(0_u64) += 1;
        }
        let part = PLACES / 100;
        assert_eq!(owned.len(), 100);
        assert!(owned.values().all(|n| (part / 2..part * 2).contains(n)), "{owned:?}");
    }

    #[test]
    fn nobody_is_first_of_none_and_nobody_second_of_one() {
        assert_eq!(first_two(1, std::iter::empty()), [None, None]);
        assert_eq!(first_two(1, [7].into_iter()), [Some(0), None]);
    }

    #[test]
    fn the_first_that_can_be_asked_is_and_whoever_comes_first_itself_asks_the_origin() {
        use Standing::{Away, Busy, Free, Own};
        let pick = |standings: &[Standing]| pick(0..standings.len(), |n| standings[*n]);
        assert_eq!(pick(&[Free, Free]), Pick::Other(0));
        assert_eq!(pick(&[Busy, Free]), Pick::Other(1));
        assert_eq!(pick(&[Away, Own]), Pick::Own);
        assert_eq!(pick(&[Own, Free]), Pick::Own);
        assert_eq!(pick(&[Away, Busy]), Pick::Nobody);
        assert_eq!(pick(&[]), Pick::Nobody);
    }

    #[test]
    fn a_node_is_asked_for_a_quarter_more_than_its_part_at_most() {
        assert_eq!(bound(0, 0), LEAST_BOUND);
        assert_eq!(bound(100, 10), LEAST_BOUND);
        assert_eq!(bound(7_999, 10), 1_000);
        assert_eq!(bound(u32::MAX, 1), u32::MAX);
    }
}
