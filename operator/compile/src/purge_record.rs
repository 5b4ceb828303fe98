//! Purges that outlive their objects: what an EdgeCache's status remembers of them, and what nodes are told of those
//! that were deleted.
//!
//! A node that was away may come back with what it had stored, and must not serve what was purged meanwhile, although the
//! CachePurge is gone. So a purge is recorded in the status of its EdgeCache before it is called complete, and as long as it
//! is recorded it is published, whether its object is there or not. Nodes know purges by UID: who has carried it out does
//! nothing.
//!
//! Invariant: of an EdgeCache the newest [`MOST_RECORDS`] purges are recorded as they are, and of those before them the
//! newest as one of everything. Who has carried that one out was there then, and had heard of the older ones; who has not
//! forgets all it has. So nothing is missed, however long a node was away.

use breakwater_crds::{PurgeMode, RecordedPurge};
use breakwater_snapshot::ObjectId;
use breakwater_snapshot::unit::{self, CachePurge, PurgePrefix, PurgeSelector};

/// Purges of one EdgeCache that are recorded as they are.
pub const MOST_RECORDS: usize = 32;

/// Recorded purges of all EdgeCaches that nodes are told of, but for one of each: nodes remember twice as many, and as many
/// whose objects are there.
pub(crate) const MOST_PUBLISHED: usize = 8192;

/// Bytes of what a purge names; one that names more is recorded as one of everything.
const LONGEST: usize = 1024;

/// A published purge, and when it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Unix seconds.
    pub created: i64,
    /// What nodes are told.
    pub unit: CachePurge,
}

/// What is to be recorded of an EdgeCache whose status has `before`, and whose purges are `published`.
pub fn record(before: &[RecordedPurge], published: &[Published]) -> Vec<RecordedPurge> {
    let new = published
        .iter()
        .filter(|purge| !is_recorded(before, purge.created, &purge.unit.uid));
    let mut records: Vec<RecordedPurge> = before.iter().cloned().chain(new.map(to_record)).collect();
    records.sort_by(|a, b| age(a).cmp(&age(b)));
    // Who has carried one of everything out needs none of those before it; who has not forgets everything.
    let everything = records.iter().rposition(is_everything);
    records.drain(..everything.unwrap_or(0));
    newest(records, MOST_RECORDS + 1)
}

/// The newest `most` of them, of which the oldest stands for those that are left out.
pub(crate) fn newest(mut records: Vec<RecordedPurge>, most: usize) -> Vec<RecordedPurge> {
    let excess = records.len().saturating_sub(most);
    records.drain(..excess);
    if let Some(oldest) = records.first_mut().filter(|_| excess > 0) {
        *oldest = RecordedPurge {
            mode: PurgeMode::Hard,
            older: true,
            urls: None,
            prefixes: None,
            tags: None,
            ..oldest.clone()
        };
    }
    records
}

/// Whether a purge is in the record, or is older than one of everything that is.
pub fn is_recorded(records: &[RecordedPurge], created: i64, uid: &str) -> bool {
    let oldest = records.first().filter(|oldest| is_everything(oldest));
    let covered = oldest.is_some_and(|oldest| (created, uid) < age(oldest));
    covered || records.iter().any(|record| record.uid == uid)
}

fn age(record: &RecordedPurge) -> (i64, &str) {
    (record.created, &record.uid)
}

fn is_everything(record: &RecordedPurge) -> bool {
    let named = record.urls.is_some() || record.prefixes.is_some() || record.tags.is_some();
    !named && record.mode == PurgeMode::Hard
}

/// What nodes are told of a recorded purge of `target` whose object is gone.
pub(crate) fn to_unit(record: &RecordedPurge, target: &ObjectId) -> CachePurge {
    let selector = match (&record.urls, &record.prefixes, &record.tags) {
        (Some(urls), None, None) => PurgeSelector::Urls(urls.clone()),
        (None, Some(prefixes), None) => PurgeSelector::Prefixes(prefixes.iter().map(|text| prefix(text)).collect()),
        (None, None, Some(tags)) => PurgeSelector::Tags(tags.clone()),
        _ => PurgeSelector::Everything,
    };
    CachePurge {
        uid: record.uid.clone(),
        target: target.clone(),
        selector,
        mode: match record.mode {
            PurgeMode::Hard => unit::PurgeMode::Hard,
            PurgeMode::Soft => unit::PurgeMode::Soft,
        },
    }
}

