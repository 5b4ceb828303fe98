//! What is known of one list: what its server said last, when, and what goes wrong since when.
//!
//! Pure: time and outcomes come from outside. A failure leaves everything that is known of the last good list.

use std::sync::Arc;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use breakwater_compile::{FetchedList, ListFailure, UrlList};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fetch::{Fetched, Validators};
use super::{MAX_PACKED, hex, key};

/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(900));

/// Longest text of a failure, characters.
const LONGEST_FAILURE: usize = 300;

/// A clock that is this far behind is another one.
const SKEW: Duration = Duration::from_secs(60);

/// As hard as is worth it: packed lists have little left to compress.
const LEVEL: i32 = 3;

/// Most bytes of a part, compressed: a ConfigMap holds 1 MiB, and in JSON a third is added.
pub const PART: usize = 768 << 10;

/// What is known of one list, but for the list itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`key`] of its URL.
    pub key: String,
    /// Its URL without the query, for people.
    pub url: String,
    /// When it was tried last.
    pub checked: Timestamp,
    /// When its server last gave it, or said that it is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
    /// The list, unless it was never fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Contents>,
    /// What goes wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Which list it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// SHA-256 of the packed list, in hexadecimal digits.
    pub sha256: String,
    /// Bytes of the packed list.
    pub bytes: usize,
    /// Entries of its text.
    pub entries: u64,
    /// In how many parts of at most [`PART`] it is kept, where it is kept in parts.
    pub parts: usize,
    /// Its ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Its Last-Modified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Since when.
    pub since: Timestamp,
    /// How often in a row.
    pub times: u32,
    /// What, the last time.
    pub message: String,
}

impl Record {
    /// What is known after a fetch, and the packed list if it is another one.
    #[must_use]
    pub fn after(
        before: Option<&Self>,
        url: &str,
        outcome: Result<Fetched, String>,
        now: Timestamp,
    ) -> (Self, Option<Vec<u8>>) {
        let mut record = before.cloned().unwrap_or_else(|| Self {
            key: key(url),
            url: breakwater_compile::url_list::shown(url).to_owned(),
            checked: now,
            confirmed: None,
            list: None,
            failure: None,
        });
        record.checked = now;
        match outcome {
            Ok(fetched) => {
                record.confirmed = Some(now);
                record.failure = None;
                let Fetched::List {
                    packed,
                    entries,
                    validators,
                } = fetched
                else {
                    return (record, None);
                };
                let sha256 = digest(&packed);
                let same = record.list.as_ref().filter(|list| list.sha256 == sha256);
                let parts = same.map(|list| list.parts);
                record.list = Some(Contents {
                    sha256,
                    bytes: packed.len(),
                    entries,
                    parts: parts.unwrap_or_default(),
                    etag: validators.etag,
                    last_modified: validators.last_modified,
                });
                (record, parts.is_none().then_some(packed))
            }
            Err(message) => {
                let failed = record.failure.as_ref();
                record.failure = Some(Failure {
                    since: failed.map_or(now, |failure| failure.since),
                    times: failed.map_or(1, |failure| failure.times.saturating_add(1)),
                    message: message.chars().take(LONGEST_FAILURE).collect(),
                });
                (record, None)
            }
        }
    }

    /// What to ask the server with.
    #[must_use]
    pub fn validators(&self) -> Validators {
        self.list.as_ref().map_or_else(Validators::default, |list| Validators {
            etag: list.etag.clone(),
            last_modified: list.last_modified.clone(),
        })
    }

    /// How long it is until it is to be fetched again. A failure is tried again sooner than `refresh` says.
    #[must_use]
    pub fn wait(&self, refresh: Duration, now: Timestamp) -> Duration {
        let interval = match &self.failure {
            None => refresh,
            Some(failure) => {
                let doubled = BACKOFF.0.saturating_mul(1 << failure.times.saturating_sub(1).min(8));
                doubled.min(BACKOFF.1).min(refresh)
            }
        };
        let ago = now.duration_since(self.checked);
        match Duration::try_from(ago) {
            Ok(ago) => interval.saturating_sub(ago),
            // Written by another clock.
            Err(_) if ago.unsigned_abs() > SKEW => Duration::ZERO,
            Err(_) => interval,
        }
    }

    /// As the compile step takes it, with the packed list in base64.
    #[must_use]
    pub fn compiled(&self, packed: Option<Arc<str>>) -> UrlList {
        let failure = self.failure.as_ref();
        let list = self.list.as_ref().zip(packed).map(|(list, packed)| FetchedList {
            packed,
            entries: list.entries,
            confirmed: match (failure, self.confirmed) {
                (Some(_), Some(confirmed)) => seconds(confirmed),
                _ => String::new(),
            },
        });
        let failure = failure.map(|failure| ListFailure {
            since: Some(seconds(failure.since)),
            message: failure.message.clone(),
        });
        UrlList { list, failure }
    }

