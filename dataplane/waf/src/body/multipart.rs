//! `multipart/form-data`, as strictly as ModSecurity 3: what it flags is flagged, what it refuses is an error.
//!
//! Unlike there, reading goes on behind an error: a part whose head is broken has no name, but what it holds is there for
//! rules to see, and so are the parts behind it. The first error is the one that is told.
//!
//! Invariant: the body is read once, by lines; what is kept of it are slices, but for names and folded header lines.

mod boundary;
mod disposition;

use std::borrow::Cow;

use memchr::{memchr, memmem};

use self::boundary::Boundary;
use super::{BodyError, Limits, Multipart, MultipartFlags, Part};
use crate::transform::is_space;

/// Longest line of a part's head, and longest header after it is unfolded.
const MAX_HEADER: usize = 4096;

pub(super) fn parse<'b>(content_type: &[u8], body: &'b [u8], limits: Limits) -> Multipart<'b> {
    let mut multipart = Multipart::default();
    let boundary = match boundary::read(content_type, &mut multipart.flags) {
        Ok(boundary) => boundary,
        Err(message) => {
            multipart.error = Some(error(message));
            return multipart;
        }
    };
    let mut reader = Reader {
        body,
        limits,
        multipart,
        seen: 0,
        part: None,
        complete: false,
        after_lf: false,
        crlf: false,
    };
    reader.read(&boundary);
    reader.multipart.flags.crlf_lf_lines = reader.crlf && reader.multipart.flags.lf_line;
    reader.multipart
}

struct Reader<'b> {
    body: &'b [u8],
    limits: Limits,
    multipart: Multipart<'b>,
    /// Boundaries so far.
    seen: usize,
    part: Option<Open<'b>>,
    /// The final boundary was read.
    complete: bool,
    /// The line before ended with a line feed alone.
    after_lf: bool,
    /// A line that counts ended with a carriage return and a line feed.
    crlf: bool,
}

/// A part that is being read.
#[derive(Default)]
struct Open<'b> {
    head: Head<'b>,
    in_data: bool,
    /// Where what it holds begins and ends, the last line end not counted; none before its first line.
    data: Option<(usize, usize)>,
}

#[derive(Default)]
struct Head<'b> {
    name: Vec<u8>,
    filename: Option<Vec<u8>>,
    extended: Option<Vec<u8>>,
    disposition: Option<Vec<u8>>,
    /// Names in lower case of the headers that there are.
    names: Vec<Vec<u8>>,
    lines: Vec<Cow<'b, [u8]>>,
    /// Whether the header that a folded line would continue is Content-Disposition.
    last: Option<bool>,
    /// What is wrong with it that does not keep the rest from being read.
    fault: Option<BodyError>,
}

impl<'b> Reader<'b> {
    fn read(&mut self, boundary: &Boundary) {
        let mut at = 0;
        while !self.complete && at < self.body.len() {
            let rest = self.body.get(at..).unwrap_or_default();
            let Some(end) = memchr(b'\n', rest) else {
                self.last_line(rest, at, boundary);
                return;
            };
            let (line, _) = rest.split_at(end + 1);
            if !self.delimiter(line, boundary) {
                self.line(line, at);
            }
            self.after_lf = !line.ends_with(b"\r\n");
            at += line.len();
        }
        if self.complete {
            let rest = self.body.get(at..).unwrap_or_default();
            self.multipart.flags.data_after = !rest.chunks(2).all(|end| b"\r\n".starts_with(end));
        } else if at > 0 {
            self.open_end();
        }
    }

