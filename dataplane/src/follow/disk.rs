//! The copy of the last good configuration on disk.
//!
//! ```text
//! DIR/manifest        the digest of the second line, and the manifest
//! DIR/blobs/<sha256>  one compiled unit each, but for those of Secrets
//! SECRETS/blobs/<sha256>  those of Secrets, where a directory for them is given: one in memory
//! ```
//!
//! A private key never reaches DIR. Without a directory for Secrets, or when it was lost, a copy is read back without
//! them: their hosts have no TLS until the operator is heard, and everything else is served.
//!
//! Invariants: a file appears whole or not at all (written beside, synced, renamed), blobs before the manifest that
//! names them; what is read back is checked against its digest. A damaged or missing blob costs its own object only,
//! and a damaged security policy fails closed: which objects it protected cannot be known, so it stands for all of its
//! namespace until the operator is heard. Blocking: call it off the runtime's threads.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use breakwater_snapshot::{Blob, Digest, Entry, Kind, Manifest, ObjectId, Snapshot};

/// A copy that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file or directory could not be used.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The manifest is not what was written.
    #[error("{0}: the manifest is damaged; starting without a copy")]
    Damaged(PathBuf),
}

/// A directory that holds one copy.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    secrets_dir: Option<PathBuf>,
    /// Blobs that were read and checked, or written, by this process.
    sound: BTreeSet<Digest>,
    manifest_bytes: u64,
    blob_bytes: u64,
}

impl Disk {
    pub(super) const fn new(dir: PathBuf, secrets_dir: Option<PathBuf>, manifest_bytes: u64, blob_bytes: u64) -> Self {
        Self {
            dir,
            secrets_dir,
            sound: BTreeSet::new(),
            manifest_bytes,
            blob_bytes,
        }
    }

    /// Reads the copy; none when there is none. The objects whose blobs are damaged are named in the log.
    ///
    /// # Errors
    /// When the manifest is there and cannot be used.
    pub(super) fn load(&mut self) -> Result<Option<Snapshot>, DiskError> {
        let path = self.manifest();
        let bytes = match read_at_most(&path, self.manifest_bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome.map_err(|error| DiskError::Io {
                path: path.clone(),
                error,
            })?,
        };
        let manifest = parse(&bytes).ok_or(DiskError::Damaged(path))?;
        let mut entries = Vec::with_capacity(manifest.entries.len());
        let mut blobs = std::collections::BTreeMap::new();
        for entry in &manifest.entries {
            match self.read_blob(entry) {
                Ok(bytes) => {
                    self.sound.insert(entry.sha256);
                    blobs.insert(entry.sha256, bytes);
                    entries.push(entry.clone());
                }
                Err(error) if entry.id.kind == Kind::Secret => {
                    tracing::info!(secret = %entry.id, %error, "this Secret is not in the copy; it comes with the next configuration");
                }
                Err(error) => {
                    tracing::warn!(object = %entry.id, %error, "the unit on disk is damaged and left out");
                    let bytes = damaged(entry, &manifest).to_json();
                    let sha256 = Digest::of(&bytes);
                    entries.push(Entry {
                        sha256,
                        size: bytes.len() as u64,
                        ..entry.clone()
                    });
                    blobs.insert(sha256, bytes.into());
                }
            }
        }
        Ok(Snapshot::assemble(Manifest::new(entries), blobs).ok())
    }

    /// Writes the copy and removes the blobs it does not name.
    ///
    /// # Errors
    /// When the disk is full or fails. The former copy stays usable.
    pub(super) fn save(&mut self, snapshot: &Snapshot) -> Result<(), DiskError> {
        let manifest = snapshot.manifest();
        let (secrets, others): (Vec<&Entry>, Vec<&Entry>) =
            manifest.entries.iter().partition(|entry| entry.id.kind == Kind::Secret);
        self.sound.retain(|digest| snapshot.blob(digest).is_some());
        let blobs = self.dir.join("blobs");
        self.write_blobs(&blobs, &others, snapshot)?;
        let json = manifest.to_json();
        let digest = format!("{}\n", Digest::of(&json));
        write(&self.dir, "manifest", &[digest.as_bytes(), &json])?;
        sync(&self.dir)?;
        remove_others(&blobs, &others)?;
        // Last: a copy without Secrets is better than none.
        if let Some(dir) = self.secrets_dir.clone() {
            let blobs = dir.join("blobs");
            self.write_blobs(&blobs, &secrets, snapshot)?;
            remove_others(&blobs, &secrets)?;
        }
        Ok(())
    }

