//! What runs: a reader of the stream, a worker that fetches and applies, and an acknowledger, side by side in one task,
//! and a saver that writes the copy on disk behind them.
//!
//! They share nothing but latest-wins channels, so that none waits for another: a slow disk does not delay an
//! acknowledgement, a slow operator does not delay a snapshot, and a manifest that was overtaken is skipped.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use breakwater_snapshot::{Ack, Digest, Entry, PeerAddress, Peers, PrefetchProgress, Rejection, Snapshot};

use super::backoff::Backoff;
use super::client::{Announced, Client, FetchError, Line};
use super::disk::Disk;
use super::last_good::LastGood;
use super::{FollowState, Follower, Sink, Source, Timing};

type States = watch::Sender<FollowState>;

pub(super) async fn run<S: Sink + Send>(follower: Follower<S>, stop: impl Future<Output = ()> + Send) -> S {
    let Follower {
        config,
        client,
        state,
        peers,
        mut sink,
    } = follower;
    let shared = Shared {
        client,
        timing: config.timing.clone(),
        node: config.node.clone(),
        prefetch: config.prefetch,
        state,
        peers,
        peer: config.peer.clone(),
        crs: config.crs.clone(),
        announced: watch::Sender::new(None),
        have: watch::Sender::new(None),
        ack: watch::Sender::new(None),
        connected: Notify::new(),
    };
    let (restored, saver) = match config.state_dir {
        Some(dir) => {
            let longest = config.timing.manifest_bytes as u64;
            let disk = Disk::new(dir, config.secrets_dir, longest, config.timing.blob_bytes);
            let (restored, saver) = Saver::start(disk, shared.state.clone()).await;
            (restored, Some(saver))
        }
        None => (None, None),
    };
    let worker = Worker {
        shared: &shared,
        sink: &mut sink,
        saver: saver.as_ref(),
        current: Snapshot::default(),
        rejected: Vec::new(),
        good: LastGood::default(),
        arrived: BTreeMap::new(),
    };
    let mut stop = pin!(stop);
    tokio::select! {
        () = &mut stop => {}
        () = shared.read() => {}
        () = shared.acknowledge() => {}
        () = worker.work(restored) => {}
    }
    shared.state.send_modify(|state| state.connected = false);
    let farewell = async {
        let goodbye = shared.client.goodbye();
        let saved = async {
            if let Some(saver) = saver {
                saver.finish().await;
            }
        };
        let (goodbye, ()) = tokio::join!(goodbye, saved);
        if let Err(error) = goodbye {
            tracing::info!(%error, "the operator did not hear this node's goodbye");
        }
    };
    if tokio::time::timeout(config.timing.farewell, farewell).await.is_err() {
        tracing::info!("goodbye and the copy on disk took too long and were cut short");
    }
    sink
}

/// What reader, worker and acknowledger share.
struct Shared {
    client: Client,
    timing: Timing,
    node: String,
    prefetch: Option<watch::Receiver<Arc<[PrefetchProgress]>>>,
    state: States,
    /// Which nodes may be asked.
    peers: watch::Sender<Peers>,
    /// Where this one may be asked.
    peer: Option<watch::Receiver<Option<PeerAddress>>>,
    crs: Option<String>,
    /// The newest manifest the operator sent.
    announced: watch::Sender<Option<Arc<Announced>>>,
    /// The manifest that need not be sent again: applied, and nothing of it rejected.
    have: watch::Sender<Option<Digest>>,
    /// What to acknowledge.
    ack: watch::Sender<Option<Ack>>,
    /// A stream was opened: the operator behind it may not know this node.
    connected: Notify,
}

impl Shared {
    /// Keeps a stream open.
    async fn read(&self) {
        let mut backoff = Backoff::new(self.timing.backoff);
        loop {
            let outcome = self.read_once(&mut backoff).await;
            self.state
                .send_if_modified(|state| std::mem::take(&mut state.connected));
            if let Err(error) = outcome {
                self.failed(Source::Stream, &error);
            }
            tokio::time::sleep(backoff.next(fastrand::f64())).await;
        }
    }

    async fn read_once(&self, backoff: &mut Backoff) -> Result<(), FetchError> {
        let have = *self.have.borrow();
        let mut lines = self.client.open(have).await?;
        self.state.send_modify(|state| state.connected = true);
        self.succeeded(Source::Stream);
        self.connected.notify_one();
        while let Some(line) = lines.next().await? {
            backoff.reset();
            match line {
                Line::Manifest(announced) => {
                    self.announced.send_replace(Some(Arc::new(announced)));
                }
                Line::Peers(news) => self.peers.send_modify(|peers| peers.apply(news)),
                Line::Heartbeat => self.state.send_modify(|state| {
                    let announced = self.announced.borrow();
                    let newest = announced.as_ref().map_or(have, |announced| Some(announced.digest));
                    if newest == state.manifest {
                        state.confirmed = Some(Instant::now());
                        state.from_disk = false;
                    }
                }),
            }
        }
        Ok(())
    }

