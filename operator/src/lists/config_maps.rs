//! Lists in ConfigMaps of the operator's own namespace: its leader writes them, every replica reads them by a watch.
//!
//! Of each list there is a head (`breakwater-list-KEY`) with the [`Record`] as an annotation, and its parts
//! (`breakwater-list-KEY-DIGEST-N`) with the packed list, compressed, as `binaryData`.
//!
//! Invariant: parts never change. They are written before the head that names them, and those of the former list are
//! deleted after it, so that whoever sees a head has seen its parts. A list whose parts are missing or damaged is as one
//! that was never fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;

use super::record::{PART, restore};
use super::{Record, Shelf, Wanted};
use crate::lease::Leadership;
use crate::watch::Watched;

/// The label of these ConfigMaps; its value is `head` or `part`.
pub const LABEL: &str = "breakwater.dev/address-list";

/// The annotation of a head, and the key of a part.
const RECORD: &str = "breakwater.dev/address-list-record";
const DATA: &str = "list";

const PREFIX: &str = "breakwater-list-";

/// Digits of a list's digest in the names of its parts.
const DIGITS: usize = 16;

/// What is read of one of these ConfigMaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Piece {
    pub(crate) name: String,
    pub(crate) record: Option<Record>,
    part: Option<Arc<[u8]>>,
}

impl Piece {
    /// Reads a ConfigMap. A record that cannot be read was written by another version: it is fetched and written anew.
    pub(crate) fn read(map: &ConfigMap) -> Self {
        let name = map.name_any();
        let text = map.annotations().get(RECORD);
        let record = text.and_then(|text| serde_json::from_str::<Record>(text).ok());
        let data = map.binary_data.as_ref().and_then(|data| data.get(DATA));
        Self {
            record: record.filter(|record| head_name(&record.key) == name),
            part: data
                .filter(|data| data.0.len() <= PART)
                .map(|data| data.0.as_slice().into()),
            name,
        }
    }

    /// Whether the compile step sees no difference.
    pub(crate) fn looks_as(&self, other: &Self) -> bool {
        let same_record = match (&self.record, &other.record) {
            (Some(a), Some(b)) => a.looks_as(b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same_record && self.part == other.part
    }
}

/// Lists that were put together, so that this is done once.
#[derive(Debug, Default)]
pub(crate) struct Assembled(BTreeMap<String, (String, Arc<str>)>);

impl Assembled {
    /// The packed list of `record` in base64, if all its parts are there.
    pub(crate) fn list(&mut self, record: &Record, pieces: &BTreeMap<&str, &Piece>) -> Option<Arc<str>> {
        let contents = record.list.as_ref()?;
        let parts = part_names(record);
        let parts: Option<Vec<&[u8]>> = parts
            .iter()
            .map(|name| pieces.get(name.as_str())?.part.as_deref())
            .collect();
        let parts = parts?;
        if let Some((sha256, list)) = self.0.get(&record.key)
            && *sha256 == contents.sha256
        {
            return Some(Arc::clone(list));
        }
        let list = restore(&parts.concat(), contents)?;
        self.0
            .insert(record.key.clone(), (contents.sha256.clone(), Arc::clone(&list)));
        Some(list)
    }

    /// Forgets all but these.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|key, _| keep(key));
    }
}

/// What the head of a list is called.
pub(crate) fn head_name(key: &str) -> String {
    format!("{PREFIX}{key}")
}

fn part_names(record: &Record) -> Vec<String> {
    let Some(list) = &record.list else { return Vec::new() };
    let digest = list.sha256.get(..DIGITS).unwrap_or_default();
    // As many as a list of the largest size has, and one for what compression adds.
    let most = super::MAX_PACKED.div_ceil(PART) + 1;
    (0..list.parts.min(most))
        .map(|n| format!("{PREFIX}{}-{digest}-{n}", record.key))
        .collect()
}

/// The lists of an operator.
pub struct ConfigMapShelf {
    api: Api<ConfigMap>,
    watched: Watched,
    changed: watch::Receiver<u64>,
    leadership: Leadership,
}

impl ConfigMapShelf {
    /// Those in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, watched: Watched, leadership: Leadership) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            changed: watched.changed(),
            watched,
            leadership,
        }
    }

    async fn put(&self, map: ConfigMap) -> Result<(), kube::Error> {
        let (name, post) = (map.name_any(), PostParams::default());
        match self.api.replace(&name, &post, &map).await {
            Err(kube::Error::Api(status)) if status.code == 404 => self.api.create(&post, &map).await.map(drop),
            replaced => replaced.map(drop),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        match self.api.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop).map_err(|error| error.to_string()),
        }
    }

    /// Deletes what is there of a list but for `keep`.
    async fn delete_but(&self, key: &str, keep: &[String]) -> Result<(), String> {
        let mine = head_name(key);
        for name in self.watched.list_names() {
            let of_list = name == mine || name.strip_prefix(&mine).is_some_and(|rest| rest.starts_with('-'));
            if of_list && !keep.contains(&name) {
                self.delete(&name).await?;
            }
        }
        Ok(())
    }
}

impl Shelf for ConfigMapShelf {
    fn wanted(&self) -> Wanted {
        self.watched.wanted_lists()
    }

    async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn leads(&self) -> bool {
        self.leadership.holds(tokio::time::Instant::now())
    }

    fn record(&self, key: &str) -> Option<Record> {
        self.watched.list_record(key)
    }

