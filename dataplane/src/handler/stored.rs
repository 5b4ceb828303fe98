//! An answer made of a stored response: whole, ranges of it, or only that nothing changed.
//!
//! No header map is built: the stored head is bytes already, and what this answer adds goes behind it.

mod ranges;

use std::cell::RefCell;

use breakwater_cache::cache_status;
use breakwater_cache::object::Object;
use breakwater_wire::cache_status::CacheStatus;
use breakwater_wire::conditional::{self, Preconditions, Validators};
use breakwater_wire::http1::encode::{write_decimal, write_status_line};
use breakwater_wire::http2::{Blocks, write_field, write_status};
use breakwater_wire::range::{ContentRange, if_range_holds};
use bytes::Bytes;

use crate::conn::COPY;
use crate::filter::Filters;
use crate::tls::Hsts;
use breakwater_wire::peer::FIELD;
pub(super) use ranges::Stretch;
use ranges::{Chosen, Multipart};

/// Fields of a stored response that a 304 repeats (RFC 9110 section 15.4.5). In lower case, as stored heads are.
const IN_NOT_MODIFIED: [&[u8]; 8] = [
    b"cache-control",
    b"cdn-cache-control",
    b"content-location",
    b"date",
    b"etag",
    b"expires",
    b"last-modified",
    b"vary",
];

/// What the request wants of the stored response, and what goes with it.
pub(super) struct Reply<'a> {
    pub(super) object: &'a Object,
    pub(super) method: &'a str,
    pub(super) preconditions: Preconditions<'a>,
    pub(super) range: Option<&'a [u8]>,
    pub(super) if_range: Option<&'a [u8]>,
    pub(super) request_id: &'a str,
    pub(super) cache_status: CacheStatus<'a>,
    /// Seconds.
    pub(super) age: u64,
    /// Unix seconds.
    pub(super) now: u64,
    pub(super) connection: Option<&'static [u8]>,
    /// For an answer over TLS, where its host wants it.
    pub(super) hsts: Option<&'a Hsts>,
    /// Those of the route.
    pub(super) filters: Option<&'a Filters>,
    /// For another node that asks: what it is told beside, and by what name.
    pub(super) word: Option<(&'a str, &'static str)>,
}

/// What was written.
pub(super) struct Written {
    pub(super) status: u16,
    /// The head is a field block of HTTP/2 of so many bytes.
    pub(super) block: Option<usize>,
    /// Where in the whole content this part begins.
    pub(super) start: u64,
    /// What follows the output: the content, where it was not copied, and is not on the disk.
    pub(super) body: Vec<Bytes>,
    /// What follows the output when several ranges are to be read from the disk.
    pub(super) stretches: Vec<Stretch>,
    /// Bytes of content, copied or not.
    pub(super) length: u64,
}

enum Part {
    Whole,
    NotModified,
    PreconditionFailed,
    Range(u64, u64),
    Ranges(Multipart),
    Unsatisfiable,
}