fn to_record(purge: &Published) -> RecordedPurge {
    let Published { created, unit } = purge;
    let text = |prefix: &PurgePrefix| format!("{}{}", prefix.host.as_deref().unwrap_or_default(), prefix.path);
    let fits = |list: &[String]| list.iter().map(String::len).sum::<usize>() <= LONGEST;
    let mut record = RecordedPurge {
        uid: unit.uid.clone(),
        created: *created,
        mode: match unit.mode {
            unit::PurgeMode::Hard => PurgeMode::Hard,
            unit::PurgeMode::Soft => PurgeMode::Soft,
        },
        older: false,
        urls: None,
        prefixes: None,
        tags: None,
    };
    match &unit.selector {
        PurgeSelector::Urls(urls) => record.urls = Some(urls.clone()).filter(|list| fits(list)),
        PurgeSelector::Prefixes(prefixes) => {
            record.prefixes = Some(prefixes.iter().map(text).collect::<Vec<_>>()).filter(|list| fits(list));
        }
        PurgeSelector::Tags(tags) => record.tags = Some(tags.clone()).filter(|list| fits(list)),
        PurgeSelector::Everything => {}
    }
    record
}

/// `host/path`, or a path of every host.
fn prefix(text: &str) -> PurgePrefix {
    let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    PurgePrefix {
        host: (!host.is_empty()).then(|| host.to_owned()),
        path: if path.is_empty() { "/" } else { path }.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use breakwater_snapshot::Kind;

    use super::*;

    fn target() -> ObjectId {
        ObjectId::new(Kind::EdgeCache, "default", "shop")
    }

    fn purge(created: i64, selector: PurgeSelector) -> Published {
        Published {
            created,
            unit: CachePurge {
                uid: format!("u{created:04}"),
                target: target(),
                selector,
                mode: unit::PurgeMode::Soft,
            },
        }
    }

    fn tag(created: i64) -> Published {
        purge(created, PurgeSelector::Tags(vec![format!("t{created}")]))
    }

    fn uids(records: &[RecordedPurge]) -> Vec<&str> {
        records.iter().map(|record| record.uid.as_str()).collect()
    }

    #[test]
    fn what_is_recorded_comes_back_as_it_was() {
        let prefix = |host: Option<&str>| PurgePrefix {
            host: host.map(str::to_owned),
            path: "/a/b".to_owned(),
        };
        for selector in [
            PurgeSelector::Urls(vec!["http://a.test/x?y".to_owned()]),
            PurgeSelector::Prefixes(vec![prefix(None), prefix(Some("a.test"))]),
            PurgeSelector::Tags(vec!["t".to_owned()]),
            PurgeSelector::Everything,
        ] {
            let published = purge(1, selector);
            let records = record(&[], std::slice::from_ref(&published));
            assert_eq!(to_unit(&records[0], &target()), published.unit);
            assert!(is_recorded(&records, 1, "u0001"));
            assert_eq!(record(&records, &[published]), records, "once");
            assert_eq!(record(&records, &[]), records, "also when its object is gone");
        }
    }

    #[test]
    fn a_purge_that_names_much_is_recorded_as_one_of_everything_in_its_mode() {
        let tags = (0..200).map(|n| format!("tag-{n:05}")).collect();
        let records = record(&[], &[purge(1, PurgeSelector::Tags(tags))]);
        let unit = to_unit(&records[0], &target());
        assert_eq!(
            (unit.selector, unit.mode),
            (PurgeSelector::Everything, unit::PurgeMode::Soft)
        );
    }

    #[test]
    fn of_those_that_make_room_the_newest_stays_as_one_of_everything_and_none_comes_back() {
        let all: Vec<Published> = (1..=40).map(tag).collect();
        let records = record(&[], &all);
        assert_eq!(records.len(), MOST_RECORDS + 1);
        assert_eq!((records[0].uid.as_str(), records[0].older), ("u0008", true));
        let oldest = to_unit(&records[0], &target());
        assert_eq!(
            (oldest.selector, oldest.mode),
            (PurgeSelector::Everything, unit::PurgeMode::Hard)
        );
        assert_eq!(to_unit(&records[1], &target()), tag(9).unit);
        // Their objects are still there.
        assert_eq!(record(&records, &all), records);
        assert!(
            all.iter()
                .all(|purge| is_recorded(&records, purge.created, &purge.unit.uid))
        );
        // One by one it comes to the same.
        let one_by_one = all.iter().fold(Vec::new(), |records, purge| {
            record(&records, std::slice::from_ref(purge))
        });
        assert_eq!(one_by_one, records);
    }

    #[test]
    fn one_that_forgets_everything_takes_the_place_of_all_before_it() {
        let mut everything = purge(3, PurgeSelector::Everything);
        everything.unit.mode = unit::PurgeMode::Hard;
        let records = record(&[], &[tag(4), everything.clone(), tag(1), tag(2)]);
        assert_eq!(uids(&records), ["u0003", "u0004"]);
        assert_eq!(record(&records, &[tag(1), tag(2)]), records);
        everything.unit.mode = unit::PurgeMode::Soft;
        let records = record(&[], &[tag(1), everything]);
        assert_eq!(
            uids(&records),
            ["u0001", "u0003"],
            "what is stale only may still be served"
        );
    }
}
