//! The lists of addresses that the leader fetched, as every replica sees them.

use std::collections::{BTreeMap, BTreeSet};

use breakwater_compile::{UrlList, World, url_list};

use super::slot::Slot;
use super::{Objects, Watched};
use crate::lists::config_maps::{Assembled, Piece, head_name};
use crate::lists::{Record, Wanted, key};

impl Watched {
    /// The URLs that policies name, and how often each is to be fetched.
    pub(crate) fn wanted_lists(&self) -> Wanted {
        url_list::wanted(self.0.objects.lock().waf_policies.good()).urls
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
    let pieces = by_name(slot);
    let mut used = BTreeSet::new();
    let lists = url_list::wanted(world.waf_policies.iter()).lists(|url| {
        let key = key(url);
        let record = record(&pieces, &key);
        used.insert(key);
        record.map(|record| record.compiled(assembled.list(record, &pieces)))
    });
    assembled.retain(|key| used.contains(key));
    lists
}

fn by_name(slot: &Slot<Piece>) -> BTreeMap<&str, &Piece> {
    slot.values().map(|piece| (piece.name.as_str(), piece)).collect()
}

fn record<'a>(pieces: &BTreeMap<&str, &'a Piece>, key: &str) -> Option<&'a Record> {
    pieces.get(head_name(key).as_str())?.record.as_ref()
}
