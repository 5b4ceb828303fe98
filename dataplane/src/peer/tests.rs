//! Whom a node asks, and what it knows of those it asked.

use super::*;
use breakwater_snapshot::PeerAddress;

fn peers(names: &[&str], port: u16) -> Peers {
    let at = PeerAddress {
        address: ([192, 0, 2, 1], port).into(),
    };
    let members = names.iter().map(|name| ((*name).to_owned(), at.clone()));
    Peers {
        members: members.collect(),
        ..Peers::default()
    }
}

fn first_level(mut peers: Peers, names: &[&str]) -> Peers {
    let labels = names.iter().map(|name| ((*name).to_owned(), labels()));
    peers.labels = labels.collect();
    peers
}

fn labels() -> Labels {
    [("tier".to_owned(), "first".to_owned())].into()
}

fn asked(choice: Choice) -> Option<Asked> {
    match choice {
        Choice::Member(asked) => Some(asked),
        Choice::Origin | Choice::Nobody => None,
    }
}

#[test]
fn a_node_that_failed_rests_and_the_second_is_asked_and_then_the_origin() {
    let peering = Arc::new(Peering::new("a", Instant::now()));
    peering.set(&peers(&["b", "c"], 1));
    let first = asked(peering.choose(7, &[], Among::All)).unwrap();
    first.failed();
    let second = asked(peering.choose(7, &[], Among::All)).unwrap();
    assert_ne!(first.member.name, second.member.name);
    second.failed();
    assert!(asked(peering.choose(7, &[], Among::All)).is_none());
    assert_eq!(peering.members(), (2, 2));
}

#[test]
fn what_was_asked_before_is_not_asked_again_for_the_same() {
    let peering = Arc::new(Peering::new("a", Instant::now()));
    peering.set(&peers(&["b", "c"], 1));
    let first = asked(peering.choose(7, &[], Among::All)).unwrap();
    let second = asked(peering.choose(7, &[Arc::clone(&first.member)], Among::All)).unwrap();
    assert_ne!(first.member.name, second.member.name);
    let both = [Arc::clone(&first.member), Arc::clone(&second.member)];
    assert!(asked(peering.choose(7, &both, Among::All)).is_none());
}

#[test]
fn a_node_with_too_much_of_ours_is_passed_over() {
    let peering = Arc::new(Peering::new("a", Instant::now()));
    peering.set(&peers(&["b", "c", "d", "e"], 1));
    let held: Vec<_> = (0..1_000)
        .map_while(|_| asked(peering.choose(7, &[], Among::All)))
        .collect();
    let to_first = held.iter().filter(|asked| asked.member.name == held[0].member.name);
    assert!(to_first.count() < held.len(), "the second took some");
    assert!(peering.counts.passed_over.get() > 0);
    drop(held);
    assert_eq!(peering.in_flight.load(Relaxed), 0);
}

#[test]
fn a_node_elsewhere_is_another_and_one_that_stays_keeps_what_is_known_of_it() {
    let peering = Arc::new(Peering::new("a", Instant::now()));
    peering.set(&peers(&["b"], 1));
    asked(peering.choose(7, &[], Among::All)).unwrap().failed();
    peering.set(&peers(&["a", "b"], 1));
    assert_eq!(peering.members(), (2, 1));
    peering.set(&peers(&["a", "b"], 2));
    assert_eq!(peering.members(), (2, 0));
}

#[test]
fn only_nodes_of_the_first_level_are_asked_and_they_ask_each_other() {
    let labels = labels();
    let among = Among::Level {
        labels: &labels,
        fallback: true,
    };
    let all = ["a", "b", "c", "d", "e"];
    let list = first_level(peers(&all, 1), &["b", "d"]);
    let second = Arc::new(Peering::new("a", Instant::now()));
    let first = Arc::new(Peering::new("b", Instant::now()));
    second.set(&list);
    first.set(&list);
    let mut seen = std::collections::BTreeSet::new();
    for place in (0..64).map(|n| rank::of_name(&format!("/{n}"))) {
        let owner = asked(second.choose(place, &[], among)).unwrap().member.name.to_string();
        // The first level agrees with the second on whose a URL is.
        match first.choose(place, &[], among) {
            Choice::Origin => assert_eq!(owner, "b"),
            Choice::Member(asked) => assert_eq!((owner.as_str(), &*asked.member.name), ("d", "d")),
            Choice::Nobody => panic!("it is of the first level"),
        }
        seen.insert(owner);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["b", "d"]);
}

#[test]
fn without_fallback_who_rests_is_asked_all_the_same_and_the_origin_only_by_the_first_level() {
    let labels = labels();
    let among = Among::Level {
        labels: &labels,
        fallback: false,
    };
    let second = Arc::new(Peering::new("a", Instant::now()));
    second.set(&first_level(peers(&["a", "b"], 1), &["b"]));
    let only = asked(second.choose(7, &[], among)).unwrap();
    only.failed();
    assert_eq!(&*asked(second.choose(7, &[], among)).unwrap().member.name, "b");
    let tried = [Arc::clone(&only.member)];
    assert!(matches!(second.choose(7, &tried, among), Choice::Nobody));
    second.set(&peers(&["a", "b"], 1));
    assert!(matches!(second.choose(7, &[], among), Choice::Nobody), "no first level");
    let first = Arc::new(Peering::new("a", Instant::now()));
    first.set(&first_level(peers(&["a", "b"], 1), &["a", "b"]));
    for place in (0..8).map(|n| rank::of_name(&format!("/{n}"))) {
        if let Some(other) = asked(first.choose(place, &[], among)) {
            other.failed();
        }
        assert!(matches!(first.choose(place, &[], among), Choice::Origin));
    }
}

#[test]
fn who_is_told_with_all_others_is_neither_this_node_nor_one_that_rests_or_has_enough_to_do() {
    let peering = Arc::new(Peering::new("a", Instant::now()));
    peering.set(&peers(&["a", "b", "c"], 1));
    let all = peering.all(Among::All);
    let free = || {
        let asked = all.iter().filter_map(|member| peering.ask_if_free(member, all.len()));
        asked.map(|asked| asked.member.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(free(), ["b", "c"]);
    let held: Vec<_> = std::iter::from_fn(|| peering.ask_if_free(&all[1], all.len())).collect();
    assert!(!held.is_empty());
    assert_eq!(free(), ["c"]);
    drop(held);
    peering.ask_if_free(&all[2], all.len()).unwrap().failed();
    assert_eq!(free(), ["b"]);
    assert_eq!(peering.in_flight.load(Relaxed), 0);
}
