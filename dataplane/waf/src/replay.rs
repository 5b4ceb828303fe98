//! Lines of a log, judged again: reading them, putting those of one request together, and counting what would change.
//!
//! A [`Line`] is read from an access line or an audit line of ours, or from the combined log format of nginx and Apache.
//! A [`Window`] makes [`Past`] requests of lines, in their order. A [`Tally`] compares what was done with a request with
//! what would be done now. Invariant: every length and count is bounded, whatever is in the log.
//!
//! Judging is the caller's, and so are files and printing.

mod combined;
mod line;
mod seen;
mod tally;
mod window;

pub use line::{Line, LineError, Objection};
pub use tally::{Example, Group, Groups, MOST_GROUPS, MOST_UNREAD, Tally, UnjudgedPart, Unread};
pub use window::{Past, Window};
