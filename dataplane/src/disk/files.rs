//! The disk tier's directory as files of this system.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSliceMut, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use breakwater_cache::store::disk::{Dir, File};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// The file that says who uses the directory.
const LOCK: &str = "lock";

/// How often another random name is tried for a file.
const TRIES: usize = 8;

/// A directory.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

#[derive(Debug)]
struct OpenFile(fs::File);

/// The right to write to a directory, for as long as it is held. It ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: fs::File,
}

/// A file in `dir` that nobody else can open, and that is gone when it is closed. `dir` is made if it is missing.
///
/// Processes that share `dir`, as containers may that have the same id there, do not touch each other's files.
///
/// # Errors
/// The file system's.
pub(crate) fn temporary(dir: &Path) -> io::Result<Arc<dyn File>> {
    Files::new(dir)?;
    let without_name = options().custom_flags(OFlags::TMPFILE.bits().cast_signed()).open(dir);
    let file = match without_name {
        // A file system or a kernel that knows no such files.
        Err(error) if cannot(&error) => unlinked(dir, crate::server::random)?,
        file => file?,
    };
    Ok(Arc::new(OpenFile(file)))
}

/// Whether files without a name are what the system does not know.
fn cannot(error: &io::Error) -> bool {
    let unknown = [Errno::OPNOTSUPP, Errno::ISDIR, Errno::INVAL];
    Errno::from_io_error(error).is_some_and(|errno| unknown.contains(&errno))
}

/// A file whose name is taken away at once. A process that is killed in between leaves it, empty.
fn unlinked(dir: &Path, mut random: impl FnMut() -> u128) -> io::Result<fs::File> {
    let mut tries = 0..TRIES;
    loop {
        let path = dir.join(format!(".spool-{:032x}", random()));
        match options().create_new(true).open(&path) {
            // Somebody else's.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries.next().is_some() => {}
            file => {
                let file = file?;
                fs::remove_file(&path)?;
                return Ok(file);
            }
        }
    }
}

impl Files {
    /// A directory, which is made if it is missing; nobody else may read it.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The right to write to it; none while another process has it.
    pub(super) fn lock(&self) -> io::Result<Option<Lock>> {
        let file = options().create(true).truncate(false).open(self.0.join(LOCK))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

impl Dir for Files {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(io::Result::transpose).collect()
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>> {
        let path = self.path(name);
        let file = options().create_new(true).open(&path)?;
        // Room that is reserved now is not missing in the middle of a write.
        let reserved = match fallocate(&file, FallocateFlags::empty(), 0, size) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(size),
            reserved => reserved.map_err(io::Error::from),
        };
        if let Err(error) = reserved {
            drop(file);
            fs::remove_file(&path)?;
            return Err(error);
        }
        Ok(Arc::new(OpenFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenFile(options().open(self.path(name))?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.path(&format!(".{name}"));
        let mut file = options().create(true).truncate(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path(name))?;
        fs::File::open(&self.0)?.sync_all()
    }
}

impl File for OpenFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buffer, at)
    }

    fn read_cached_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match preadv2(&self.0, &mut [IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT) {
            Ok(n) => Ok(n),
            // Not in memory, or a system that cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.0.write_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_with_room_read_as_zero_and_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let files = Files::new(&root.path().join("a/b")).unwrap();
        let file = files.create("x", 8192).unwrap();
        assert_eq!(file.size().unwrap(), 8192);
        let mut bytes = [1; 10];
        assert_eq!(file.read_at(&mut bytes, 8190).unwrap(), 2);
        assert_eq!(bytes[..3], [0, 0, 1]);
        assert!(files.create("x", 1).is_err());
        let mode = fs::metadata(root.path().join("a/b/x")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_removed_is_read_by_who_has_it_open() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::new(root.path()).unwrap();
        let file = files.create("x", 4096).unwrap();
        file.write_at(b"here", 0).unwrap();
        files.remove("x").unwrap();
        let mut bytes = [0; 4];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 4);
        assert_eq!(&bytes, b"here");
    }

    /// What is in a directory.
    fn names(dir: &Path) -> Vec<String> {
        let mut names = Files::new(dir).unwrap().list().unwrap();
        names.sort();
        names
    }

    #[test]
    fn a_temporary_file_has_no_name_and_can_be_written_and_read() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("made");
        let all: Vec<_> = (0..3).map(|_| temporary(&dir).unwrap()).collect();
        assert!(names(&dir).is_empty());
        for (n, file) in all.iter().enumerate() {
            file.write_at(&[n as u8; 4], 0).unwrap();
        }
        for (n, file) in all.iter().enumerate() {
            let mut bytes = [9; 4];
            assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 4);
            assert_eq!(bytes, [n as u8; 4]);
        }
    }

    #[test]
    fn a_temporary_file_never_takes_the_name_or_the_file_of_another() {
        let root = tempfile::tempdir().unwrap();
        // Of a process with the same id elsewhere, which is about to take its name away.
        let theirs = format!(".spool-{:032x}", 7);
        fs::write(root.path().join(&theirs), "theirs").unwrap();
        let by_id = format!(".spool-{}-0", std::process::id());
        fs::write(root.path().join(&by_id), "theirs").unwrap();
        let mut numbers = [7, 7, 8].into_iter();
        let file = unlinked(root.path(), || numbers.next().unwrap()).unwrap();
        file.write_at(b"mine", 0).unwrap();
        assert_eq!(numbers.next(), None);
        temporary(root.path()).unwrap();
        for name in [&theirs, &by_id] {
            assert_eq!(fs::read(root.path().join(name)).unwrap(), b"theirs");
        }
        assert_eq!(names(root.path()).len(), 2);
        let taken = unlinked(root.path(), || 7).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists, "it is not tried for ever");
    }

    #[test]
    fn content_is_replaced_as_a_whole() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::new(root.path()).unwrap();
        files.replace("x", b"long content").unwrap();
        files.replace("x", b"short").unwrap();
        assert_eq!(fs::read(root.path().join("x")).unwrap(), b"short");
        assert_eq!(files.list().unwrap(), ["x"]);
    }

    #[test]
    fn one_at_a_time_may_write() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::new(root.path()).unwrap();
        let lock = files.lock().unwrap();
        assert!(lock.is_some() && files.lock().unwrap().is_none());
        drop(lock);
        assert!(files.lock().unwrap().is_some());
    }
}
