//! A worker: one thread with a single-threaded runtime, its listeners and everything its connections share.
//!
//! Nothing in here is visible to another thread but the atomics of [`Heartbeat`]. The worker takes its configuration
//! from a watch channel, so that a worker that was replaced starts with the newest.

mod accept;
mod admission;
pub(crate) mod alone;
mod balance;
pub(crate) mod deadlines;
pub(crate) mod drains;
mod lag;
pub(crate) mod turn;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use breakwater_cache::Cache;
use breakwater_waf::geo::{Country, Locate as _};
use breakwater_websocket::{SharedBuffer, Wheel};
use breakwater_wire::http2;
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;

use crate::clock::{Clock, TICK};
use crate::config::{Config, WorkerConfig};
use crate::disk::Reads;
use crate::geo::Locations;
use crate::listen::Listener;
use crate::peer::{Ways, spent};
use crate::prefetch;
use crate::request_id::RequestIds;
use crate::spool::Spools;
use crate::telemetry::{Metrics, WorkerCells};
use crate::upstream::Pool;
use accept::accept;
pub(crate) use admission::{Clients, Counted};
pub(crate) use balance::Crew;
use deadlines::Deadlines;
use drains::Drains;
pub(crate) use lag::Pressure;

/// The size of the buffer that all reads of a worker go through, bytes.
const READ_BUFFER: usize = 64 * 1024;

/// What the control thread tells workers.
#[derive(Clone)]
pub(crate) struct Control {
    /// Counts changes; a worker reports the last it has taken on.
    pub(crate) version: u64,
    pub(crate) config: Arc<Config>,
    /// Where addresses are.
    pub(crate) locations: Arc<Locations>,
    /// Connections are taken in. Not yet in a process that takes over another and has no configuration.
    pub(crate) accept: bool,
    /// The process is going away: finish what is in progress, take nothing new.
    pub(crate) drain: Option<Leave>,
}

/// That the process is going away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leave {
    /// Since when.
    pub(crate) begun: Instant,
    /// When this has passed, what is left is cut.
    pub(crate) grace: Duration,
}

impl Leave {
    fn left(&self) -> Duration {
        self.grace.saturating_sub(self.begun.elapsed())
    }
}

/// A worker's signs of life, read by the control thread.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    /// The version of [`Control`] it runs.
    pub(crate) version: AtomicU64,
    /// When it last ticked, milliseconds since the process started its workers.
    pub(crate) ticked_ms: AtomicU64,
    /// Its open connections.
    pub(crate) connections: AtomicU64,
    /// Set by a test that wants the worker to die.
    #[cfg(feature = "testing")]
    pub(crate) broken: std::sync::atomic::AtomicBool,
    /// Set by a test that wants the worker to seem late.
    #[cfg(feature = "testing")]
    pub(crate) pretended_lag_ms: AtomicU64,
}

impl Heartbeat {
    #[cfg(feature = "testing")]
    fn pretended_lag(&self) -> Duration {
        Duration::from_millis(self.pretended_lag_ms.load(Ordering::Relaxed))
    }

    #[cfg(not(feature = "testing"))]
    const fn pretended_lag(&self) -> Duration {
        Duration::ZERO
    }
}

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) started: Instant,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) max_connections: u64,
    pub(crate) clients: Arc<Clients>,
    pub(crate) crew: Arc<Crew>,
    /// What the use of memory asks to refuse, as [`Pressure::as_u8`].
    pub(crate) memory_pressure: Arc<AtomicU8>,
    pub(crate) control: watch::Receiver<Control>,
    pub(crate) applied: watch::Sender<()>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) reads: Option<Arc<Reads>>,
    pub(crate) spools: Option<Spools>,
}

