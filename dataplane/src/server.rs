//! The data plane as a whole: starts workers and applies snapshots.

mod databases;
mod ending;
mod memory_limit;
mod supervised;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use breakwater_cache::Cache;
use breakwater_cache::key::Keyer;
use breakwater_snapshot::{Digest, ObjectId, Peers, PrefetchProgress, Rejection, Snapshot};
use breakwater_waf::bundle::Crs;
use breakwater_waf::limit::Tables;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::StartError;
use crate::admin::Port;
use crate::challenge;
use crate::clock::unix_seconds;
use crate::config::{Assembler, Config, Loaded};
use crate::disk::{Disk, DiskOptions, Opening, Reads};
use crate::geo::Files;
use crate::listen::{Listen, Listener};
use crate::peer::Peering;
use crate::prefetch::Board;
use crate::spool::{SpoolOptions, Spools};
use crate::takeover::{Purpose, Sockets};
use crate::telemetry::metrics::SnapshotState;
use crate::telemetry::{LineLog, LogOptions, LogTarget, Metrics};
use crate::upstream::Fleet;
use crate::worker::{Clients, Control, Crew, Heartbeat};
use supervised::{Listeners, Supervised};

/// How a data plane is set up. Everything else comes with snapshots.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients connect.
    pub listen: Vec<Listen>,
    /// Worker threads; see [`default_workers`].
    pub workers: usize,
    /// Bytes that stored responses may take in memory.
    pub memory: u64,
    /// The access log.
    pub access_log: LogOptions,
    /// The audit log.
    pub audit_log: LogOptions,
    /// The port of `https` as clients see it, for redirects.
    pub https_port: u16,
    /// Client connections open at once, over all workers. Half of the open-file limit is the most that is used.
    pub max_connections: u64,
    /// Name servers that are asked for the names of origins; none means the system's.
    pub name_servers: Vec<SocketAddr>,
    /// Of those, how many one client may have: an IPv4 address, or an IPv6 /64. None: a quarter.
    pub max_connections_per_client: Option<u64>,
    /// The disk tier; none means memory only.
    pub disk: Option<DiskOptions>,
    /// Files for what is too large for memory, while it comes; none means that who comes late fetches for itself.
    pub spool: Option<SpoolOptions>,
    /// This node's name among others that it asks and is asked by ([`DataPlane::set_peers`]).
    pub node: String,
    /// Bytes of memory this process may use; see [`DataPlane::watch_memory`] and [`crate::cgroup_memory_limit`].
    pub memory_limit: Option<u64>,
    /// The directory of the Core Rule Set ([`crate::read_crs`]); none: policies that ask for it are rejected.
    pub crs_dir: Option<PathBuf>,
    /// The database of countries ([`crate::geo`]); none: policies that ask for countries are rejected.
    pub geo_db: Option<PathBuf>,
    /// The database of autonomous systems; none: policies that ask for them are rejected.
    pub asn_db: Option<PathBuf>,
    /// A file that keeps what challenges are made with over restarts, where nodes do not share keys
    /// ([`DataPlane::set_peers`]); none, or one that cannot be used: it is new with each start.
    pub challenge_key: Option<PathBuf>,
    /// Prefetching begins within this time, by chance, so that nodes of a cluster do not all ask at once.
    pub prefetch_spread: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            workers: default_workers(),
            memory: 256 << 20,
            access_log: LogOptions::new(Vec::new()),
            audit_log: LogOptions::new(vec![LogTarget::Stderr]),
            https_port: 443,
            max_connections: 100_000,
            name_servers: Vec::new(),
            max_connections_per_client: None,
            disk: None,
            spool: None,
            node: String::new(),
            memory_limit: None,
            crs_dir: None,
            geo_db: None,
            asn_db: None,
            challenge_key: None,
            prefetch_spread: Duration::ZERO,
        }
    }
}