    /// Takes `line` for a boundary if it is one, and flags it if it only looks like one.
    fn delimiter(&mut self, line: &[u8], boundary: &Boundary) -> bool {
        let flags = &mut self.multipart.flags;
        if line.len() <= 3 || !line.starts_with(b"--") {
            // A search costs as much as it looks for, which many short lines would multiply.
            if line.len() >= boundary.delimiter.len() && memmem::find(line, &boundary.delimiter).is_some() {
                flags.unmatched_boundary = 1;
            }
            return false;
        }
        let Some(end) = line.strip_prefix(boundary.delimiter.as_slice()) else {
            if let Some(message) = boundary.disguised_in(line) {
                self.fault(error(message));
            } else {
                flags.unmatched_boundary = 1;
            }
            return false;
        };
        flags.lf_line |= self.after_lf;
        if self.seen > 0 && self.part.as_ref().is_some_and(|part| part.data.is_none()) {
            // It stands where a part's content must begin.
            flags.invalid_part = true;
            return false;
        }
        let (end, last) = match end.strip_prefix(b"--") {
            Some(end) => (end, true),
            None => (end, false),
        };
        match end {
            b"\r\n" => self.crlf = true,
            b"\n" => flags.lf_line = true,
            _ => {
                self.fault(quote("Invalid boundary", line));
                return false;
            }
        }
        if self.seen > 0 && flags.unmatched_boundary == 1 {
            flags.unmatched_boundary = 2;
        }
        self.seen += 1;
        self.close();
        self.complete = last;
        if !last {
            if self.multipart.parts.len() >= self.limits.items {
                self.multipart.flags.file_limit_exceeded = true;
                self.fault(error(&format!("more than {} parts", self.limits.items)));
                self.complete = true;
            } else {
                self.part = Some(Open::default());
            }
        }
        true
    }

    /// A line that is no boundary.
    fn line(&mut self, line: &'b [u8], at: usize) {
        let Some(part) = &mut self.part else {
            // Empty lines cannot be taken for anything else.
            self.multipart.flags.data_before |= line != b"\r\n";
            return;
        };
        if part.in_data {
            let end = at + without_end(line).len();
            part.data = Some((part.data.map_or(at, |(start, _)| start), end));
            return;
        }
        match line.strip_suffix(b"\n") {
            Some(line) if line.ends_with(b"\r") => self.crlf = true,
            _ => self.multipart.flags.lf_line = true,
        }
        let done = if without_end(line).is_empty() {
            part.head.finish(&mut self.multipart.flags).map(|()| true)
        } else {
            part.head.line(line, &mut self.multipart.flags).map(|()| false)
        };
        // What follows a line that cannot be read is content, so that rules see it.
        part.in_data = done.as_ref().copied().unwrap_or(true);
        let fault = part.head.fault.take().or_else(|| done.err());
        self.multipart.error = self.multipart.error.take().or(fault);
    }

    /// What follows the last line end: the final boundary without one, or what is cut off.
    fn last_line(&mut self, line: &'b [u8], at: usize, boundary: &Boundary) {
        let flags = &mut self.multipart.flags;
        let last = line.strip_prefix(boundary.delimiter.as_slice()) == Some(b"--");
        if last && self.seen > 0 {
            flags.lf_line |= self.after_lf;
            flags.invalid_part |= self.part.as_ref().is_some_and(|part| part.data.is_none());
            if flags.unmatched_boundary == 1 {
                flags.unmatched_boundary = 2;
            }
            self.close();
            self.complete = true;
            return;
        }
        if let Some(part) = &mut self.part
            && part.in_data
        {
            part.data = Some((part.data.map_or(at, |(start, _)| start), self.body.len()));
        }
        self.open_end();
    }

    /// The body ended before the final boundary. A part whose head is not complete is not held to have none.
    fn open_end(&mut self) {
        let missing = error(if self.seen > 0 {
            "Final boundary missing."
        } else {
            "No boundaries found in payload."
        });
        self.fault(missing.at_end(true));
        let invalid_part = self.multipart.flags.invalid_part;
        let in_head = self.part.as_ref().is_some_and(|part| !part.in_data);
        self.close();
        if in_head {
            self.multipart.flags.invalid_part = invalid_part;
        }
    }

    /// Ends the part that is being read, if there is one.
    fn close(&mut self) {
        let Some(Open { head, data, .. }) = self.part.take() else {
            return;
        };
        self.multipart.flags.invalid_part |= head.name.is_empty();
        let content = data
            .and_then(|(start, end)| self.body.get(start..end))
            .unwrap_or_default();
        self.multipart.parts.push(Part {
            name: head.name,
            filename: head.filename,
            extended_filename: head.extended,
            headers: head.lines,
            content,
        });
    }