/// What the connections of a worker share.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) clock: Rc<Clock>,
    /// Every read lands here first; borrowed only within a poll.
    pub(crate) read: RefCell<Box<[u8]>>,
    /// Every response head, and small bodies, are put together here; borrowed only within a poll.
    pub(crate) write: RefCell<Vec<u8>>,
    /// Answers to HTTP/2 requests are written here in HTTP/1 form, before they become frames; borrowed only within a poll.
    pub(crate) page: RefCell<Vec<u8>>,
    /// Request heads of HTTP/2 are unpacked here; borrowed only within a poll.
    pub(crate) http2: RefCell<http2::Scratch>,
    /// Heads of stored responses for HTTP/2; borrowed only within a poll.
    pub(crate) blocks: RefCell<http2::Blocks>,
    /// What WebSocket relays share.
    pub(crate) relays: breakwater_websocket::Worker,
    /// Which of them are to end.
    pub(crate) drains: Drains,
    pub(crate) deadlines: Rc<RefCell<Deadlines>>,
    pub(crate) config: RefCell<Rc<WorkerConfig>>,
    /// Where addresses are; borrowed only within a poll.
    pub(crate) locations: RefCell<Arc<Locations>>,
    pub(crate) draining: Cell<bool>,
    /// Listening sockets from which connections are still taken in.
    accepting: Cell<usize>,
    pub(crate) connections: Cell<u64>,
    pub(crate) max_connections: u64,
    clients: Arc<Clients>,
    crew: Arc<Crew>,
    /// What the worker's own lateness asks to refuse.
    pressure: Cell<Pressure>,
    memory_pressure: Arc<AtomicU8>,
    leaving: Notify,
    /// Another configuration is in force.
    pub(crate) reconfigured: Notify,
    pub(crate) ids: RequestIds,
    pub(crate) pool: Rc<Pool>,
    /// To other nodes.
    pub(crate) ways: Ways,
    pub(crate) cells: Arc<WorkerCells>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cache: Arc<Cache>,
    /// Reads of the disk tier and of spools, if there is either.
    pub(crate) reads: Option<Arc<Reads>>,
    /// Keep what is too large for memory, if they may.
    pub(crate) spools: Option<Spools>,
    heartbeat: Arc<Heartbeat>,
}

impl Worker {
    /// A worker without connections.
    fn new(parts: &Parts, control: &Control) -> Self {
        let clock = Rc::new(Clock::new(parts.started));
        let pool = Rc::new(Pool::new(Rc::clone(&clock)));
        let config = WorkerConfig::new(Arc::clone(&control.config), parts.index, &parts.metrics, &pool, None);
        Self {
            index: parts.index,
            read: RefCell::new(vec![0; READ_BUFFER].into_boxed_slice()),
            write: RefCell::new(Vec::with_capacity(READ_BUFFER)),
            page: RefCell::default(),
            http2: RefCell::default(),
            blocks: RefCell::default(),
            relays: relays(&clock),
            drains: drains(control, &clock),
            deadlines: Rc::new(RefCell::new(Deadlines::new())),
            config: RefCell::new(Rc::new(config)),
            locations: RefCell::new(Arc::clone(&control.locations)),
            draining: Cell::new(control.drain.is_some()),
            accepting: Cell::new(0),
            connections: Cell::new(0),
            max_connections: parts.max_connections,
            clients: Arc::clone(&parts.clients),
            crew: Arc::clone(&parts.crew),
            pressure: Cell::default(),
            memory_pressure: Arc::clone(&parts.memory_pressure),
            leaving: Notify::new(),
            reconfigured: Notify::new(),
            ids: RequestIds::new(),
            ways: Ways::default(),
            pool,
            cells: parts.metrics.worker(parts.index),
            metrics: Arc::clone(&parts.metrics),
            cache: Arc::clone(&parts.cache),
            reads: parts.reads.clone(),
            spools: parts.spools.clone(),
            heartbeat: Arc::clone(&parts.heartbeat),
            clock,
        }
    }

    /// Whether a configuration was ever applied; before, nothing can be said of any host.
    pub(crate) fn is_configured(&self) -> bool {
        self.heartbeat.version.load(Ordering::Relaxed) > 0
    }

    /// Where clients find `https`.
    pub(crate) fn https_port(&self) -> u16 {
        self.metrics.prefetch.https_port
    }

    /// The country a client is in, if anybody knows.
    pub(crate) fn country(&self, client: IpAddr) -> Option<Country> {
        self.locations.borrow().country(client)
    }

    /// The autonomous system a client is in, if anybody knows.
    pub(crate) fn asn(&self, client: IpAddr) -> Option<u32> {
        self.locations.borrow().asn(client)
    }

    /// What is refused now.
    pub(crate) fn pressure(&self) -> Pressure {
        let memory = Pressure::from_u8(self.memory_pressure.load(Ordering::Relaxed));
        self.pressure.get().max(memory)
    }

    /// Whether a request that needs an origin is refused now; counts it if so.
    pub(crate) fn sheds(&self) -> bool {
        let sheds = self.pressure() >= Pressure::Misses;
        if sheds {
            self.cells.refuse("overload");
        }
        sheds
    }

    /// Tells live WebSockets what follows for them from the configuration in force.
    pub(crate) fn settle_websockets(&self) {
        if self.drains.settle(&self.config.borrow().shared, self.clock.now_ms()) {
            self.relays.wheel().wake_all();
        }
    }

    fn set_connections(&self, open: u64) {
        self.connections.set(open);
        self.heartbeat.connections.store(open, Ordering::Relaxed);
    }
}

/// Runs a worker until it is told to drain and has nothing left to do.
pub(crate) fn run(parts: Parts) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(parts))
}

