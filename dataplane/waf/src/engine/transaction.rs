//! One request and its response on their way through the rules.
//!
//! A transaction owns the bytes that rules see and the variables that they set, and borrows nothing: its caller may keep
//! it over as many waits as the request takes. It never waits itself and takes no lock but that of a shard of
//! [`Stores`], for rules that open a collection.
//!
//! Split by what happens when: [`request`] and [`body`] fill collections, [`place`] fills the one that rules ask for,
//! [`resolve`] finds targets in them, [`run`] walks through the rules of a phase, [`act`] does what they say, [`report`]
//! tells. [`rest`] is about the memory that it takes while its caller waits.

use std::net::IpAddr;
use std::sync::Arc;

use super::bits::Bits;
use super::bound::{Bound, BoundExclusion};
use super::program::Program;
use super::store::Stores;
use super::values::{ValueId, Values};
use super::{Connection, Overlay, Report, RuleSet};
use crate::audit::Redaction;
use crate::geo::Locate;
use crate::seclang::{AllowScope, BodyProcessor, Engine, Phase, Severity, Variable};

mod act;
mod body;
mod buckets;
mod expand;
mod limits;
mod lists;
mod place;
mod report;
mod request;
mod resolve;
mod response;
mod rest;
mod run;
mod time;
mod trace;
mod tx;

pub(super) use limits::Limit;

use buckets::Buckets;
use lists::Lists;
use resolve::{Found, digits};
use tx::TxVars;

/// A value: of a variable, of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Val {
    Unset,
    Int(i64),
    /// Of the program.
    Constant(u32),
    /// Of the policy.
    Bound(u32),
    Id(ValueId),
}

/// One request and its response on their way through the rules. Call in order; each `run_` at most once.
#[derive(Debug)]
pub struct Transaction {
    bound: Arc<Bound>,
    /// What its rules do not see besides.
    exclusions: Vec<Arc<BoundExclusion>>,
    stores: Option<Arc<Stores>>,
    locations: Option<Arc<dyn Locate>>,
    values: Values,
    lists: Lists,
    buckets: Buckets,
    scalars: Vec<Val>,
    tx: TxVars,
    /// Where rules run: what they may do, and what they did.
    state: State,
    matched: Matched,
    report: Report,
    /// What matches say, as long as it is not known what of it is hidden.
    said: Vec<trace::Said>,
    redaction: Arc<Redaction>,
    /// What rules said is not told.
    sanitised: trace::Sanitised,
    scratch: Scratch,
}

/// What rules changed about the transaction's course.
#[derive(Debug)]
struct State {
    engine: Engine,
    /// Whoever began it wants nothing refused, whatever rules say.
    only_detects: bool,
    /// The request was judged elsewhere: its phases run for the variables that later ones build on.
    only_response: bool,
    phase: Phase,
    now_ms: u64,
    /// No rule of these scopes runs any more.
    allowed: Option<Option<AllowScope>>,
    /// A rule refused the request: only the last phase runs.
    refused: bool,
    removed: Bits,
    /// What `ctl` hid, by its place in the program, and from which rules anything.
    untargeted: Vec<u32>,
    untargeted_rules: Bits,
    request_access: Option<bool>,
    response_access: Option<bool>,
    force_body: bool,
    processor: Option<BodyProcessor>,
    content_type: Option<ValueId>,
    response_type: Option<ValueId>,
    opened: Vec<(Variable, Box<[u8]>)>,
    /// Bytes that rules may still put into variables.
    room: usize,
    /// Patterns with macros that may still be compiled.
    patterns: usize,
}

/// What the rule that runs has matched so far.
#[derive(Debug, Default)]
struct Matched {
    last: Option<Found>,
    all: Vec<Found>,
    /// The link that runs looks at what was matched before: its matches are among them already.
    again: bool,
    highest: Option<Severity>,
    /// What TX:0 is a piece of, if the rule that runs captured it, and whether TX:1 to TX:9 are too.
    captured: Option<(Found, bool)>,
}

/// Buffers that are used again and again.
#[derive(Debug, Default)]
struct Scratch {
    found: Vec<Found>,
    text: Vec<u8>,
}

impl Scratch {
    fn memory(&self) -> usize {
        self.found.capacity() * size_of::<Found>() + self.text.capacity()
    }
}