    /// Acknowledges each change at once, each new stream, and else now and then.
    async fn acknowledge(&self) {
        let mut acks = self.ack.subscribe();
        let mut prefetch = self.prefetch.clone();
        let mut peer = self.peer.clone();
        let mut backoff = Backoff::new(self.timing.backoff);
        let mut wait = self.timing.ack_every;
        loop {
            tokio::select! {
                _ = acks.changed() => {}
                () = news(&mut prefetch) => {}
                () = self.connected.notified() => {}
                () = moved(&mut peer) => {}
                () = tokio::time::sleep(wait) => {}
            }
            let Some(mut ack) = acks.borrow_and_update().clone() else {
                continue;
            };
            ack.prefetch = prefetch
                .as_mut()
                .map_or_else(Vec::new, |told| told.borrow_and_update().to_vec());
            ack.peer = peer.as_mut().and_then(|peer| peer.borrow_and_update().clone());
            wait = tokio::select! {
                outcome = self.client.ack(&ack) => match outcome {
                    Ok(()) => {
                        backoff.reset();
                        self.succeeded(Source::Ack);
                        self.timing.ack_every
                    }
                    Err(error) => {
                        self.failed(Source::Ack, &error);
                        backoff.next(fastrand::f64())
                    }
                },
                // There is newer word already.
                _ = acks.changed() => Duration::ZERO,
            };
        }
    }

    fn failed(&self, source: Source, error: &FetchError) {
        let text = error.to_string();
        self.state.send_modify(|state| {
            state.failures += 1;
            if state.error_of(source).as_ref() != Some(&text) {
                tracing::warn!("{text}; this node runs on and tries again");
            }
            *state.error_of(source) = Some(text);
        });
    }

    fn succeeded(&self, source: Source) {
        self.state
            .send_if_modified(|state| state.error_of(source).take().is_some());
    }
}

/// Waits until there is something new, if there ever is.
async fn news(told: &mut Option<watch::Receiver<Arc<[PrefetchProgress]>>>) {
    let changed = match told {
        Some(told) => told.changed().await,
        None => std::future::pending().await,
    };
    if changed.is_err() {
        // The data plane is gone: nothing comes any more.
        *told = None;
    }
}

/// Waits for a change of where this node may be asked.
async fn moved(peer: &mut Option<watch::Receiver<Option<PeerAddress>>>) {
    if let Some(peer) = peer
        && peer.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Fetches and applies.
struct Worker<'a, S> {
    shared: &'a Shared,
    sink: &'a mut S,
    saver: Option<&'a Saver>,
    current: Snapshot,
    rejected: Vec<Rejection>,
    good: LastGood,
    /// Blobs that arrived for a snapshot whose other blobs did not.
    arrived: BTreeMap<Digest, Arc<[u8]>>,
}

