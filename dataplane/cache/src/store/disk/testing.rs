//! A directory in memory that can be torn, filled up and made to fail.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::io::{Dir, File};

/// The directory. A clone is the same directory.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryDir {
    files: Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>,
    pub(super) faults: Arc<Faults>,
}

/// What goes wrong.
#[derive(Debug)]
pub(super) struct Faults {
    /// Bytes that can still be written; then the process is dead: nothing more changes.
    pub(super) writable: AtomicU64,
    /// Bytes of all files together.
    pub(super) room: AtomicU64,
    pub(super) fail_reads: AtomicBool,
    pub(super) fail_writes: AtomicBool,
    /// Writes and reads take a byte less than is asked for, where that is more than one.
    pub(super) short: AtomicBool,
    pub(super) writes: AtomicU64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            writable: AtomicU64::new(u64::MAX),
            room: AtomicU64::new(u64::MAX),
            fail_reads: AtomicBool::new(false),
            fail_writes: AtomicBool::new(false),
            short: AtomicBool::new(false),
            writes: AtomicU64::new(0),
        }
    }
}

#[derive(Debug)]
pub(super) struct MemoryFile {
    pub(super) bytes: Mutex<Vec<u8>>,
    faults: Arc<Faults>,
}

fn failed() -> io::Error {
    io::Error::other("a test asked for it")
}

impl MemoryDir {
    /// A copy as it is now, that no one else writes to and nothing is wrong with.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::default();
        for (name, file) in &*self.files.lock() {
            let file = MemoryFile {
                bytes: Mutex::new(file.bytes.lock().clone()),
                faults: Arc::clone(&copy.faults),
            };
            copy.files.lock().insert(name.clone(), Arc::new(file));
        }
        copy
    }

    pub(super) fn file(&self, name: &str) -> Option<Arc<MemoryFile>> {
        self.files.lock().get(name).map(Arc::clone)
    }

    pub(super) fn set(&self, name: &str, bytes: Vec<u8>) {
        let file = MemoryFile {
            bytes: Mutex::new(bytes),
            faults: Arc::clone(&self.faults),
        };
        self.files.lock().insert(name.to_owned(), Arc::new(file));
    }

    fn used(&self) -> u64 {
        self.files
            .lock()
            .values()
            .map(|file| file.bytes.lock().len() as u64)
            .sum()
    }

    fn add(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.faults.check_write()?;
        if self.used() + bytes.len() as u64 > self.faults.room.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.set(name, bytes);
        Ok(())
    }
}

impl Faults {
    fn check_write(&self) -> io::Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if self.fail_writes.load(Ordering::Relaxed) || self.writable.load(Ordering::Relaxed) == 0 {
            return Err(failed());
        }
        Ok(())
    }
}

impl Dir for MemoryDir {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>> {
        if self.file(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.add(name, vec![0; size as usize])?;
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.file(name).ok_or(io::ErrorKind::NotFound)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.faults.check_write()?;
        let gone = self.files.lock().remove(name);
        gone.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.add(name, bytes.to_vec())
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if self.faults.fail_reads.load(Ordering::Relaxed) {
            return Err(failed());
        }
        let bytes = self.bytes.lock();
        let from = (at as usize).min(bytes.len());
        let mut n = buffer.len().min(bytes.len() - from);
        if n > 1 && self.faults.short.load(Ordering::Relaxed) {
            n -= 1;
        }
        buffer[..n].copy_from_slice(&bytes[from..from + n]);
        Ok(n)
    }

    fn read_cached_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write_at(&self, new: &[u8], at: u64) -> io::Result<usize> {
        self.faults.check_write()?;
        let mut n = new.len();
        if n > 1 && self.faults.short.load(Ordering::Relaxed) {
            n -= 1;
        }
        let writable = &self.faults.writable;
        n = n.min(usize::try_from(writable.load(Ordering::Relaxed)).unwrap_or(usize::MAX));
        if writable.load(Ordering::Relaxed) != u64::MAX {
            writable.fetch_sub(n as u64, Ordering::Relaxed);
        }
        let mut bytes = self.bytes.lock();
        let end = at as usize + n;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at as usize..end].copy_from_slice(&new[..n]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.check_write()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }
}
