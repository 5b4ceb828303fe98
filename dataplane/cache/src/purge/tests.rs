use super::*;

fn purged(stamp: &Stamp, tags: &[u64]) -> Purged {
    stamp.purged(tags, &AtomicU64::new(0))
}

#[test]
fn everything_of_a_site_is_gone_and_nothing_of_another() {
    let epochs = Epochs::default();
    let (mine, other) = (epochs.stamp(1), epochs.stamp(2));
    assert_eq!(purged(&mine, &[]), Purged::No);
    epochs.purge(1, &Selector::Everything, Mode::Hard);
    assert_eq!(purged(&mine, &[]), Purged::Hard);
    assert_eq!(purged(&other, &[]), Purged::No);
    assert_eq!(
        purged(&epochs.stamp(1), &[]),
        Purged::No,
        "a fill that begins afterwards is not concerned"
    );
}

#[test]
fn a_tag_concerns_those_that_carry_it_even_when_they_are_stored_after_the_purge() {
    let epochs = Epochs::default();
    let before = epochs.stamp(1);
    epochs.purge(1, &Selector::Tags(vec![10, 11]), Mode::Hard);
    assert_eq!(purged(&before, &[9, 11]), Purged::Hard);
    assert_eq!(purged(&before, &[9]), Purged::No);
    assert_eq!(purged(&epochs.stamp(1), &[11]), Purged::No);
}

#[test]
fn what_was_compared_once_is_compared_again_after_the_next_purge() {
    let epochs = Epochs::default();
    let (stamp, checked) = (epochs.stamp(1), AtomicU64::new(0));
    epochs.purge(1, &Selector::Tags(vec![10]), Mode::Hard);
    assert_eq!(stamp.purged(&[11], &checked), Purged::No);
    assert!(checked.load(Ordering::Relaxed) > 0);
    epochs.purge(1, &Selector::Tags(vec![11]), Mode::Hard);
    assert_eq!(stamp.purged(&[11], &checked), Purged::Hard);
}

#[test]
fn a_soft_purge_makes_stale_at_every_hit_and_a_hard_one_prevails() {
    let epochs = Epochs::default();
    let (stamp, checked) = (epochs.stamp(1), AtomicU64::new(0));
    epochs.purge(1, &Selector::Tags(vec![10]), Mode::Soft);
    assert_eq!(stamp.purged(&[10], &checked), Purged::Soft);
    assert_eq!(stamp.purged(&[10], &checked), Purged::Soft);
    epochs.purge(1, &Selector::Everything, Mode::Hard);
    assert_eq!(stamp.purged(&[10], &checked), Purged::Hard);
}

#[test]
fn a_full_table_forgets_more_than_asked_never_less() {
    let epochs = Epochs::new(2);
    let stamp = epochs.stamp(1);
    epochs.purge(1, &Selector::Tags(vec![1, 2]), Mode::Hard);
    assert_eq!(purged(&stamp, &[5]), Purged::No);
    epochs.purge(1, &Selector::Tags(vec![3]), Mode::Hard);
    assert_eq!(purged(&stamp, &[1]), Purged::Hard);
    assert_eq!(purged(&stamp, &[5]), Purged::Hard);
    assert_eq!(purged(&epochs.stamp(1), &[1]), Purged::No);
}

#[test]
fn a_site_that_was_forgotten_takes_its_responses_along() {
    let epochs = Epochs::default();
    let stamp = epochs.stamp(1);
    epochs.retain_sites(|id| id != 1);
    assert_eq!(purged(&stamp, &[]), Purged::Hard);
    assert_eq!(purged(&epochs.stamp(1), &[]), Purged::No);
}

#[test]
fn a_purge_writes_one_mark_however_many_responses_it_concerns() {
    let epochs = Epochs::default();
    let checked: Vec<_> = (0..100_000).map(|_| (epochs.stamp(1), AtomicU64::new(0))).collect();
    let marked = epochs.purge(1, &Selector::Tags(vec![10]), Mode::Hard);
    assert_eq!((marked.marks, epochs.marks()), (1, 1));
    assert!(
        checked.iter().all(|(stamp, memory)| {
            memory.load(Ordering::Relaxed) == 0 && stamp.purged(&[10], memory) == Purged::Hard
        })
    );
}

#[test]
fn what_a_full_table_gives_up_takes_older_responses_along_and_spares_newer_ones() {
    let epochs = Epochs::new(4);
    let old = epochs.stamp(1);
    epochs.purge(1, &Selector::Tags(vec![1, 2]), Mode::Hard);
    let young = epochs.stamp(1);
    for tag in 3..=5 {
        epochs.purge(1, &Selector::Tags(vec![tag]), Mode::Hard);
    }
    assert_eq!(purged(&old, &[9]), Purged::Hard);
    assert_eq!(purged(&young, &[9]), Purged::No);
    assert_eq!(purged(&young, &[3]), Purged::Hard);
    assert!(epochs.marks() <= 4);
}

#[test]
fn soft_marks_that_are_given_up_make_older_responses_stale_and_no_more() {
    let epochs = Epochs::new(2);
    let stamp = epochs.stamp(1);
    epochs.purge(1, &Selector::Tags(vec![1, 2, 3]), Mode::Soft);
    assert_eq!(purged(&stamp, &[9]), Purged::Soft);
}