/// One worker for each processor this process may use: affinity and cgroup quota are respected.
pub fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What became of a snapshot.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The manifest that runs now.
    pub manifest: Digest,
    /// Objects whose new version could not be applied.
    pub rejected: Vec<Rejection>,
    /// Objects that run their last good version instead.
    pub kept: Vec<ObjectId>,
}

/// A running data plane. Dropping it ends the workers and cuts what is open; [`DataPlane::drain`] ends them in order.
pub struct DataPlane {
    control: watch::Sender<Control>,
    applied: watch::Receiver<()>,
    assembler: Mutex<Assembler>,
    pub(crate) heartbeats: Vec<Arc<Heartbeat>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) started: Instant,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    sockets: Vec<Listeners>,
    leaving: AtomicBool,
    memory_limit: Option<u64>,
    memory_pressure: Arc<AtomicU8>,
    /// Bytes the cache may store when memory is not short.
    cache_limit: u64,
    addresses: Vec<SocketAddr>,
    listeners: Vec<Listen>,
    crs: Option<Arc<Crs>>,
    disk: Option<Disk>,
    reads: Option<Arc<Reads>>,
    /// The databases of places, and their files.
    databases: Mutex<Files>,
    pub(crate) admin: Port,
}

impl DataPlane {
    /// Opens the listeners and starts the workers, with an empty configuration.
    ///
    /// # Errors
    /// When an address cannot be listened on, or a log not be opened.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        Self::open(options, None, None)
    }

    /// The same, on the sockets of a process that is taken over where they are of the same addresses; the admin port, to
    /// be served at `admin`, likewise. Nothing is accepted before [`DataPlane::accept`].
    ///
    /// # Errors
    /// As [`DataPlane::start`].
    pub fn take_over(options: &Options, admin: SocketAddr, mut sockets: Sockets) -> Result<Self, StartError> {
        let admin = sockets.claim_admin(admin);
        Self::open(options, Some(sockets), admin)
    }

    fn open(options: &Options, inherited: Option<Sockets>, admin: Option<TcpListener>) -> Result<Self, StartError> {
        let accept = inherited.is_none();
        let inherited = inherited.unwrap_or_default().claim(&options.listen);
        let workers = options.workers.max(1);
        let crs = options.crs_dir.as_deref().map(crate::read_crs).transpose()?;
        let crs = crs.map(Arc::new);
        let databases = Files::open(options.geo_db.clone(), options.asn_db.clone())?;
        let access = &options.access_log;
        let access_log = (!access.to.is_empty())
            .then(|| open_log("access", access))
            .transpose()?;
        let audit_log = open_log("audit", &options.audit_log)?;
        let mut sockets: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
        let mut listeners = Vec::new();
        for (listen, mut opened) in options.listen.iter().zip(inherited) {
            match opened.first().and_then(|socket| socket.local_addr().ok()) {
                Some(address) => {
                    let missing = workers.saturating_sub(opened.len());
                    opened.extend(crate::listen::reserve(address, missing)?);
                }
                None => opened = crate::listen::open(listen.address, workers)?,
            }
            let address = opened.first().and_then(|socket| socket.local_addr().ok());
            let address = address.unwrap_or(listen.address);
            let listen = Listen {
                address,
                ..listen.clone()
            };
            listeners.push(listen.clone());
            let listen = Arc::new(listen);
            // Of an inherited address there may be more than workers: each is somebody's, for connections wait there.
            for (index, socket) in opened.into_iter().enumerate() {
                let listen = Arc::clone(&listen);
                sockets[index % workers].push(Listener { socket, listen });
            }
        }
        // The secret of this process: of its tables, of its marks in requests, and of its keys where no disk has them.
        let seed = random();
        let opening = options.disk.as_ref().map(Opening::begin).transpose()?;
        // What is on a disk is found by keys that were hashed as they are now.
        let cache_seed = opening.as_ref().map_or(seed, Opening::seed);
        let mut config = breakwater_cache::Config::new(options.memory, cache_seed);
        config.fills.max_spooled = options.spool.as_ref().map_or(0, |spool| spool.bytes);
        let cache = Cache::new(config);
        let reads = (opening.is_some() || options.spool.is_some())
            .then(Reads::start)
            .transpose();
        let reads = reads.map_err(StartError::Worker)?;
        let spools = options.spool.as_ref().map(Spools::start).transpose();
        let spools = spools.map_err(StartError::Worker)?;
        let disk = opening.map(|opening| opening.run(&cache)).transpose()?;
        let tables = Arc::new(Tables::new((seed >> 64) as u64));
        let started = Instant::now();
        let fleet = Arc::new(Fleet::new(started, options.name_servers.clone()));
        let mut peering = Peering::new(&options.node, started);
        if let Some(file) = &options.challenge_key {
            match challenge::Keys::kept(file) {
                Ok(keys) => peering.challenges = keys,
                Err(error) => tracing::warn!(
                    file = %file.display(), %error, "the key of challenges cannot be kept: after a restart clients are asked again"
                ),
            }
        }
        let metrics = Metrics::new(
            workers,
            listeners.iter().map(|listen| listen.address).collect(),
            Arc::clone(&cache),
            Arc::clone(&tables),
            fleet,
            Arc::new(Board::new(workers, options.prefetch_spread, options.https_port)),
            Arc::new(peering),
            access_log,
            audit_log,
        );
        metrics.set_databases(databases.states());
        let metrics = Arc::new(metrics);
        let assembler = Assembler::new(
            Arc::clone(&metrics),
            Arc::clone(&cache),
            tables,
            options.https_port,
            Keyer::new(seed),
            crs.clone(),
            databases.current().known(),
        );
        let (control, _) = watch::channel(Control {
            version: 0,
            config: Arc::new(Config::default()),
            locations: Arc::clone(databases.current()),
            accept,
            drain: None,
        });
        let (applied_tx, applied) = watch::channel(());
        let all = connection_limit(options.max_connections);
        let of_one = options.max_connections_per_client.unwrap_or(all / 4).max(1);
        let clients = Clients::new(all, of_one, seed as u64);
        let max_connections = all.div_ceil(workers as u64);
        let mut data_plane = Self {
            control,
            applied,
            assembler: Mutex::new(assembler),
            heartbeats: (0..workers).map(|_| Arc::default()).collect(),
            metrics,
            started,
            threads: Mutex::default(),
            sockets: Vec::new(),
            leaving: AtomicBool::new(false),
            memory_limit: options.memory_limit,
            memory_pressure: Arc::default(),
            cache_limit: cache.stats().ram.limit,
            addresses: listeners.iter().map(|listen| listen.address).collect(),
            listeners,
            crs,
            disk,
            reads,
            databases: Mutex::new(databases),
            admin: Port::new(admin),
        };
        let crew = Arc::new(Crew::new(&data_plane.heartbeats));
        for (index, (listeners, heartbeat)) in sockets.into_iter().zip(data_plane.heartbeats.clone()).enumerate() {
            let listeners = Arc::new(Mutex::new(listeners));
            data_plane.sockets.push(Arc::clone(&listeners));
            let supervised = Supervised {
                index,
                started,
                listeners,
                max_connections,
                clients: Arc::clone(&clients),
                crew: Arc::clone(&crew),
                memory_pressure: Arc::clone(&data_plane.memory_pressure),
                control: data_plane.control.subscribe(),
                applied: applied_tx.clone(),
                heartbeat,
                metrics: Arc::clone(&data_plane.metrics),
                cache: Arc::clone(&cache),
                reads: data_plane.reads.clone(),
                spools: spools.clone(),
            };
            let thread = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || supervised.run(workers))
                .map_err(StartError::Worker)?;
            data_plane.threads.get_mut().push(thread);
        }
        Ok(data_plane)
    }

    /// Begins to accept, if it does not yet; returns when every worker does.
    ///
    /// # Errors
    /// When a socket that was opened beside those of another process cannot listen.
    pub async fn accept(&self) -> Result<(), StartError> {
        for sockets in &self.sockets {
            for Listener { socket, listen } in sockets.lock().iter() {
                let failed = |source| StartError::Bind {
                    address: listen.address,
                    source,
                };
                crate::listen::listen(socket).map_err(failed)?;
            }
        }
        let version = self.change(|control| control.accept = true);
        self.wait_for(version).await;
        Ok(())
    }

    /// Takes no more connections on the admin port and ends those that are idle: another process serves it.
    pub(crate) fn close_admin(&self) {
        self.admin.closed.send_replace(true);
    }

    pub(crate) fn accepting(&self) -> watch::Receiver<Control> {
        self.control.subscribe()
    }

    /// Every listening socket once more, clients' first, in the order of [`Options::listen`]; none when it drains.
    pub(crate) fn listening_sockets(&self) -> std::io::Result<Vec<(Purpose, TcpListener)>> {
        let mut all = Vec::new();
        for sockets in &self.sockets {
            for listener in sockets.lock().iter() {
                all.push((Purpose::of(&listener.listen), listener.socket.try_clone()?));
            }
        }
        if let (false, Some(admin)) = (all.is_empty(), &*self.admin.listener.lock()) {
            all.push((Purpose::Admin, admin.try_clone()?));
        }
        Ok(all)
    }

    /// The addresses clients connect to, with the ports the kernel chose where none was given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where clients connect and how their connections begin, in the order of [`Options::listen`], with the ports the
    /// kernel chose where none was given.
    pub fn listeners(&self) -> &[Listen] {
        &self.listeners
    }

    /// Applies a snapshot: builds what changed, swaps it in, and returns when every worker runs it.
    ///
    /// An object that cannot be applied keeps its last good version, and the others are applied all the same.
    pub async fn apply(&self, snapshot: &Snapshot) -> Applied {
        let (version, applied) = {
            // Held until the workers are told, so that of two callers the one who assembled last is the one that counts.
            let mut assembler = self.assembler.lock();
            let (config, applied) = assembler.assemble(snapshot);
            // Who is told that a purge was carried out may rely on it after a restart.
            self.metrics.cache.keep_purges();
            let started = self.started;
            self.metrics.cache.note_time(|| elapsed_ms(started));
            self.metrics.set_snapshot(SnapshotState {
                digest: applied.manifest.to_string(),
                confirmed_at: unix_seconds(),
                rejected: applied.rejected.len(),
            });
            (self.change(|control| control.config = Arc::new(config)), applied)
        };
        self.wait_for(version).await;
        applied
    }

    /// Notes that the configuration in force was known to be current `age` ago.
    pub fn confirm_age(&self, age: Duration) {
        self.metrics
            .confirm_snapshot(unix_seconds().saturating_sub(age.as_secs()));
    }

    /// Says which nodes may be asked for what is not stored, and by which keys nodes know each other.
    pub fn set_peers(&self, peers: &Peers) {
        self.metrics.peering.set(peers);
    }

    /// The version of the Core Rule Set that was read at the start, for people; none: there is none.
    pub fn crs_version(&self) -> Option<&str> {
        self.crs().map(|crs| crate::crs::describe(crs))
    }

    /// The Core Rule Set that was read at the start; none: there is none.
    pub fn crs(&self) -> Option<&Arc<Crs>> {
        self.crs.as_ref()
    }

    /// Opens the files of logs again: someone moved them away.
    pub fn reopen_logs(&self) {
        let logs = self.metrics.access_log.iter().chain([&self.metrics.audit_log]);
        logs.for_each(LineLog::reopen);
    }

    /// Where other nodes connect, if they may.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.listeners
            .iter()
            .find(|listen| listen.peer)
            .map(|listen| listen.address)
    }

    /// Whether a configuration is applied and every worker lives.
    pub fn ready(&self) -> bool {
        let control = self.control.borrow();
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        control.version > 0
            && control.drain.is_none()
            && !self.leaving.load(Ordering::Relaxed)
            && self.heartbeats.iter().all(|heartbeat| {
                let silent = now.saturating_sub(heartbeat.ticked_ms.load(Ordering::Relaxed));
                heartbeat.version.load(Ordering::Acquire) > 0 && silent < 5_000
            })
    }

    /// Serves metrics, health and what is loaded on `address`, in a task of the calling runtime; `more` is served beside
    /// it. Returns the address, with the port the kernel chose where none was given.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn serve_admin(
        self: &Arc<Self>,
        address: SocketAddr,
        more: axum::Router,
    ) -> Result<SocketAddr, StartError> {
        crate::admin::serve(Arc::clone(self), address, more).await
    }

    /// Lets `write` append the metrics of what runs beside this, in the Prometheus text format, to each scrape. The first
    /// one stays.
    pub fn more_metrics(&self, write: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) {
        let _ = self.admin.more_metrics.set(Box::new(write));
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.control.borrow().config)
    }

    /// How far this node is with what it fetches by itself.
    pub fn prefetches(&self) -> Vec<PrefetchProgress> {
        self.metrics.prefetch.all()
    }

    /// The same, told when a run begins or is over, and every few seconds while one goes on; the first
    /// [`PrefetchProgress::MOST`] objects.
    pub fn follow_prefetches(&self) -> watch::Receiver<Arc<[PrefetchProgress]>> {
        self.metrics.prefetch.follow()
    }

    pub(crate) fn loaded(&self) -> Loaded {
        self.assembler.lock().loaded()
    }

    /// What reads from the disk, if there is anything.
    pub(crate) fn disk_reads(&self) -> Option<&Arc<Reads>> {
        self.reads.as_ref()
    }

    fn change(&self, edit: impl FnOnce(&mut Control)) -> u64 {
        let mut version = 0;
        self.control.send_modify(|control| {
            edit(control);
            control.version += 1;
            version = control.version;
        });
        version
    }

    async fn wait_for(&self, version: u64) {
        let mut applied = self.applied.clone();
        let behind = |heartbeat: &Arc<Heartbeat>| heartbeat.version.load(Ordering::Acquire) < version;
        loop {
            applied.mark_unchanged();
            if !self.heartbeats.iter().any(behind) || applied.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What tests do to a data plane that runs.
#[cfg(feature = "testing")]
impl DataPlane {
    /// Makes a worker die.
    pub fn break_worker(&self, index: usize) {
        if let Some(heartbeat) = self.heartbeats.get(index) {
            heartbeat.broken.store(true, Ordering::Relaxed);
        }
    }

    /// Acts as if as many reads from the disk waited as may, until what is returned is dropped. None: nothing is read.
    pub fn hold_disk_reads(&self) -> Option<crate::HeldReads> {
        crate::HeldReads::new(self.reads.as_ref()?)
    }

    /// Makes every worker seem later than it is.
    pub fn pretend_lag(&self, lag: Duration) {
        let ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        for heartbeat in &self.heartbeats {
            heartbeat.pretended_lag_ms.store(ms, Ordering::Relaxed);
        }
    }
}

fn open_log(name: &'static str, options: &LogOptions) -> Result<LineLog, StartError> {
    LineLog::open(name, options).map_err(|(target, source)| StartError::Log {
        log: name,
        target,
        source,
    })
}

/// Raises the soft limit of open files to the hard one. A proxied connection takes two files.
fn connection_limit(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, current } = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    let files = if raised.is_ok() { maximum } else { current };
    files.map_or(wanted, |files| wanted.min(files / 2)).max(64)
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A number that nobody can guess.
pub(crate) fn random() -> u128 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let half = || RandomState::new().build_hasher().finish();
    u128::from(half()) << 64 | u128::from(half())
}
