//! The lists of addresses that the leader fetched, as every replica sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use breakwater_compile::url_list::{self, MOST_URLS};
use breakwater_compile::{ListFailure, UrlList, World};

use super::slot::Slot;
use super::{Objects, Watched};
use crate::lists::config_maps::{Assembled, Piece, head_name};
use crate::lists::{Record, Wanted, key};

impl Watched {
    /// The URLs that policies name, and how often each is to be fetched.
    pub(crate) fn wanted_lists(&self) -> Wanted {
        let (wanted, _) = url_list::wanted(self.0.objects.lock().waf_policies.good());
        let millis = |(url, ms)| (url, Duration::from_millis(ms));
        wanted.into_iter().map(millis).collect()
    }

    /// What is known of a list, if it is whole.
    pub(crate) fn list_record(&self, key: &str) -> Option<Record> {
        let Objects { lists, .. } = &*self.0.objects.lock();
        let pieces = by_name(lists);
        let record = record(&pieces, key)?;
        let whole = record.list.is_none() || self.0.assembled.lock().list(record, &pieces).is_some();
        whole.then(|| record.clone())
    }

    /// The names of all ConfigMaps that hold something of a list.
    pub(crate) fn list_names(&self) -> Vec<String> {
        let Objects { lists, .. } = &*self.0.objects.lock();
        lists.values().map(|piece| piece.name.clone()).collect()
    }
}

/// The lists that the policies of `world` name.
pub(super) fn of(world: &World, slot: &Slot<Piece>, assembled: &mut Assembled) -> BTreeMap<String, UrlList> {
    let (wanted, beyond) = url_list::wanted(world.waf_policies.iter());
    let pieces = by_name(slot);
    let mut lists = BTreeMap::new();
    let mut used = Vec::with_capacity(wanted.len());
    for url in wanted.into_keys() {
        let key = key(&url);
        if let Some(record) = record(&pieces, &key) {
            lists.insert(url, record.compiled(assembled.list(record, &pieces)));
        }
        used.push(key);
    }
    assembled.retain(|key| used.iter().any(|used| used == key));
    for url in beyond {
        let failure = ListFailure {
            since: None,
            message: format!("more than {MOST_URLS} URLs are named by all policies together"),
        };
        let list = UrlList {
            list: None,
            failure: Some(failure),
        };
        lists.insert(url, list);
    }
    lists
}

fn by_name(slot: &Slot<Piece>) -> BTreeMap<&str, &Piece> {
    slot.values().map(|piece| (piece.name.as_str(), piece)).collect()
}

fn record<'a>(pieces: &BTreeMap<&str, &'a Piece>, key: &str) -> Option<&'a Record> {
    pieces.get(head_name(key).as_str())?.record.as_ref()
}