#[test]
fn all_sites_together_keep_a_bounded_number_of_marks() {
    let epochs = Epochs::new(8);
    let stamps: Vec<_> = (0..50).map(|site| epochs.stamp(site)).collect();
    for tag in 0..40 {
        for site in 0..50 {
            epochs.purge(site, &Selector::Tags(vec![tag]), Mode::Hard);
        }
    }
    assert!(epochs.marks() <= 8 * SITES_OF_MARKS + 50);
    for tag in 0..40 {
        assert!(stamps.iter().all(|stamp| purged(stamp, &[tag]) == Purged::Hard));
    }
    epochs.retain_sites(|_| false);
    assert_eq!(epochs.marks(), 0);
}

/// A journal as a store would keep it.
fn journal(epochs: &Epochs, file: &mut Vec<u8>) {
    match epochs.take_journal().unwrap() {
        Pending::Rewrite => *file = epochs.export(5),
        Pending::Append(bytes) => file.extend(bytes),
    }
}

fn restarted(file: &[u8]) -> Epochs {
    let epochs = Epochs::default();
    assert_eq!(epochs.restore(file, 5, 0), Ok(file.len()));
    epochs
}

#[test]
fn purges_outlive_the_process_whether_they_were_appended_or_written_anew() {
    for rewritten in [false, true] {
        let (epochs, mut file) = (Epochs::default(), Vec::new());
        epochs.keep_journal();
        journal(&epochs, &mut file);
        let stored: Vec<_> = (0..5).map(|site| epochs.stamp(site)).collect();
        epochs.purge(0, &Selector::Everything, Mode::Hard);
        epochs.purge(1, &Selector::Tags(vec![10]), Mode::Hard);
        epochs.purge(2, &Selector::Tags(vec![10]), Mode::Soft);
        epochs.purge(3, &Selector::Everything, Mode::Soft);
        epochs.set_done(99);
        let newer = epochs.stamp(0);
        journal(&epochs, &mut file);
        if rewritten {
            file = epochs.export(5);
        }
        let epochs = restarted(&file);
        let again = |stamp: &Stamp, tags: &[u64]| purged(&epochs.stamp_at(stamp.site(), stamp.at()).unwrap(), tags);
        assert_eq!(again(&stored[0], &[]), Purged::Hard);
        assert_eq!(again(&newer, &[]), Purged::No);
        assert_eq!(again(&stored[1], &[10]), Purged::Hard);
        assert_eq!(again(&stored[1], &[11]), Purged::No);
        assert_eq!(again(&stored[2], &[10]), Purged::Soft);
        assert_eq!(again(&stored[3], &[]), Purged::Soft);
        assert_eq!(again(&stored[4], &[10]), Purged::No);
        assert!(epochs.is_done(99) && !epochs.is_done(98));
        assert!(epochs.stamp(4).at() > newer.at());
    }
}

#[test]
fn without_a_journal_nothing_that_was_stored_comes_back() {
    let epochs = Epochs::default();
    assert!(epochs.restore(b"rubbish", 5, 0).is_err());
    assert!(epochs.stamp_at(1, u64::MAX).is_none());
}

#[test]
fn a_site_that_was_given_up_does_not_come_back_with_a_restart_or_with_its_name() {
    let (epochs, mut file) = (Epochs::default(), Vec::new());
    epochs.keep_journal();
    let stored = epochs.stamp(1);
    journal(&epochs, &mut file);
    epochs.purge(1, &Selector::Tags(vec![1]), Mode::Hard);
    epochs.retain_sites(|_| false);
    journal(&epochs, &mut file);
    let gone = restarted(&file);
    assert!(gone.stamp_at(1, stored.at()).is_none());
    let reopened = gone.stamp(1);
    assert_eq!(purged(&gone.stamp_at(1, stored.at()).unwrap(), &[]), Purged::Hard);
    assert_eq!(purged(&reopened, &[]), Purged::No);
}

#[test]
fn a_clock_that_is_restored_goes_on_after_all_that_is_stored() {
    let file = Epochs::default().export(5);
    let epochs = Epochs::default();
    epochs.restore(&file, 5, 1000).unwrap();
    assert!(epochs.stamp(1).at() > 1000);
}

#[test]
fn a_journal_that_is_not_taken_for_long_is_written_anew() {
    let epochs = Epochs::default();
    epochs.keep_journal();
    assert_eq!(epochs.take_journal(), Some(Pending::Rewrite));
    assert_eq!(epochs.take_journal(), Some(Pending::Append(Vec::new())));
    for tag in 0..(MAX_PENDING / journal::RECORD) as u64 + 2 {
        epochs.purge(1, &Selector::Tags(vec![tag]), Mode::Hard);
    }
    assert_eq!(epochs.take_journal(), Some(Pending::Rewrite));
}

#[test]
fn the_purges_that_are_remembered_as_done_are_bounded() {
    let epochs = Epochs::default();
    for uid in 0..MAX_DONE as u128 + 1 {
        epochs.set_done(uid);
    }
    assert!(epochs.is_done(MAX_DONE as u128));
    epochs.retain_done(|_| false);
    assert!(!epochs.is_done(MAX_DONE as u128));
}
