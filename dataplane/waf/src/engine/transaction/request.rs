//! The request head: its line, its fields, what is in its query and its cookies.

use std::borrow::Cow;

use super::lists::List;
use super::{Limit, Transaction, Val};
use crate::body::{self, Limits};
use crate::engine::Intervention;
use crate::engine::values::ValueId;
use crate::seclang::{BodyProcessor, Phase, Variable};
use crate::transform;

/// Most fields and most cookies that rules see one by one.
const FIELDS: usize = 1000;

impl Transaction {
    /// The request line: the method, the target as sent, and the version such as `HTTP/1.1`.
    pub fn request_line(&mut self, method: &[u8], target: &[u8], version: &[u8]) {
        let mut line = std::mem::take(&mut self.scratch.text);
        line.clear();
        line.extend_from_slice(method);
        line.push(b' ');
        let target_at = line.len();
        line.extend_from_slice(target);
        let target_end = line.len();
        if !version.is_empty() {
            line.push(b' ');
            line.extend_from_slice(version);
        }
        let whole = self.values.push(&line);
        let end = line.len();
        self.scratch.text = line;
        self.set_val(Variable::RequestLine, Val::Id(whole));
        self.set_part(Variable::RequestMethod, whole, 0..method.len());
        self.set_part(Variable::RequestUriRaw, whole, target_at..target_end);
        self.set_part(Variable::RequestProtocol, whole, (target_end + 1).min(end)..end);

        let uri_at = target_at + authority_end(target);
        self.set_part(Variable::RequestUri, whole, uri_at..target_end);
        let uri = target.get(uri_at - target_at..).unwrap_or_default();
        let uri = uri.split(|byte| *byte == b'#').next().unwrap_or_default();
        let (path, query) = match memchr::memchr(b'?', uri) {
            Some(at) => (uri.get(..at).unwrap_or_default(), uri.get(at + 1..).unwrap_or_default()),
            None => (uri, &[][..]),
        };
        let filename = match transform::percent_decoded(path) {
            Cow::Owned(decoded) => self.values.push(&decoded),
            Cow::Borrowed(_) => self.values.part(whole, uri_at..uri_at + path.len()),
        };
        self.set_val(Variable::RequestFilename, Val::Id(filename));
        let bytes = self.values.get(filename);
        let base = bytes
            .iter()
            .rposition(|byte| matches!(byte, b'/' | b'\\'))
            .map_or(0, |at| at + 1);
        let len = bytes.len();
        self.set_part(Variable::RequestBasename, filename, base..len);
        let query_end = uri_at + uri.len();
        let raw = self.values.part(whole, query_end - query.len()..query_end);
        self.set_val(Variable::QueryString, Val::Id(raw));
        self.set_int(Variable::ArgsCombinedSize, 0);
        self.arguments(List::ArgsGet, raw, query);
    }

    /// One request field, in order.
    pub fn request_header(&mut self, name: &[u8], value: &[u8]) {
        if self.lists.get(List::RequestHeaders).len() >= FIELDS {
            return self.reached(Limit::Fields);
        }
        let name_id = self.values.push(name);
        let value_id = self.values.push(value);
        self.lists.push(List::RequestHeaders, name_id, value_id);
        if name.eq_ignore_ascii_case(b"cookie") {
            self.cookies(value_id, value);
        } else if name.eq_ignore_ascii_case(b"content-type") {
            self.state.content_type.get_or_insert(value_id);
        } else if name.eq_ignore_ascii_case(b"host") && self.scalar(Variable::ServerName) == Val::Unset {
            let len = match value.strip_prefix(b"[") {
                Some(_) => memchr::memchr(b']', value).map_or(value.len(), |at| at + 1),
                None => memchr::memchr(b':', value).unwrap_or(value.len()),
            };
            self.set_part(Variable::ServerName, value_id, 0..len);
        } else if name.eq_ignore_ascii_case(b"authorization") {
            let len = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
            self.set_part(Variable::AuthType, value_id, 0..len);
        }
    }

    /// Phase 1.
    pub fn run_request_headers(&mut self) -> Option<Intervention> {
        if let Some(processor) = self.state.content_type.and_then(|id| processor_of(self.values.get(id))) {
            self.set_processor(processor);
        } else if self.scalar(Variable::ReqbodyProcessor) == Val::Unset {
            self.set(Variable::ReqbodyProcessor, b"");
        }
        self.run(Phase::RequestHeaders)
    }

    pub(super) fn set_processor(&mut self, processor: BodyProcessor) {
        let name: &[u8] = match processor {
            BodyProcessor::Urlencoded => b"URLENCODED",
            BodyProcessor::Multipart => b"MULTIPART",
            BodyProcessor::Json => b"JSON",
            BodyProcessor::Xml => b"XML",
        };
        self.state.processor = Some(processor);
        self.set(Variable::ReqbodyProcessor, name);
    }

    /// The arguments of a query or a form: `raw` is the value that has `text`.
    pub(super) fn arguments(&mut self, list: List, raw: ValueId, text: &[u8]) {
        let bound = self.program();
        let settings = &bound.program().settings;
        let limits = Limits {
            items: settings.arguments,
            depth: 1,
        };
        let arguments = body::urlencoded(text, settings.separator, limits);
        for (name, value) in &arguments.pairs {
            self.argument(list, name, value);
        }
        if arguments.invalid_encoding {
            self.set_int(Variable::UrlencodedError, 1);
        }
        if arguments.truncated {
            // What is not taken apart is seen whole: no rule is blind to the last of many arguments.
            let name = self.values.push(b"");
            self.lists.push(list, name, raw);
            // But rules of one argument do not find it there: as ModSecurity, it was not read.
            self.set_int(Variable::ReqbodyError, 1);
            let message = format!("There are more than {} arguments", limits.items);
            self.set(Variable::ReqbodyErrorMsg, message.as_bytes());
        }
    }

