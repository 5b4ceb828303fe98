//! The files of databases: which of them changed since they were read, and what is in force.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::Locations;
use super::database::{Database, Kind};
use crate::GeoError;

/// The files, and what was read of them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: Vec<File>,
    current: Arc<Locations>,
}

#[derive(Debug)]
struct File {
    kind: Kind,
    path: PathBuf,
    /// The file as it was when it was last looked into, whatever came of it; none when it was not there.
    seen: Option<Stamp>,
    failures: u64,
    /// What lies there is not what is in force.
    rejected: bool,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}

/// A database, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatabaseState {
    /// `country` or `asn`.
    pub(crate) database: &'static str,
    /// When it was made, Unix seconds, by its own word.
    pub(crate) built: u64,
    pub(crate) bytes: u64,
    /// How often a file that was to take its place could not be used.
    pub(crate) failures: u64,
    /// The file as it is cannot be used, and what was read before is in force.
    pub(crate) rejected: bool,
}

impl Files {
    /// Reads the files that are given.
    ///
    /// # Errors
    /// When one cannot be used: at the start there is nothing that could stay in force.
    pub(crate) fn open(countries: Option<PathBuf>, asns: Option<PathBuf>) -> Result<Self, GeoError> {
        let mut files = Vec::new();
        let mut read = |kind, path: Option<PathBuf>| -> Result<_, GeoError> {
            let Some(path) = path else { return Ok(None) };
            let (database, seen) = Database::read(kind, &path)?;
            database.announce(&path);
            files.push(File {
                kind,
                path,
                seen: Some(seen),
                failures: 0,
                rejected: false,
            });
            Ok(Some(Arc::new(database)))
        };
        let current = Locations {
            countries: read(Kind::Countries, countries)?,
            asns: read(Kind::Asns, asns)?,
        };
        Ok(Self {
            files,
            current: Arc::new(current),
        })
    }

    /// What is in force.
    pub(crate) fn current(&self) -> &Arc<Locations> {
        &self.current
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads what changed; what is in force from now on, if that is something else. A file that cannot be used is told
    /// once, and looked into again when it changes.
    pub(crate) fn refresh(&mut self) -> Option<Arc<Locations>> {
        let mut next = Locations {
            countries: self.current.countries.clone(),
            asns: self.current.asns.clone(),
        };
        let mut changed = false;
        for file in &mut self.files {
            let Some(database) = file.refresh() else { continue };
            let place = match file.kind {
                Kind::Countries => &mut next.countries,
                Kind::Asns => &mut next.asns,
            };
            *place = Some(Arc::new(database));
            changed = true;
        }
        changed.then(|| {
            self.current = Arc::new(next);
            Arc::clone(&self.current)
        })
    }

    /// What there is, for metrics.
    pub(crate) fn states(&self) -> Vec<DatabaseState> {
        let state = |file: &File| {
            let database = match file.kind {
                Kind::Countries => self.current.countries.as_ref(),
                Kind::Asns => self.current.asns.as_ref(),
            }?;
            Some(DatabaseState {
                database: file.kind.name(),
                built: database.built(),
                bytes: database.bytes(),
                failures: file.failures,
                rejected: file.rejected,
            })
        };
        self.files.iter().filter_map(state).collect()
    }
}

impl File {
    fn refresh(&mut self) -> Option<Database> {
        let now = std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        if now == self.seen {
            return None;
        }
        let read = Database::read(self.kind, &self.path);
        self.seen = read.as_ref().map_or(now, |(_, stamp)| Some(*stamp));
        self.rejected = read.is_err();
        match read {
            Ok((database, _)) => {
                database.announce(&self.path);
                Some(database)
            }
            Err(error) => {
                self.failures += 1;
                tracing::error!("{error}; what was read before stays in force");
                None
            }
        }
    }
}