    fn write_blobs(&mut self, dir: &Path, entries: &[&Entry], snapshot: &Snapshot) -> Result<(), DiskError> {
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        in_path(dir, created)?;
        let mut fresh = false;
        for entry in entries {
            if let Some(bytes) = snapshot.blob(&entry.sha256)
                && !self.sound.contains(&entry.sha256)
            {
                write(dir, &entry.sha256.to_string(), &[bytes])?;
                self.sound.insert(entry.sha256);
                fresh = true;
            }
        }
        if fresh {
            sync(dir)?;
        }
        Ok(())
    }

    fn read_blob(&self, entry: &Entry) -> io::Result<Arc<[u8]>> {
        if entry.size > self.blob_bytes {
            return Err(io::Error::other("it is larger than this node takes"));
        }
        let dir = match (entry.id.kind, &self.secrets_dir) {
            (Kind::Secret, Some(dir)) => dir,
            (Kind::Secret, None) => return Err(io::Error::other("no directory for Secrets is given")),
            _ => &self.dir,
        };
        let path = dir.join("blobs").join(entry.sha256.to_string());
        let bytes = read_at_most(&path, entry.size)?;
        if Digest::of(&bytes) != entry.sha256 {
            return Err(io::Error::other("it does not match its digest"));
        }
        Ok(bytes.into())
    }

    fn manifest(&self) -> PathBuf {
        self.dir.join("manifest")
    }
}

fn remove_others(blobs: &Path, entries: &[&Entry]) -> Result<(), DiskError> {
    let named: BTreeSet<Digest> = entries.iter().map(|entry| entry.sha256).collect();
    for file in in_path(blobs, fs::read_dir(blobs))? {
        let file = in_path(blobs, file)?;
        let name = file.file_name();
        let digest = name.to_str().and_then(|name| name.parse::<Digest>().ok());
        if digest.is_none_or(|digest| !named.contains(&digest)) {
            in_path(&file.path(), fs::remove_file(file.path()))?;
        }
    }
    Ok(())
}

/// What stands for a blob that was lost.
fn damaged(entry: &Entry, manifest: &Manifest) -> Blob {
    let protects = |id: &&ObjectId| {
        entry.id.kind == Kind::WafPolicy
            && matches!(id.kind, Kind::EdgeCache | Kind::WsRoute)
            && id.namespace == entry.id.namespace
    };
    Blob::Invalid {
        targets: manifest
            .entries
            .iter()
            .map(|entry| &entry.id)
            .filter(protects)
            .cloned()
            .collect(),
        message: "its copy on this node's disk is damaged, and it has not come anew yet".to_owned(),
    }
}

fn parse(bytes: &[u8]) -> Option<Manifest> {
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    let (digest, json) = (bytes.get(..at)?, bytes.get(at + 1..)?);
    let digest: Digest = std::str::from_utf8(digest).ok()?.parse().ok()?;
    (Digest::of(json) == digest).then(|| serde_json::from_slice(json).ok())?
}

fn read_at_most(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(longest + 1).read_to_end(&mut bytes)?;
    if read as u64 > longest {
        return Err(io::Error::other("the file is too long"));
    }
    Ok(bytes)
}

fn write(dir: &Path, name: &str, parts: &[&[u8]]) -> Result<(), DiskError> {
    let part = dir.join(format!("{name}.part"));
    let written = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        parts.iter().try_for_each(|bytes| file.write_all(bytes))?;
        file.sync_all()?;
        fs::rename(&part, dir.join(name))
    };
    in_path(&part, written()).inspect_err(|_| {
        // A half-written file only takes room that the disk may lack.
        let _ = fs::remove_file(&part);
    })
}

fn sync(dir: &Path) -> Result<(), DiskError> {
    in_path(dir, File::open(dir).and_then(|dir| dir.sync_all()))
}