    pub(super) fn argument(&mut self, list: List, name: &[u8], value: &[u8]) {
        if let Val::Int(size) = self.scalar(Variable::ArgsCombinedSize) {
            self.set_int(Variable::ArgsCombinedSize, size + (name.len() + value.len()) as i64);
        }
        let name = self.values.push(name);
        let value = self.values.push(value);
        self.lists.push(list, name, value);
    }

    /// The cookies of a field: `field` is the value that has `text`.
    fn cookies(&mut self, field: ValueId, text: &[u8]) {
        let mut at = 0;
        for pair in text.split(|byte| *byte == b';') {
            let start = at + pair.len() - pair.trim_ascii_start().len();
            let end = at + pair.len();
            at = end + 1;
            if start >= end {
                continue;
            }
            if self.lists.get(List::Cookies).len() >= FIELDS {
                let name = self.values.push(b"");
                let rest = self.values.part(field, start..text.len());
                self.lists.push(List::Cookies, name, rest);
                return;
            }
            let equals = pair
                .iter()
                .position(|byte| *byte == b'=')
                .map(|index| end - pair.len() + index);
            let (name, value) = match equals {
                Some(equals) if equals >= start => (start..equals, equals + 1..end),
                _ => (start..end, end..end),
            };
            let name = self.values.part(field, name);
            let value = self.values.part(field, value);
            self.lists.push(List::Cookies, name, value);
        }
    }

    fn set_part(&mut self, variable: Variable, of: ValueId, range: std::ops::Range<usize>) {
        let id = self.values.part(of, range);
        self.set_val(variable, Val::Id(id));
    }

    /// FULL_REQUEST: head and body as one text; its length.
    pub(super) fn full_request(&mut self, variable: Variable) -> Val {
        let mut out = Vec::new();
        let bytes = |val: Val| match val {
            Val::Id(id) => self.values.get(id),
            _ => &[],
        };
        out.extend_from_slice(bytes(self.scalar(Variable::RequestLine)));
        out.push(b'\n');
        for item in self.lists.get(List::RequestHeaders) {
            out.extend_from_slice(self.values.get(item.name));
            out.extend_from_slice(b": ");
            out.extend_from_slice(self.values.get(item.value));
            out.push(b'\n');
        }
        out.push(b'\n');
        out.extend_from_slice(bytes(self.scalar(Variable::RequestBody)));
        if variable == Variable::FullRequestLength {
            Val::Int(out.len() as i64)
        } else {
            Val::Id(self.values.push(&out))
        }
    }
}

/// Where the path of `http://host/path` begins; 0 where there is no authority.
fn authority_end(target: &[u8]) -> usize {
    let Some(colon) = target.iter().position(|byte| !byte.is_ascii_alphanumeric()) else {
        return 0;
    };
    match target.get(colon..).and_then(|rest| rest.strip_prefix(b"://")) {
        Some(rest) if colon > 0 => {
            let len = rest
                .iter()
                .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
                .unwrap_or(rest.len());
            colon + 3 + len
        }
        _ => 0,
    }
}

/// The processor for a content type, as ModSecurity's recommended configuration chooses.
fn processor_of(content_type: &[u8]) -> Option<BodyProcessor> {
    let end = content_type
        .iter()
        .position(|byte| matches!(byte, b';' | b' ' | b'\t' | b','))
        .unwrap_or(content_type.len());
    let media = content_type.get(..end).unwrap_or_default().to_ascii_lowercase();
    let (kind, subtype) = media.split_at(memchr::memchr(b'/', &media)?);
    let subtype = subtype.get(1..).unwrap_or_default();
    Some(match (kind, subtype) {
        (b"application", b"x-www-form-urlencoded") => BodyProcessor::Urlencoded,
        (b"multipart", b"form-data") => BodyProcessor::Multipart,
        (b"application", b"json") => BodyProcessor::Json,
        (b"application" | b"text", b"xml") => BodyProcessor::Xml,
        (b"application", subtype) if subtype.ends_with(b"+json") => BodyProcessor::Json,
        (b"application", subtype) if subtype.ends_with(b"+xml") => BodyProcessor::Xml,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_begins_after_the_authority() {
        assert_eq!(authority_end(b"/a"), 0);
        assert_eq!(authority_end(b"http://h/a"), 8);
        assert_eq!(authority_end(b"http://h"), 8);
        assert_eq!(authority_end(b"*"), 0);
        assert_eq!(authority_end(b""), 0);
    }

    #[test]
    fn content_types_choose_their_processor() {
        assert_eq!(
            processor_of(b"application/json; charset=utf-8"),
            Some(BodyProcessor::Json)
        );
        assert_eq!(processor_of(b"Application/Soap+XML"), Some(BodyProcessor::Xml));
        assert_eq!(
            processor_of(b"multipart/form-data; boundary=x"),
            Some(BodyProcessor::Multipart)
        );
        assert_eq!(processor_of(b"text/plain"), None);
        assert_eq!(processor_of(b""), None);
    }
}
