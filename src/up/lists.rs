//! Lists of addresses behind URLs: fetched by this process, the last good ones kept in the state directory, if there is one.
//!
//! Invariant: what is in the state directory is whole: a list is written under a name of its own before the record that
//! names it, and the former one is removed after that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use breakwater_compile::World;
use breakwater_compile::url_list::{self, MOST_URLS};
use breakwater_operator::lists::{self, Fetcher, ListMetrics, MAX_PACKED, Record, Shelf, Wanted, key, record};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::exit::{Failure, complain};
use crate::manifests::bounded;

/// Largest record that is read, bytes.
const LARGEST_RECORD: u64 = 64 << 10;

/// The lists of `up`. They are fetched as long as this is there.
pub(super) struct Lists {
    shared: Arc<Shared>,
    changed: watch::Receiver<u64>,
    metrics: ListMetrics,
    keeper: tokio::task::AbortHandle,
}

struct Shared {
    /// Where they are kept.
    dir: Option<PathBuf>,
    wanted: watch::Sender<Wanted>,
    kept: Mutex<BTreeMap<String, Kept>>,
    /// Rises with each change that the compile step can see.
    changed: watch::Sender<u64>,
}

struct Kept {
    record: Record,
    /// Packed, in base64.
    list: Option<Arc<str>>,
}

impl Lists {
    /// Reads what an earlier run kept, and begins to fetch what [`Lists::fill`] says is wanted.
    pub(super) fn open(state_dir: Option<&Path>) -> Result<Self, Failure> {
        let metrics = ListMetrics::new("breakwater")
            .map_err(|error| Failure::environment(format!("metrics cannot be made: {error}"), ""))?;
        let dir = state_dir.map(|dir| dir.join("lists"));
        let kept = dir.as_deref().map(load).unwrap_or_default();
        let shared = Arc::new(Shared {
            dir,
            wanted: watch::Sender::new(Wanted::new()),
            kept: Mutex::new(kept),
            changed: watch::Sender::new(0),
        });
        let shelf = FileShelf {
            wanted: shared.wanted.subscribe(),
            shared: Arc::clone(&shared),
        };
        let keeper = tokio::spawn(lists::keep(shelf, Fetcher::new(true), metrics.clone()));
        Ok(Self {
            changed: shared.changed.subscribe(),
            shared,
            metrics,
            keeper: keeper.abort_handle(),
        })
    }

    /// What writes the metrics of lists.
    pub(super) fn metrics(&self) -> impl Fn(&mut Vec<u8>) + Send + Sync + use<> {
        let metrics = self.metrics.clone();
        move |out| metrics.render(out)
    }

    /// Puts the lists that the policies of `world` name into it; from now on they are the ones that are fetched.
    pub(super) fn fill(&self, world: &mut World) {
        let wanted = url_list::wanted(world.waf_policies.iter());
        let kept = self.shared.kept();
        world.url_lists = Some(wanted.lists(|url| {
            let kept = kept.get(&key(url))?;
            Some(kept.record.compiled(kept.list.clone()))
        }));
        drop(kept);
        self.shared.wanted.send_if_modified(|before| {
            let differs = *before != wanted.urls;
            *before = wanted.urls;
            differs
        });
    }

    /// Waits until each list that `world` names was tried once, no longer than `patience`.
    pub(super) async fn tried(&mut self, world: &mut World, patience: Duration) {
        self.changed.mark_unchanged();
        self.fill(world);
        let tried = async { while self.waits() && self.changed.changed().await.is_ok() {} };
        // Late: the policies say so.
        let _ = timeout(patience, tried).await;
    }

    fn waits(&self) -> bool {
        let kept = self.shared.kept();
        let wanted = self.shared.wanted.borrow();
        wanted.keys().any(|url| !kept.contains_key(&key(url)))
    }