    fn keys(&self) -> BTreeSet<String> {
        let names = self.watched.list_names().into_iter();
        let keys = names.filter_map(|name| Some(name.strip_prefix(PREFIX)?.split('-').next()?.to_owned()));
        keys.collect()
    }

    async fn keep(&self, record: Record, list: Option<Vec<u8>>) -> Result<(), String> {
        let failed = |error: kube::Error| error.to_string();
        let parts = part_names(&record);
        for (name, part) in parts.iter().zip(list.iter().flat_map(|list| list.chunks(PART))) {
            self.put(part_map(name, part)).await.map_err(failed)?;
        }
        let head = head_map(&record).map_err(|error| error.to_string())?;
        self.put(head).await.map_err(failed)?;
        if list.is_some() {
            let keep: Vec<String> = parts.into_iter().chain([head_name(&record.key)]).collect();
            if let Err(error) = self.delete_but(&record.key, &keep).await {
                // They cost space and nothing else; the next change of the list tries again.
                tracing::warn!(list = record.key, error, "parts of a former list could not be deleted");
            }
        }
        Ok(())
    }

    async fn forget(&self, key: &str) -> Result<(), String> {
        self.delete_but(key, &[]).await
    }
}

fn head_map(record: &Record) -> Result<ConfigMap, serde_json::Error> {
    let mut map = labelled(head_name(&record.key), "head");
    let record = serde_json::to_string(record)?;
    map.metadata.annotations = Some(BTreeMap::from([(RECORD.to_owned(), record)]));
    Ok(map)
}

fn part_map(name: &str, part: &[u8]) -> ConfigMap {
    let mut map = labelled(name.to_owned(), "part");
    map.binary_data = Some(BTreeMap::from([(DATA.to_owned(), ByteString(part.to_vec()))]));
    map
}

fn labelled(name: String, role: &str) -> ConfigMap {
    let labels = [
        (LABEL, role),
        ("app.kubernetes.io/managed-by", "breakwater-operator"),
        ("app.kubernetes.io/part-of", "breakwater"),
    ];
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fetch::{Fetched, Validators};
    use super::super::record::compress;
    use super::*;
    use jiff::Timestamp;

    /// A list of several parts: it has no order that could be compressed.
    fn list() -> (Record, Vec<u8>) {
        let mut random = fastrand::Rng::with_seed(1);
        let packed: Vec<u8> = (0..2 * PART + 9).map(|_| random.u8(..)).collect();
        let outcome = Ok(Fetched::List {
            packed,
            entries: 7,
            validators: Validators::default(),
        });
        let url = "https://lists.example/drop.txt?token=hunter2";
        let (mut record, packed) = Record::after(None, url, outcome, Timestamp::UNIX_EPOCH);
        let compressed = compress(&packed.unwrap()).unwrap();
        record.list.as_mut().unwrap().parts = compressed.len().div_ceil(PART);
        (record, compressed)
    }

    fn pieces(record: &Record, compressed: &[u8]) -> Vec<Piece> {
        let parts = part_names(record);
        let parts = parts.iter().zip(compressed.chunks(PART));
        let mut pieces: Vec<Piece> = parts.map(|(name, part)| Piece::read(&part_map(name, part))).collect();
        pieces.push(Piece::read(&head_map(record).unwrap()));
        pieces
    }

    fn by_name(pieces: &[Piece]) -> BTreeMap<&str, &Piece> {
        pieces.iter().map(|piece| (piece.name.as_str(), piece)).collect()
    }

    #[test]
    fn a_list_in_parts_is_whole_again_when_all_of_them_are_there() {
        let (record, compressed) = list();
        let mut pieces = pieces(&record, &compressed);
        assert_eq!(pieces.len(), 4);
        let head = pieces.last().unwrap().record.clone().unwrap();
        assert_eq!(head, record);
        let whole = Assembled::default().list(&head, &by_name(&pieces));
        assert_eq!(whole, restore(&compressed, record.list.as_ref().unwrap()));
        assert!(whole.is_some());
        pieces.remove(1);
        assert_eq!(Assembled::default().list(&head, &by_name(&pieces)), None);
    }

    #[test]
    fn a_part_that_was_changed_by_another_is_noticed() {
        let (record, mut compressed) = list();
        let last = compressed.len() - 1;
        compressed[last] ^= 1;
        let pieces = pieces(&record, &compressed);
        assert_eq!(Assembled::default().list(&record, &by_name(&pieces)), None);
    }

    #[test]
    fn no_object_holds_the_query_and_each_fits() {
        let (record, compressed) = list();
        for map in [
            head_map(&record).unwrap(),
            part_map("a", compressed.chunks(PART).next().unwrap()),
        ] {
            let text = serde_json::to_string(&map).unwrap();
            assert!(
                !text.contains("hunter2") && text.len() < (1 << 20) + 1024,
                "{}",
                text.len()
            );
        }
    }

    #[test]
    fn a_refresh_without_news_is_no_change_to_the_compile_step() {
        let (record, compressed) = list();
        let before = pieces(&record, &compressed).pop().unwrap();
        let (after, _) = Record::after(
            Some(&record),
            "",
            Ok(Fetched::Unchanged),
            Timestamp::from_second(60).unwrap(),
        );
        let after = Piece::read(&head_map(&after).unwrap());
        assert!(before != after && before.looks_as(&after));
    }
}
