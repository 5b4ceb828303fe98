//! Files as the store needs them. A parameter, so that tests can tear and fail them at will.
//!
//! Invariant: nothing here is retried. What fails is reported to who asked, who drops what it cannot trust.

use std::fmt;
use std::io;
use std::sync::Arc;

/// A flat directory that belongs to the store alone.
pub trait Dir: fmt::Debug + Send + Sync {
    /// Names of all files.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `size` bytes that read as zero, their room reserved where the file system can do that.
    ///
    /// # Errors
    /// It exists, or there is no room for it.
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Removes a file. Who has it open may read on.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Puts `bytes` in place of a file's content as a whole, readable by nobody else, and lets it reach the disk.
    ///
    /// # Errors
    /// The old content is there still.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// An open file. All offsets are absolute, so that threads share it.
pub trait File: fmt::Debug + Send + Sync {
    /// Reads some bytes at `at`; 0 at the end.
    ///
    /// # Errors
    /// The disk's.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// As [`Self::read_at`], but only what is in memory: less, or [`io::ErrorKind::WouldBlock`], if the disk would have to
    /// be asked.
    ///
    /// # Errors
    /// Also the disk's.
    fn read_cached_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes some bytes at `at`.
    ///
    /// # Errors
    /// The disk's, also that it is full.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;

    /// Lets what was written reach the disk.
    ///
    /// # Errors
    /// The disk's: what was written since the last call may be lost.
    fn sync(&self) -> io::Result<()>;

    /// Bytes of the file.
    ///
    /// # Errors
    /// The disk's.
    fn size(&self) -> io::Result<u64>;
}

/// Reads until the buffer is full.
///
/// # Errors
/// The disk's, or the file ends before.
pub(super) fn read_exact_at(file: &dyn File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                at += n as u64;
                buffer = buffer.get_mut(n..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes everything.
///
/// # Errors
/// The disk's; some of it may be written.
pub fn write_all_at(file: &dyn File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                at += n as u64;
                bytes = bytes.get(n..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