    /// Resolves when a list is another one, or fails, or does so no more. Cancel safe.
    pub(super) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Lists {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct FileShelf {
    shared: Arc<Shared>,
    wanted: watch::Receiver<Wanted>,
}

impl Shelf for FileShelf {
    fn wanted(&self) -> Wanted {
        self.wanted.borrow().clone()
    }

    async fn changed(&mut self) {
        if self.wanted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn leads(&self) -> bool {
        true
    }

    fn record(&self, key: &str) -> Option<Record> {
        self.shared.kept().get(key).map(|kept| kept.record.clone())
    }

    fn keys(&self) -> BTreeSet<String> {
        self.shared.kept().keys().cloned().collect()
    }

    async fn keep(&self, record: Record, list: Option<Vec<u8>>) -> Result<(), String> {
        let mut restored = None;
        if let (Some(list), Some(contents)) = (&list, &record.list) {
            restored = record::restore(list, contents);
        }
        if let Some(dir) = self.shared.dir.clone() {
            let to_write = record.clone();
            let written = tokio::task::spawn_blocking(move || write(&dir, &to_write, list.as_deref())).await;
            if let Ok(Err(error)) = written {
                // It is in force all the same; only a restart would miss it.
                complain(format!(
                    "breakwater: the list at {} cannot be kept in the state directory: {error}",
                    record.url
                ));
            }
        }
        let mut kept = self.shared.kept();
        let before = kept.remove(&record.key);
        let news = before.as_ref().is_none_or(|before| !before.record.looks_as(&record));
        let list = restored.or_else(|| before?.list);
        kept.insert(record.key.clone(), Kept { record, list });
        drop(kept);
        if news {
            self.shared.changed.send_modify(|version| *version += 1);
        }
        Ok(())
    }

    async fn forget(&self, key: &str) -> Result<(), String> {
        self.shared.kept().remove(key);
        let Some(dir) = &self.shared.dir else { return Ok(()) };
        remove_but(dir, key, &[]).map_err(|error| error.to_string())
    }
}

fn record_name(key: &str) -> String {
    format!("{key}.json")
}

fn list_name(record: &Record) -> Option<String> {
    let digest = record.list.as_ref()?.sha256.get(..16)?;
    Some(format!("{}-{digest}.zst", record.key))
}

fn write(dir: &Path, record: &Record, list: Option<&[u8]>) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let list_name = list_name(record);
    if let (Some(name), Some(list)) = (&list_name, list) {
        replace(dir, name, list)?;
    }
    let name = record_name(&record.key);
    replace(dir, &name, &serde_json::to_vec(record)?)?;
    let keep: Vec<String> = list_name.into_iter().chain([name]).collect();
    remove_but(dir, &record.key, &keep)
}

/// Another process that takes over may do the same: each has a file of its own until it is whole.
fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = dir.join(format!(".{name}.{}", std::process::id()));
    std::fs::write(&new, content)?;
    std::fs::File::open(&new)?.sync_all()?;
    std::fs::rename(&new, dir.join(name))
}

/// Removes the files of a list but for `keep`.
fn remove_but(dir: &Path, key: &str, keep: &[String]) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(key) && !keep.iter().any(|kept| *kept == name) {
            std::fs::remove_file(dir.join(&*name))?;
        }
    }
    Ok(())
}

/// What is there and whole; the rest is as if it were not.
fn load(dir: &Path) -> BTreeMap<String, Kept> {
    let mut kept = BTreeMap::new();
    for entry in std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .take(4 * MOST_URLS)
    {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(key) = name.strip_suffix(".json").filter(|key| !key.starts_with('.')) else {
            continue;
        };
        if let Some(found) = load_one(dir, key) {
            kept.insert(key.to_owned(), found);
        }
    }
    kept
}

fn load_one(dir: &Path, key: &str) -> Option<Kept> {
    let record = bounded(&dir.join(record_name(key)), LARGEST_RECORD).ok()?;
    let record: Record = serde_json::from_slice(&record)
        .ok()
        .filter(|record: &Record| record.key == key)?;
    let list = match &record.list {
        None => None,
        Some(contents) => {
            let compressed = bounded(&dir.join(list_name(&record)?), 2 * MAX_PACKED as u64).ok()?;
            Some(record::restore(&compressed, contents)?)
        }
    };
    Some(Kept { record, list })
}