async fn serve(mut parts: Parts) -> std::io::Result<()> {
    let control = parts.control.borrow_and_update().clone();
    let worker = Rc::new(Worker::new(&parts, &control));
    let mut listeners = std::mem::take(&mut parts.listeners);
    accept_on(&worker, &control, &mut listeners)?;
    tokio::task::spawn_local(balance::receive(Rc::clone(&worker)));
    tokio::task::spawn_local(lag::probe(Rc::clone(&worker)));
    tokio::task::spawn_local(prefetch::run(Rc::clone(&worker)));
    tokio::task::spawn_local(spent::tell(Rc::clone(&worker)));
    report(&worker, control.version, &parts.applied);

    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                on_tick(&worker);
                if worker.may_leave() {
                    return Ok(());
                }
            }
            changed = parts.control.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let control = parts.control.borrow_and_update().clone();
                take_on(&worker, &control);
                accept_on(&worker, &control, &mut listeners)?;
                report(&worker, control.version, &parts.applied);
            }
        }
    }
}

impl Worker {
    /// Whether it drains and has served everybody, those too who waited to be accepted or were on their way to it. Once it
    /// may, nothing more is handed to it.
    fn may_leave(&self) -> bool {
        self.draining.get() && self.accepting.get() == 0 && self.connections.get() == 0 && self.crew.leave(self.index)
    }
}

/// Begins to accept on these sockets as soon as that is asked for, and leaves none. When the worker leaves without having
/// accepted, what waits there is another process's.
fn accept_on(worker: &Rc<Worker>, control: &Control, listeners: &mut Vec<Listener>) -> std::io::Result<()> {
    if control.drain.is_some() && !control.accept {
        listeners.clear();
    }
    if !control.accept {
        return Ok(());
    }
    for listener in listeners.drain(..) {
        let socket = tokio::net::TcpListener::from_std(listener.socket)?;
        worker.accepting.set(worker.accepting.get() + 1);
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            accept(socket, listener.listen, Rc::clone(&worker)).await;
            worker.accepting.set(worker.accepting.get() - 1);
        });
    }
    Ok(())
}

/// New requests take the new configuration; those in progress, and live WebSockets, keep the one they started with.
fn take_on(worker: &Rc<Worker>, control: &Control) {
    let known = Arc::clone(&worker.config.borrow().shared);
    if !Arc::ptr_eq(&known, &control.config) {
        let before = Rc::clone(&worker.config.borrow());
        let config = WorkerConfig::new(
            Arc::clone(&control.config),
            worker.index,
            &worker.metrics,
            &worker.pool,
            Some(&before),
        );
        worker.config.replace(Rc::new(config));
        worker.reconfigured.notify_one();
        worker.settle_websockets();
    }
    if !Arc::ptr_eq(&worker.locations.borrow(), &control.locations) {
        worker.locations.replace(Arc::clone(&control.locations));
    }
    if let Some(leave) = control.drain
        && !worker.draining.replace(true)
    {
        worker.press_idle();
        worker.leaving.notify_waiters();
        worker.drains.leave(leave.left(), worker.clock.now_ms());
        worker.relays.wheel().wake_all();
    }
}

/// The groups of a worker that has no sockets yet.
fn drains(control: &Control, clock: &Clock) -> Drains {
    let drains = Drains::default();
    if let Some(leave) = control.drain {
        drains.leave(leave.left(), clock.now_ms());
    }
    drains
}

fn relays(clock: &Rc<Clock>) -> breakwater_websocket::Worker {
    let clock = Rc::clone(clock);
    let span = u64::try_from(TICK.as_millis()).unwrap_or(u64::MAX);
    breakwater_websocket::Worker::new(SharedBuffer::new(READ_BUFFER), Wheel::new(span), move || clock.now_ms())
}

fn on_tick(worker: &Worker) {
    worker.clock.tick();
    #[cfg(feature = "testing")]
    if worker.heartbeat.broken.swap(false, Ordering::Relaxed) {
        panic!("a test asked for it");
    }
    let now = worker.clock.now_ms();
    worker.heartbeat.ticked_ms.store(now, Ordering::Relaxed);
    worker.press_idle();
    worker.deadlines.borrow_mut().expire(now);
    worker.relays.wheel().tick(now);
    worker.pool.sweep();
    worker.cache.note_time(|| worker.clock.read_ms());
}

fn report(worker: &Worker, version: u64, applied: &watch::Sender<()>) {
    worker.heartbeat.version.store(version, Ordering::Release);
    worker
        .heartbeat
        .ticked_ms
        .store(worker.clock.now_ms(), Ordering::Relaxed);
    applied.send_replace(());
}