/// Most bytes that rules put into variables in one transaction.
const ROOM: usize = 2 << 20;

/// Most patterns with macros that are compiled for one transaction.
const PATTERNS: usize = 16;

impl Transaction {
    /// Begins one. Under `detect_only` rules run as always, and what they would do is reported but not asked for.
    ///
    /// Works out the overlay each time; a policy that serves more than one request binds it once and uses
    /// [`Transaction::bound`].
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "a handle, as everywhere")]
    pub fn new(rules: Arc<RuleSet>, overlay: Arc<Overlay>, connection: &Connection<'_>, detect_only: bool) -> Self {
        Self::bound(&Arc::new(Bound::new(&rules, &overlay)), connection, detect_only)
    }

    /// Begins one under a policy whose overlay was bound to its rules before.
    #[must_use]
    pub fn bound(bound: &Arc<Bound>, connection: &Connection<'_>, detect_only: bool) -> Self {
        let program = bound.program();
        let engine = match program.settings.engine {
            Some(Engine::Off) => Engine::Off,
            Some(Engine::DetectionOnly) => Engine::DetectionOnly,
            _ if detect_only => Engine::DetectionOnly,
            _ => Engine::On,
        };
        let mut this = Self {
            bound: Arc::clone(bound),
            exclusions: Vec::new(),
            stores: None,
            locations: None,
            values: Values::with_capacity(4096),
            lists: Lists::default(),
            buckets: Buckets::default(),
            scalars: vec![Val::Unset; Variable::ALL.len()],
            tx: TxVars::new(bound),
            state: State {
                engine,
                only_detects: detect_only,
                only_response: false,
                phase: Phase::RequestHeaders,
                now_ms: connection.now_ms,
                allowed: None,
                refused: false,
                removed: Bits::default(),
                untargeted: Vec::new(),
                untargeted_rules: Bits::default(),
                request_access: None,
                response_access: None,
                force_body: false,
                processor: None,
                content_type: None,
                response_type: None,
                opened: Vec::new(),
                room: ROOM,
                patterns: PATTERNS,
            },
            matched: Matched::default(),
            report: Report::default(),
            said: Vec::new(),
            redaction: Arc::default(),
            sanitised: trace::Sanitised::default(),
            scratch: Scratch::default(),
        };
        this.connection(connection);
        this
    }

    /// Takes out, besides what its overlay does, what these exclusions say. They are bound to the same rules.
    #[must_use]
    pub fn with_exclusions<'e>(mut self, exclusions: impl IntoIterator<Item = &'e Arc<BoundExclusion>>) -> Self {
        for exclusion in exclusions {
            if exclusion.targets.is_some() {
                self.state.untargeted_rules.union(&exclusion.rules);
                self.exclusions.push(Arc::clone(exclusion));
            } else {
                self.state.removed.union(&exclusion.rules);
            }
        }
        self
    }

    /// Gives it the store of collections that outlive transactions; without, rules that open one read nothing.
    #[must_use]
    pub fn with_stores(mut self, stores: &Arc<Stores>) -> Self {
        self.stores = Some(Arc::clone(stores));
        self
    }

    /// Gives it someone who knows where addresses are; without, rules with `@geoLookup` match nothing.
    #[must_use]
    pub fn with_locations(mut self, locations: Arc<dyn Locate>) -> Self {
        self.locations = Some(locations);
        self
    }

    /// Gives it the names whose values its report does not tell; without, it tells everything.
    #[must_use]
    pub fn with_redaction(mut self, redaction: &Arc<Redaction>) -> Self {
        self.redaction = Arc::clone(redaction);
        self
    }

    /// Judges the response alone: the request was judged by a transaction of its own, or is nobody's. The phases of the
    /// request run as always, because later ones build on their variables, but refuse nothing and report nothing; and
    /// neither they nor the last phase change collections that outlive transactions, for that is done once.
    #[must_use]
    pub const fn of_response(mut self) -> Self {
        self.state.only_response = true;
        self
    }

    fn connection(&mut self, connection: &Connection<'_>) {
        let set_address = |this: &mut Self, variable, address: IpAddr| {
            use std::io::Write as _;
            let mut text = std::mem::take(&mut this.scratch.text);
            text.clear();
            let _ = write!(text, "{}", address.to_canonical());
            this.set(variable, &text);
            this.scratch.text = text;
        };
        set_address(self, Variable::RemoteAddr, connection.client);
        let address = self.scalar(Variable::RemoteAddr);
        self.set_val(Variable::RemoteHost, address);
        set_address(self, Variable::ServerAddr, connection.server);
        self.set_int(Variable::RemotePort, i64::from(connection.client_port));
        self.set_int(Variable::ServerPort, i64::from(connection.server_port));
        self.set(Variable::UniqueId, connection.unique_id.as_bytes());
        for variable in [
            Variable::ReqbodyError,
            Variable::ReqbodyProcessorError,
            Variable::UrlencodedError,
            Variable::InboundDataError,
            Variable::OutboundDataError,
            Variable::Duration,
        ] {
            self.set_int(variable, 0);
        }
    }

    /// How many bytes of values it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.values.held()
    }

    /// Whether any rule would read a body of this request, after phase 1.
    #[must_use]
    pub fn wants_request_body(&self) -> bool {
        let program = self.bound.program();
        program.reads_request_body
            && self
                .state
                .request_access
                .or(program.settings.request_access)
                .unwrap_or(true)
            && self.runs(Phase::RequestBody)
    }

    /// Whether any rule would read the body of this response, after phase 3: by settings and media type.
    #[must_use]
    pub fn wants_response_body(&self) -> bool {
        let program = self.bound.program();
        program.reads_response_body
            && self
                .state
                .response_access
                .or(program.settings.response_access)
                .unwrap_or(true)
            && self.runs(Phase::ResponseBody)
            && self.response_type_is_read()
    }

    /// Whether any rule of a phase would run.
    fn runs(&self, phase: Phase) -> bool {
        let program = self.bound.program();
        let rules = program.phases.get(super::compile::phase_index(phase));
        !self.is_over(phase) && rules.is_some_and(|rules| rules.iter().any(|index| !self.is_removed(*index as usize)))
    }

    /// Whether the rules that run now were run for this request before.
    fn repeats(&self) -> bool {
        self.state.only_response && matches!(self.state.phase, Phase::RequestHeaders | Phase::RequestBody)
    }

    /// Whether rules of a phase do not run, for what other rules did.
    fn is_over(&self, phase: Phase) -> bool {
        let state = &self.state;
        let is_request = matches!(phase, Phase::RequestHeaders | Phase::RequestBody);
        matches!(state.engine, Engine::Off)
            || (state.refused && phase != Phase::Logging)
            || match state.allowed {
                None | Some(Some(AllowScope::Phase)) => false,
                Some(None) => phase != Phase::Logging,
                Some(Some(AllowScope::Request)) => is_request,
            }
    }

    fn is_removed(&self, index: usize) -> bool {
        self.state.removed.contains(index) || self.bound.removed.contains(index)
    }

    /// The value of a variable that is no collection.
    fn scalar(&self, variable: Variable) -> Val {
        self.scalars.get(variable as usize).copied().unwrap_or(Val::Unset)
    }

    fn set_val(&mut self, variable: Variable, val: Val) {
        if let Some(slot) = self.scalars.get_mut(variable as usize) {
            *slot = val;
        }
    }

    fn set_int(&mut self, variable: Variable, value: i64) {
        self.set_val(variable, Val::Int(value));
    }

    fn set(&mut self, variable: Variable, value: &[u8]) {
        let id = self.values.push(value);
        self.set_val(variable, Val::Id(id));
    }

    #[cfg(test)]
    pub(super) fn with_room(mut self, bytes: usize) -> Self {
        self.values.set_room(bytes);
        self
    }

    /// The program, kept alive by a handle of its own, so that the rest can change meanwhile.
    fn program(&self) -> Arc<Bound> {
        Arc::clone(&self.bound)
    }
}

/// A value's bytes; those of a number are written into `buffer`.
fn bytes_of<'a>(
    program: &'a Program,
    bound: &'a Bound,
    values: &'a Values,
    val: Val,
    buffer: &'a mut [u8; 24],
) -> &'a [u8] {
    match val {
        Val::Unset => &[],
        Val::Int(value) => digits(value, buffer),
        Val::Constant(index) => program.constant(index),
        Val::Bound(index) => bound.constant(index),
        Val::Id(id) => values.get(id),
    }
}