fn in_path<T>(path: &Path, outcome: io::Result<T>) -> Result<T, DiskError> {
    outcome.map_err(|error| DiskError::Io {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::testing::{KEY, certificate, purge, snapshot, waf, ws};

    fn disk(dir: &Path) -> Disk {
        Disk::new(dir.to_owned(), None, 1 << 20, 1 << 20)
    }

    fn blob_path(dir: &Path, snapshot: &Snapshot, id: &ObjectId) -> PathBuf {
        let entry = snapshot.manifest().get(id).unwrap();
        dir.join("blobs").join(entry.sha256.to_string())
    }

    #[test]
    fn a_copy_is_read_back_as_it_was_and_old_blobs_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(disk(dir.path()).load().unwrap().is_none());
        let mut writer = disk(dir.path());
        writer.save(&snapshot([purge("a", 1), purge("b", 1)])).unwrap();
        let second = snapshot([purge("a", 2), purge("b", 1)]);
        writer.save(&second).unwrap();
        let read = disk(dir.path()).load().unwrap().unwrap();
        assert_eq!(read.manifest(), second.manifest());
        assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().count(), 2);
    }

    #[test]
    fn a_damaged_blob_costs_its_own_object_only_and_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let whole = snapshot([purge("a", 1), purge("b", 1)]);
        disk(dir.path()).save(&whole).unwrap();
        let path = blob_path(dir.path(), &whole, &purge("a", 1).0);
        let mut bytes = fs::read(&path).unwrap();
        bytes[10] ^= 1;
        fs::write(&path, bytes).unwrap();

        let mut reader = disk(dir.path());
        let read = reader.load().unwrap().unwrap();
        let unit = |name: &str| {
            let entry = read.manifest().get(&purge(name, 1).0).unwrap();
            Blob::from_json(read.blob(&entry.sha256).unwrap()).unwrap()
        };
        assert!(matches!(unit("a"), Blob::Invalid { .. }));
        assert!(matches!(unit("b"), Blob::Valid { .. }));

        reader.save(&whole).unwrap();
        assert_eq!(disk(dir.path()).load().unwrap().unwrap().manifest(), whole.manifest());
    }

    #[test]
    fn a_lost_security_policy_stands_for_its_whole_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let whole = snapshot([ws("chat"), waf("guard"), purge("a", 1)]);
        disk(dir.path()).save(&whole).unwrap();
        fs::remove_file(blob_path(dir.path(), &whole, &waf("guard").0)).unwrap();
        let read = disk(dir.path()).load().unwrap().unwrap();
        let entry = read.manifest().get(&waf("guard").0).unwrap();
        match Blob::from_json(read.blob(&entry.sha256).unwrap()).unwrap() {
            Blob::Invalid { targets, .. } => assert_eq!(targets, [ws("chat").0]),
            other => panic!("{other:?}"),
        }
    }

    fn all_files(dir: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.extend(all_files(&path));
            } else {
                files.push(path);
            }
        }
        files
    }

    #[test]
    fn a_key_never_reaches_the_state_directory_and_a_copy_without_it_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let whole = snapshot([purge("a", 1), certificate("tls")]);
        disk(dir.path()).save(&whole).unwrap();
        for file in all_files(dir.path()) {
            assert!(
                !String::from_utf8_lossy(&fs::read(&file).unwrap()).contains(KEY),
                "{}",
                file.display()
            );
        }
        let read = disk(dir.path()).load().unwrap().unwrap();
        let ids: Vec<_> = read.manifest().entries.iter().map(|entry| entry.id.clone()).collect();
        assert_eq!(ids, [purge("a", 1).0]);
        // What was read back differs from what was published, so that the operator sends it again.
        assert_ne!(read.manifest().digest(), whole.manifest().digest());
    }

    #[test]
    fn a_directory_for_secrets_holds_them_for_nobody_else_to_read_and_forgets_old_ones() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, secrets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let disk = || Disk::new(dir.path().to_owned(), Some(secrets.path().to_owned()), 1 << 20, 1 << 20);
        let whole = snapshot([purge("a", 1), certificate("tls")]);
        let mut writer = disk();
        writer.save(&whole).unwrap();
        assert_eq!(disk().load().unwrap().unwrap().manifest(), whole.manifest());
        let kept = all_files(secrets.path());
        assert_eq!(kept.len(), 1);
        assert_eq!(fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o777, 0o600);
        writer.save(&snapshot([purge("a", 1)])).unwrap();
        assert_eq!(all_files(secrets.path()), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_damaged_manifest_is_named_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let whole = snapshot([purge("a", 1)]);
        disk(dir.path()).save(&whole).unwrap();
        let path = dir.path().join("manifest");
        let text = fs::read_to_string(&path).unwrap().replace("\"a\"", "\"z\"");
        fs::write(&path, text).unwrap();
        let mut reader = disk(dir.path());
        assert!(matches!(reader.load(), Err(DiskError::Damaged(_))));
        reader.save(&whole).unwrap();
        assert!(disk(dir.path()).load().unwrap().is_some());
    }

    #[test]
    fn a_disk_that_cannot_be_written_is_an_error_and_the_former_copy_stays() {
        let dir = tempfile::tempdir().unwrap();
        let whole = snapshot([purge("a", 1)]);
        disk(dir.path()).save(&whole).unwrap();
        // A directory in the place of the file to write: fails for root too.
        let next = snapshot([purge("a", 2)]);
        let name = next.manifest().entries[0].sha256;
        fs::create_dir(dir.path().join("blobs").join(format!("{name}.part"))).unwrap();
        assert!(matches!(disk(dir.path()).save(&next), Err(DiskError::Io { .. })));
        assert_eq!(disk(dir.path()).load().unwrap().unwrap().manifest(), whole.manifest());
    }
}