    /// Whether the compile step sees no difference.
    #[must_use]
    pub fn looks_as(&self, other: &Self) -> bool {
        let content = |record: &Self| {
            let list = record.list.as_ref();
            list.map(|list| (list.sha256.clone(), list.entries, list.parts))
        };
        content(self) == content(other) && self.compiled(None) == other.compiled(None)
    }
}

/// A time to the second.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// SHA-256 in hexadecimal digits.
fn digest(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref(), 32)
}

/// A packed list as it is kept.
///
/// # Errors
/// When it cannot be compressed.
pub fn compress(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::bulk::compress(packed, LEVEL)
}

/// A list that was kept, in base64; none when it is not the one that `contents` says.
#[must_use]
pub fn restore(compressed: &[u8], contents: &Contents) -> Option<Arc<str>> {
    let packed = zstd::bulk::decompress(compressed, contents.bytes.min(MAX_PACKED)).ok()?;
    (digest(&packed) == contents.sha256).then(|| STANDARD.encode(&packed).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://lists.example/drop.txt?token=hunter2";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn list(bytes: &[u8]) -> Result<Fetched, String> {
        Ok(Fetched::List {
            packed: bytes.to_vec(),
            entries: 2,
            validators: Validators {
                etag: Some("\"a\"".to_owned()),
                last_modified: None,
            },
        })
    }

    #[test]
    fn a_failure_leaves_the_last_good_list_and_says_since_when() {
        let (good, packed) = Record::after(None, URL, list(b"one"), at(0));
        assert_eq!(packed.as_deref(), Some(&b"one"[..]));
        let (failed, packed) = Record::after(Some(&good), URL, Err("no".to_owned()), at(10));
        assert_eq!((packed, &failed.list), (None, &good.list));
        let (again, _) = Record::after(Some(&failed), URL, Err("still no".to_owned()), at(70));
        let compiled = again.compiled(Some("AA==".into()));
        assert_eq!(compiled.list.unwrap().confirmed, "1970-01-01T00:00:00Z");
        let failure = compiled.failure.unwrap();
        assert_eq!(failure.since.as_deref(), Some("1970-01-01T00:00:10Z"));
        assert_eq!(failure.message, "still no");
        let (recovered, _) = Record::after(Some(&again), URL, Ok(Fetched::Unchanged), at(90));
        assert!(recovered.failure.is_none() && recovered.looks_as(&good));
        assert!(!recovered.looks_as(&again));
    }

    #[test]
    fn the_same_list_with_another_tag_is_not_kept_anew() {
        let (first, _) = Record::after(None, URL, list(b"one"), at(0));
        let (second, packed) = Record::after(Some(&first), URL, list(b"one"), at(60));
        assert!(packed.is_none() && second.looks_as(&first));
        let (_, packed) = Record::after(Some(&second), URL, list(b"two"), at(120));
        assert!(packed.is_some());
    }

    #[test]
    fn a_failure_is_tried_again_after_one_minute_then_later_and_later() {
        let hour = Duration::from_secs(3600);
        let (mut record, _) = Record::after(None, URL, list(b"one"), at(0));
        assert_eq!(record.wait(hour, at(600)).as_secs(), 3000);
        assert_eq!(record.wait(hour, at(9999)), Duration::ZERO);
        let mut waits = Vec::new();
        for _ in 0..6 {
            record = Record::after(Some(&record), URL, Err(String::new()), at(0)).0;
            waits.push(record.wait(hour, at(0)).as_secs());
        }
        assert_eq!(waits, [60, 120, 240, 480, 900, 900]);
        assert_eq!(record.wait(Duration::from_secs(70), at(0)).as_secs(), 70);
        record.checked = at(1000);
        assert_eq!(record.wait(hour, at(0)), Duration::ZERO, "the clock was set back");
    }

    #[test]
    fn what_is_kept_comes_back_only_as_what_it_was() {
        let (record, packed) = Record::after(None, URL, list(&[7; 1000]), at(0));
        let contents = record.list.clone().unwrap();
        let kept = compress(&packed.unwrap()).unwrap();
        assert_eq!(restore(&kept, &contents).unwrap().len(), 1336);
        let mut damaged = contents.clone();
        damaged.sha256 = digest(b"other");
        assert!(restore(&kept, &damaged).is_none());
        damaged = Contents { bytes: 999, ..contents };
        assert!(restore(&kept, &damaged).is_none());
        let text = serde_json::to_string(&record).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
