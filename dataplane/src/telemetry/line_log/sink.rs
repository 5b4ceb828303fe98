//! What lines are written to. A write says how far it came, and what was torn off does not spoil the line behind it.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;

use super::file::LogFile;
use super::{LogOptions, LogTarget};

#[derive(Debug)]
pub(super) struct Sink {
    to: To,
    /// The last line is not whole, and has no end.
    torn: bool,
}

#[derive(Debug)]
enum To {
    /// Past the buffer that the standard library has for it.
    Stdout(File),
    Stderr,
    File(LogFile),
}

impl Sink {
    pub(super) fn open(target: &LogTarget, options: &LogOptions) -> io::Result<Self> {
        let to = match target {
            LogTarget::Stdout => To::Stdout(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            LogTarget::Stderr => To::Stderr,
            LogTarget::File(path) => To::File(LogFile::open(path, options)?),
        };
        Ok(Self { to, torn: false })
    }

    /// Opens a file again.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::File(file) => {
                file.reopen()?;
                self.torn = false;
                Ok(())
            }
            To::Stdout(_) | To::Stderr => Ok(()),
        }
    }

    /// Writes whole lines. How many bytes of them were written, and why no more.
    pub(super) fn write(&mut self, batch: &[u8]) -> (usize, io::Result<()>) {
        if let To::File(file) = &mut self.to
            && file.make_room(batch.len())
        {
            self.torn = false;
        }
        if self.torn {
            let (written, outcome) = self.to.write(b"\n");
            if written == 0 {
                return (0, outcome);
            }
            self.torn = false;
        }
        let (written, outcome) = self.to.write(batch);
        if outcome.is_err() {
            let done = batch.get(..written).unwrap_or_default();
            let whole = memchr::memrchr(b'\n', done).map_or(0, |at| at + 1);
            let begun = written - whole;
            let removed = match &mut self.to {
                To::File(file) => file.remove_end(begun),
                To::Stdout(_) | To::Stderr => false,
            };
            self.torn = begun > 0 && !removed;
        }
        (written, outcome)
    }
}

impl To {
    fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        match self {
            Self::Stdout(file) => write_some(file, bytes),
            Self::Stderr => write_some(&mut io::stderr().lock(), bytes),
            Self::File(file) => {
                let (written, outcome) = write_some(file.as_write(), bytes);
                file.grew(written);
                (written, outcome)
            }
        }
    }
}

/// As `write_all`, but says how far it came.
fn write_some(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            To::Stdout(_) => f.write_str("the log on standard output"),
            To::Stderr => f.write_str("the log on standard error"),
            To::File(file) => write!(f, "the log {}", file.path().display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and then no more.
    struct Room(usize, Vec<u8>);

    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= taken;
            self.1.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_write_that_is_cut_short_says_where() {
        let mut room = Room(7, Vec::new());
        let (written, outcome) = write_some(&mut room, b"one\ntwo\n");
        assert_eq!((written, outcome.unwrap_err().kind()), (7, io::ErrorKind::StorageFull));
        assert_eq!(room.1, b"one\ntwo");
        assert!(matches!(
            write_some(&mut Room(8, Vec::new()), b"one\ntwo\n"),
            (8, Ok(()))
        ));
    }
}