impl Reply<'_> {
    /// Appends the head, and small content, to `out`. `blocks`: the head may be a field block of HTTP/2.
    pub(super) fn write(&self, out: &mut Vec<u8>, blocks: Option<&RefCell<Blocks>>) -> Written {
        let object = self.object;
        let from = out.len();
        let part = self.part();
        let (status, start, length) = match &part {
            Part::Whole => (object.status, 0, object.body.len()),
            Part::NotModified => (304, 0, 0),
            Part::PreconditionFailed => (412, 0, 0),
            Part::Range(first, last) => (206, *first, last - first + 1),
            Part::Ranges(multipart) => (206, 0, multipart.len()),
            Part::Unsatisfiable => (416, 0, 0),
        };
        let block = match (&part, blocks) {
            (Part::Whole, Some(blocks)) => self.block(&mut blocks.borrow_mut(), out),
            _ => None,
        };
        if block.is_none() {
            match part {
                Part::Whole => self.whole_head(out),
                _ => self.partial_head(&part, status, length, out),
            }
            self.own_fields(out);
            if let Some(filters) = self.filters {
                filters.edit_head(out, from);
            }
        }
        let length = if self.method == "HEAD" { 0 } else { length };
        let (body, stretches) = match part {
            Part::Ranges(multipart) if object.body.extents().is_some() => (Vec::new(), multipart.into_stretches()),
            Part::Ranges(multipart) => (multipart.content(object), Vec::new()),
            _ => (self.content(start, length, out), Vec::new()),
        };
        Written {
            status,
            block,
            start,
            body,
            stretches,
            length,
        }
    }

    fn part(&self) -> Part {
        let object = self.object;
        let (etag, last_modified) = validators(object);
        if !self.preconditions.is_empty() {
            let stored = Validators {
                etag,
                last_modified,
                date: Some(object.meta.date.as_secs()),
            };
            match conditional::evaluate(self.method, &self.preconditions, &stored, self.now) {
                conditional::Outcome::Proceed => {}
                conditional::Outcome::NotModified => return Part::NotModified,
                conditional::Outcome::PreconditionFailed => return Part::PreconditionFailed,
            }
        }
        let Some(range) = self
            .range
            .filter(|_| self.method == "GET" && matches!(object.status, 200 | 206))
        else {
            return Part::Whole;
        };
        if self
            .if_range
            .is_some_and(|value| !if_range_holds(value, etag, last_modified, self.now))
        {
            return Part::Whole;
        }
        match ranges::choose(range, object) {
            Chosen::Whole => Part::Whole,
            Chosen::One(first, last) => Part::Range(first, last),
            Chosen::Several(several) => Part::Ranges(Multipart::new(object, &several)),
            Chosen::None => Part::Unsatisfiable,
        }
    }

    /// The head of the whole response as a field block, with what [`Reply::own_fields`] adds. None, and nothing written, where
    /// the head is changed as text on its way.
    fn block(&self, blocks: &mut Blocks, out: &mut Vec<u8>) -> Option<usize> {
        if self.word.is_some() || self.filters.is_some_and(Filters::edits_responses) {
            return None;
        }
        let from = out.len();
        write_status(out, self.object.status);
        if let Some(hsts) = self.hsts {
            let value = hsts.value().as_bytes();
            write_field(out, "strict-transport-security", |out| out.extend_from_slice(value));
        }
        if blocks.write(field_lines(&self.object.head), out).is_none() {
            out.truncate(from);
            return None;
        }
        write_field(out, "age", |out| write_decimal(out, self.age));
        write_field(out, "cache-status", |out| {
            self.cache_status.write(cache_status::NAME, out)
        });
        write_field(out, "x-request-id", |out| {
            out.extend_from_slice(self.request_id.as_bytes())
        });
        Some(out.len() - from)
    }

    fn whole_head(&self, out: &mut Vec<u8>) {
        let head = &self.object.head;
        let Some(hsts) = self.hsts else {
            return out.extend_from_slice(head);
        };
        // Before what the origin may have said itself: the first one counts (RFC 6797 section 8.1).
        let fields = field_lines(head);
        out.extend_from_slice(head.get(..head.len() - fields.len()).unwrap_or_default());
        out.extend_from_slice(hsts.line());
        out.extend_from_slice(fields);
    }

    /// The stored fields that go with an answer that is not the whole response.
    fn partial_head(&self, part: &Part, status: u16, length: u64, out: &mut Vec<u8>) {
        // The status is one of ours.
        let _ = write_status_line(out, status, None);
        if let Some(hsts) = self.hsts {
            out.extend_from_slice(hsts.line());
        }
        for line in self.object.head.split_inclusive(|b| *b == b'\n').skip(1) {
            let name = line.split(|b| *b == b':').next().unwrap_or_default();
            let kept = match part {
                Part::NotModified => IN_NOT_MODIFIED.contains(&name),
                Part::Ranges(_) => name != b"content-length" && name != b"content-type",
                _ => name != b"content-length",
            };
            if kept {
                out.extend_from_slice(line);
            }
        }
        if matches!(part, Part::NotModified) {
            return;
        }
        out.extend_from_slice(b"Content-Length: ");
        write_decimal(out, length);
        out.extend_from_slice(b"\r\n");
        match part {
            Part::Range(first, last) => {
                out.extend_from_slice(b"Content-Range: ");
                content_range(self.object, *first, *last).write(out);
                out.extend_from_slice(b"\r\n");
            }
            Part::Ranges(multipart) => multipart.write_type(out),
            Part::Unsatisfiable => {
                let complete = self.object.body.len();
                out.extend_from_slice(format!("Content-Range: bytes */{complete}\r\n").as_bytes());
            }
            _ => {}
        }
    }

    fn own_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Age: ");
        write_decimal(out, self.age);
        out.extend_from_slice(b"\r\nCache-Status: ");
        let name = self.word.map_or(cache_status::NAME, |(_, name)| name);
        self.cache_status.write(name, out);
        if let Some((word, _)) = self.word {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(FIELD.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(word.as_bytes());
        }
        out.extend_from_slice(b"\r\nX-Request-Id: ");
        out.extend_from_slice(self.request_id.as_bytes());
        if let Some(connection) = self.connection {
            out.extend_from_slice(b"\r\nConnection: ");
            out.extend_from_slice(connection);
        }
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn content(&self, start: u64, length: u64, out: &mut Vec<u8>) -> Vec<Bytes> {
        if length == 0 {
            return Vec::new();
        }
        let small = (length as usize <= COPY)
            .then(|| self.object.body.contiguous())
            .flatten();
        let small = small.and_then(|all| all.get(start as usize..(start + length) as usize));
        if let Some(small) = small {
            out.extend_from_slice(small);
            return Vec::new();
        }
        slice(self.object, start, length)
    }
}

/// What follows the status line of a stored head.
fn field_lines(head: &[u8]) -> &[u8] {
    let status_line = memchr::memchr(b'\n', head).map_or(0, |end| end + 1);
    head.get(status_line..).unwrap_or_default()
}

/// `length` bytes of content from `start`.
fn slice(object: &Object, start: u64, length: u64) -> Vec<Bytes> {
    match &object.parts {
        Some(parts) => parts.slice(start, length),
        None => object.body.slice(start, length).collect(),
    }
}

fn content_range(object: &Object, first: u64, last: u64) -> ContentRange {
    let complete = match &object.parts {
        Some(parts) => parts.complete(),
        None => Some(object.body.len()),
    };
    ContentRange { first, last, complete }
}

fn validators(object: &Object) -> (Option<&[u8]>, Option<&[u8]>) {
    let last_modified = object.meta.last_modified.as_ref().map(|modified| &modified.text[..]);
    (object.meta.etag.as_deref(), last_modified)
}

/// The value of `Connection` that the client must see, if any.
pub(super) const fn connection(close: bool, http10: bool) -> Option<&'static [u8]> {
    match (close, http10) {
        (true, _) => Some(b"close"),
        (false, true) => Some(b"keep-alive"),
        (false, false) => None,
    }
}
