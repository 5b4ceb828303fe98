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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::{Method, Uri};
    use axum::response::IntoResponse as _;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Client;

    use super::*;
    use crate::lease::Leadership;
    use crate::lists::Shelf as _;
    use crate::lists::config_maps::{ConfigMapShelf, head_name};
    use crate::watch::slot::Event;

    #[tokio::test]
    async fn a_list_is_deleted_with_its_parts_and_no_other() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&asked);
        let api = Router::new().fallback(move |method: Method, uri: Uri| {
            let told = Arc::clone(&told);
            async move {
                told.lock().unwrap().push(format!("{method} {}", uri.path()));
                let body = r#"{"apiVersion":"v1","kind":"Status","status":"Success"}"#;
                ([("content-type", "application/json")], body).into_response()
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, api).await });
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let client = Client::try_from(config).unwrap();

        let watched = Watched::default();
        let (unused, used) = ("a".repeat(32), "b".repeat(32));
        let unused_part = format!("{}-0123456789abcdef-0", head_name(&unused));
        for name in [head_name(&unused), unused_part.clone(), head_name(&used)] {
            let mut map = ConfigMap::default();
            map.metadata.name = Some(name.clone());
            let key = ("own".to_owned(), name);
            let event = Event::Apply(key, Piece::read(&map));
            let _ = watched.0.objects.lock().lists.event(event);
        }
        let shelf = ConfigMapShelf::new(client, "own", watched, Leadership::always());
        assert_eq!(shelf.keys(), [unused.clone(), used].into());
        shelf.forget(&unused).await.unwrap();
        let deleted = |name: &str| format!("DELETE /api/v1/namespaces/own/configmaps/{name}");
        assert_eq!(
            *asked.lock().unwrap(),
            [deleted(&head_name(&unused)), deleted(&unused_part)]
        );
    }
}
