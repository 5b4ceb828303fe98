//! A log file: appended to, set aside when it is large, opened again when someone else did that.
//!
//! Invariant: a file that another process has set aside, by the same rules or by those of logrotate, is not set aside
//! again: it is no longer what is at the path.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::LogOptions;

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// It is no device and no pipe.
    regular: bool,
    /// Where what was written last ended, if nobody else writes.
    end: u64,
    max_size: u64,
    keep: u32,
    /// It could not be set aside, which was said.
    stuck: bool,
}

impl LogFile {
    pub(super) fn open(path: &Path, options: &LogOptions) -> io::Result<Self> {
        let file = append_to(path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            regular: metadata.is_file(),
            end: metadata.len(),
            file,
            max_size: options.max_size,
            keep: options.keep,
            stuck: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what is at the path now. On error it stays as it is.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let file = append_to(&self.path)?;
        let metadata = file.metadata()?;
        self.regular = metadata.is_file();
        self.end = metadata.len();
        self.file = file;
        Ok(())
    }

    /// Sets the file aside if so many bytes more would make it too large. Whether another one is open now.
    ///
    /// Where that fails, lines go on into this one: they are worth more than its size.
    pub(super) fn make_room(&mut self, more: usize) -> bool {
        if !self.regular {
            return false;
        }
        let Ok(metadata) = self.file.metadata() else {
            return false;
        };
        self.end = metadata.len();
        let too_large = self.end > 0 && self.end.saturating_add(more as u64) > self.max_size;
        if self.max_size == 0 || !too_large {
            return false;
        }
        let outcome = self.set_aside();
        if let Err(error) = &outcome
            && !self.stuck
        {
            let path = self.path.display();
            tracing::error!(%error, "the log {path} is larger than it should be and cannot be set aside; it grows on");
        }
        self.stuck = outcome.is_err();
        outcome.is_ok()
    }

    fn set_aside(&mut self) -> io::Result<()> {
        // Behind links: a file keeps its directory and its disk.
        let real = fs::canonicalize(&self.path);
        if let Ok(real) = &real
            && self.is_at(real)
        {
            let numbered = |n: u32| {
                let mut name = real.clone().into_os_string();
                name.push(format!(".{n}"));
                PathBuf::from(name)
            };
            for n in (1..self.keep).rev() {
                move_if_there(&numbered(n), &numbered(n + 1))?;
            }
            match self.keep {
                0 => fs::remove_file(real)?,
                _ => fs::rename(real, numbered(1))?,
            }
        }
        self.reopen()
    }

    /// Whether this is the file at a path, and not one that was there before.
    fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let (mine, there) = (self.file.metadata(), fs::metadata(path));
        mine.ok().map(identity) == there.ok().map(identity)
    }

    pub(super) fn as_write(&mut self) -> &mut impl Write {
        &mut self.file
    }

    pub(super) fn grew(&mut self, bytes: usize) {
        self.end += bytes as u64;
    }

    /// Takes back the last so many bytes that were written, unless someone else wrote behind them.
    pub(super) fn remove_end(&mut self, bytes: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        let unchanged = self.file.metadata().is_ok_and(|metadata| metadata.len() == self.end);
        let left = self.end.saturating_sub(bytes as u64);
        let removed = self.regular && unchanged && self.file.set_len(left).is_ok();
        if removed {
            self.end = left;
        }
        removed
    }
}

/// The permissions of a file that is made here: who a client is and what it asked for is not for every user of the machine.
/// A file that is there keeps its own.
const MODE: u32 = 0o640;

fn append_to(path: &Path) -> io::Result<File> {
    // A FIFO that nobody reads is refused at once, and not waited for. Writing may wait: it has a thread of its own.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(MODE)
        .custom_flags(flags)
        .open(path)?;
    let status = fcntl_getfl(&file)?;
    fcntl_setfl(&file, status - OFlags::NONBLOCK)?;
    Ok(file)
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, max_size: u64, keep: u32) -> LogFile {
        let options = LogOptions {
            max_size,
            keep,
            ..LogOptions::new(Vec::new())
        };
        LogFile::open(path, &options).unwrap()
    }

    fn write(log: &mut LogFile, line: &str) -> bool {
        let moved = log.make_room(line.len());
        log.as_write().write_all(line.as_bytes()).unwrap();
        log.grew(line.len());
        moved
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_would_be_too_large_is_set_aside_and_so_many_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "before\n").unwrap();
        let mut log = open(&path, 10, 2);
        for line in ["one\n", "two\n", "a line that is too large by itself\n", "four\n"] {
            write(&mut log, line);
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(names(dir.path()), ["log", "log.1", "log.2"]);
        assert_eq!(read("log"), "four\n");
        assert_eq!(read("log.1"), "a line that is too large by itself\n");
        assert_eq!(read("log.2"), "one\ntwo\n");
    }

    #[test]
    fn without_a_size_a_file_grows_and_with_nothing_to_keep_it_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (grows, anew) = (dir.path().join("grows"), dir.path().join("anew"));
        let (mut unbounded, mut forgetful) = (open(&grows, 0, 5), open(&anew, 10, 0));
        for _ in 0..100 {
            write(&mut unbounded, "line\n");
            write(&mut forgetful, "line\n");
        }
        assert_eq!(names(dir.path()), ["anew", "grows"]);
        assert_eq!(fs::metadata(&grows).unwrap().len(), 500);
        assert_eq!(fs::metadata(&anew).unwrap().len(), 10);
    }

    #[test]
    fn a_file_that_another_process_has_set_aside_is_not_set_aside_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut one, mut other) = (open(&path, 10, 5), open(&path, 10, 5));
        write(&mut one, "first\n");
        assert!(write(&mut one, "second\n"));
        assert!(write(&mut other, "third\n"), "its own is too large as well");
        assert_eq!(names(dir.path()), ["log", "log.1"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\nthird\n");
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (path, real) = (dir.path().join("log"), dir.path().join("real"));
        std::os::unix::fs::symlink(&real, &path).unwrap();
        let mut log = open(&path, 10, 5);
        write(&mut log, "first\n");
        write(&mut log, "second\n");
        assert_eq!(names(dir.path()), ["log", "real", "real.1"]);
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    }

    #[test]
    fn a_file_that_cannot_be_set_aside_grows_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        // Something is in the way that a file cannot replace.
        fs::create_dir(dir.path().join("log.1")).unwrap();
        let mut log = open(&path, 10, 1);
        for _ in 0..5 {
            assert!(!write(&mut log, "line\n"));
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 25);
    }

    #[test]
    fn a_file_that_is_made_is_for_its_owner_and_group_and_one_that_is_there_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let mut log = open(&path, 10, 5);
        write(&mut log, "first\n");
        assert_eq!(mode(&path) & 0o137, 0, "{:o}", mode(&path));
        assert_ne!(mode(&path) & 0o600, 0);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        write(&mut log, "second\n");
        assert_eq!(mode(&path.with_extension("1")), 0o604);
        assert_eq!(mode(&path) & 0o137, 0);
    }

    #[test]
    fn devices_are_not_set_aside() {
        let mut log = open(Path::new("/dev/null"), 1, 5);
        assert!(!write(&mut log, "line\n") && !write(&mut log, "line\n"));
    }

    #[test]
    fn a_torn_line_is_taken_back_unless_another_process_wrote_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = open(&path, 0, 5);
        write(&mut log, "one\ntw");
        assert!(log.remove_end(2));
        write(&mut log, "two\nthr");
        OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut other| other.write_all(b"other\n"))
            .unwrap();
        assert!(!log.remove_end(3));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthrother\n");
    }
}
