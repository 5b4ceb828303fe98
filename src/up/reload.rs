//! From the directory to the data plane: read, compile, apply, and say what is wrong.
//!
//! Invariant: whatever is written into the directory, what worked goes on working. A file that cannot be read keeps the
//! objects it last held; an object that is wrong keeps its last good version; the rest is applied.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use breakwater_compile::{Memo, compile_again};
use breakwater_dataplane::follow::LastGoodCopy;
use breakwater_dataplane::{Applied, DataPlane};
use breakwater_snapshot::{Digest, Snapshot};
use breakwater_waf::catalog::Catalog;

use super::lists::Lists;
use super::secrets::Secrets;
use crate::crs::catalog;
use crate::exit::{Failure, complain};
use crate::manifests::{Diagnostic, Loaded, Services, load};

/// How long it is waited for lists behind URLs that were never fetched: before anything is served, and when the directory
/// changed. A policy without its list is in force as it was before; one that is new refuses everything until then.
const FIRST_LISTS: Duration = Duration::from_secs(10);
const NEW_LISTS: Duration = Duration::from_secs(2);

/// Reads the directory again and again.
pub(super) struct Reloader {
    dir: PathBuf,
    state: Option<LastGoodCopy>,
    loaded: Loaded,
    /// Those that are in files of their own.
    secrets: Secrets,
    /// Those behind URLs.
    lists: Lists,
    /// The rules of the Core Rule Set, once the data plane has read it.
    crs: Option<Arc<Catalog>>,
    memo: Memo,
    digest: Option<Digest>,
    said: Vec<String>,
    /// What an earlier run held, as long as a file has been unreadable since the start.
    earlier: Option<Snapshot>,
}

impl Reloader {
    /// Reads the directory for the first time.
    pub(super) fn open(
        dir: PathBuf,
        state_dir: Option<PathBuf>,
        secrets: Secrets,
        lists: Lists,
    ) -> Result<Self, Failure> {
        let loaded = load(&dir).map_err(|error| Failure::environment(error.to_string(), ""))?;
        Ok(Self {
            dir,
            state: state_dir.map(LastGoodCopy::open),
            loaded,
            secrets,
            lists,
            crs: None,
            memo: Memo::default(),
            digest: None,
            said: Vec::new(),
            earlier: None,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Applies what was read first, on top of the last good versions of an earlier run. Returns how many objects there
    /// are. While a file cannot be read, the objects it may have held are taken from the earlier run: a policy is not lost
    /// by a slip of the pen before a restart.
    pub(super) async fn start(&mut self, data_plane: &DataPlane) -> usize {
        self.crs = catalog(data_plane.crs().cloned());
        let earlier = self.state.as_mut().and_then(LastGoodCopy::load);
        if let Some(snapshot) = &earlier {
            data_plane.apply(snapshot).await;
        }
        self.lists.tried(&mut self.loaded.world(), FIRST_LISTS).await;
        let mut snapshot = self.compile();
        if self.loaded.is_incomplete() {
            let objects = "the objects that cannot be read, WafPolicies too,";
            match &earlier {
                Some(earlier) => {
                    snapshot = snapshot.or(earlier);
                    complain(format!(
                        "breakwater: {objects} are taken from the earlier run in the state directory"
                    ));
                }
                None => complain(format!(
                    "breakwater: {objects} are not in force: there is no earlier version of them"
                )),
            }
            self.earlier = earlier;
        }
        self.apply(data_plane, &snapshot).await;
        snapshot.manifest().entries.len()
    }

    /// Reads the directory again and applies what changed.
    pub(super) async fn reload(&mut self, data_plane: &DataPlane, asked: bool) {
        match load(&self.dir) {
            Ok(mut loaded) => {
                loaded.keep_last_good(&self.loaded);
                self.loaded = loaded;
            }
            Err(error) => {
                return complain(format!("breakwater: {error}; the configuration in force stays"));
            }
        }
        self.lists.tried(&mut self.loaded.world(), NEW_LISTS).await;
        if !self.loaded.is_incomplete() {
            self.earlier = None;
        }
        self.apply_again(data_plane, asked).await;
    }

    /// Resolves when a list behind a URL changed. Cancel safe.
    pub(super) async fn lists_changed(&mut self) {
        self.lists.changed().await;
    }

    /// Compiles what was read with the lists as they are now, and applies what changed.
    pub(super) async fn recompile(&mut self, data_plane: &DataPlane) {
        self.apply_again(data_plane, false).await;
    }

    async fn apply_again(&mut self, data_plane: &DataPlane, asked: bool) {
        let mut snapshot = self.compile();
        if let Some(earlier) = &self.earlier {
            snapshot = snapshot.or(earlier);
        }
        if self.digest == Some(snapshot.manifest().digest()) && !asked {
            return;
        }
        let objects = snapshot.manifest().entries.len();
        let applied = self.apply(data_plane, &snapshot).await;
        let kept = applied.kept.len();
        let rejected = applied.rejected.len();
        complain(format!(
            "breakwater: reloaded, {objects} objects{}",
            if rejected == 0 {
                String::new()
            } else {
                format!(", {rejected} rejected, {kept} of them kept in their last good version")
            }
        ));
    }

    /// Compiles what was read, and says what is wrong with it unless that was said before.
    fn compile(&mut self) -> Snapshot {
        let mut world = self.loaded.world();
        world.secrets.extend(self.secrets.read().cloned());
        self.lists.fill(&mut world);
        world.crs.clone_from(&self.crs);
        let output = compile_again(&world, &mut self.memo);
        let lines: Vec<_> = self
            .loaded
            .report(&output, Services::Absent)
            .iter()
            .map(Diagnostic::to_string)
            .collect();
        lines.iter().filter(|line| !self.said.contains(line)).for_each(complain);
        self.said = lines;
        output.snapshot
    }

    async fn apply(&mut self, data_plane: &DataPlane, snapshot: &Snapshot) -> Applied {
        let applied = data_plane.apply(snapshot).await;
        self.digest = Some(applied.manifest);
        for rejection in &applied.rejected {
            let in_force = if applied.kept.contains(&rejection.id) {
                "its last good version stays"
            } else {
                "it is not in force"
            };
            let line = format!(
                "breakwater: {} is rejected: {}; {in_force}",
                rejection.id, rejection.message
            );
            if !self.said.contains(&line) {
                complain(&line);
                self.said.push(line);
            }
        }
        if let Some(state) = &mut self.state {
            state.keep(snapshot, &applied.rejected);
        }
        applied
    }
}