impl<S: Sink + Send> Worker<'_, S> {
    async fn work(mut self, restored: Option<Snapshot>) {
        let mut announced = self.shared.announced.subscribe();
        if let Some(snapshot) = restored {
            self.good = LastGood::restored(&snapshot);
            if !self.hear_first(&mut announced).await {
                let digest = snapshot.manifest().digest();
                self.apply(snapshot, digest, true).await;
            }
        }
        let mut backoff = Backoff::new(self.shared.timing.backoff);
        let mut retry: Option<Duration> = None;
        loop {
            tokio::select! {
                changed = announced.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(retry.unwrap_or_default()), if retry.is_some() => {}
            }
            retry = None;
            let Some(next) = announced.borrow_and_update().clone() else {
                continue;
            };
            match self.take(&next).await {
                Ok(()) => {
                    backoff.reset();
                    self.shared.succeeded(Source::Fetch);
                }
                Err(error) => {
                    self.shared.failed(Source::Fetch, &error);
                    retry = Some(backoff.next(fastrand::f64()));
                }
            }
        }
    }

    /// Whether the operator's word came, and could be taken, while the copy on disk was held back for it.
    async fn hear_first(&mut self, announced: &mut watch::Receiver<Option<Arc<Announced>>>) -> bool {
        let patience = self.shared.timing.first_word;
        if patience.is_zero() {
            return false;
        }
        let heard = tokio::time::timeout(patience, announced.wait_for(Option::is_some)).await;
        let Some(next) = heard.ok().and_then(Result::ok).and_then(|heard| heard.clone()) else {
            return false;
        };
        // Not cut short: half an application is none.
        let taken = self.take(&next).await;
        if let Err(error) = &taken {
            self.shared.failed(Source::Fetch, error);
            announced.mark_changed();
        }
        taken.is_ok()
    }

    async fn take(&mut self, next: &Announced) -> Result<(), FetchError> {
        if *self.shared.have.borrow() == Some(next.digest) {
            return Ok(());
        }
        let mut blobs = std::mem::take(&mut self.arrived);
        blobs.retain(|digest, _| next.manifest.entries.iter().any(|entry| entry.sha256 == *digest));
        let mut wanted: BTreeMap<Digest, Entry> = BTreeMap::new();
        for entry in &next.manifest.entries {
            match self.held(entry) {
                Some(bytes) => {
                    blobs.insert(entry.sha256, bytes);
                }
                None if !blobs.contains_key(&entry.sha256) => {
                    wanted.insert(entry.sha256, entry.clone());
                }
                None => {}
            }
        }
        let fetched = self
            .shared
            .client
            .fetch(wanted.into_values().collect(), &mut blobs)
            .await;
        if let Err(error) = fetched {
            self.arrived = blobs;
            return Err(error);
        }
        let snapshot = Snapshot::assemble(next.manifest.clone(), blobs)
            .map_err(|error| FetchError::Malformed(error.to_string()))?;
        self.apply(snapshot, next.digest, false).await;
        Ok(())
    }

    /// A blob this node has; one whose object was rejected is not held.
    fn held(&self, entry: &Entry) -> Option<Arc<[u8]>> {
        if self.rejected.iter().any(|rejection| rejection.id == entry.id) {
            return None;
        }
        let bytes = self
            .current
            .blob(&entry.sha256)
            .or_else(|| self.good.snapshot().blob(&entry.sha256));
        bytes.cloned()
    }

    async fn apply(&mut self, snapshot: Snapshot, digest: Digest, from_disk: bool) {
        let rejected = self.sink.apply(snapshot.clone()).await;
        tracing::info!(
            manifest = %digest,
            objects = snapshot.manifest().entries.len(),
            rejected = rejected.len(),
            from_disk,
            "configuration applied"
        );
        self.good = self.good.followed_by(&snapshot, &rejected);
        if let Some(saver) = self.saver.filter(|_| !from_disk) {
            saver.save(self.good.snapshot().clone());
        }
        self.current = snapshot;
        self.rejected.clone_from(&rejected);
        let have = rejected.is_empty().then_some(digest);
        self.shared.have.send_replace(have);
        self.shared.state.send_modify(|state| {
            state.manifest = Some(digest);
            state.from_disk = from_disk;
            state.rejected.clone_from(&rejected);
            if !from_disk {
                state.confirmed = Some(Instant::now());
            }
        });
        self.shared.ack.send_replace(Some(Ack {
            node: self.shared.node.clone(),
            manifest: digest,
            rejected,
            prefetch: Vec::new(),
            peer: None,
            crs: self.shared.crs.clone(),
        }));
    }
}

/// Writes the copy on disk behind the worker; only the newest snapshot is written.
struct Saver {
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    task: JoinHandle<()>,
}

impl Saver {
    /// Reads the copy back and starts.
    async fn start(mut disk: Disk, state: States) -> (Option<Snapshot>, Self) {
        let loading = tokio::task::spawn_blocking(move || {
            let loaded = disk.load();
            (loaded, disk)
        });
        let (newest, mut jobs) = watch::channel(None::<Arc<Snapshot>>);
        let (restored, disk) = match loading.await {
            Ok((Ok(snapshot), disk)) => (snapshot, Some(disk)),
            Ok((Err(error), disk)) => {
                disk_failed(&state, &error.to_string());
                (None, Some(disk))
            }
            Err(error) => {
                disk_failed(&state, &error.to_string());
                (None, None)
            }
        };
        let task = tokio::spawn(async move {
            let mut disk = disk;
            while jobs.changed().await.is_ok() {
                let job = jobs.borrow_and_update().clone();
                let (Some(snapshot), Some(mut writer)) = (job, disk.take()) else {
                    continue;
                };
                let saving = tokio::task::spawn_blocking(move || {
                    let saved = writer.save(&snapshot);
                    (saved, writer)
                });
                match saving.await {
                    Ok((saved, writer)) => {
                        disk = Some(writer);
                        if let Err(error) = saved {
                            disk_failed(&state, &error.to_string());
                        }
                    }
                    Err(error) => disk_failed(&state, &error.to_string()),
                }
            }
        });
        (restored, Self { newest, task })
    }

    fn save(&self, snapshot: Snapshot) {
        self.newest.send_replace(Some(Arc::new(snapshot)));
    }

    /// Writes what is not written yet.
    async fn finish(self) {
        drop(self.newest);
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the copy on disk was not finished");
        }
    }
}

fn disk_failed(state: &States, error: &str) {
    tracing::warn!("{error}; this node runs on, and a restart may need the operator");
    state.send_modify(|state| state.disk_failures += 1);
}