    /// The first fault is the one that is told.
    fn fault(&mut self, error: BodyError) {
        self.multipart.error.get_or_insert(error);
    }
}

impl<'b> Head<'b> {
    /// A line that is not empty, with its end.
    fn line(&mut self, line: &'b [u8], flags: &mut MultipartFlags) -> Result<(), BodyError> {
        if line.len() > MAX_HEADER {
            return Err(error(&format!("Part header line over {MAX_HEADER} bytes long")));
        }
        if memchr(0, line).is_some() {
            return Err(error("Nul byte in part headers."));
        }
        if line.first().copied().is_some_and(is_space) {
            return self.fold(line, flags);
        }
        let line = without_end(line);
        let Some(colon) = memchr(b':', line) else {
            return Err(quote("Invalid part header (colon missing)", line));
        };
        let (name, value) = line.split_at(colon);
        if name.is_empty() {
            return Err(error("Invalid part header (header name missing)."));
        }
        if !name.iter().all(u8::is_ascii_graphic) {
            self.fault = Some(quote("Invalid part header (contains invalid character)", line));
        }
        let lower = name.to_ascii_lowercase();
        let is_first = !self.names.contains(&lower);
        if !is_first {
            self.fault = Some(quote("Duplicate part header", name));
        }
        let is_disposition = is_first && lower == b"content-disposition";
        if is_disposition {
            let value = value.get(1..).unwrap_or_default();
            let blanks = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            self.disposition = value.get(blanks..).map(<[u8]>::to_vec);
        }
        if self.names.len() >= MAX_HEADERS {
            return Err(error(&format!("more than {MAX_HEADERS} headers in a part")));
        }
        self.names.push(lower);
        self.last = Some(is_disposition);
        self.lines.push(Cow::Borrowed(line));
        Ok(())
    }

    /// A line that continues the one before.
    fn fold(&mut self, line: &'b [u8], flags: &mut MultipartFlags) -> Result<(), BodyError> {
        flags.header_folding = true;
        let blanks = line.iter().take_while(|&&byte| is_space(byte)).count();
        let (blanks, more) = line.split_at(blanks);
        flags.invalid_header_folding |= blanks.iter().any(|byte| !matches!(byte, b' ' | b'\t'));
        let (Some(is_disposition), Some(header)) = (self.last, self.lines.last_mut()) else {
            return Err(error("Invalid part header (folding error)."));
        };
        let more = without_end(more);
        let append = |header: &mut Vec<u8>| {
            header.push(b' ');
            header.extend_from_slice(more);
        };
        append(header.to_mut());
        let too_long = header.len() > MAX_HEADER;
        if is_disposition && let Some(value) = &mut self.disposition {
            append(value);
        }
        if too_long {
            Err(error("Part header too long."))
        } else {
            Ok(())
        }
    }

    /// The empty line: what the headers say.
    fn finish(&mut self, flags: &mut MultipartFlags) -> Result<(), BodyError> {
        let Some(value) = self.disposition.take() else {
            return Err(error("Part missing Content-Disposition header."));
        };
        let disposition = disposition::read(&value, flags);
        self.name = disposition.name;
        self.filename = disposition.filename.filter(|filename| !filename.is_empty());
        self.extended = disposition.extended;
        if let Some(code) = disposition.fault {
            return Err(quote(&format!("Invalid Content-Disposition header ({code})"), &value));
        }
        if self.name.is_empty() {
            return Err(error("Content-Disposition header missing name field."));
        }
        // Some read the header crudely: what they would not see as a file must not be one here.
        if self.filename.is_some() && memmem::find(&value, b"filename=").is_none() {
            return Err(error("Invalid Content-Disposition header (filename)."));
        }
        Ok(())
    }
}

/// Most headers of a part.
const MAX_HEADERS: usize = 64;

/// `line` without CRLF or LF.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn error(message: &str) -> BodyError {
    BodyError::new(format!("Multipart: {message}"))
}

fn quote(message: &str, bytes: &[u8]) -> BodyError {
    let shown = bytes.get(..bytes.len().min(200)).unwrap_or_default();
    BodyError::new(format!("Multipart: {message}: {}", shown.escape_ascii()))
}

#[cfg(test)]
mod tests;
